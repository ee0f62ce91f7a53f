"""Clipped surrogates against linear programs and gradient flow, and what their hyper-parameters must be."""

from __future__ import annotations

import re
from typing import Any

import cvxpy as cp
import numpy as np
import pytest
import torch

import pessimism as ps
from pessimism.convex.verify import verify
from pessimism.fixed_point.flow import flow_target
from pessimism.losses.registry import make_objective
from tests.flows import descend, maximize
from tests.pessimism.losses.ratios import BANDITS, TIED, clipped_value, surrogate

SETS: list[tuple[str, dict[str, float]]] = [
    ("ppo", {}),
    ("ppo", {"eps_low": 0.6, "eps_high": 0.1}),
    ("ppo", {"eps_high": 4.0}),
    ("ppo", {"eps_low": 10.0, "eps_high": 0.5}),
    ("dr_grpo", {}),
    ("dapo", {}),
    ("gspo", {}),
    ("grpo", {"beta": 0.0}),
    ("rloo_clipped", {"eps_high": 0.4}),
    ("ppo", {"eps_high": 4.0, "dual_clip": 1.5}),
    ("grpo", {"beta": 0.0, "dual_clip": 3.0}),
]


@pytest.mark.parametrize(("name", "hyper"), SETS)
@pytest.mark.parametrize("problem", [*range(5), "tied"])
def test_a_clipped_target_is_the_nearest_optimum(name: str, hyper: dict[str, float], problem: Any) -> None:
    """First the linear program, then the least KL(pi || mu) on its optimal face."""
    q, reward = TIED if problem == "tied" else BANDITS[problem]
    target = ps.induced_target(q, reward, name, **hyper)
    A, w = target.advantage, cp.Variable(len(q))
    simplex = [w >= 0, q @ w == 1]
    value = surrogate(target.objective, w, q, A)
    best = maximize(value, simplex)
    assert clipped_value(target, target.policy / q) == pytest.approx(best, abs=1e-7)
    nearest = cp.sum(cp.multiply(q, cp.kl_div(w, 1.0)))
    maximize(-nearest, [*simplex, value >= best - 1e-9])
    np.testing.assert_allclose(q * w.value, target.policy, atol=2e-4)
    kl = float(np.sum(target.policy[target.policy > 0] * np.log((target.policy / q)[target.policy > 0])))
    assert kl <= float(nearest.value) + 1e-5


@pytest.mark.parametrize(("name", "hyper"), [SETS[i] for i in (0, 1, 4, 5, 6, 7)])
def test_gradient_flow_ends_in_the_set(name: str, hyper: dict[str, float]) -> None:
    """The value of the surrogate where the flow stops is the optimum; the policy is any of the set."""
    for q, reward in BANDITS[2:3]:
        target = ps.induced_target(q, reward, name, **hyper)
        policy = descend(target.objective, q, reward)
        assert clipped_value(target, policy / q) == pytest.approx(clipped_value(target, target.policy / q), abs=1e-4)


def test_the_flow_of_the_library_fills_the_best_actions() -> None:
    """Without room for all better actions the optimum is one policy, and the flow's limit."""
    for q, reward in BANDITS[1:3]:
        target = ps.induced_target(q, reward, "ppo", eps_high=4.0)
        flow = flow_target(target.bandit, target.objective, target.advantage_rows)
        np.testing.assert_allclose(q * np.exp(flow.log_ratio[0]), target.policy, atol=1e-9)


LENGTHS = np.array([3.0, 1.0, 4.0, 2.0, 1.0, 5.0])


@pytest.mark.parametrize("seed", range(12))
def test_completions_of_several_lengths_are_clipped_each_at_its_own(seed: int) -> None:
    """The certificate holds and a cone program, with a root and a bound for each action, finds the same policy."""
    rng = np.random.default_rng(seed)
    q, reward, length = rng.dirichlet(np.full(6, 2.0)), rng.integers(0, 3, 6) / 2, rng.permutation(LENGTHS)
    target = ps.induced_target(q, reward, "gspo", length=length, eps_low=0.3, eps_high=rng.uniform(0.02, 1.5))
    assert float(target.certificate()["worst"].iloc[0]) <= 1e-12
    row = verify(target).iloc[0]
    assert row["agrees"], row


