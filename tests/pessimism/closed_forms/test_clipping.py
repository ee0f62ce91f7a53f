"""The optimal set of a clipped surrogate: room for the better actions, sequence ratios, edges."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest

import pessimism as ps
from pessimism.closed_forms.clipping import clip_edges, clipped_surrogate, is_clipped
from tests.flows import maximize
from tests.helpers import assert_policy
from tests.pessimism.losses.ratios import BANDITS


def test_the_set_needs_room_for_the_better_actions() -> None:
    tight = ps.induced_target([0.3, 0.6, 0.1], [0.0, 1.0, 2.0], "ppo", eps_high=0.6)
    np.testing.assert_allclose(tight.policy, [0.0, 0.84, 0.16], atol=1e-15)
    assert (str(tight.status), str(tight.regime)) == ("vanishing_support", "positive")
    edge = ps.induced_target([0.5, 0.5], [0.0, 1.0], "ppo", eps_high=1.0)
    np.testing.assert_array_equal(edge.policy, [0.0, 1.0])
    roomy = ps.induced_target([0.3, 0.6, 0.1], [0.0, 1.0, 2.0], "ppo", eps_high=0.4)
    assert str(roomy.status) == "set_valued"
    np.testing.assert_allclose(roomy.policy, [0.02, 0.84, 0.14], atol=1e-15)
    lone = ps.induced_target([1.0], [0.3], "ppo")
    assert str(lone.status) == "converged"
    equal = ps.induced_target([0.2, 0.8], [1.0, 1.0], "ppo")
    assert str(equal.status) == "set_valued"
    np.testing.assert_array_equal(equal.policy, [0.2, 0.8])


@pytest.mark.parametrize("length", [1.0, 1.0 + 1e-9, 2.0, 700.0])
def test_gspo_clips_the_geometric_mean(length: float) -> None:
    q, reward = BANDITS[3]
    gspo = ps.induced_target(q, reward, "gspo", length=length)
    bounds = {"eps_low": -np.expm1(length * np.log1p(-3e-4)), "eps_high": np.expm1(length * np.log1p(4e-4))}
    assert length * np.log1p(4e-4) < -np.log(np.sum(q[reward > q @ reward]))
    np.testing.assert_allclose(gspo.policy, ps.induced_target(q, reward, "ppo", **bounds).policy, rtol=1e-9)


@pytest.mark.parametrize("length", [1.5, 3.0, 40.0])
@pytest.mark.parametrize("problem", range(5))
def test_gspo_without_room_shares_the_mass(length: float, problem: int) -> None:
    q, reward = BANDITS[problem]
    target = ps.induced_target(q, reward, "gspo", length=length, eps_high=2.0)
    A = target.advantage
    up = A > 0
    if np.sum(q[up]) * 3.0**length <= 1:
        assert str(target.status) == "set_valued"
        return
    w = cp.Variable(int(up.sum()))
    value = cp.sum(cp.multiply((q * A)[up], cp.minimum(cp.power(w, 1.0 / length), 3.0)))
    maximize(value, [q[up] @ w == 1])
    np.testing.assert_allclose(target.policy[up], q[up] * w.value, atol=1e-5)
    assert_policy(target.policy, q)
    assert float(target.certificate()["worst"].iloc[0]) <= 1e-12


@pytest.mark.parametrize(("low", "high"), [(0.2, 0.28), (0.9, 4.0)])
def test_the_surrogate_is_flat_where_it_is_clipped(low: float, high: float) -> None:
    edges = clip_edges(low, high)
    ratio = np.linspace(0.01, 6.0, 500)
    for sign in (-1.0, 1.0):
        A = np.full(ratio.shape, sign)
        value = clipped_surrogate(np.log(ratio), A, edges)
        np.testing.assert_allclose(value, np.minimum(ratio * A, np.clip(ratio, 1 - low, 1 + high) * A), rtol=1e-14)
        flat = np.isclose(np.gradient(value, ratio)[1:-1], 0.0)
        clipped = is_clipped(np.log(ratio), A, edges)[1:-1]
        assert np.count_nonzero(flat != clipped) <= 2  # the points next to the edge


def test_no_lower_edge_where_the_range_reaches_zero() -> None:
    low, high = clip_edges(1.5, 0.5)
    assert (low, high) == (-np.inf, pytest.approx(np.log(1.5)))
    assert not is_clipped(np.array([-700.0]), np.array([-1.0]), (low, high)).any()
