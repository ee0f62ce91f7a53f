"""The route by gradient flow against the closed forms, and where fixed points are several."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
import torch

import pessimism as ps
from pessimism.core.bandit import make_bandit
from pessimism.core.solution import Solution, Status
from pessimism.fixed_point.flow import flow_target
from tests.helpers import Array, assert_log_policies_agree, cases, make_problem


def by_flow(behavior: Any, reward: Any, objective: Any, *, reference: Any = None) -> Solution:
    bandit = make_bandit(behavior, reward, reference)
    advantage = objective.advantage(bandit.reward, bandit.baseline_weights(objective))
    return flow_target(bandit, objective, advantage)


def statuses(solution: Solution) -> list[str]:
    return [Status(i).label for i in np.asarray(solution.status)]


FULL_SUPPORT = [
    ps.Nominal(beta=0.3),
    ps.Kimi(beta=0.3),
    ps.Kimi(beta=0.02),
    ps.ShiftedMean(beta=0.1),
    ps.OAPL(beta1=0.9, beta2=0.3),
    ps.AStarPO(beta1=0.7, beta2=0.3),
    ps.StdNormalized(beta=0.8),
    ps.TBA(beta=0.3),
    ps.REBEL(eta=2.5),
    ps.AWR(beta=0.4, w_max=2.0),
    ps.AWR(beta=0.03, w_max=2.0),
    ps.TruncatedIS(beta=0.3, cap=1.3),
    ps.MixedChi2KL(beta=0.3, gamma=0.6),
    ps.AsymRE(shift=-20.0),
]


@pytest.mark.parametrize("objective", FULL_SUPPORT, ids=str)
def test_flow_ends_at_the_closed_form(objective: Any) -> None:
    for width in (2, 3, 5, 8):
        behavior, reward = make_problem(300 + width, width)
        closed = ps.induced_target(behavior, reward, objective, method="closed_form")
        found = by_flow(behavior, reward, objective)
        assert statuses(found) == [str(closed.status)]
        assert_log_policies_agree(found.log_ratio[0], closed.log_ratio, tolerance=1e-9)
        if objective.name not in ("truncated_is", "mixed_chi2_kl") and np.isfinite(closed.kappa):
            np.testing.assert_allclose(found.kappa[0], closed.kappa, rtol=1e-9, atol=1e-9)
        if objective.temperature == 0.03:
            continue  # both greedy to many digits: the regime is that of less than the tolerance
        assert found.regime[0] == {"negative": -1, "boundary": 0, "positive": 1}[str(closed.regime)]
        assert found.leak[0] == 0.0


@pytest.mark.parametrize("shift", [-1.0, -0.3, -0.05, -1e-3])
def test_flow_ends_at_the_water_filling(shift: float) -> None:
    for width in (3, 5, 8):
        behavior, reward = make_problem(400 + width, width)
        closed = ps.induced_target(behavior, reward, "asym_re", shift=shift)
        found = by_flow(behavior, reward, ps.AsymRE(shift=shift))
        assert statuses(found) == [str(closed.status)]
        assert_log_policies_agree(found.log_ratio[0], closed.log_ratio, tolerance=1e-9)
        assert found.regime[0] == {"negative": -1, "boundary": 0, "positive": 1}[str(closed.regime)]


@pytest.mark.parametrize("objective", [ps.Kimi(beta=0.3), ps.TBA(beta=0.3)], ids=str)
def test_flow_with_another_reference(objective: Any) -> None:
    behavior, reward = make_problem(6, 5)
    reference = make_problem(7, 5)[0]
    closed = ps.induced_target(behavior, reward, objective, reference=reference)
    found = by_flow(behavior, reward, objective, reference=reference)
    assert_log_policies_agree(found.log_ratio[0], closed.log_ratio, tolerance=1e-9)


def test_batches_are_rows_and_keep_their_array_library() -> None:
    behavior = np.array([[0.2, 0.5, 0.3], [0.0, 0.6, 0.4], [0.3, 0.3, 0.4]])
    reward = np.array([[0.0, 1.0, 0.5], [9.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    batch = by_flow(torch.tensor(behavior), torch.tensor(reward), ps.Kimi(beta=0.3))
    assert isinstance(batch.log_ratio, torch.Tensor)
    assert batch.log_ratio[1, 0] == 0.0  # by the convention 0/0 = 1
    for i in range(3):
        seen = behavior[i] > 0
        alone = by_flow(behavior[i, seen], reward[i, seen], ps.Kimi(beta=0.3))
        np.testing.assert_allclose(batch.log_ratio[i].numpy()[seen], alone.log_ratio[0], atol=1e-12)


def test_sampled_groups_carry_no_weights() -> None:
    reward = np.array([0.0, 1.0, 0.25, 1.0])
    closed = ps.induced_target(None, reward, "rebel", eta=2.0)
    assert_log_policies_agree(by_flow(None, reward, ps.REBEL(eta=2.0)).log_ratio[0], closed.log_ratio, tolerance=1e-9)


@pytest.mark.parametrize("shift", [0.0, 0.2])
def test_a_loss_that_prefers_no_policy_has_no_target(shift: float) -> None:
    found = by_flow(*make_problem(0, 4), ps.AsymRE(shift=shift))
    assert statuses(found) == ["no_target"]
    assert np.isnan(found.log_ratio).all()
    assert np.isnan(found.leak[0])


class RatioPenalized:
    """Reward minus a squared log-ratio, w (A - beta u^2): an action that falls below its reference is pushed on."""

    by_flow, coupled, beta = True, False, 0.5

    def advantage(self, reward: Any, weights: Any = None) -> Any:
        return reward - np.average(reward, axis=-1, weights=weights)[..., None]

    def score_weight(self, log_ratio: Any, advantage: Any, weights: Any = None) -> Any:
        return np.exp(log_ratio) * (advantage - self.beta * log_ratio**2)

    def loss(self, log_ratio: Any, advantage: Any, weights: Any = None) -> Any:
        return -self.score_weight(ps.stop_gradient(log_ratio), advantage) * log_ratio


def small_steps(behavior: Array, start: Array, weight: Any, steps: int, size: float) -> Array:
    """Euler's method on the logits, as plainly as can be."""
    logits = np.log(start)
    for _ in range(steps):
        policy = np.exp(logits - np.logaddexp.reduce(logits))
        pull = behavior * weight(np.log(policy / behavior))
        logits = logits + size * (pull - policy * pull.sum())
    return np.asarray(np.exp(logits - np.logaddexp.reduce(logits)))


