"""Runs that are killed, out of disk or not finite: what is left is whole, and leads where the run would have led."""

from __future__ import annotations

import errno
import json
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn.modules.module import _IncompatibleKeys
from transformers import AutoModelForCausalLM, TrainerCallback, modeling_utils

import pessimism as ps
from llm.storage import checkpoints
from llm.storage.checkpoints import MANIFEST, CheckpointError, latest, rotate, why_broken
from tests.llm import killed
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
    [
        {"objective": "kimi", "lag": 3},
        {"objective": "kimi", "lag": 3, "gradient_accumulation_steps": 2, "per_device_train_batch_size": 2 * G},
        {"objective": "tba", "lag": 4},
        {"objective": "kimi", "lag": 3, "lag_mode": "constant"},
        {"objective": "tba", "lag": 5, "lag_mode": "constant", "gradient_accumulation_steps": 2},
        {"objective": "grpo", "lag": 2, "lag_mode": "constant"},
        {"objective": "kimi", "lag": 99, "lag_mode": "constant"},
    ],
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
def test_resumed_at_the_end_of_an_epoch(at: int, folder: Path, tmp_path: Path) -> None:
    given = {"train_dataset": sums().select(range(12)), "max_steps": 10, "lag_mode": "constant", "lag": 2}
    given |= {"save_strategy": "steps", "save_steps": at}
    whole = trained(folder, tmp_path, **given)
    resumed = trained(folder, tmp_path / "again", resume=tmp_path / f"checkpoint-{at}", **given)
    assert torch.equal(weights(resumed.model), weights(whole.model))


@pytest.mark.parametrize("lag_mode", ["batch", "constant"])
def test_a_run_killed_after_its_last_step_has_ended(lag_mode: str, folder: Path, tmp_path: Path) -> None:
    """Within an epoch, whose other steps transformers would begin."""
    given = {"train_dataset": sums().select(range(24)), "max_steps": 5, "lag_mode": lag_mode, "lag": 2}
    given |= {"save_strategy": "steps", "save_steps": 5}
    end = weights(trained(folder, tmp_path, **given).model)
    resumed = trained(folder, tmp_path, resume=tmp_path / "checkpoint-5", **given)
    assert resumed.state.global_step == 5
    assert torch.equal(weights(resumed.model), end)
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-5"]


def test_a_trainer_may_go_back(folder: Path, tmp_path: Path) -> None:
    """One that has trained takes up a checkpoint as a new one would."""
    given = {"lag": 2, "lag_mode": "constant", "save_strategy": "steps", "save_steps": 2}
    run = trained(folder, tmp_path, **given)
    end = weights(run.model)
    run.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert torch.equal(weights(run.model), end)


def test_a_stream_cannot_be_entered_again(folder: Path, tmp_path: Path) -> None:
    given = {"train_dataset": sums().to_iterable_dataset(), "lag": 2, "save_strategy": "steps", "save_steps": 3}
    trained(folder, tmp_path, **given)
    with pytest.raises(ValueError, match="train_dataset must have a length on resume"):
        trained(folder, tmp_path, resume=latest(tmp_path), **given)


# Killed for real.


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


# Out of disk.


FAILING = {
    "the model": (modeling_utils, "safe_save_file"),
    "the optimizer": (torch, "save"),
    "the manifest": (Path, "write_text"),
    "the rename": (os, "replace"),
}


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


