"""Dynamics on the median group, against the walk of the studies and the first step by autograd."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.random import default_rng

import pessimism as ps
from analysis.lag_steps import Prompts, walk
from pessimism.advice.lag import Median, Schedule, keeps_first, lag_answer, lag_table, median_group, step_size
from tests.helpers import softmax
from tests.pessimism.diagnosis.logs import log_of
from tests.pessimism.dynamics.fields import torch_field

GROUP = Median(np.array([0.6, 0.4]), np.array([0.0, 1.0]), "")


def test_the_median_group_is_one_with_a_signal() -> None:
    log = log_of([0.0] * 4, [0.0] * 4, [0.0] * 4, [1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 0.0, 3.0], [3.0, 3.0, 3.0, 1.0])
    report = ps.diagnose(log, "kimi")
    assert report.logged is not None
    found = median_group(report.logged)
    assert found is not None
    np.testing.assert_allclose(found.behavior, [0.25, 0.5, 0.25])
    assert found.reward.tolist() == [0.0, 1.0, 3.0]
    assert found.name == "the median group, with a mean reward of 1.25"
    silent = ps.diagnose(log_of([1.0, 1.0]), "kimi")
    assert silent.logged is not None
    assert median_group(silent.logged) is None


@pytest.mark.parametrize("objective", [ps.Kimi(beta=0.5), ps.OAPL(beta1=0.3, beta2=0.2), ps.Nominal(beta=1.0)], ids=str)
@pytest.mark.parametrize("kl", [1e-6, 1e-3, 0.1])
def test_the_first_step_moves_by_the_kl(objective: ps.Objective, kl: float) -> None:
    lr = step_size(objective, GROUP, kl)
    logits = np.log(GROUP.behavior)
    moved = softmax(logits + lr * torch_field(objective, GROUP.behavior, GROUP.reward, logits))
    assert moved[1] > GROUP.behavior[1]
    assert np.sum(moved * np.log(moved / GROUP.behavior)) == pytest.approx(kl, rel=1e-6)


def test_a_step_that_is_out_of_reach_says_so() -> None:
    with pytest.raises(ValueError, match="no step moves the policy by a KL of 2"):
        step_size(ps.Kimi(beta=1.0), GROUP, 2.0)  # -log 0.4 = 0.92 at most
    with pytest.raises(ValueError, match="nothing pulls at the start"):
        step_size(ps.Kimi(beta=1.0), Median(np.array([0.5, 0.5]), np.array([1.0, 1.0]), ""), 1e-3)
    table = lag_table(ps.Kimi(beta=1.0), GROUP, [Schedule(1, 4)], (2.0,))
    assert table["status"].tolist() == ["no step moves the policy by a KL of 2"]
    assert table["lag"].isna().all()


@pytest.mark.parametrize("objective", [ps.Kimi(beta=0.5), ps.GRPO(beta=0.04), ps.PPO()], ids=str)
def test_the_table_is_that_of_the_walk_of_the_studies(objective: ps.Objective) -> None:
    table = lag_table(objective, GROUP, [Schedule(1, 3), Schedule(1, 12)], (1e-4, 1e-2))
    assert table["age"].tolist() == [0, 3, 12] * 2
    prompts = Prompts(np.log(GROUP.behavior)[None], GROUP.reward[None], [default_rng(0)], certain=True)
    for row in table.itertuples():
        run = walk(
            objective,
            prompts,
            lag=row.lag,
            lrs=(row.lr,),
            steps=max(int(row.ran_for), int(row.steps)),
            group=None,
            optimizer=lambda move: move,
        )
        value = np.array([np.exp(policy[0, 0]) @ GROUP.reward for policy, _ in run])
        assert row.value == pytest.approx(value[int(row.steps)], rel=1e-9)
        (reached,) = np.nonzero(value >= 0.4 + 0.5 * 0.6)
        assert row.half_gain_steps == reached[0]
    assert (table["slower"] == table["half_gain_steps"] / np.repeat(table["half_gain_steps"][::3], 3).to_numpy()).all()
    assert table["kl_to_data"].iloc[0] == 0.0
    older = np.diff(table["kl_to_data"].to_numpy().reshape(2, 3), axis=1)
    assert (older[:, 0] > 0).all()
    assert (older[:, 1] >= 0).all()  # a clip may hold the policy at the same place


def test_the_kl_to_the_data_is_the_largest_on_the_way() -> None:
    schedule = Schedule(4, 2)
    table = lag_table(ps.Kimi(beta=0.5), GROUP, [schedule], (1e-3,))
    row = table.iloc[1]
    assert (row["age"], row["refresh_every"]) == (5, 4)
    run = ps.sgd(
        GROUP.behavior,
        GROUP.reward,
        ps.Kimi(beta=0.5),
        steps=int(row["steps"]),
        lr=row["lr"],
        record_every=1,
        refresh_every=4,
        lag=2,
    )
    pairs = [(run.policies[t], run.policies[max(0, t // 4 * 4 - 2)]) for t in range(int(row["steps"]) + 1)]
    assert row["kl_to_data"] == pytest.approx(max(float(np.sum(p * np.log(p / q))) for p, q in pairs), rel=1e-9)


def clipped_walk(lr: float, every: int, steps: int) -> tuple[list[float], list[float]]:
    """Value and KL to the first policy of clipped, standardized steps, each clipped around the policy of its data."""
    first, reward = GROUP.behavior, GROUP.reward
    logits = np.log(first)
    values, kls = [], []
    for step in range(steps + 1):
        policy = softmax(logits)
        values.append(float(policy @ reward))
        kls.append(float(policy @ np.log(policy / first)))
        if step % every == 0:
            data = policy
        mean = data @ reward
        advantage = (reward - mean) / (np.sqrt(data @ (reward - mean) ** 2) + 1e-4)
        ratio = policy / data
        inside = np.where(advantage > 0, ratio < 1.28, ratio > 0.8)
        pull = data * np.where(inside, ratio * advantage, 0.0)
        logits = logits + lr * (pull - policy * pull.sum())
    return values, kls


def test_a_proximal_policy_comes_with_the_data() -> None:
    settings = {"loss_type": "dapo", "num_generations": 8, "beta": 0.0, "epsilon_high": 0.28}
    specs = [ps.from_config({**settings, "use_vllm": vllm}).objective for vllm in (False, True)]
    assert [spec.name for spec in specs if spec is not None] == ["dapo", "ppo_corrected"]
    plain, vllm = (lag_table(spec, GROUP, [Schedule(8, 0)], (1e-4, 1e-3)) for spec in specs if spec is not None)
    for one, other in zip(plain.itertuples(), vllm.itertuples(), strict=True):
        values, kls = clipped_walk(other.lr, int(other.refresh_every), int(other.half_gain_steps))
        # The clip of the first policy would stop at KL 0.03, with a quarter of the gain.
        assert values[-2] < 0.7 <= values[-1]
        assert one.half_gain_steps == other.half_gain_steps == len(values) - 1
        assert other.value == pytest.approx(values[int(other.steps)], rel=1e-9)
        assert other.kl == pytest.approx(kls[int(other.steps)], rel=1e-9)
        assert one.value == pytest.approx(other.value, rel=1e-9)


def test_which_reference_stays() -> None:
    kept = {name for name, cls in ps.objectives().items() if cls.takes_share and keeps_first(cls())}
    assert kept == {"grpo", "kl_regularized"}
    assert not any(keeps_first(ps.objectives()[name]()) for name in ("ppo_corrected", "brac", "kimi"))


def answer(*rows: tuple[float, int, float, str]) -> str:
    """Answer from a table of KL per step, age, steps to half of the gain, and status."""
    table = pd.DataFrame(rows, columns=["kl_per_step", "age", "half_gain_steps", "status"])
    own = table[table["age"] == 0].set_index("kl_per_step")["half_gain_steps"]
    table["slower"] = table["half_gain_steps"] / table["kl_per_step"].map(own)
    return lag_answer(table.assign(ran_for=1024), 7, "an age of 7")


def test_the_lag_is_answered_in_words() -> None:
    own = (1e-3, 0, 10.0, "ran")
    assert answer(own, (1e-3, 7, 12.0, "ran")).endswith(
        "takes 1.2 times the steps of fresh data: the lag costs little."
    )
    assert answer(own, (1e-3, 7, 40.0, "ran")).endswith("takes 4 times the steps of fresh data: the lag costs much.")
    assert answer(own, (1e-3, 7, 20.0, "ran")).endswith("takes 2 times the steps of fresh data: the lag costs steps.")
    late = answer(own, (1e-3, 7, np.nan, "ran"))
    assert late.startswith("At an age of 7 half of the gain is not reached in 1024 steps at a KL per step of 0.001,")
    assert "fresh data take 10 or fewer: the lag is a problem there." in late
    assert "training diverges at a KL per step of 0.001, and not on fresh" in answer(own, (1e-3, 7, np.nan, "diverged"))
    both = answer(own, (1e-3, 7, 12.0, "ran"), (1e-2, 0, 2.0, "ran"), (1e-2, 7, 8.0, "ran"))
    assert "1.2 to 4 times the steps of fresh data: the lag costs little where a step moves" in both
    never = answer((1e-3, 0, np.nan, "ran"), (1e-3, 7, np.nan, "ran"))
    assert never.startswith("Fresh data do not take half of the gain in 1024 steps either")
