"""What a run left in its folder is measured as the run was trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from trl import ModelConfig

from llm.commands.measure_run import measure_run
from llm.data.prompts import token_ids
from llm.generation.make import make_sampler
from llm.models.load import load_model
from llm.settings import TrainConfig
from llm.training.config import OffPolicyConfig
from llm.training.run_file import write_run
from llm.training.train import train


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = OffPolicyConfig(
        str(tmp_path_factory.mktemp("run")),
        objective="kimi",
        hyper={"beta": 0.3},
        lag=2,
        lag_mode="constant",
        max_steps=2,
        num_generations=4,
        per_device_train_batch_size=8,
        max_completion_length=2,
        learning_rate=3e-3,
        save_steps=1,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
    )
    return train(TrainConfig(data="addition:digits=1", limit=4), config, ModelConfig(str(folder), dtype="float32"))


def altered(run: Path, folder: Path, **change: Any) -> dict[str, Any]:
    """Copy the files of a run, its ``run.json`` changed; what that said before."""
    for path in run.iterdir():
        if path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
    said: dict[str, Any] = json.loads((run / "run.json").read_text())
    del said["sha256"]
    write_run(folder, said | change)
    return said


def test_a_run_is_measured_as_it_was_trained(run: Path) -> None:
    frame = measure_run(run, samples=8)
    assert frame["kind"].tolist() == ["prompt"] * 4 + ["pooled"]
    assert frame["n"].tolist() == [8] * 4 + [32]
    assert frame.attrs == {"objective": "kimi(beta=0.3)", "group_size": 4, "exact": False, "seed": 0}
    assert frame["note"].iloc[-1] == ""  # the behavior was frozen
    exact = measure_run(run, exact=True, limit=2)
    assert len(exact) == 3
    assert (exact["kl"][:2] > 1e-6).all()
    first = measure_run(run, exact=True, checkpoint="checkpoint-1", limit=2)
    assert (first["kl"][:2] < exact["kl"][:2]).all()
    itself = measure_run(run, exact=True, behavior=str(run), limit=2)
    np.testing.assert_allclose(itself["kl"], 0.0, atol=1e-12)


def test_training_that_is_not_the_one_predicted_is_said(run: Path, tmp_path: Path) -> None:
    altered(run, tmp_path, lag=0, level="token")
    note = measure_run(tmp_path, samples=4)["note"].iloc[-1]
    assert "the behavior moved in training" in note
    assert "the log-ratio in training was of level token" in note


@pytest.mark.parametrize(
    ("lag_mode", "lag", "steps", "frozen"),
    [("constant", 1, 2, True), ("constant", 1, 3, False), ("batch", 2, 2, True), ("batch", 2, 3, False)],
)
def test_a_frozen_behavior_is_known_by_the_steps_taken(
    lag_mode: str, lag: int, steps: int, frozen: bool, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever max_steps says, which may be -1, or more than a checkpoint has seen."""
    altered(run, tmp_path, lag=lag, lag_mode=lag_mode, max_steps=-1)
    (tmp_path / "trainer_state.json").write_text(json.dumps({"global_step": steps}))
    assert ("behavior moved" not in measure_run(tmp_path, samples=4, limit=1)["note"].iloc[-1]) is frozen
    (tmp_path / "trainer_state.json").unlink()
    monkeypatch.setattr("llm.commands.measure_run.measure", None)  # it is said before the work
    with pytest.raises(ValueError, match=f"^{tmp_path}/trainer_state.json cannot be read, which says how long"):
        measure_run(tmp_path, samples=4, limit=1)


def test_both_models_are_of_one_dtype(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rounding of one and not of the other would be a log-ratio."""
    dtypes = []

    def load(*given: Any, **options: Any) -> Any:
        dtypes.append(options["dtype"])
        return load_model(*given, **options)

    monkeypatch.setattr("llm.commands.measure_run.load_model", load)
    measure_run(run, samples=4, limit=1)
    assert dtypes == ["float32", "float32"]


def test_what_a_run_was_told_is_used_again(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The revision of its model, and what its chat template was told."""
    said = altered(run, tmp_path, model_revision="v2", chat_template_kwargs={"enable_thinking": False})
    loaded, chats = [], []

    def load(source: str | Path, **options: Any) -> Any:
        loaded.append((str(source), options.get("revision", "main")))
        return load_model(source)

    def ids(tokenizer: Any, prompts: Any, chat: Any) -> list[list[int]]:
        chats.append(chat)
        return token_ids(tokenizer, prompts)

    monkeypatch.setattr("llm.commands.measure_run.load_model", load)
    monkeypatch.setattr("llm.measurement.measure.token_ids", ids)
    measure_run(tmp_path, samples=4, limit=1)
    assert loaded == [(str(tmp_path), "main"), (said["model"], "v2")]
    assert chats == [{"enable_thinking": False}]
    measure_run(tmp_path, samples=4, limit=1, behavior=str(run))
    assert loaded[-1] == (str(run), "main")


def test_another_engine_samples_from_the_behavior(run: Path) -> None:
    made: list[Any] = []

    def engine(model: Any, tokenizer: Any) -> Any:
        made.append(model)
        return make_sampler("transformers", model, tokenizer, batch_size=7)

    measure_run(run, samples=4, limit=1, sampler=engine)
    itself = load_model(json.loads((run / "run.json").read_text())["model"])
    (behavior,) = made
    assert all(torch.equal(a, b) for a, b in zip(behavior.parameters(), itself.parameters(), strict=True))
    measure_run(run, exact=True, limit=1, sampler=engine)
    assert len(made) == 1  # nothing to sample


def test_the_first_prompts_are_those_of_the_run(run: Path) -> None:
    every, first = measure_run(run, samples=4), measure_run(run, samples=4, limit=2)
    assert first["prompt"][:2].tolist() == every["prompt"][:2].tolist()


@pytest.mark.parametrize(
    ("name", "said"), [("examples_sha256", "data addition:digits=1"), ("reward_sha256", "reward exact")]
)
def test_what_has_changed_since_training(name: str, said: str, run: Path, tmp_path: Path) -> None:
    told = altered(run, tmp_path, **{name: "0"})
    with pytest.raises(ValueError, match=f"^{tmp_path}: {said} is not what it was in training; measure by policy"):
        measure_run(tmp_path, samples=4)
    write_run(tmp_path, {k: v for k, v in told.items() if k != name})
    assert len(measure_run(tmp_path, samples=4)) == 5  # of a run that did not write it


def test_what_cannot_be_measured_is_named(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="limit must be from 1 to the 4 of the run, got 5"):
        measure_run(run, limit=5)
    with pytest.raises(ValueError, match=f"{tmp_path} holds no run: there is no run.json in it"):
        measure_run(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(ValueError, match=f"^{tmp_path}/run.json cannot be read \\("):
        measure_run(tmp_path)
    (tmp_path / "run.json").write_text('{"model": "x"}')
    with pytest.raises(ValueError, match=f"^{tmp_path}/run.json lacks 'data'"):
        measure_run(tmp_path)
    (tmp_path / "run.json").write_text("[]")
    with pytest.raises(ValueError, match=f"^{tmp_path}/run.json must hold a mapping"):
        measure_run(tmp_path)
    with pytest.raises(ValueError, match="checkpoint-7 holds no model: the run is not finished, or has no such"):
        measure_run(run, checkpoint="checkpoint-7")
