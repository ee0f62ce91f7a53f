"""Which checkpoint is taken, which are deleted first, and what is written is whole or not there."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from llm.storage import checkpoints
from llm.storage.checkpoints import MANIFEST, CheckpointError, latest, rotate, why_broken
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
    listed = json.loads((found / MANIFEST).read_text())
    assert {"model.safetensors", "optimizer.pt", "rng_state.pth", "trainer_state.json", "off_policy_0.pt"} <= set(
        listed
    )


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


def test_all_broken(copied: Path) -> None:
    for checkpoint in copied.glob("checkpoint-*"):
        (checkpoint / MANIFEST).unlink()
    with pytest.warns(UserWarning, match="skipped") as said:
        assert latest(copied) is None
    assert len(said) == 3


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
