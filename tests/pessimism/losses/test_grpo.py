"""GRPO: best or stable by the sign of its multiplier, gradient flow, limits, two ratios in one loss."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import pessimism as ps
from pessimism.fixed_point.flow import flow_target
from pessimism.losses.registry import make_objective
from tests.flows import descend
from tests.helpers import Array, make_problem
from tests.pessimism.losses.ratios import BANDITS, clipped_value


def penalized_value(target: Any, log_policies: Array) -> Array:
    """E_q[-loss] of log-policies ``(n, K)``."""
    q = target.behavior
    loss = target.objective.loss(log_policies - np.log(q), np.broadcast_to(target.advantage, log_policies.shape), None)
    return np.asarray(-np.sum(q * loss, axis=-1))


@pytest.mark.parametrize("beta", [0.04, 0.5, 3.0])
@pytest.mark.parametrize("seed", [31, 33, 35])
def test_grpo_with_a_positive_multiplier_is_the_best_policy(beta: float, seed: int) -> None:
    """Its surrogate is not concave, so all of the simplex is searched; with lam < 0 it is a stable point only."""
    q, reward = make_problem(seed, 4)
    reward = reward if np.sum(q[reward > q @ reward]) > 0.55 else -reward
    target = ps.induced_target(q, reward, "grpo", beta=beta)
    rng = np.random.default_rng(seed)
    anywhere = np.log(rng.dirichlet(np.full(4, 0.5), size=20000) + 1e-300)
    near = target.log_policy + 0.03 * rng.normal(size=(20000, 4))
    for log_policies in (anywhere, near):
        log_policies = log_policies - np.logaddexp.reduce(log_policies, axis=-1, keepdims=True)
        assert penalized_value(target, target.log_policy[None])[0] >= penalized_value(target, log_policies).max()


def test_grpo_with_a_negative_multiplier_is_stable_but_a_rare_action_would_pay() -> None:
    """Mass on an action that old samples hardly contain costs their k3 next to nothing."""
    q, reward = np.array([1e-4, 0.2999, 0.7]), np.array([1.0, 1.0, 0.0])
    target = ps.induced_target(q, reward, "grpo", beta=0.5)
    assert str(target.status) == "converged"
    assert float(q @ target.objective.score_weight(target.log_ratio + 1e-6, target.advantage)) < 0
    np.testing.assert_allclose(descend(target.objective, q, reward), target.policy, atol=1e-4)
    dumped = np.array([0.08012, 0.35988, 0.56])  # every surrogate at its best, the surplus on the rare action
    assert penalized_value(target, np.log(dumped)[None])[0] > penalized_value(target, target.log_policy[None])[0]


@pytest.mark.parametrize("hyper", [{"beta": 1.5}, {"beta": 3.0, "eps_high": 0.9}, {"beta": 2.0, "eps_low": 10.0}])
@pytest.mark.parametrize("around", ["behavior", "initial"])
def test_grpo_is_where_gradient_flow_ends(hyper: dict[str, float], around: str) -> None:
    for reward in (np.array([0.4, 0.0, 1.0, -0.3]), np.array([0.0, 0.1, 2.0, 1.0])):
        q = np.array([0.2, 0.3, 0.25, 0.25])
        reference = None if around == "behavior" else np.array([0.3, 0.3, 0.2, 0.2])
        target = ps.induced_target(q, reward, "grpo", reference=reference, **hyper)
        assert float(target.certificate()["worst"].iloc[0]) <= 1e-12
        policy = descend(target.objective, q, reward, reference=reference)
        np.testing.assert_allclose(policy, target.policy, atol=1e-4)


def test_grpo_on_its_stable_branch_is_the_flow_of_the_library() -> None:
    """Every row that the closed form answers, to rounding."""
    for seed in range(3):
        q, reward = make_problem(50 + seed, 5)
        closed = ps.induced_target(q, reward, "grpo", beta=0.7)
        flow = flow_target(closed.bandit, closed.objective, closed.advantage_rows)  # type: ignore[arg-type]
        np.testing.assert_allclose(closed.log_ratio, flow.log_ratio[0], rtol=1e-10, atol=1e-12)


def test_grpo_off_its_stable_branch_is_the_flow() -> None:
    """One better action in ten: it must hold 0.28 once the others are at the clip, 2.8 times its reference."""
    target = ps.induced_target([0.9, 0.1], [0.0, 1.0], "grpo")
    np.testing.assert_allclose(target.policy, [0.72, 0.28], rtol=1e-12)
    with pytest.raises(ValueError, match="^method: objective grpo.* has no closed form at reward$"):
        ps.induced_target([0.9, 0.1], [0.0, 1.0], "grpo", method="closed_form")


def test_grpo_between_its_limits() -> None:
    q, reward = BANDITS[2]
    ppo = ps.induced_target(q, reward, "ppo", eps_low=0.3, eps_high=0.3)
    weak = ps.induced_target(q, reward, "grpo", beta=1e-7, eps_low=0.3, eps_high=0.3)
    assert clipped_value(ppo, weak.policy / q) == pytest.approx(clipped_value(ppo, ppo.policy / q), abs=1e-5)
    strong = ps.induced_target(q, reward, "grpo", beta=1e6)
    np.testing.assert_allclose(1e6 * strong.log_ratio, strong.advantage, rtol=1e-4)


@pytest.mark.parametrize("beta", [0.04, 0.5, 3.0])
@pytest.mark.parametrize("around", ["behavior", "initial"])
@pytest.mark.parametrize("problem", [0, 1, 2, 3, 5])
def test_grpo_with_an_unbiased_kl_is_the_only_fixed_point(beta: float, around: str, problem: int) -> None:
    """By the generic route from the score weight alone, by the concave program, and by the best of random policies."""
    q, reward = BANDITS[problem]
    reference = None if around == "behavior" else np.random.default_rng(problem).dirichlet(np.ones(len(q)))
    hyper: dict[str, Any] = {"beta": beta, "unbiased_kl": True, "reference": reference}
    target = ps.induced_target(q, reward, "grpo", **hyper)
    assert float(target.certificate()["worst"].iloc[0]) <= 1e-14
    generic = ps.induced_target(q, reward, "grpo", method="fixed_point", **hyper)
    np.testing.assert_allclose(target.log_policy, generic.log_policy, rtol=1e-11, atol=1e-11)
    assert bool(ps.verify(target)["agrees"].iloc[0])


def test_grpo_with_an_unbiased_kl_is_where_descent_ends() -> None:
    q, reward = np.array([0.2, 0.3, 0.25, 0.25]), np.array([0.4, 0.0, 1.0, -0.3])
    for reference in (None, np.array([0.3, 0.3, 0.2, 0.2])):
        target = ps.induced_target(q, reward, "grpo", beta=1.5, unbiased_kl=True, reference=reference)
        policy = descend(target.objective, q, reward, reference=reference)
        np.testing.assert_allclose(policy, target.policy, atol=1e-4)


def test_an_unbiased_kl_without_a_clip_is_nominal() -> None:
    q, reward = BANDITS[3]
    target = ps.induced_target(q, reward, "grpo", beta=0.5, eps_low=10.0, eps_high=1e6, unbiased_kl=True)
    tilted = q * np.exp(target.advantage / 0.5)
    np.testing.assert_allclose(target.policy, tilted / tilted.sum(), rtol=1e-13)


def test_what_an_unbiased_kl_cannot_place_leaks() -> None:
    """At lam = 0 every action is where its own surrogate is best; the rest of the mass goes to unseen actions."""
    q, reward = np.array([0.1, 0.9]), np.array([1.0, 0.0])
    hyper: dict[str, Any] = {"beta": 0.5, "eps": 1e-9, "unbiased_kl": True}
    target = ps.induced_target(q, reward, "grpo", unseen=True, **hyper)
    np.testing.assert_allclose(target.policy, [0.12, 0.72], rtol=1e-12)  # both at the clip
    np.testing.assert_allclose(target.leak, 0.16, rtol=1e-12)
    kept = ps.induced_target(q, reward, "grpo", **hyper)
    # With lam < 0 both move on: -beta u = lam where A is cut off, A - beta u = lam where the worse is back in the clip.
    odds = 0.1 / (0.9 * np.exp(-2.0 / 3.0))
    np.testing.assert_allclose(kept.policy[0] / kept.policy[1], odds, rtol=1e-7)


def test_a_dual_clip_beside_a_penalty_is_the_flow() -> None:
    """Far below the dual clip it changes nothing; the loss may be followed beyond it only."""
    q, reward = make_problem(50, 5)
    plain = ps.induced_target(q, reward, "grpo", beta=0.7)
    dual = ps.induced_target(q, reward, "grpo", beta=0.7, dual_clip=50.0)
    np.testing.assert_allclose(dual.policy, plain.policy, rtol=1e-10)
    with pytest.raises(ValueError, match="^method: objective grpo.* has no closed form$"):
        ps.induced_target(q, reward, "grpo", beta=0.7, dual_clip=50.0, method="closed_form")


@pytest.mark.parametrize("name", ["grpo", "grpo-unbiased", "kl_regularized"])
def test_two_ratios_in_one_loss(name: str) -> None:
    """Autograd of the loss with a share is minus the score weight with it."""
    objective: Any = ps.GRPO(beta=0.4, dual_clip=1.4, unbiased_kl=name == "grpo-unbiased")
    if name == "kl_regularized":
        objective = make_objective(name, placement="loss", estimator="k3", sampling="off_policy")
    rng = np.random.default_rng(5)
    u, share, A = (torch.tensor(0.5 * rng.normal(size=(6, 5))) for _ in range(3))
    u.requires_grad_()
    (gradient,) = torch.autograd.grad(objective.loss(u, A, None, log_share=share).sum(), u)
    g = objective.score_weight(u.detach(), A, None, log_share=share)
    np.testing.assert_allclose(gradient.numpy(), -g.numpy(), rtol=1e-12, atol=1e-12)
    assert not np.allclose(g.numpy(), objective.score_weight(u.detach(), A, None).numpy())
