"""Runs that are killed, out of disk or not finite: what is left is whole, and leads where the run would have led."""

from __future__ import annotations

import errno
import logging
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.modules.module import _IncompatibleKeys
from transformers import AutoModelForCausalLM, TrainerCallback, modeling_utils

import pessimism as ps
from llm.sealed import why_broken
from llm.storage import checkpoints
from llm.storage.checkpoints import CheckpointError, latest
from tests.llm import killed
from tests.llm.marks import slow_but
from tests.llm.runs import G, Watched, loaded, logged, make, sums, trained, weights

pytestmark = pytest.mark.usefixtures("seeded")


class Stop(TrainerCallback):
    """Breaks off in the middle of things, as a kill does, after a step has been taken."""

    def __init__(self, after: int) -> None:
        self.after = after

    def on_step_end(self, _: Any, state: Any, *__: Any, **___: Any) -> None:
        if state.global_step == self.after:
            raise KeyboardInterrupt


def interrupted(folder: Path, out: Path, after: int, **given: Any) -> Path:
    """The newest checkpoint of a run that ended after a step."""
    with pytest.raises(KeyboardInterrupt):
        trained(folder, out, callbacks=[Stop(after)], **given)
    found = latest(out)
    assert found is not None
    return found


@pytest.mark.parametrize(
    "given",
    slow_but(
        [3],
        [
            {"objective": "kimi", "lag": 3},
            {"objective": "kimi", "lag": 3, "gradient_accumulation_steps": 2, "per_device_train_batch_size": 2 * G},
            {"objective": "tba", "lag": 4},
            {"objective": "kimi", "lag": 3, "lag_mode": "constant"},
            {"objective": "tba", "lag": 5, "lag_mode": "constant", "gradient_accumulation_steps": 2},
            {"objective": "grpo", "lag": 2, "lag_mode": "constant"},
            {"objective": "kimi", "lag": 99, "lag_mode": "constant"},
        ],
    ),
    ids=str,
)
def test_a_run_resumed_is_the_run(given: Any, folder: Path, tmp_path: Path) -> None:
    """In the middle of a generation batch, and over the end of an epoch, which has 4 to 6 steps here."""
    given = {**given, "train_dataset": sums().select(range(24)), "max_steps": 13}
    whole = trained(folder, tmp_path / "whole", **given)
    assert whole.state.epoch > 2
    for saved, after in ((4, 6), (7, 11)):
        given |= {"save_strategy": "steps", "save_steps": saved}
        last = interrupted(folder, tmp_path / f"cut-{saved}", after, **given)
        assert last.name == f"checkpoint-{saved}"
        resumed = trained(folder, last.parent, resume=last, **given)
        assert torch.equal(weights(resumed.model), weights(whole.model))
        assert not torch.equal(weights(whole.model), weights(loaded(last)[0]))
        before, after_all = ([row["kl/policy_behavior"] for row in logged(run)] for run in (whole, resumed))
        assert before == after_all


def test_a_tied_weight_is_not_missing(folder: Path, tmp_path: Path) -> None:
    said: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = said.append  # type: ignore[method-assign]
    logger = logging.getLogger("transformers.trainer")
    logger.addHandler(handler)
    try:
        given = {"save_strategy": "steps", "save_steps": 1, "max_steps": 2}
        run = trained(folder, tmp_path, **given)
        assert "lm_head.weight" in run.model.all_tied_weights_keys
        trained(folder, tmp_path, resume=tmp_path / "checkpoint-1", **given)
        assert not [record for record in said if "missing keys" in record.getMessage()]
        run._issue_warnings_after_load(_IncompatibleKeys(["lm_head.weight", "model.norm.weight"], []))
        assert "['model.norm.weight']" in said[-1].getMessage()
    finally:
        logger.removeHandler(handler)


@pytest.mark.parametrize("at", [3, 6])
@pytest.mark.slow
def test_resumed_at_the_end_of_an_epoch(at: int, folder: Path, tmp_path: Path) -> None:
    given = {"train_dataset": sums().select(range(12)), "max_steps": 10, "lag_mode": "constant", "lag": 2}
    given |= {"save_strategy": "steps", "save_steps": at}
    whole = trained(folder, tmp_path, **given)
    resumed = trained(folder, tmp_path / "again", resume=tmp_path / f"checkpoint-{at}", **given)
    assert torch.equal(weights(resumed.model), weights(whole.model))


