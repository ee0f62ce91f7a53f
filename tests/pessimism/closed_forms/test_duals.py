"""The two scalar unknowns: bounds below the root, and a bracketed root finder that knows nothing of Newton."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.special import wrightomega

from pessimism.closed_forms.dual_newton import solve_dual
from pessimism.closed_forms.duals import KappaDual, ShiftDual, kappa_lower_bound
from tests.helpers import Array

DUALS = [KappaDual(), KappaDual(0.2), KappaDual(1.5), ShiftDual(0.01), ShiftDual(1.0), ShiftDual(50.0)]
NAMES = ["kappa", "kappa, low floor", "kappa, high floor", "shift 0.01", "shift 1", "shift 50"]


def rows(count: int = 40, width: int = 5) -> tuple[Array, Array]:
    """Behaviors and z ``(count, width)`` in the positive regime, E[exp(z)] > 1, at scales far apart."""
    rng = np.random.default_rng(3)
    q = rng.dirichlet(np.ones(width), size=count)
    z = rng.normal(size=(count, width)) * np.exp(rng.uniform(-3, 3, size=(count, 1)))
    return q, z - np.vecdot(q, z)[:, None]


@pytest.mark.parametrize("dual", DUALS, ids=NAMES)
def test_newton_finds_the_bracketed_root(dual: Any) -> None:
    q, z = rows()
    expected = dual.bracketed(q, z)
    u = z.copy()
    found, regime, done = solve_dual(np, q, u, dual)
    assert done.all()
    if isinstance(dual, KappaDual):  # of a shift the strength is given: only where it normalizes is unknown
        assert (regime == 1).all()
        np.testing.assert_allclose(found, expected, rtol=1e-9)
    added = dual.pull(np, np.exp(u), expected[:, None])[0]
    np.testing.assert_allclose(u + added, z, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(np.vecdot(q, np.exp(u)), 1.0, rtol=1e-12)


@pytest.mark.parametrize("dual", DUALS, ids=NAMES)
def test_the_start_is_a_lower_bound(dual: Any) -> None:
    q, z = rows()
    exact = dual.bracketed(q, z)
    start = dual.start(np, q, z)[:, 0]
    assert np.all(start <= exact + 1e-9 * (1.0 + np.abs(exact)))


def test_the_lower_bound_is_tight_for_one_likely_action() -> None:
    """A single action has kappa = z, and the bound is E[z] = z."""
    q, z = np.array([[1.0, 0.0]]), np.array([[3.0, -9.0]])
    np.testing.assert_allclose(kappa_lower_bound(np, q, z), [[3.0]])


def test_the_guess_is_near_the_exact_log_ratio() -> None:
    z = np.linspace(-30.0, 30.0, 601)[None, :]
    for kappa in (1e-6, 0.1, 1.0, 30.0):
        exact = np.log(wrightomega(z + np.log(kappa)).real) - np.log(kappa)
        guess = KappaDual().guess(np, z, np.array([[kappa]]))
        assert np.abs(guess - exact).max() < 0.7  # log 2 where the asymptotes cross
