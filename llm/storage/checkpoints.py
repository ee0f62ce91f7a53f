"""Checkpoints that are whole or not there: written beside their place, renamed when complete, checked before use."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from llm.sealed import MANIFEST, seal, why_broken
from pessimism.files import sync
from pessimism.messages import plain

_STAGING, _REPLACED = "_unfinished", "_replaced"  # what begins with an underscore is not pushed to the hub
_PREFIX = "checkpoint-"


class CheckpointError(OSError):
    """A checkpoint could not be written; those before it are untouched."""


def require_finite(model: nn.Module, accelerator: Any) -> None:
    """Raise `FloatingPointError`, in all processes, if a weight is not finite: no checkpoint shall hold it."""
    bad = next((name for name, weight in model.named_parameters() if not _is_finite(weight)), None)
    count = torch.tensor([float(bad is not None)], device=accelerator.device)
    if accelerator.reduce(count, reduction="sum").item():
        which = "a weight of another process" if bad is None else f"weight {bad}"
        raise FloatingPointError(f"{which} is not finite: no checkpoint is written, the last one is good")


def _is_finite(weight: Any) -> bool:
    """Say whether a weight is finite: this process's part of it under FSDP, all of it under DeepSpeed."""
    if hasattr(weight, "ds_id"):
        from deepspeed import zero

        with zero.GatheredParameters([weight]):
            return bool(torch.isfinite(weight).all())
    own = weight.detach()
    return bool(torch.isfinite(own.to_local() if hasattr(own, "to_local") else own).all())


def write(folder: Path, name: str, fill: Callable[[Path], None], accelerator: Any) -> None:
    """Write a checkpoint beside its place, and rename it when all processes have written and everything is on the disk.

    Parameters
    ----------
    folder : Path
        Folder of the run.
    name : str
        Name of the checkpoint in it.
    fill : callable
        Writes the checkpoint, under its name, into the folder that it is called with.
    accelerator : accelerate.Accelerator
        The processes; all of them call this function.

    Raises
    ------
    CheckpointError
        If anything cannot be written, for example on a full disk.
    """
    _stage(folder, folder / name, fill, lambda staging: _publish(staging / name, folder / name), accelerator)


def write_model(folder: Path, fill: Callable[[Path], None], accelerator: Any) -> None:
    """Write the model that a run ends with, and its manifest, into the folder of the run, as `write` does a checkpoint.

    Parameters
    ----------
    folder : Path
        Folder of the run.
    fill : callable
        Writes the files of the model into the folder that it is called with.
    accelerator : accelerate.Accelerator
        The processes; all of them call this function.

    Raises
    ------
    CheckpointError
        If anything cannot be written.
    """
    _stage(folder, folder, fill, lambda staging: _move(staging, folder), accelerator)


def _stage(
    folder: Path, final: Path, fill: Callable[[Path], None], publish: Callable[[Path], None], accelerator: Any
) -> None:
    """Fill a folder beside the place of what is written, and publish it from there."""
    staging = folder / _STAGING
    if accelerator.is_main_process:
        shutil.rmtree(staging, ignore_errors=True)
    accelerator.wait_for_everyone()
    try:
        fill(staging)
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            publish(staging)
    except (OSError, RuntimeError, SafetensorError) as error:
        shutil.rmtree(staging, ignore_errors=True)
        said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(f"{final} could not be written ({said}); the last checkpoint is good") from error
    if accelerator.is_main_process:
        shutil.rmtree(staging, ignore_errors=True)
    accelerator.wait_for_everyone()


def _publish(written: Path, final: Path) -> None:
    seal(written)
    replaced = final.with_name(_REPLACED)
    if final.exists():  # of a run that got here before and was rewound
        shutil.rmtree(replaced, ignore_errors=True)
        os.replace(final, replaced)
    try:
        os.replace(written, final)
    except OSError:
        if replaced.exists():
            os.replace(replaced, final)
        raise
    shutil.rmtree(replaced, ignore_errors=True)
    sync(final.parent)


def _move(written: Path, final: Path) -> None:
    """Move the files of a model to their place, the manifest first: a model that is half moved is known as broken."""
    seal(written)
    files = [path for path in written.rglob("*") if path.is_file() and path != written / MANIFEST]
    for path in (written / MANIFEST, *sorted(files)):
        place = final / path.relative_to(written)
        place.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, place)
    sync(final)


def rotate(folder: Path, most: int | None, kept: set[str]) -> None:
    """Delete checkpoints beyond `most`: broken ones first, then the oldest, and none whose name is in `kept`."""
    if most is None or most < 1:
        return
    found = _found(folder)
    spare = [path for path in found if path.name not in kept]
    # Stable: each kind stays in the order of its steps.
    spare.sort(key=lambda path: why_broken(path, sizes_only=True) is None)
    for path in spare[: max(len(found) - most, 0)]:
        shutil.rmtree(path, ignore_errors=True)


def _found(folder: Path) -> list[Path]:
    """Checkpoints of a run, whole or not, in the order of their steps."""
    found = [p for p in folder.glob(f"{_PREFIX}*") if p.is_dir() and p.name.removeprefix(_PREFIX).isdigit()]
    return sorted(found, key=lambda p: int(p.name.removeprefix(_PREFIX)))


def latest(folder: Path) -> Path | None:
    """Find the newest whole checkpoint of a run, or None; a line on stderr says which are passed over and why."""
    for checkpoint in reversed(_found(folder)):
        if (why := why_broken(checkpoint)) is None:
            return checkpoint
        print(plain(f"{checkpoint} is not whole ({why}): passed over"), file=sys.stderr)
    return None
