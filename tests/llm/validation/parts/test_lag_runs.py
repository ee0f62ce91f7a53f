"""One run on the model or on its table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from llm.validation.parts.lag_runs import Task, measured, on_model, on_table, times


def test_the_table_of_a_task_is_the_model_s_policy(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llm.validation.parts.lag_runs.model_path", lambda _: str(folder))
    task = Task("tiny", prompts=5, seed=1)
    log_start, reward = task.table()
    assert log_start.shape == reward.shape
    assert log_start.shape[1] < len(task.completions)
    np.testing.assert_allclose(np.exp(log_start).sum(axis=1), 1.0, atol=1e-6)
    value = np.sum(np.exp(task.log_start) * task.reward, axis=1)
    np.testing.assert_allclose(np.sum(np.exp(log_start) * reward, axis=1), value, atol=1e-6)


def test_when_a_run_is_measured() -> None:
    assert times(10, 4) == [0, 2, 5, 8, 10]
    assert times(2, 8) == [0, 1, 2]


@pytest.fixture
def small(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llm.validation.parts.lag_runs.model_path", lambda _: str(folder))


@pytest.mark.usefixtures("seeded", "small")
def test_a_run_that_overflows_stands_at_its_last_policy() -> None:
    setting = {"steps": 8, "prompts": 3, "group": 4, "records": 8}
    found = on_model("tiny", "nominal", 0.5, 8, 1, 1e30, setting)
    assert found["ended"].all()
    assert found["step"].tolist() == list(range(9))
    assert np.isfinite(found["value"]).all()
    assert found["value"].iloc[-1] == found["value"].iloc[-2]


@pytest.mark.usefixtures("small")
def test_on_tables_rewards_are_what_they_are_on_the_model() -> None:
    """One step of Adam by hand from the same random numbers, rewards of a half among them."""
    setting = {"steps": 1, "prompts": 3, "group": 4, "records": 1}
    task = Task("tiny", 3, 5)
    log_start, reward = task.table()
    found = on_table("tiny", "kimi", 0.5, 1, 5, (0.7,), setting)
    moved = []
    for i, (logs, worth) in enumerate(zip(log_start, reward, strict=True)):
        uniform = np.random.default_rng(np.random.SeedSequence(5, spawn_key=(i,))).random((2, 4))[0]
        upto = np.cumsum(np.exp(logs))
        drawn = np.searchsorted(upto / upto[-1], uniform, side="right")
        pull = np.zeros_like(logs)
        np.add.at(pull, drawn, (worth[drawn] - worth[drawn].mean()) / 4)
        gradient = pull - np.exp(logs) * pull.sum()
        moved.append(logs + 0.7 * gradient / (np.abs(gradient) + 1e-8))  # the first step of Adam
    by_hand = measured(np.array(moved), log_start, reward)
    last = found[found["step"] == 1].iloc[0]
    assert {name: last[name] for name in by_hand} == pytest.approx(by_hand)
