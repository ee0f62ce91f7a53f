"""The target of an expected advantage: descent on the enumerated loss, data of the groups kept, affine weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.optimize import brentq, minimize

from pessimism import AWR, AsymRE, MixedChi2KL, Nominal
from pessimism.core.bandit import make_bandit
from pessimism.groups.finite_group import finite_group
from pessimism.groups.target import is_affine, solve_bandit
from pessimism.target.result import InducedTarget
from tests.cases import CASES
from tests.pessimism.groups.enumerated import OPTIONS, SQUARED, every_sample


def descend(entries: tuple[Any, Any, Any], objective: Any, sampler: Any, start: Any) -> Any:
    """Gradient descent on the enumerated loss of softmax logits; the gradient is that of the score weight."""
    weight, action, advantage = entries

    def loss(logits: Any) -> tuple[float, Any]:
        log_policy = logits - np.logaddexp.reduce(logits)
        u = (log_policy - np.log(sampler))[action]
        pull = np.bincount(action, weight * objective.score_weight(u, advantage), minlength=len(sampler))
        gradient = -(pull - np.exp(log_policy) * pull.sum())
        return float(weight @ objective.loss(u, advantage)), gradient

    found = minimize(loss, start, jac=True, method="BFGS", options={"gtol": 1e-11, "maxiter": 5000})
    return np.exp(found.x - np.logaddexp.reduce(found.x))


@pytest.mark.parametrize(("leave_one_out", "drop_equal"), OPTIONS)
@pytest.mark.parametrize("objective", [*SQUARED, Nominal(beta=0.4), MixedChi2KL(beta=0.4)], ids=lambda o: o.name)
def test_descent_on_the_enumerated_loss_ends_in_the_target(
    objective: Any, leave_one_out: bool, drop_equal: bool
) -> None:
    """The definition taken literally: the loss of all groups of 3, minimized over policies."""
    if leave_one_out and objective.name == "std_normalized":
        pytest.skip("no baseline to leave out")
    q, reward = np.array([0.5, 0.3, 0.2]), np.array([0.0, 0.5, 1.0])
    setting = {"leave_one_out": leave_one_out, "drop_equal": drop_equal}
    entries = every_sample(objective, q, reward, 3, **setting)
    target = finite_group(objective, 3, q, reward, **setting).target
    assert target.status in ("converged", "local_minimum")
    found = descend(entries, objective, q, np.log(q))
    np.testing.assert_allclose(target.policy, found, atol=3e-7)
    if target.regime == "positive":
        far = descend(entries, objective, q, np.array([1.0, -1.0, 0.5]))
        np.testing.assert_allclose(target.policy, far, atol=3e-7)


def test_the_policy_gradient_without_ratios_on_the_groups_kept() -> None:
    """AsymRE: (d A - c)_+ / E_d[A], d the data of the groups kept; c by bisection."""
    q, reward = np.array([0.5, 0.3, 0.2]), np.array([0.0, 0.5, 1.0])
    objective = AsymRE(shift=-0.2)
    weight, action, advantage = every_sample(objective, q, reward, 3, False, True)
    pull = np.bincount(action, weight * advantage, minlength=3)
    point = pull / pull.sum()
    level = brentq(lambda c: np.maximum(point - c, 0.0).sum() - 1.0, -2.0, 2.0, xtol=1e-15)
    group = finite_group(objective, 3, q, reward, drop_equal=True)
    np.testing.assert_allclose(group.target.policy, np.maximum(point - level, 0.0), atol=1e-13)
    assert np.isnan(group.log_z)
    kept = group.target.policy > 0
    np.testing.assert_allclose(group.target.log_ratio[kept], np.log(group.target.policy[kept] / q[kept]), rtol=1e-12)


class Bounded:
    """The README's objective: a weight that is not affine in the advantage."""

    beta = 0.1

    def advantage(self, reward: Any, weights: Any = None) -> Any:
        return reward - np.average(reward, axis=-1, weights=weights, keepdims=True)

    def score_weight(self, log_ratio: Any, advantage: Any, weights: Any = None) -> Any:
        return np.tanh(advantage - self.beta * log_ratio)

    def loss(self, log_ratio: Any, advantage: Any, weights: Any = None) -> Any:
        return np.log(np.cosh(advantage - self.beta * log_ratio)) / self.beta


def test_affine_in_the_advantage() -> None:
    for objective in (*SQUARED, Nominal(), AsymRE(), MixedChi2KL()):
        assert is_affine(objective, -1.0, 1.0), objective
    for objective in (AWR(), AWR(w_max=np.inf), Bounded()):
        assert not is_affine(objective, -1.0, 1.0)
        assert is_affine(objective, 0.5, 0.5)


@pytest.mark.parametrize("label", CASES)
@pytest.mark.parametrize("kind", ["worse", "better", "both", "equal"])
def test_given_advantages_of_any_sign_have_a_fixed_point_or_no_claim(label: str, kind: str) -> None:
    """Their mean need not be 0, as that of the objective's own often is: what is claimed holds its certificate."""
    objective, rng = CASES[label].objective, np.random.default_rng(1)
    if (
        objective.coupled
        or objective.facts
        or objective.on_policy
        or objective.mixes_data
        or objective.prices_propensity
    ):
        return
    size = rng.random((8, 3))
    advantage = {"worse": -size, "better": size, "both": rng.normal(size=(8, 3)), "equal": np.full((8, 3), -0.3)}[kind]
    bandit = make_bandit(rng.dirichlet(np.ones(3), 8), rng.random((8, 3)))
    target = InducedTarget(objective, bandit, solve_bandit(objective, bandit, advantage), advantage)
    claimed = ~np.isin(target.status, ["no_target", "not_converged"])
    assert np.all(target.certificate()["worst"].to_numpy()[claimed] < 1e-7)
