"""TRPO: a region used up, its Lagrangian's flow, limits, the derivative of its multiplier."""

from __future__ import annotations

from types import SimpleNamespace

import cvxpy as cp
import numpy as np
import pytest
import torch

import pessimism as ps
from tests.flows import descend, maximize
from tests.pessimism.losses.ratios import BANDITS


@pytest.mark.parametrize("delta", [1e-6, 0.01, 0.5, 20.0])
@pytest.mark.parametrize("problem", range(6))
def test_trpo_uses_up_its_region(delta: float, problem: int) -> None:
    q, reward = BANDITS[problem]
    target = ps.induced_target(q, reward, "trpo", delta=delta)
    divergence = -float(np.sum(q * target.log_ratio))
    assert divergence == pytest.approx(delta, rel=1e-6 if delta < 1e-4 else 1e-11)
    if delta in (0.01, 0.5) and len(q) < 13:
        w = cp.Variable(len(q))
        region = [q @ w == 1, -cp.sum(cp.multiply(q, cp.log(w))) <= delta]
        maximize((q * reward) @ w, region)
        np.testing.assert_allclose(q * w.value, target.policy, atol=1e-5)


def test_trpo_is_where_gradient_flow_ends() -> None:
    for q, reward in BANDITS[:3]:
        target = ps.induced_target(q, reward, "trpo", delta=0.2)
        eta = torch.tensor(target.objective.multiplier(target.advantage, q))
        lagrangian = SimpleNamespace(
            advantage=target.objective.advantage,
            loss=lambda u, A, _, eta=eta: -u.exp() * A - eta * u,
            on_policy=False,
            takes_share=False,
            kinks_at=lambda weights: (),
        )
        np.testing.assert_allclose(descend(lagrangian, q, reward), target.policy, atol=1e-6)


def test_trpo_between_its_limits() -> None:
    q, reward = BANDITS[2]
    gap = reward - q @ reward
    small = ps.induced_target(q, reward, "trpo", delta=1e-8)
    np.testing.assert_allclose(small.log_ratio, 2**0.5 * 1e-4 * gap / np.sqrt(q @ gap**2), atol=1e-7)
    large = ps.induced_target(q, reward, "trpo", delta=400.0)
    assert large.policy[np.argmax(reward)] > 1 - 1e-12
    assert np.all(np.isfinite(large.log_ratio))
    equal = ps.induced_target([0.2, 0.8], [1.0, 1.0], "trpo")
    assert str(equal.status) == "set_valued"
    np.testing.assert_allclose(equal.policy, [0.2, 0.8], rtol=1e-15)


def test_the_multiplier_of_the_region_has_a_derivative() -> None:
    objective = ps.objectives()["trpo"](delta=0.1)  # type: ignore[call-arg]
    A = torch.tensor(np.random.default_rng(1).normal(size=(2, 4)), requires_grad=True)
    weights = torch.tensor(np.random.default_rng(2).dirichlet(np.ones(4), size=2))
    assert torch.autograd.gradcheck(lambda a: objective.multiplier(a, weights), (A,))  # type: ignore[attr-defined]
