"""One multiplier a row: roots, bounds that enclose none, and kappa read off a policy."""

from __future__ import annotations

import numpy as np
import pytest

import pessimism as ps
from pessimism.closed_forms.separable import lambert_fit, normalizing_multiplier
from tests.helpers import Array, make_problem


def water(q: Array, slope: Array) -> tuple[Array, Array, Array]:
    """Multiplier with which sum q (slope - lam)_+ is one, by trying how many of the best actions are wet."""
    lam = []
    for weights, heights in zip(q, slope, strict=True):
        order = np.argsort(-heights)
        levels = (np.cumsum((weights * heights)[order]) - 1.0) / np.cumsum(weights[order])
        lam.append(levels.max())
    return np.array(lam), slope.min(axis=-1) - 2.0 / q.min(axis=-1), slope.max(axis=-1)


def test_the_multiplier_normalizes_every_row() -> None:
    rng = np.random.default_rng(0)
    q, slope = rng.dirichlet(np.ones(6), size=50), 5.0 * rng.normal(size=(50, 6))
    expected, low, high = water(q, slope)

    def mass(lam: Array, row: Array) -> Array:
        return np.vecdot(q[row], np.maximum(slope[row] - lam[:, None], 0.0))

    np.testing.assert_allclose(normalizing_multiplier(mass, low, high), expected, rtol=1e-12, atol=1e-12)


def test_a_root_on_a_bound_is_that_bound() -> None:
    def mass(lam: Array, row: Array) -> Array:
        return np.exp(-lam)

    np.testing.assert_array_equal(normalizing_multiplier(mass, np.array([0.0, -1.0]), np.array([3.0, 0.0])), [0.0, 0.0])


@pytest.mark.parametrize(("low", "high"), [(0.5, 3.0), (-3.0, -0.5)])
def test_bounds_without_a_root_are_a_fault(low: float, high: float) -> None:
    with pytest.raises(ArithmeticError, match="do not enclose"):
        normalizing_multiplier(lambda lam, row: np.exp(-lam), np.array([low]), np.array([high]))


@pytest.mark.parametrize("name", ["kimi", "shifted_mean", "oapl", "nominal"])
def test_kappa_is_read_off_a_policy(name: str) -> None:
    q, reward = make_problem(4, 6)
    target = ps.induced_target(q, reward, name)
    advantage = np.asarray(target.advantage)
    arrays = (a[None] for a in (q, q, advantage, np.asarray(target.log_ratio)))
    kappa, regime = lambert_fit(target.objective, *arrays, multiplier=np.array([0.0]))
    assert kappa[0] == pytest.approx(float(target.kappa), rel=1e-9, abs=1e-9)
    assert {1: "positive", 0: "boundary", -1: "negative"}[int(regime[0])] == target.regime


def test_a_policy_off_the_family_has_no_kappa() -> None:
    """It has the regime of its distance from the reference beside that of the nominal target."""
    q, advantage = np.array([[0.3, 0.3, 0.4]]), np.array([[0.0, 1.0, 0.2]])
    for pull, sign in ((0.2, 1), (3.0, -1)):
        policy = q * np.exp(pull * np.array([[0.3, 1.0, 0.0]]))
        u = np.log(policy / policy.sum() / q)
        kappa, regime = lambert_fit(ps.Kimi(beta=1.0), q, q, advantage, u, np.array([0.0]))
        assert np.isnan(kappa[0])
        assert regime[0] == sign
