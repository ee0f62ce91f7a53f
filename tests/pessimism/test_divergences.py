"""Divergences against scipy and mpmath, and their conventions at zero."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath as mp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pessimism import divergences as dv
from tests.helpers import Array, make_problem

NAMES = ("kl_divergence", "chi_square", "total_variation", "max_ratio", "effective_sample_size")
PAIRS = [(make_problem(seed, 6)[0], make_problem(seed + 50, 6)[0]) for seed in range(20)]


def direct(p: Array, q: Array) -> dict[str, float]:
    """Plain definitions, for positive q."""
    return {
        "kl_divergence": float(stats.entropy(p, q)),
        "chi_square": float(np.sum(p**2 / q) - 1.0),
        "total_variation": float(np.sum(np.maximum(p - q, 0.0))),
        "max_ratio": float(np.max(p / q)),
        "effective_sample_size": float(1.0 / np.sum(p**2 / q)),
        "entropy": float(stats.entropy(p)),
    }


@pytest.mark.parametrize("name", [*NAMES, "entropy"])
def test_definitions(name: str) -> None:
    function: Callable[..., Any] = getattr(dv, name)
    for p, q in PAIRS:
        found = function(p) if name == "entropy" else function(p, q)
        assert float(found) == pytest.approx(direct(p, q)[name], rel=1e-12, abs=1e-13)


@pytest.mark.parametrize("name", NAMES)
def test_batches_and_libraries(name: str) -> None:
    function = getattr(dv, name)
    p, q = (np.stack(a) for a in zip(*PAIRS, strict=True))
    rows = np.array([function(a, b) for a, b in PAIRS])
    np.testing.assert_allclose(function(p, q), rows, rtol=1e-13)
    np.testing.assert_allclose(function(torch.tensor(p), torch.tensor(q)).numpy(), rows, rtol=1e-13)


P, Q = np.array([0.5, 0.5, 0.0]), np.array([0.25, 0.5, 0.25])


def test_conventions_at_zero() -> None:
    assert float(dv.kl_divergence(P, Q)) == pytest.approx(0.5 * np.log(2.0))
    assert float(dv.kl_divergence(Q, P)) == np.inf
    assert float(dv.chi_square(P, Q)) == pytest.approx(0.5)
    assert float(dv.chi_square(Q, P)) == np.inf
    assert float(dv.max_ratio(P, Q)) == 2.0
    assert float(dv.max_ratio(Q, P)) == np.inf
    assert float(dv.effective_sample_size(Q, P)) == 0.0
    assert float(dv.total_variation(P, Q)) == 0.25
    assert float(dv.entropy(np.array([1.0, 0.0]))) == 0.0


@pytest.mark.parametrize("name", NAMES)
def test_equal_policies(name: str) -> None:
    expected = 1.0 if name in ("max_ratio", "effective_sample_size") else 0.0
    for p in (P, Q, np.array([1.0]), np.array([1e-300, 1.0])):
        assert float(getattr(dv, name)(p, p)) == expected


@pytest.mark.parametrize("size", [1e-3, 1e-6, 1e-9, 1e-12])
def test_tiny_divergences_keep_their_digits(size: float) -> None:
    q = np.array([0.25, 0.25, 0.5])
    p = q + size * np.array([0.5, -0.25, -0.25])
    with mp.workdps(50):
        exact = mp.fsum(
            mp.mpf(a) * mp.log(mp.mpf(a) / mp.mpf(b)) - mp.mpf(a) + mp.mpf(b) for a, b in zip(p, q, strict=True)
        )
    # A log-ratio of size s carries an error of eps, the divergence is of size s^2.
    assert float(dv.kl_divergence(p, q)) == pytest.approx(float(exact), rel=1e-15 / size + 1e-13)


def test_extreme_ratios_do_not_overflow() -> None:
    p, q = np.array([1.0 - 1e-12, 1e-12]), np.array([1e-300, 1.0])
    assert float(dv.kl_divergence(p, q)) == pytest.approx(300 * np.log(10.0), rel=1e-9)
    assert float(dv.chi_square(p, q)) == pytest.approx(1e300, rel=1e-9)


simplex = st.lists(st.floats(1e-6, 1.0), min_size=5, max_size=5).map(lambda x: np.array(x) / np.sum(x))


@given(simplex, simplex)
def test_inequalities(p: Array, q: Array) -> None:
    kl, tv, chi = (float(getattr(dv, n)(p, q)) for n in ("kl_divergence", "total_variation", "chi_square"))
    assert -1e-15 <= 2.0 * tv**2 <= kl + 1e-12  # Pinsker
    assert kl <= np.log1p(chi) + 1e-12
    assert 0.0 <= tv <= 1.0
    assert 0.0 <= float(dv.entropy(p)) <= np.log(5.0) + 1e-12
