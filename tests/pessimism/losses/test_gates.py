"""Smooth gates against descent on their published losses, and the algebra of their fixed points."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import lambertw

import pessimism as ps
from pessimism.core.problem import make_problem
from pessimism.core.solution import NOT_COVERED
from pessimism.fixed_point.flow import flow_target
from tests.flows import flow_to_rest
from tests.helpers import Array

Q, REWARD = np.array([0.3, 0.25, 0.25, 0.2]), np.array([0.0, 1.0, 0.9, 0.1])


def published(name: str, u: torch.Tensor, A: torch.Tensor) -> torch.Tensor:
    """The losses as TRL has them, with their defaults."""
    w = torch.exp(u)
    if name == "sapo":
        t = torch.where(A > 0, 1.0, 1.05)
        return -(torch.sigmoid(t * (w - 1.0)) * 4.0 / t) * A
    k, decay = torch.where(A >= 0, 2.0, 3.0), torch.where(A >= 0, 3.0, 2.0)
    phi = torch.exp(decay + k * u - decay * w).detach()
    return -phi * A * u


@pytest.mark.parametrize("name", ["sapo", "vespo"])
@pytest.mark.parametrize("problem", range(3))
def test_the_target_is_where_descent_on_the_published_loss_ends(name: str, problem: int) -> None:
    rng = np.random.default_rng(problem)
    q, reward = (Q, REWARD) if problem == 0 else (rng.dirichlet(np.full(4, 3.0)), rng.permutation(REWARD))
    target = ps.induced_target(q, reward, name)
    A = torch.tensor((reward - q @ reward) / (np.sqrt(q @ (reward - q @ reward) ** 2) + 1e-6))

    def weight(u: Array) -> Array:
        point = torch.tensor(u, requires_grad=True)
        (slope,) = torch.autograd.grad(published(name, point, A).sum(), point)
        return -slope.numpy()

    end, _ = flow_to_rest(q, np.log(q), weight, np.log(q))
    np.testing.assert_allclose(np.exp(end), target.policy, atol=1e-5)
    assert float(target.certificate()["worst"].iloc[0]) <= 1e-10


def test_what_is_left_lies_beyond_the_peak() -> None:
    """Ratios by the inverse of the gate: arcosh for SAPO, the lower branch of Lambert's function for VESPO."""
    for name in ("sapo", "vespo"):
        target = ps.induced_target(Q, REWARD, name)
        kept = target.policy > 0
        A, w, lam = target.advantage[kept], np.exp(target.log_ratio[kept]), float(target.multiplier)
        if name == "sapo":
            expected = 1.0 + 2.0 * np.arccosh(np.sqrt(A / lam))
        else:
            expected = -np.real(lambertw(-3.0 * lam * np.exp(-3.0) / A, -1)) / 3.0
        np.testing.assert_allclose(w, expected, rtol=1e-9)


def test_a_gate_that_rare_actions_pass_keeps_them_all() -> None:
    """The closed form of SAPO is what the flow ends at, where it ends in time; and holds where it does not."""
    q, reward = np.array([0.6, 0.2, 0.12, 0.08]), np.array([0.0, 1.0, 0.9, 0.95])
    target = ps.induced_target(q, reward, "sapo", method="closed_form")
    flow = flow_target(target.bandit, target.objective, target.advantage_rows)
    np.testing.assert_allclose(q * np.exp(flow.log_ratio[0]), target.policy, atol=1e-9)
    rare = ps.induced_target([1e-9, 0.4, 0.6 - 1e-9], [1.0, 0.5, 0.25], "sapo", method="closed_form")
    assert rare.policy[2] == 0.0 < rare.policy[0]
    assert float(rare.certificate()["worst"].iloc[0]) <= 1e-12


@pytest.mark.parametrize("name", ["sapo", "vespo"])
def test_better_actions_that_are_alike_share_everything(name: str) -> None:
    """One success of many, or two, where no flow would end in time; and a flow where it does."""
    group = np.zeros(64)
    group[[3, 17]] = 1.0
    np.testing.assert_array_equal(ps.induced_target(None, group, name).policy, group / 2)
    target = ps.induced_target([0.999, 0.0009, 0.0001], [0.0, 0.0, 1.0], name)
    np.testing.assert_allclose(target.policy, [0.0, 0.0, 1.0], atol=1e-14)
    alike = ps.induced_target([0.4, 0.3, 0.3], [0.0, 1.0, 1.0], name)
    flow = ps.gradient_flow([0.4, 0.3, 0.3], [0.0, 1.0, 1.0], name)
    np.testing.assert_allclose(flow.policies[-1], alike.policy, atol=1e-6)
    idle = ps.induced_target([0.4, 0.3, 0.3], [1.0, 1.0, 1.0], name)
    assert (str(idle.status), idle.policy.tolist()) == ("converged", [0.4, 0.3, 0.3])


def test_actions_that_are_alike_below_the_peak_part() -> None:
    """At w = 2 the weight per mass still rises to its peak at w = 4: one of the two takes the mass, or the only one."""
    q, vespo = np.array([0.5, 0.25, 0.25]), ps.VESPO(k_pos=5.0, lambda_pos=1.0)
    for reward, covered in (([0.0, 1.0, 1.0], False), ([0.0, 0.0, 1.0], True)):
        bandit, advantage = make_problem(q, np.array(reward), vespo)
        assert (vespo.closed_form(bandit, advantage, unseen=False).status[0] != NOT_COVERED) == covered
    tilted = ps.gradient_flow(q, [0.0, 1.0, 1.0], vespo, start=[0.5, 0.2501, 0.2499])
    np.testing.assert_allclose(tilted.policies[-1], [0.0, 1.0, 0.0], atol=1e-6)


def test_worse_actions_fall_together_while_the_best_balance() -> None:
    """Pulls of the vanishing actions, some with A > 0, do not hold each other up: each gains less than lam."""
    q = np.array([0.17410831, 0.25945291, 0.00824461, 0.00383817, 0.14154765, 0.41280835])
    target = ps.induced_target(q, [0.5, 0.5, 0.0, 1.0, 1.0, 0.0], "sapo", tau_pos=0.3, tau_neg=4.0)
    assert target.status == "vanishing_support"
    best = np.array([False, False, False, True, True, False])
    np.testing.assert_allclose(target.policy, np.where(best, q / q[best].sum(), 0.0), rtol=1e-12, atol=0)
    gain = target.advantage[:2] / np.cosh(0.15) ** 2  # of actions with A > 0, without mass
    assert np.all((gain > 0) & (gain < float(target.multiplier)))


def test_bad_settings_are_named() -> None:
    with pytest.raises(ValueError, match="^vespo: k_neg must be >= 1, got 0.5$"):
        ps.VESPO(k_neg=0.5)
    with pytest.raises(ValueError, match='^sapo: scale must be "group", "batch", "leave_one_out" or "none", got 1$'):
        ps.SAPO(scale=1)  # type: ignore[arg-type]