@pytest.mark.parametrize("seed", range(3))
def test_of_several_fixed_points_it_is_the_one_reached(seed: int) -> None:
    behavior, reward = make_problem(seed, 4)
    mine = RatioPenalized()
    target = ps.induced_target(behavior, reward, mine)  # dispatched by `by_flow`
    advantage = mine.advantage(reward, behavior)
    stepped = small_steps(behavior, behavior, lambda u: mine.score_weight(u, advantage), 40_000, 0.05)
    np.testing.assert_allclose(target.policy, stepped, atol=5e-3)
    assert target.status in ("converged", "vanishing_support")
    pull = behavior * mine.score_weight(np.maximum(target.log_ratio, -700.0), advantage)
    if target.status == "converged":
        np.testing.assert_allclose(pull, pull.sum() * target.policy, atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("width", [200, 1000])
def test_a_long_search_is_left(width: int) -> None:
    """The cost of a search grows with the square of the number of actions; it ends all the same, and says how."""
    rng = np.random.default_rng(1)
    behavior, reward = rng.dirichlet(np.ones(width)), rng.normal(size=width)
    start = time.process_time()
    target = ps.induced_target(behavior, reward, cases()["chord"])
    assert time.process_time() - start < 100.0  # without an end it takes many minutes
    assert target.status == "not_converged"
    assert np.isnan(target.policy).all()