@pytest.mark.parametrize("lag_mode", slow_but([1], ["batch", "constant"]))
def test_a_run_killed_after_its_last_step_has_ended(lag_mode: str, folder: Path, tmp_path: Path) -> None:
    """Within an epoch, whose other steps transformers would begin."""
    given = {"train_dataset": sums().select(range(24)), "max_steps": 5, "lag_mode": lag_mode, "lag": 2}
    given |= {"save_strategy": "steps", "save_steps": 5}
    end = weights(trained(folder, tmp_path, **given).model)
    resumed = trained(folder, tmp_path, resume=tmp_path / "checkpoint-5", **given)
    assert resumed.state.global_step == 5
    assert torch.equal(weights(resumed.model), end)
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-5"]


@pytest.mark.slow
def test_a_trainer_may_go_back(folder: Path, tmp_path: Path) -> None:
    """One that has trained takes up a checkpoint as a new one would."""
    given = {"lag": 2, "lag_mode": "constant", "save_strategy": "steps", "save_steps": 2}
    run = trained(folder, tmp_path, **given)
    end = weights(run.model)
    run.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert torch.equal(weights(run.model), end)


def start(folder: Path, out: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.llm.killed", str(folder), str(out), *more]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


@pytest.fixture(scope="module")
def undisturbed(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Tensor:
    return weights(trained(folder, tmp_path_factory.mktemp("undisturbed"), **killed.GIVEN).model)


def wait_for(found: Any, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not found():
        assert process.poll() is None, process.communicate()[1][-2000:]
        assert time.monotonic() < deadline
        time.sleep(0.0005)


@pytest.mark.slow
def test_kill_9_and_then_a_disk_that_takes_no_more(undisturbed: Tensor, folder: Path, tmp_path: Path) -> None:
    """Both for real: killed as something is saved or just after, then resumed where no file may be large."""
    process, chance = start(folder, tmp_path), random.SystemRandom()
    wait_for(lambda: any(path.name.startswith("checkpoint-") for path in tmp_path.iterdir()), process)
    file = chance.choice(("model.safetensors", "optimizer.pt", "off_policy_0.pt"))
    half = [tmp_path / "_unfinished" / f"checkpoint-{step}" / file for step in range(killed.STEPS)]
    wait_for(lambda: any(path.exists() for path in half), process)
    time.sleep(chance.choice((0.0, chance.uniform(0.0, 0.05))))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    last = latest(tmp_path)
    assert last is not None
    step = int(last.name.removeprefix("checkpoint-"))
    assert step < killed.STEPS
    before = {path: path.read_bytes() for path in last.iterdir()}

    process = start(folder, tmp_path, "100000")
    said = process.communicate(timeout=300)[1]
    assert process.returncode == 1
    assert f"CheckpointError: {tmp_path}/checkpoint-{step + 1} could not be written" in said
    assert {path: path.read_bytes() for path in last.iterdir()} == before
    assert latest(tmp_path) == last
    assert not (tmp_path / "_unfinished").exists()

    for path in tmp_path.glob("checkpoint-*"):
        AutoModelForCausalLM.from_pretrained(path)
    resumed = trained(folder, tmp_path, resume=last, **killed.GIVEN)
    assert torch.equal(weights(resumed.model), undisturbed)


FAILING = {
    "the model": (modeling_utils, "safe_save_file"),
    "the optimizer": (torch, "save"),
    "the manifest": (Path, "write_text"),
    "the rename": (os, "replace"),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", FAILING)
def test_a_full_disk(what: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"lag": 2, "lag_mode": "constant", "save_strategy": "steps", "save_steps": 2}
    whole = weights(trained(folder, tmp_path / "whole", **given).model)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    class Fill(TrainerCallback):
        def on_step_end(self, _: Any, state: Any, *__: Any, **___: Any) -> None:
            if state.global_step == 4:
                monkeypatch.setattr(*FAILING[what], full)

    with pytest.raises(CheckpointError, match=r"checkpoint-4 could not be written \(.*No space left on device.*\)"):
        trained(folder, tmp_path / "cut", callbacks=[Fill()], **given)
    monkeypatch.undo()
    assert [path.name for path in (tmp_path / "cut").iterdir() if path.is_dir()] == ["checkpoint-2"]
    resumed = trained(folder, tmp_path / "cut", resume=latest(tmp_path / "cut"), **given)
    assert torch.equal(weights(resumed.model), whole)


class Overflow(ps.Kimi):
    """A regression whose loss, or its gradient only, overflows in the third step."""

    calls = 0
    gradient_only = False

    def loss(self, log_ratio: Any, advantage: Any, weights: Any = None) -> Any:
        type(self).calls += 1
        loss = super().loss(log_ratio, advantage, weights)
        if type(self).calls < 3:
            return loss
        root = torch.sqrt(log_ratio - log_ratio)  # 0, with a slope that is not a number
        return loss + (root if self.gradient_only else loss * torch.inf)


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_what_is_not_finite_is_not_taken(what: str, folder: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(Overflow, "gradient_only", what == "gradient")
    monkeypatch.setattr(Overflow, "calls", -1)  # it is tried once before it trains
    given = {"objective_": Overflow(beta=0.5), "save_strategy": "steps", "save_steps": 1}
    run = make(folder, tmp_path, Watched, **given)
    assert Overflow.calls == 1
    monkeypatch.setattr(Overflow, "calls", 0)
    said = rf"the {what} of kimi\(beta=0.5\) is not finite in step 3: the run ends"
    with pytest.raises(FloatingPointError, match=said):
        run.train()
    last = latest(tmp_path)
    assert last is not None
    assert last.name == "checkpoint-2"
    assert torch.equal(weights(run.model), weights(loaded(last)[0]))


def test_weights_that_are_not_finite_are_not_saved(folder: Path, tmp_path: Path) -> None:
    class Spoil(TrainerCallback):
        def on_step_end(self, _: Any, state: Any, *__: Any, model: Any, **___: Any) -> None:
            if state.global_step == 2:
                model.model.norm.weight.data[0] = torch.nan

    with pytest.raises(FloatingPointError, match="weight model.norm.weight is not finite: no checkpoint is written"):
        trained(folder, tmp_path, callbacks=[Spoil()], save_strategy="steps", save_steps=1)
    assert [path.name for path in tmp_path.glob("*") if path.is_dir()] == ["checkpoint-1"]
    assert why_broken(tmp_path / "checkpoint-1") is None


def test_training_goes_on_from_the_one_before(
    folder: Path, three: Path, copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copied / "checkpoint-12" / "optimizer.pt"
    good = path.read_bytes()
    path.write_bytes(good[:-200] + random.Random(0).randbytes(64) + good[-136:])
    last = latest(copied)
    said = f"{path.parent} is not whole (optimizer.pt is not as it was written): passed over\n"
    assert capsys.readouterr().err == said
    trained(folder, copied, save_strategy="steps", save_steps=4, max_steps=12, lag=3, resume=last)
    assert latest(copied) == copied / "checkpoint-12"  # written anew over the broken one
    assert torch.equal(*(weights(loaded(out / "checkpoint-12")[0]) for out in (three, copied)))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"lag": 4}, "steps_per_generation must stay 3 on resume, got 4"),
        ({"lag": 1, "gradient_accumulation_steps": 3}, "lag must stay 3 on resume, got 1"),
        ({"per_device_train_batch_size": 2 * G}, "generation_batch_size must stay 48 on resume, got 24"),
        ({"num_generations": 8}, "num_generations must stay 4 on resume, got 8"),
    ],
    ids=str,
)
def test_what_the_saved_batches_were_made_for(
    changed: Any, said: str, folder: Path, three: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=said):
        trained(folder, tmp_path, resume=three / "checkpoint-8", **{"max_steps": 12, "lag": 3, **changed})


def test_another_number_of_processes(folder: Path, copied: Path) -> None:
    (copied / "checkpoint-8" / "off_policy_0.pt").unlink()
    with pytest.raises(ValueError, match="holds the states of 0 processes, not of 1"):
        trained(folder, copied, resume=copied / "checkpoint-8", max_steps=12, lag=3)


@pytest.mark.slow
def test_rotation(folder: Path, tmp_path: Path) -> None:
    trained(folder, tmp_path, save_strategy="steps", save_steps=1, save_total_limit=2, max_steps=11)
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {"checkpoint-10", "checkpoint-11"}


@pytest.mark.slow
def test_a_checkpoint_is_never_seen_unfinished(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is written, all that stands under its final name is whole at every write."""
    seen = 0

    def checked(plain: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal seen
            seen += 1
            for path in tmp_path.glob("checkpoint-*"):
                assert why_broken(path) is None
            return plain(*arguments, **options)

        return call

    for name in ("torch.save", "os.replace", "os.fsync", "os.unlink"):
        module, _, function = name.partition(".")
        monkeypatch.setattr(name, checked(getattr({"torch": torch, "os": os}[module], function)))
    trained(folder, tmp_path, save_strategy="steps", save_steps=2, max_steps=4)
    trained(folder, tmp_path, save_strategy="steps", save_steps=2, max_steps=4)  # over those that are there
    assert seen > 40
    assert checkpoints.latest(tmp_path) == tmp_path / "checkpoint-4"
