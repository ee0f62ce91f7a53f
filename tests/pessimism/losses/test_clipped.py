"""Clipped surrogates against linear programs and gradient flow, and what their hyper-parameters must be."""

from __future__ import annotations

import re
from typing import Any

import cvxpy as cp
import numpy as np
import pytest

import pessimism as ps
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


@pytest.mark.parametrize(
    ("name", "hyper", "message"),
    [
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
