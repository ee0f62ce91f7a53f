"""Files that torch wrote, as plain values: nothing in them is unpickled that is not a number, a text or a container."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

from pessimism.files import require_regular
from pessimism.messages import one_line, show
from pessimism.rollouts.rows import ForeignError
from pessimism.rollouts.sources import RATIO, UNPACKED

_PICKLE = 2**29  # bytes of values, which take about ten times as much in memory
_CONTAINERS = (list, tuple, dict)


def torch_samples(path: Path) -> list[Any]:
    """Return the samples that a file of slime has, each with the id of its rollout as `step`.

    Parameters
    ----------
    path : Path
        The file, as ``torch.save`` writes it.

    Returns
    -------
    list
        The samples.

    Raises
    ------
    ValueError
        In one line, if it is no such file or too large, or if torch is not installed.
    ForeignError
        If it has no samples, as that of a model, or has anything in it but plain values and tensors.
    """
    require_regular(path)
    size = _pickled(path)
    try:
        import torch
    except ImportError:
        raise ValueError(f"{path}: to read what torch has written needs torch: pip install torch") from None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # its unpickler raises what a damaged file makes it run into
        raise ForeignError(f"{path}: cannot be read as plain values and tensors ({one_line(_first(error))})") from None
    samples = content.get("samples") if isinstance(content, dict) else None
    if not isinstance(samples, list):
        raise ForeignError(f"{path}: has no list of samples")
    _require_tree(path, samples, RATIO * size)
    step = {"step": content["rollout_id"]} if "rollout_id" in content else {}
    return [
        {**step, **sample} if isinstance(sample, dict) else ValueError(f"{show(sample)} is no sample")
        for sample in samples
    ]


def _first(error: Exception) -> Exception:
    """Return an error with its first sentence alone: the others advise to load the file without this protection."""
    return ValueError(str(error).split(". ")[0].split("\n")[0])


def _pickled(path: Path) -> int:
    """Return how many bytes of values a file has, which are bounded."""
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise ValueError(f"{path}: is no file that torch wrote ({one_line(error)})") from None
    size, packed = sum(info.file_size for info in infos), path.stat().st_size
    if size > max(UNPACKED, RATIO * packed):
        raise ValueError(
            f"{path}: {packed} bytes that unpack to {size / 2**30:.3g} GiB, more than {UNPACKED >> 30} GiB and "
            f"{RATIO} times as many"
        )
    values = sum(info.file_size for info in infos if info.filename.endswith("data.pkl"))
    if values > _PICKLE:
        raise ValueError(f"{path}: more than {_PICKLE >> 20} MiB of values, the most that are read")
    return values


def _require_tree(path: Path, samples: list[Any], most: int) -> None:
    """Refuse lists that hold one another so often that writing them out would never end."""
    count, left = 0, list[Any]([samples])
    while left:
        held = left.pop()
        inside = held.values() if isinstance(held, dict) else held
        count += len(held)
        if count > most:
            raise ValueError(f"{path}: has a few values in {most} places and more")
        if any(issubclass(kind, _CONTAINERS) for kind in set(map(type, inside))):
            left.extend(value for value in inside if isinstance(value, _CONTAINERS))
