"""Data as old as asked for, with the advantages of the objective."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from llm.models.scoring import score
from llm.storage.checkpoints import latest
from tests.llm.marks import slow_but
from tests.llm.runs import (
    G,
    Watched,
    at,
    loaded,
    logged,
    per_token,
    right,
    rows_of,
    sums,
    trained,
    weights,
)

pytestmark = pytest.mark.usefixtures("seeded")


@pytest.mark.parametrize(
    ("mode", "lag", "accumulation", "source"),
    slow_but(
        [3, 8],
        [
            ("constant", 0, 1, [0, 1, 2, 3, 4, 5]),
            ("constant", 0, 2, [0, 1, 2, 3, 4, 5]),
            ("constant", 2, 1, [0, 0, 0, 1, 2, 3]),
            ("constant", 2, 2, [0, 0, 0, 1, 2, 3]),
            ("constant", 6, 1, [0, 0, 0, 0, 0, 0]),
            ("constant", 99, 1, [0, 0, 0, 0, 0, 0]),
            ("batch", 1, 2, [0, 1, 2, 3, 4, 5]),
            ("batch", 4, 1, [0, 0, 0, 0, 4, 4]),
            ("batch", 4, 2, [0, 0, 0, 0, 4, 4]),
        ],
    ),
)
def test_data_are_as_old_as_asked_for(
    mode: Any, lag: int, accumulation: int, source: list[int], folder: Path, tmp_path: Path
) -> None:
    calls: list[int] = []

    def counted(completions: list[str], **columns: Any) -> list[float]:
        calls.append(len(completions))
        return right(completions, **columns)

    given = {"lag": lag, "lag_mode": mode, "max_steps": 6, "gradient_accumulation_steps": accumulation}
    run = trained(folder, tmp_path, Watched, objective="kimi", hyper={"beta": 0.5}, reward_funcs=counted, **given)
    for t, s in enumerate(source):
        rows = run.step(t)
        mask = rows["completion_mask"]
        if "old_per_token_logps" not in rows:
            assert s == t  # nothing is older, and no forward was spent on it
            continue
        with torch.no_grad():
            at_source, other = (per_token(at(run, i), rows) for i in (s, t if s != t else t - 1))
        torch.testing.assert_close(rows["old_per_token_logps"] * mask, at_source * mask, rtol=0, atol=1e-5)
        assert float(((other - at_source) * mask).abs().max()) > 1e-3  # others are told apart
    used = 4 * G * accumulation * 6
    assert sum(calls) == (used if mode == "constant" or lag == 1 else 2 * 4 * used // 6)


class Saying(Watched):
    """Its engine says the log-probabilities of what it sampled, as vLLM does."""

    def _generate_single_turn(self, prompt_ids: Any, *arguments: Any, **options: Any) -> tuple[Any, Any]:
        completions, _ = super()._generate_single_turn(prompt_ids, *arguments, **options)
        found = score(self.model, prompt_ids, completions, pad=0).log_probs
        return completions, [row.tolist() for row in found]


@pytest.mark.parametrize("objective", slow_but([2], ["grpo", "cispo", "kimi"]))
def test_log_probabilities_of_the_engine_are_the_behavior(objective: str, folder: Path, tmp_path: Path) -> None:
    """Whether an engine says them or not: at a constant lag the ratio is to the policy that sampled."""
    given = {"objective": objective, "lag": 2, "lag_mode": "constant", "learning_rate": 3e-3, "max_steps": 6}
    silent, saying = (trained(folder, tmp_path / kind.__name__, kind, **given) for kind in (Watched, Saying))
    assert "sampling_per_token_logps" in saying.step(0)
    moved = (weights(silent.model) - weights(loaded(folder)[0])).abs().max()
    torch.testing.assert_close(weights(saying.model), weights(silent.model), rtol=0, atol=1e-3 * float(moved))
    if objective == "grpo":
        assert max(row["clip_ratio/region_mean"] for row in logged(saying)) > 0.0


@pytest.mark.slow
def test_prompts_do_not_depend_on_the_lag(folder: Path, tmp_path: Path) -> None:
    """Over the end of an epoch, which has 13 batches of 4 prompts."""
    found = []
    for mode, lag in (("constant", 0), ("constant", 3), ("constant", 99), ("batch", 1)):
        run = trained(folder, tmp_path, Watched, objective="awr", lag=lag, lag_mode=mode, max_steps=16)
        found.append([rows_of(run, t)[2].tolist() for t in range(16)])
    assert found[0] == found[1] == found[2] == found[3]
    assert found[0][0] != found[0][1]
    assert len({prompt for step in found[0][:13] for group in step for prompt in group}) == 52


@pytest.mark.parametrize("objective", ["shifted_mean", "grpo"])
def test_completions_are_logged_with_the_advantages_trained_on(objective: str, folder: Path, tmp_path: Path) -> None:
    given = {"log_completions": True, "num_completions_to_print": 1, "max_steps": 4}
    run = trained(folder, tmp_path, Watched, objective=objective, lag=2, **given)
    for t in (0, 2):
        table = pd.read_parquet(tmp_path / "completions" / f"completions_{t + 1:05d}.parquet")
        trained_on = torch.cat([run.step(t)["advantages"], run.step(t + 1)["advantages"]])
        np.testing.assert_array_equal(np.sort(table["advantage"].astype(np.float32)), trained_on.sort().values.numpy())
        if objective == "shifted_mean":
            reward = table["right"].to_numpy().reshape(-1, G)
            expected = run.objective.advantage(reward).ravel()
            np.testing.assert_allclose(table["advantage"], expected, rtol=0, atol=1e-6)


def test_of_several_rewards_one_may_have_nothing_to_say(folder: Path, tmp_path: Path) -> None:
    silent = [right, lambda completions, **_: [None] * len(completions)]
    run = trained(folder, tmp_path, Watched, reward_funcs=silent, max_steps=1)
    rows, reward, _ = rows_of(run, 0)
    np.testing.assert_array_equal(rows["reward"].numpy(), reward.flatten())


def test_a_stream_cannot_be_entered_again(folder: Path, tmp_path: Path) -> None:
    given = {"train_dataset": sums().to_iterable_dataset(), "lag": 2, "save_strategy": "steps", "save_steps": 3}
    trained(folder, tmp_path, **given)
    with pytest.raises(ValueError, match="train_dataset must have a length on resume"):
        trained(folder, tmp_path, resume=latest(tmp_path), **given)


def test_the_end_of_a_run_at_a_constant_lag(folder: Path, tmp_path: Path) -> None:
    given = {"lag": 2, "lag_mode": "constant", "save_strategy": "steps", "save_steps": 4}
    trained(folder, tmp_path, **given)
    with pytest.raises(ValueError, match="max_steps must stay 5 on resume at a constant lag, got 9"):
        trained(folder, tmp_path, resume=tmp_path / "checkpoint-4", max_steps=9, **given)
