"""CISPO: a concave surrogate, gradient flow, limits."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest

import pessimism as ps
from tests.flows import descend, maximize
from tests.pessimism.losses.ratios import BANDITS, TIED


@pytest.mark.parametrize("cap", [0.2, 1.0, 3.0])
@pytest.mark.parametrize("problem", range(6))
def test_cispo_maximizes_a_concave_surrogate(cap: float, problem: int) -> None:
    q, reward = BANDITS[problem]
    target = ps.induced_target(q, reward, "cispo", cap=cap)
    A = target.advantage
    up = A > 0
    below, beyond = cp.Variable(int(up.sum()), nonneg=True), cp.Variable(int(up.sum()), nonneg=True)
    value = cp.sum(cp.multiply((q * A)[up], below + cap * cp.log(1 + beyond / cap)))
    maximize(value, [below <= cap, q[up] @ (below + beyond) == 1])
    np.testing.assert_allclose(target.policy[up], q[up] * (below.value + beyond.value), atol=2e-5)
    assert np.all(target.policy[~up] == 0)


def test_cispo_is_where_gradient_flow_ends() -> None:
    for (q, reward), cap in ((BANDITS[1], 0.7), (BANDITS[2], 1.5)):
        target = ps.induced_target(q, reward, "cispo", cap=cap)
        np.testing.assert_allclose(descend(target.objective, q, reward, time=1e8), target.policy, atol=1e-4)


@pytest.mark.parametrize(("cap", "floor"), [(1.2, 0.8), (11.0, 0.8), (2.0, 0.3)])
@pytest.mark.parametrize("problem", [0, 1, 2])
def test_cispo_with_a_floor_is_where_descent_ends(cap: float, floor: float, problem: int) -> None:
    q, reward = BANDITS[problem]
    target = ps.induced_target(q, reward, "cispo", cap=cap, floor=floor)
    assert float(target.certificate()["worst"].iloc[0]) <= 1e-10
    np.testing.assert_allclose(descend(target.objective, q, reward, time=1e8), target.policy, atol=1e-4)


def test_a_floor_at_the_cap_is_a_constant_weight() -> None:
    """g = c A without a ratio: off-policy REINFORCE, which has a target only where E[A] > 0; here it is 0."""
    q, reward = BANDITS[1]
    assert str(ps.induced_target(q, reward, "cispo", cap=1.0, floor=1.0).status) == "no_target"
    asym = ps.induced_target(q, reward, "asym_re", shift=0.0)
    assert str(asym.status) == "no_target"


def test_cispo_between_its_limits() -> None:
    q, reward = BANDITS[4]
    positive = np.maximum(reward - q @ reward, 0.0)
    loose = ps.induced_target(q, reward, "cispo", cap=1e-9)
    np.testing.assert_allclose(loose.policy, q * positive / (q @ positive), atol=1e-15)
    assert ps.induced_target(q, reward, "cispo", cap=1e9).policy[np.argmax(reward)] >= 1 - 1e-15
    tied = ps.induced_target(*TIED, "cispo", cap=1e9)
    np.testing.assert_allclose(tied.policy, [1 / 3, 2 / 3, 0, 0], rtol=1e-15)
    assert str(tied.status) == "set_valued"
