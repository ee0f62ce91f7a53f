"""REINFORCE++ over a batch, against the frameworks' own formula."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
import torch

import pessimism as ps
from pessimism.baselines import sum_of_standardized
from tests.flows import maximize

REWARDS = np.array([[1.0, 1.0, 0.0, 1.0], [0.0, 0.0, 0.5, 0.0], [1.0, 0.0, 0.0, 1.0]])


@pytest.mark.parametrize("baseline_of", ["batch", "group"])
def test_sampled_batches_are_whitened_as_in_verl(baseline_of: str) -> None:
    """masked_whiten: (x - mean) rsqrt(var + 1e-8), the variance unbiased over the batch."""
    x = torch.tensor(REWARDS)
    x = x - x.mean(-1, keepdim=True) if baseline_of == "group" else x
    expected = (x - x.mean()) * torch.rsqrt(x.var() + 1e-8)
    objective = ps.ReinforcePP(baseline_of=baseline_of)  # type: ignore[arg-type]
    np.testing.assert_allclose(objective.advantage(REWARDS), expected, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(objective.advantage(torch.tensor(REWARDS)), expected, rtol=1e-12, atol=1e-14)


def test_an_easy_prompt_has_more_better_completions_than_without_the_batch() -> None:
    q = np.array([0.4, 0.2, 0.2, 0.2])
    both = ps.induced_target(q, REWARDS, "reinforce_pp")
    flat = float(np.mean(REWARDS @ q))
    spread = np.sqrt(np.mean(np.sum(q * (REWARDS - flat) ** 2, axis=-1)) + 1e-8)
    np.testing.assert_allclose(both.advantage, (REWARDS - flat) / spread, rtol=1e-12, atol=1e-15)
    assert both.certificate()["worst"].max() <= 1e-12
    np.testing.assert_allclose(both.baseline, flat)
    alone = [ps.induced_target(q, reward, "reinforce_pp").policy for reward in REWARDS]
    np.testing.assert_allclose([ps.induced_target(q, r, "ppo").policy for r in REWARDS], alone, rtol=1e-12)


@pytest.mark.parametrize("eps_low", [0.2, 1.5])
@pytest.mark.parametrize("seed", range(4))
def test_a_prompt_below_the_mean_of_the_batch_keeps_the_least_bad(seed: int, eps_low: float) -> None:
    """Where all A < 0 nothing gains: the best take what the others leave at the lower clip, and mass would leak."""
    rng = np.random.default_rng(seed)
    q = rng.dirichlet(np.full(4, 2.0))
    hard = rng.permutation([0.0, 0.1, 0.3, 0.3 if seed % 2 else 0.2])
    target = ps.induced_target(q, [[5.0] * 4, hard, [0.0] * 4], "reinforce_pp", eps_low=eps_low)
    assert target.certificate()["worst"].max() <= 1e-12
    A, low = target.advantage[1], max(1.0 - eps_low, 0.0)
    assert A.max() < 0
    w = cp.Variable(4)
    surrogate = cp.sum(cp.multiply(q * A, cp.maximum(w, low)))
    best = maximize(surrogate, [w >= 0, q @ w == 1])
    ours = target.policy[1] / q
    assert q * A @ np.maximum(ours, low) == pytest.approx(best, abs=1e-7)
    maximize(-cp.sum(cp.multiply(q, cp.kl_div(w, 1.0))), [w >= 0, q @ w == 1, surrogate >= best - 1e-9])
    np.testing.assert_allclose(w.value, ours, atol=5e-4)
    np.testing.assert_allclose(target.policy[2], q, rtol=1e-14)  # all alike
    leaking = ps.induced_target(q, [[5.0] * 4, hard, [0.0] * 4], "reinforce_pp", eps_low=eps_low, unseen=True)
    np.testing.assert_allclose(leaking.leak, [0.0, 1.0 - low, 1.0 - low], atol=1e-12)
    assert leaking.regime[1:].tolist() == ["negative", "negative"]


def test_a_bad_row_has_no_part_in_the_batch() -> None:
    q, bad = np.full(4, 0.25), np.concatenate([REWARDS, [[np.nan, 0.0, 5.0, 0.0]]])
    found = ps.induced_target(q, bad, "reinforce_pp", on_error="status")
    np.testing.assert_array_equal(found.advantage[:3], ps.induced_target(q, REWARDS, "reinforce_pp").advantage)
    assert found.status[3] == "invalid_input"


@pytest.mark.parametrize("name", ["ppo_corrected", "dapo", "gspo", "grpo", "cispo", "sapo"])
def test_whose_deviation_divides(name: str) -> None:
    """TRL: the unbiased deviation of the batch about its mean; and that of the others, member by member."""

    def advantage(scale: str, rewards: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        return np.asarray(ps.objectives()[name](scale=scale, eps=1e-4).advantage(rewards))

    gap = REWARDS - REWARDS.mean(-1, keepdims=True)
    np.testing.assert_allclose(advantage("group", REWARDS), gap / (REWARDS.std(-1, ddof=1, keepdims=True) + 1e-4))
    np.testing.assert_allclose(advantage("batch", REWARDS), gap / (REWARDS.std(ddof=1) + 1e-4), rtol=1e-12)
    np.testing.assert_array_equal(advantage("none", REWARDS), gap)
    others = np.array([[np.delete(row, i).std(ddof=1) for i in range(4)] for row in REWARDS])
    np.testing.assert_allclose(advantage("leave_one_out", REWARDS), gap / (others + 1e-4), rtol=1e-12, atol=1e-15)
    with pytest.raises(ValueError, match="^a group must have three members or more for the deviation of the others"):
        advantage("leave_one_out", REWARDS[:, :2])
    objective = ps.objectives()[name]
    assert [objective(scale=s).over_batch for s in ("group", "batch")] == [False, True]


def test_rewards_may_be_normalized_one_by_one() -> None:
    """TRL's `normalize_then_sum`: each reward in its group, their sum in the batch."""
    rewards = torch.tensor(np.random.default_rng(0).normal(size=(2, 3, 4)) * np.array([1.0, 50.0])[:, None, None])
    each = (rewards - rewards.mean(-1, keepdim=True)) / (rewards.std(-1, keepdim=True) + 1e-4)
    total = each.sum(0)
    expected = (total - total.mean()) / (total.std() + 1e-4)
    found = ps.DAPO(scale="batch", eps=1e-4).advantage(sum_of_standardized(rewards))
    torch.testing.assert_close(found, expected)
