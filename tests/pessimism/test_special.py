"""Special functions against mpmath, on both sides of every switch between formulas, on every array library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import array_api_strict
import mpmath as mp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pessimism.special import branch_gap, lambertw, log_sum_exp, log_wright_omega

Array = np.ndarray[Any, np.dtype[np.float64]]
EPS = float(np.finfo(np.float64).eps)
TINY = 5e-324


def around(*points: float) -> list[float]:
    """Each point with its neighbors in float64."""
    return [y for x in points for y in (np.nextafter(x, -np.inf), x, np.nextafter(x, np.inf))]


def true_log_omega(x: float) -> mp.mpf:
    """The v with v + exp(v) = x, by Newton at the working precision from the float64 asymptotes."""
    x = mp.mpf(x)
    v = mp.log(x) - mp.log(x) / x if x > 2 else (x if x < -2 else mp.mpf(x - 1) / 2)
    for _ in range(200):
        step = (v + mp.exp(v) - x) / (1 + mp.exp(v))
        v -= step
        if abs(step) <= mp.mpf(10) ** (-45) * max(1, abs(v)):
            return v
    raise AssertionError(f"no convergence at {x}")


def true_gap(delta: float, branch: int) -> mp.mpf:
    """The p with p - log(1 + p) = delta on a branch: Newton in t = log(1 + p), where exp(t) - 1 - t = delta."""
    delta = mp.mpf(delta)
    s = mp.sqrt(2 * delta) * (1 if branch == -1 else -1)
    if abs(s) < mp.mpf(10) ** -15:
        return s + s**2 / 3 + s**3 / 36
    # The function is convex: from outside the root Newton comes down to it without overshooting.
    t = min(s, mp.log(2 + 2 * delta) + 1) if branch == -1 else -delta - 1
    for _ in range(200):
        step = (mp.expm1(t) - t - delta) / mp.expm1(t)
        t -= step
        if abs(step) <= mp.mpf(10) ** (-35) * abs(t):
            return mp.expm1(t)
    raise AssertionError(f"no convergence at {delta}")


def worst_error(
    measured: Array, points: list[float], truth: Callable[[float], mp.mpf], *, absolute: bool = False
) -> float:
    """Largest error in ulp (of max(1, abs) if absolute)."""
    with mp.workdps(60):
        worst = mp.mpf(0)
        for x, value in zip(points, measured.tolist(), strict=True):
            if not np.isfinite(value):
                return float("inf")
            exact = truth(x)
            scale = max(mp.mpf(1), abs(exact)) if absolute else max(abs(exact), mp.mpf(2) ** -1022)
            worst = max(worst, abs(mp.mpf(value) - exact) / scale)
        return float(worst) / EPS


OMEGA_POINTS = [
    *np.linspace(-50.0, 50.0, 201),
    *-np.logspace(-20, 305, 66),
    *np.logspace(-20, 305, 66),
    *around(0.0, 1.0, 1.0 + np.e, -1.0, 709.0, 745.0),
]
GAP_POINTS = [*np.logspace(-300, 300, 121), *np.linspace(0.0, 3.0, 151), *around(0.005, 0.5), TINY, 1e-310]
INV_E = float(mp.exp(-1))
NEGATIVE_POINTS = [
    *(-np.logspace(-300, np.log10(0.367), 121)),
    *np.linspace(-0.3678, -1e-3, 101),
    *(-INV_E + np.logspace(-16, -1, 46)),
    *around(-0.25, -1e-9),
    float(np.nextafter(-INV_E, 0.0)),
]
POSITIVE_POINTS = [*np.logspace(-300, 300, 241), *np.linspace(0.01, 20.0, 101), *around(1e-9, 1.0, np.e)]


def test_log_wright_omega_matches_mpmath() -> None:
    assert worst_error(log_wright_omega(np.array(OMEGA_POINTS)), OMEGA_POINTS, true_log_omega, absolute=True) <= 4


@pytest.mark.parametrize("branch", [0, -1])
def test_branch_gap_matches_mpmath(branch: int) -> None:
    found = branch_gap(np.array(GAP_POINTS), branch)
    assert worst_error(found, GAP_POINTS, lambda d: true_gap(d, branch)) <= 4


def true_lambertw(x: float, branch: int) -> mp.mpf:
    return mp.lambertw(mp.mpf(x), branch).real


def test_lambertw_matches_mpmath_on_the_principal_branch() -> None:
    points = [*NEGATIVE_POINTS, *POSITIVE_POINTS]
    assert worst_error(lambertw(np.array(points)), points, lambda x: true_lambertw(x, 0)) <= 4


def test_lambertw_matches_mpmath_on_the_lower_branch() -> None:
    found = lambertw(np.array(NEGATIVE_POINTS), -1)
    assert worst_error(found, NEGATIVE_POINTS, lambda x: true_lambertw(x, -1)) <= 4


def test_worst_error_notices_one_wrong_value() -> None:
    points = [0.3, 2.0]
    exact = lambertw(np.array(points))
    assert worst_error(exact * np.array([1.0, 1.0 + 1e-14]), points, lambda x: true_lambertw(x, 0)) > 8
    assert worst_error(np.array([exact[0], np.nan]), points, lambda x: true_lambertw(x, 0)) == np.inf


def test_log_wright_omega_special_values() -> None:
    x = np.array([-np.inf, np.inf, np.nan, 1.0, TINY, -TINY])
    v = log_wright_omega(x)
    np.testing.assert_array_equal(v[:4], [-np.inf, np.inf, np.nan, 0.0])
    np.testing.assert_allclose(v[4:], -0.5671432904097838, rtol=4 * EPS)


def test_branch_gap_special_values() -> None:
    delta = np.array([0.0, -1e-300, -1.0, np.nan])
    for branch in (0, -1):
        np.testing.assert_array_equal(branch_gap(delta, branch), [0.0, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(branch_gap(np.array([np.inf]), -1), [np.inf])
    np.testing.assert_array_equal(branch_gap(np.array([np.inf, 1e308]), 0), [-1.0, -1.0])


def test_lambertw_special_values() -> None:
    x = np.array([0.0, np.inf, np.nan, -1.0, -np.inf, TINY, -TINY, -INV_E])
    w = lambertw(x)
    np.testing.assert_array_equal(w[:7], [0.0, np.inf, np.nan, np.nan, np.nan, TINY, -TINY])
    np.testing.assert_allclose(w[7], -1.0, atol=1e-7)
    lower = lambertw(x, -1)
    np.testing.assert_array_equal(lower[:6], [-np.inf, np.nan, np.nan, np.nan, np.nan, np.nan])
    assert worst_error(lower[6:7], [-TINY], lambda t: true_lambertw(t, -1)) <= 4
    assert np.signbit(lambertw(np.array([-0.0])))[0]


FUNCTIONS: dict[str, tuple[Callable[..., Any], list[float]]] = {
    "log_wright_omega": (log_wright_omega, [-30.0, -1.0, 0.0, 1.0, 40.0]),
    "lambertw": (lambertw, [-0.3, -1e-12, 0.0, 1e-12, 2.0, 1e30]),
    "lambertw_lower": (lambda x: lambertw(x, -1), [-0.36, -0.3, -0.1, -1e-30]),
    "branch_gap": (lambda x: branch_gap(x, 0), [0.0, 1e-6, 0.1, 1.0, 50.0]),
    "branch_gap_lower": (lambda x: branch_gap(x, -1), [0.0, 1e-6, 0.1, 1.0, 50.0]),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_libraries_agree(name: str) -> None:
    function, points = FUNCTIONS[name]
    x = np.array(points).reshape(1, -1)
    expected = function(x)
    tensor = function(torch.tensor(points, dtype=torch.float64).reshape(1, -1))
    strict = function(array_api_strict.asarray(x))
    assert isinstance(tensor, torch.Tensor)
    assert type(strict) is type(array_api_strict.asarray(x))
    assert tensor.dtype == torch.float64
    for found in (tensor.numpy(), np.asarray(strict)):
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=1e-14, atol=0)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_shapes_types_and_inputs_are_kept(name: str) -> None:
    function, points = FUNCTIONS[name]
    x = np.array(points)
    x.flags.writeable = False
    found = function(x)
    np.testing.assert_array_equal(x, points)
    assert function(np.empty((0, 3))).shape == (0, 3)
    single = function(x.astype(np.float32))
    assert single.dtype == np.float32
    # The input itself is rounded to float32: compare at the rounded points.
    np.testing.assert_allclose(single, function(x.astype(np.float32).astype(np.float64)), rtol=2e-5, atol=1e-6)
    for i in range(len(points)):
        np.testing.assert_allclose(function(x[i : i + 1])[0], found[i], rtol=4 * EPS)


@pytest.mark.parametrize("branch", [1, -2, 0.5])
def test_unknown_branches_are_refused(branch: float) -> None:
    for function in (lambertw, branch_gap):
        with pytest.raises(ValueError, match="branch must be 0 or -1, got"):
            function(np.array([0.1]), branch)  # type: ignore[arg-type]


@given(st.floats(-1e6, 1e6))
def test_log_wright_omega_inverts_its_definition(v: float) -> None:
    x = v + np.exp(min(v, 600.0))
    if v < 600:
        found = float(log_wright_omega(np.array([x]))[0])
        # x carries rounding of its own, which the inverse divides by 1 + exp(v).
        allowed = 4 * EPS * (max(1.0, abs(v)) + abs(x) / (1.0 + np.exp(v)))
        assert abs(found - v) <= allowed


@given(st.floats(-0.9999, 500.0))
def test_branches_meet_their_definition(p: float) -> None:
    delta = p - np.log1p(p) if abs(p) > 1e-3 else p * p / 2 - p**3 / 3 + p**4 / 4 - p**5 / 5
    found = float(branch_gap(np.array([delta]), 0 if p < 0 else -1)[0])
    # d p / d delta = (1 + p) / p
    assert abs(found - p) <= 1e-15 + 8 * EPS * (abs(p) + delta * (1 + p) / max(abs(p), 1e-300))


def test_log_sum_exp_over_the_range_of_float64() -> None:
    rng = np.random.default_rng(0)
    rows = [1e3 * rng.normal(size=(20, 6)), rng.normal(size=(20, 6)) - 900.0, rng.normal(size=(20, 6)) * 1e-9]
    for terms in rows:
        exact = [float(mp.log(mp.fsum([mp.exp(mp.mpf(float(x))) for x in row]))) for row in terms]
        np.testing.assert_allclose(log_sum_exp(terms), exact, rtol=4 * EPS)
    odd = np.array([[-np.inf, 2.0], [-np.inf, -np.inf], [np.nan, 0.0]])
    np.testing.assert_array_equal(log_sum_exp(odd), [2.0, -np.inf, np.nan])