def test_lengths_may_be_those_of_a_batch() -> None:
    q, reward = np.full(3, 1 / 3), np.array([[0.0, 0.5, 1.0], [1.0, 0.0, 1.0]])
    length = np.array([[2.0, 3.0, 4.0], [2.0, 2.0, 5.0]])
    both = ps.induced_target(q, reward, "gspo", length=length, eps_high=0.9)
    for row in range(2):
        alone = ps.induced_target(q, reward[row], "gspo", length=length[row], eps_high=0.9)
        np.testing.assert_allclose(both.policy[row], alone.policy, rtol=1e-13)
    assert both.certificate()["worst"].max() <= 1e-12
    joined = type(both).concatenate(
        [both, ps.induced_target([[0.5, 0.5]], [[0.0, 1.0]], "gspo", length=[4, 2], eps_high=0.9)]
    )
    np.testing.assert_allclose(joined.policy[:2], both.policy, rtol=1e-13)
    assert joined.certificate()["worst"].max() <= 1e-12
    with pytest.raises(ValueError, match="^gspo: length must hold one number per action, got 2 for 3 actions$"):
        ps.induced_target(q, reward, "gspo", length=[2.0, 3.0])


def test_a_tight_clip_with_several_lengths_is_where_the_flow_ends() -> None:
    q, reward, length = np.array([0.4, 0.25, 0.2, 0.15]), np.array([0.0, 1.0, 0.7, 0.9]), np.array([2.0, 3.0, 1.5, 4.0])
    target = ps.induced_target(q, reward, "gspo", length=length, eps_high=3.0)
    flow = flow_target(target.bandit, target.row_objective, target.advantage_rows)
    np.testing.assert_allclose(q * np.exp(flow.log_ratio[0]), target.policy, atol=1e-9)
    order = np.array([2, 0, 3, 1])
    moved = ps.induced_target(q[order], reward[order], "gspo", length=length[order], eps_high=3.0)
    np.testing.assert_allclose(moved.policy, target.policy[order], rtol=1e-13)
    again = ps.induced_target(q, reward, target.objective, method="fixed_point")
    np.testing.assert_allclose(again.policy, target.policy, atol=1e-10)


