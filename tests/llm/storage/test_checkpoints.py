"""Which checkpoint is taken, which are deleted first, and what is written is whole or not there."""

from __future__ import annotations

import errno
import json
import os
import random
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from llm.sealed import MANIFEST, why_broken
from llm.storage import checkpoints
from llm.storage.checkpoints import CheckpointError, latest, rotate
from tests.llm.runs import shorten

pytestmark = pytest.mark.usefixtures("seeded")


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


def test_steps_are_numbers(copied: Path) -> None:
    found = latest(copied)
    assert found is not None
    assert found.name == "checkpoint-12"  # not 8, the last in the alphabet
    assert latest(copied / "nothing") is None
    listed = json.loads((found / MANIFEST).read_text())["files"]
    assert {"model.safetensors", "optimizer.pt", "rng_state.pth", "trainer_state.json", "off_policy_0.pt"} <= set(
        listed
    )


def test_a_broken_one_is_passed_over(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shorten(copied / "checkpoint-12" / "optimizer.pt")
    (copied / "checkpoint-8" / "scheduler.pt").unlink()
    assert latest(copied) == copied / "checkpoint-4"
    first, second = capsys.readouterr().err.splitlines()
    start = re.escape(f"{copied}/checkpoint-12 is not whole (optimizer.pt has ")
    assert re.fullmatch(start + r"\d+ of \d+ bytes\): passed over", first)
    assert second == f"{copied}/checkpoint-8 is not whole (scheduler.pt is missing): passed over"
    (copied / "checkpoint-4" / MANIFEST).unlink()
    assert latest(copied) is None
    assert f"({MANIFEST} is missing): passed over" in capsys.readouterr().err


def test_any_damage_of_any_file_is_found(copied: Path) -> None:
    """Files of a real run, its manifest among them: cut, emptied, gone, a folder, and 64 bytes flipped anywhere."""
    whole, chance = copied / "checkpoint-8", random.Random(0)
    files = sorted(path for path in whole.rglob("*") if path.is_file())
    assert {"model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"} < {
        path.name for path in files
    }
    for path in files:
        good = path.read_bytes()
        width = min(64, len(good))
        places = [0, len(good) - width, *(chance.randrange(len(good) - width + 1) for _ in range(8))]
        flipped = [good[:at] + bytes(b ^ 0xFF for b in good[at : at + width]) + good[at + width :] for at in places]
        bits = [good[:at] + bytes([good[at] ^ 1 << chance.randrange(8)]) + good[at + 1 :] for at in places]
        for spoiled in (*flipped, *bits, good[:-1], good[: len(good) // 2], b"", good + b"\n"):
            path.write_bytes(spoiled)
            why = why_broken(whole)
            assert why is not None
            assert path.relative_to(whole).as_posix() in why
        path.unlink()
        assert why_broken(whole) == f"{path.relative_to(whole).as_posix()} is missing"
        path.mkdir()
        assert path.name in (why_broken(whole) or "")
        path.rmdir()
        path.write_bytes(good)
    assert why_broken(whole) is None


def test_the_model_that_a_run_ends_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It appears file by file, its manifest first: at no moment does a mixture pass for a model."""
    accelerator = Accelerator(cpu=True)

    def fill(content: str) -> Any:
        def call(staging: Path) -> None:
            (staging / "deep").mkdir(parents=True)
            for name in ("a", "deep/b"):
                (staging / name).write_text(content)

        return call

    checkpoints.write_model(tmp_path, fill("old"), accelerator)
    assert why_broken(tmp_path) is None
    seen, plain = [], os.replace

    def watched(source: Path, target: Path) -> None:
        plain(source, target)
        seen.append(why_broken(tmp_path))

    monkeypatch.setattr(os, "replace", watched)
    checkpoints.write_model(tmp_path, fill("new!"), accelerator)
    assert seen == [None, "a has 3 of 4 bytes", "deep/b has 3 of 4 bytes", None]
    monkeypatch.undo()

    def full(staging: Path) -> None:
        fill("newest")(staging)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(CheckpointError, match=rf"^{tmp_path} could not be written \(\[Errno 28\] No space left"):
        checkpoints.write_model(tmp_path, full, accelerator)
    assert why_broken(tmp_path) is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", MANIFEST, "deep"]
    assert (tmp_path / "deep" / "b").read_text() == "new!"


# Rotation.


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
