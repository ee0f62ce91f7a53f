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


@pytest.mark.parametrize(
    ("name", "hyper", "message"),
    [
        ("gspo", {"length": [3.0, 0.5]}, "gspo: length[1] must be >= 1, got 0.5"),
        ("ppo", {"eps_low": 0.0}, "ppo: eps_low must be > 0, got 0.0"),
        ("dr_grpo", {"eps_high": float("nan")}, "dr_grpo: eps_high must be a finite number, got nan"),
        ("dapo", {"eps": -1.0}, "dapo: eps must be > 0, got -1.0"),
        ("grpo", {"beta": -0.1}, "grpo: beta must be >= 0, got -0.1"),
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