@pytest.mark.parametrize("length", [3.0, [2.0, 3.0, 1.5, 4.0], [2.0, 1.0, 1.0, 1.0]])
def test_the_gradient_of_a_tight_clip_with_lengths(length: Any) -> None:
    q, reward = np.array([0.4, 0.25, 0.2, 0.15]), np.array([0.0, 1.0, 0.7, 0.9])

    def policy(r: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = ps.induced_target(torch.tensor(q), r, "gspo", length=length, eps_high=0.9).policy
        return found

    r = torch.tensor(reward, requires_grad=True)
    slopes, steps = torch.autograd.functional.jacobian(policy, r), 1e-6 * torch.eye(4, dtype=torch.float64)
    for i in range(4):
        numeric = (policy(r.detach() + steps[i]) - policy(r.detach() - steps[i])) / 2e-6
        np.testing.assert_allclose(slopes[:, i], numeric, atol=1e-7)


@pytest.mark.parametrize("hyper", [{"dual_clip": 1.3}, {"dual_clip": 3.0, "eps_high": 4.0}])
def test_a_dual_clip_leaves_the_optimum(hyper: dict[str, Any]) -> None:
    """Its surrogate is not concave, so all of the simplex is searched, the vertices too."""
    for q, reward in BANDITS[:4]:
        target = ps.induced_target(q, reward, "ppo", **hyper)
        plain = ps.induced_target(q, reward, "ppo", **(hyper | {"dual_clip": None}))
        np.testing.assert_array_equal(target.policy, plain.policy)
        rng = np.random.default_rng(0)
        policies = np.concatenate([rng.dirichlet(np.full(len(q), s), size=20_000) for s in (0.1, 1.0)])
        policies = np.concatenate([policies, np.eye(len(q)), target.policy[None]])
        with np.errstate(divide="ignore"):
            losses = np.sum(q * target.objective.loss(np.log(policies / q), target.advantage + 0.0 * policies), axis=-1)
        assert losses[-1] <= losses.min() + 1e-15


def test_a_flow_may_stop_above_a_dual_clip() -> None:
    """An action a little below the mean takes what a worse one frees, and is let go there: off the optimum for good."""
    q, reward = np.array([0.73, 0.003, 0.06, 0.01, 0.197]), np.array([0.24, 0.82, 0.58, 0.48, 0.256])
    target = ps.induced_target(q, reward, "ppo", dual_clip=1.5)
    loss = {}
    for dual_clip in (1.5, None):
        objective = ps.PPO(dual_clip=dual_clip)
        policy = ps.sgd(q, reward, objective, steps=6_000, lr=1.0).policy
        loss[dual_clip] = float(q @ objective.loss(np.log(policy / q), target.advantage))
        assert target.advantage[-1] < 0
        assert bool(policy[-1] / q[-1] > 1.5) == (dual_clip is not None)
    optimum = float(q @ ps.PPO().loss(np.maximum(target.log_ratio, -700.0), target.advantage))
    assert loss[None] == pytest.approx(optimum, abs=1e-6)
    assert loss[1.5] > optimum + 1e-3


@pytest.mark.parametrize("delta", [0.1, 0.3])
def test_the_off_policy_mask_of_trl_is_a_lower_clip(delta: float) -> None:
    """On completions of one token: its own mask, times its own surrogate, is ours at the tighter of two clips."""
    from trl import GRPOTrainer

    u = torch.linspace(-1.0, 1.0, 40, dtype=torch.float64)[:, None].requires_grad_()
    for A in (-0.7, 0.7):
        advantage, ones = torch.full_like(u, A), torch.ones_like(u)
        mask = GRPOTrainer.get_off_policy_mask(advantage, u, torch.zeros_like(u), ones, delta)
        ratio = u.exp()
        theirs = -torch.minimum(ratio * A, ratio.clamp(0.8, 1.2) * A) * mask
        (gradient,) = torch.autograd.grad(theirs.sum(), u)
        ours = ps.PPO(eps_low=min(0.2, -np.expm1(-delta))).score_weight(u.detach(), advantage)
        np.testing.assert_allclose(-gradient.numpy(), ours.numpy(), rtol=1e-12, atol=0)


def test_the_clipped_rloo_leaves_one_out() -> None:
    objective = ps.objectives()["rloo_clipped"]()
    reward = np.array([1.0, 0.0, 0.5, 0.25])
    others = np.array([reward[np.arange(4) != i].mean() for i in range(4)])
    np.testing.assert_allclose(objective.advantage(reward), reward - others, rtol=1e-15)
    weights = np.array([0.1, 0.2, 0.3, 0.4])
    np.testing.assert_allclose(objective.advantage(reward, weights), reward - weights @ reward, rtol=1e-15)


@pytest.mark.parametrize(
    ("name", "hyper", "message"),
    [
        ("gspo", {"length": [3.0, 0.5]}, "gspo: length[1] must be >= 1, got 0.5"),
        ("ppo", {"eps_low": 0.0}, "ppo: eps_low must be > 0, got 0.0"),
        ("dr_grpo", {"eps_high": float("nan")}, "dr_grpo: eps_high must be a finite number, got nan"),
        ("dapo", {"eps": -1.0}, "dapo: eps must be > 0, got -1.0"),
        ("grpo", {"beta": -0.1}, "grpo: beta must be >= 0, got -0.1"),
        ("ppo", {"dual_clip": 1.0}, "ppo: dual_clip must be > 1, got 1.0"),
        ("gspo", {"dual_clip": "x"}, "gspo: dual_clip must be a finite number, got 'x'"),
        ("grpo", {"dual_clip": -3.0}, "grpo: dual_clip must be > 1, got -3.0"),
        ("grpo", {"unbiased_kl": 1}, "grpo: unbiased_kl must be True or False, got 1"),
        ("cispo", {"floor": -0.1}, "cispo: floor must be >= 0 and at most cap, got -0.1"),
        ("cispo", {"floor": 6.0}, "cispo: floor must be >= 0 and at most cap, got 6.0"),
        ("gspo", {"length": 0.5}, "gspo: length must be >= 1, got 0.5"),
        ("cispo", {"cap": 0.0}, "cispo: cap must be > 0, got 0.0"),
        ("trpo", {"delta": 0}, "trpo: delta must be > 0, got 0"),
        ("kl_regularized", {"estimator": "k4"}, 'kl_regularized: estimator must be "k1", "k2" or "k3", got \'k4\''),
        ("kl_regularized", {"placement": 1}, 'kl_regularized: placement must be "reward" or "loss", got 1'),
        ("luffy", {"expert_share": 1.0}, "luffy: expert_share must be < 1, got 1.0"),
        ("luffy", {"gamma": 0.0}, "luffy: gamma must be > 0, got 0.0"),
        ("chord", {"mu": 1.5}, "chord: mu must be < 1, got 1.5"),
        ("chord", {"phi": "yes"}, "chord: phi must be True or False, got 'yes'"),
    ],
)
def test_bad_hyper_parameters(name: str, hyper: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        make_objective(name, **hyper)


def test_max_rl_weighs_prompts_and_leaves_their_targets() -> None:
    q, reward = np.array([0.9, 0.1]), np.array([0.0, 1.0])
    target = ps.induced_target(q, reward, "max_rl", eps=1e-12)
    np.testing.assert_allclose(target.advantage, [-1.0, 9.0], rtol=1e-10)  # one over the pass rate, less one
    np.testing.assert_array_equal(target.policy, ps.induced_target(q, reward, "ppo").policy)
    sampled = make_objective("max_rl").advantage(np.array([0.0, 0.0, 0.0, 1.0]))
    np.testing.assert_allclose(sampled, [-1.0, -1.0, -1.0, 3.0], rtol=1e-5)
    for lost in ([0.0, 0.0], [-2.0, 1.0]):
        np.testing.assert_array_equal(make_objective("max_rl").advantage(np.array(lost)), [0.0, 0.0])
        np.testing.assert_allclose(ps.induced_target(q, lost, "max_rl").policy, q)
