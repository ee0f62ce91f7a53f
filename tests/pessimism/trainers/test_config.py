"""Whose settings they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import pessimism as ps
from pessimism.losses.registry import make_objective
from pessimism.trainers.config import READERS, from_config

SOURCES: list[tuple[Any, str]] = [
    ({"loss_type": "grpo"}, "trl"),
    ({"num_generations": 4, "learning_rate": 1e-6}, "trl"),
    (["trl", "grpo", "--beta", "0.1"], "trl"),
    (["python", "examples/train_rloo.py", "--beta", "0.1"], "trl-rloo"),
    ({"normalize_advantages": True}, "trl-rloo"),
    ({"beta2": 0.1}, "trl-a2po"),
    (["gmpo.py", "--epsilon", "0.3"], "trl-gmpo"),
    ({"max_staleness": 3}, "trl-async"),
    (["python", "-m", "verl.trainer.main_ppo", "algorithm.adv_estimator=grpo"], "verl"),
    ({"actor_rollout_ref": {"actor": {"clip_ratio_high": 0.28}}, "trainer": {"nnodes": 1}}, "verl"),
    ({"trainer": {"loss": {"kl_tau": 0.01}}}, "prime-rl"),
    ({"loss": {"type": "ipo"}}, "prime-rl"),
    ({"orchestrator": {"group_size": 4}}, "prime-rl"),
    (["--trainer.loss.kl-tau", "0.1"], "prime-rl"),
    (["--algo.advantage.estimator", "gae"], "openrlhf"),
    (["--advantage_estimator", "gae", "--train_batch_size", "128"], "openrlhf"),
]


@pytest.mark.parametrize(("source", "trainer"), SOURCES, ids=str)
def test_the_trainer_is_recognized(source: Any, trainer: str) -> None:
    assert ps.from_config(source).trainer == trainer


@pytest.mark.parametrize("trainer", READERS)
def test_nothing_given_is_every_default(trainer: str) -> None:
    found = from_config({}, trainer=trainer)
    assert found.trainer == trainer
    assert make_objective(found.spec) == found.objective


def test_a_toml_file_is_of_prime_rl(tmp_path: Path) -> None:
    (tmp_path / "rl.toml").write_text("max_steps = 20\n")
    assert from_config(tmp_path / "rl.toml").trainer == "prime-rl"


def test_what_is_not_recognized() -> None:
    with pytest.raises(ValueError, match=r"^settings is of no trainer that is known here, or sets nothing .*openrlhf$"):
        from_config({"learning_rate": 1e-6})
    with pytest.raises(ValueError, match="^trainer must be one of trl, .*, got 'areal'$"):
        from_config({}, trainer="areal")


def test_settings_that_name_an_objective_are_not_read_as_another() -> None:
    with pytest.raises(ValueError, match="^settings names its objective itself, 'kimi', whatever"):
        from_config({"objective": "kimi", "loss_type": "dapo"})