def test_a_rename_that_fails_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(content: str) -> Any:
        def call(staging: Path) -> None:
            (staging / "checkpoint-3").mkdir(parents=True)
            (staging / "checkpoint-3" / "a").write_text(content)

        return call

    checkpoints.write(tmp_path, "checkpoint-3", fill("first"), Accelerator(cpu=True))
    plain = os.replace

    def full(source: Path, target: Path) -> None:
        if target == tmp_path / "checkpoint-3" and (source / "a").read_text() == "second":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        plain(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(CheckpointError, match="checkpoint-3 could not be written"):
        checkpoints.write(tmp_path, "checkpoint-3", fill("second"), Accelerator(cpu=True))
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-3"]
    assert why_broken(tmp_path / "checkpoint-3") is None
    assert (tmp_path / "checkpoint-3" / "a").read_text() == "first"


# Not finite.


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


def test_a_weight_that_deepspeed_has_sharded(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is empty but in the context that gathers it, which stands here for the one of DeepSpeed."""
    whole = torch.ones(2, 2)

    @contextmanager
    def gathered(weights: list[Any]) -> Iterator[None]:
        weights[0].data, empty = whole, weights[0].data
        yield
        weights[0].data = empty

    zero = SimpleNamespace(GatheredParameters=gathered)
    monkeypatch.setitem(sys.modules, "deepspeed", SimpleNamespace(zero=zero))
    model = torch.nn.Linear(2, 2, bias=False)
    model.weight.data = torch.empty(0)
    model.weight.ds_id = 0
    checkpoints.require_finite(model, Accelerator(cpu=True))
    whole[1, 0] = torch.nan
    with pytest.raises(FloatingPointError, match="weight weight is not finite"):
        checkpoints.require_finite(model, Accelerator(cpu=True))
    assert model.weight.numel() == 0


# Which one is taken.


@pytest.fixture(scope="module")
def three(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("three")
    trained(folder, out, save_strategy="steps", save_steps=4, max_steps=12, lag=3)
    return out


@pytest.fixture
def copied(three: Path, tmp_path: Path) -> Path:
    shutil.copytree(three, tmp_path, dirs_exist_ok=True)
    return tmp_path


def test_steps_are_numbers(copied: Path) -> None:
    found = latest(copied)
    assert found is not None
    assert found.name == "checkpoint-12"  # not 8, the last in the alphabet
    assert latest(copied / "nothing") is None
    listed = json.loads((found / MANIFEST).read_text())
    assert {"model.safetensors", "optimizer.pt", "rng_state.pth", "trainer_state.json", "off_policy_0.pt"} <= set(
        listed
    )


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


BROKEN = {
    "truncated": (lambda c: shorten(c / "optimizer.pt"), r"optimizer.pt has \d+ of \d+ bytes"),
    "incomplete": (lambda c: (c / "model.safetensors").unlink(), "model.safetensors is missing"),
    "foreign": (lambda c: (c / MANIFEST).unlink(), f"{MANIFEST} is missing"),
    "garbled": (lambda c: shorten(c / MANIFEST), None),
    "no manifest": (lambda c: (c / MANIFEST).write_text("[1]"), f"{MANIFEST} cannot be read"),
    "empty": (lambda c: (c / MANIFEST).write_text("{}"), f"{MANIFEST} names no file"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_one_is_skipped(how: str, copied: Path) -> None:
    spoil, said = BROKEN[how]
    spoil(copied / "checkpoint-12")
    if said is None:
        (copied / "checkpoint-12" / MANIFEST).write_text('{"a": ')
        said = f"{MANIFEST} cannot be read"
    with pytest.warns(UserWarning, match=rf"checkpoint-12 is not whole \({said}\): skipped"):
        found = latest(copied)
    assert found == copied / "checkpoint-8"


def test_training_goes_on_from_the_one_before(folder: Path, three: Path, copied: Path) -> None:
    shorten(copied / "checkpoint-12" / "model.safetensors")
    with pytest.warns(UserWarning, match="skipped"):
        last = latest(copied)
    trained(folder, copied, save_strategy="steps", save_steps=4, max_steps=12, lag=3, resume=last)
    assert latest(copied) == copied / "checkpoint-12"  # written anew over the broken one
    assert torch.equal(*(weights(loaded(out / "checkpoint-12")[0]) for out in (three, copied)))


def test_all_broken(copied: Path) -> None:
    for checkpoint in copied.glob("checkpoint-*"):
        (checkpoint / MANIFEST).unlink()
    with pytest.warns(UserWarning, match="skipped") as said:
        assert latest(copied) is None
    assert len(said) == 3


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


def test_the_end_of_a_run_at_a_constant_lag(folder: Path, tmp_path: Path) -> None:
    given = {"lag": 2, "lag_mode": "constant", "save_strategy": "steps", "save_steps": 4}
    trained(folder, tmp_path, **given)
    with pytest.raises(ValueError, match="max_steps must stay 5 on resume at a constant lag, got 9"):
        trained(folder, tmp_path, resume=tmp_path / "checkpoint-4", max_steps=9, **given)


def test_another_number_of_processes(folder: Path, copied: Path) -> None:
    (copied / "checkpoint-8" / "off_policy_0.pt").unlink()
    with pytest.raises(ValueError, match="holds the states of 0 processes, not of 1"):
        trained(folder, copied, resume=copied / "checkpoint-8", max_steps=12, lag=3)


# Rotation.


def test_rotation(folder: Path, tmp_path: Path) -> None:
    trained(folder, tmp_path, save_strategy="steps", save_steps=1, save_total_limit=2, max_steps=11)
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {"checkpoint-10", "checkpoint-11"}


def test_what_rotation_deletes_first(copied: Path) -> None:
    """A broken newest one must not outlive a whole one."""
    shorten(copied / "checkpoint-12" / "optimizer.pt")
    rotate(copied, 2, {"checkpoint-8"})
    assert {path.name for path in copied.glob("checkpoint-*")} == {"checkpoint-4", "checkpoint-8"}
    rotate(copied, 1, {"checkpoint-8"})
    assert {path.name for path in copied.glob("checkpoint-*")} == {"checkpoint-8"}


@pytest.mark.parametrize("most", [None, 0, 3, 9])
def test_rotation_without_need(most: int | None, copied: Path) -> None:
    rotate(copied, most, set())
    assert len(list(copied.glob("checkpoint-*"))) == 3


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
