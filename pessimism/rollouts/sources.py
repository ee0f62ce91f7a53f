"""What a log was given as: the files to read in their order, those passed over and why, how their bytes are opened."""

from __future__ import annotations

import glob
import gzip
import io
import json
import os
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import IO, Any, NamedTuple

import pyarrow as pa

from pessimism.files import require_regular
from pessimism.messages import names, one_line, reason

KINDS = (".parquet", ".jsonl", ".ndjson", ".csv", ".json", ".arrow", ".pt")
PACKED = (".gz", ".zst")
UNPACKED = 2**30  # bytes that any file may unpack to; a larger one to RATIO times its size
RATIO = 100
_PACKABLE = (".jsonl", ".ndjson", ".csv", ".json")  # the others are packed inside, or read in places
_UNREAD = (".bz2", ".xz", ".lz4")
_STATE = 2**20  # bytes of the list of files of a saved data set
# Where trainers put what they sampled for an evaluation, beside what they train on.
_EVALUATION = re.compile(
    r"(^|/)step_\d+/eval/"  # prime-rl
    r"|(^|/)eval-rollout/"  # AReaL
    r"|(^|/)eval_[^/]*_rollout_summaries\.jsonl"  # tinker-cookbook
    r"|(^|[/_])eval_\d+\.pt$"  # slime
    r"|(^|/)val_data_step\d+\.jsonl"  # NeMo-RL
)


class File(NamedTuple):
    """A file to read: its path, what it is by its suffix, and whether it was asked for by name."""

    path: Path
    kind: str
    named: bool


class Found(NamedTuple):
    """Files in the order in which they are read, and others that were passed over, each with the reason."""

    files: list[File]
    passed_over: dict[str, str]


def find(source: str | PathLike[str] | Sequence[str | PathLike[str]]) -> Found:
    """Return the files that a path, a pattern such as ``runs/*/completions``, or a list of them stand for.

    Parameters
    ----------
    source : str, path or sequence of them
        Files, folders with all below them that is not hidden, and patterns with ``*``, ``?``, ``[...]`` or ``**``.

    Returns
    -------
    Found
        The files, those of a folder in natural order, and what was passed over.

    Raises
    ------
    ValueError
        In one line, if nothing is there, or a suffix is unknown.
    """
    given = [source] if isinstance(source, str | PathLike) else list(source)
    if not given:
        raise ValueError("no file is given")
    files: list[File] = []
    passed: dict[str, str] = {}
    seen: set[Path] = set()
    for one in given:
        found = _one(Path(one))
        passed |= found.passed_over
        for file in found.files:
            where = file.path.resolve()
            if where in seen:
                passed[str(file.path)] = "was there already"
            else:
                seen.add(where)
                files.append(file)
    return Found(files, passed)


def _one(source: Path) -> Found:
    if source.is_dir():
        return _folder(source)
    if not os.path.lexists(source) and glob.has_magic(str(source)):
        return _pattern(source)
    if not os.path.lexists(source):
        raise ValueError(f"{source}: no such file or folder")
    kind = kind_of(source)
    if kind is None:
        raise ValueError(f"{source}: unknown suffix {source.suffix!r}; known are {', '.join(KINDS)}")
    require_regular(source)
    return Found([File(source, kind, True)], {})


def _pattern(source: Path) -> Found:
    matches = sorted(map(Path, glob.iglob(str(source), recursive=True)), key=lambda path: _natural(path.parts))
    if not matches:
        raise ValueError(f"{source}: no such file or folder")
    files: list[File] = []
    passed: dict[str, str] = {}
    for path in matches:
        if path.is_dir() and "**" in source.parts:  # whose files are matches of their own
            continue
        if path.is_dir():
            found = _walk(path)
            files += found.files
            passed |= found.passed_over
        else:
            _sort(path, files, passed)
    return _training(Found(files, passed), source)


def _folder(source: Path) -> Found:
    found = _training(_walk(source), source)
    for file in found.files:  # what cannot be read is said before the rest is
        require_regular(file.path)
    return found


def _training(found: Found, source: Path) -> Found:
    """Pass over what was sampled for an evaluation, or stands there twice, where something else remains."""
    if not found.files:
        raise ValueError(f"{source}: no file with a known suffix in this folder ({', '.join(KINDS)})")
    effective = {file.path.parents[1] for file in found.files if file.path.parts[-2:] == ("effective", "traces.jsonl")}
    reasons: dict[Path, str] = {}
    for file in found.files:
        path = file.path
        if _EVALUATION.search(path.as_posix()):
            reasons[path] = "sampled for an evaluation"
        elif path.parts[-2:] == ("all", "traces.jsonl") and path.parents[1] in effective:
            reasons[path] = "holds those of effective/traces.jsonl again"
        elif effective and "token_exports" in path.parts:
            reasons[path] = "holds tokens of what is in effective/traces.jsonl, without rewards: read it by itself"
    if len(reasons) == len(found.files):
        return found
    kept = [file for file in found.files if file.path not in reasons]
    return Found(kept, found.passed_over | {str(path): why for path, why in reasons.items()})


def _walk(folder: Path) -> Found:
    files: list[File] = []
    passed: dict[str, str] = {}
    for root, folders, inside in os.walk(folder, onerror=_refused):
        here = Path(root)
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in [name for name in folders if (here / name).is_symlink()]:
            passed[str(here / name)] = "is a link to a folder"
        inside = _parts_of_data_set(here, folders, inside, passed)
        for name in inside:
            if not name.startswith("."):
                _sort(here / name, files, passed)
    return Found(sorted(files, key=lambda file: _natural(file.path.parts)), passed)


def _refused(error: OSError) -> None:
    raise ValueError(f"{error.filename}: cannot be read ({reason(error)})") from None


def _sort(path: Path, files: list[File], passed: dict[str, str]) -> None:
    """Add a file of a folder to those that are read, or to those passed over."""
    kind = kind_of(path)
    if kind is not None:
        files.append(File(path, kind, False))
    elif path.suffix.lower() in _UNREAD and Path(path.stem).suffix.lower() in KINDS:
        raise ValueError(f"{path}: is compressed: unpack it, or move it elsewhere")
    else:
        passed[str(path)] = f"{path.suffix!r} is not the suffix of a log" if path.suffix else "has no suffix"


def _parts_of_data_set(here: Path, folders: list[str], inside: list[str], passed: dict[str, str]) -> list[str]:
    """Of a folder that ``save_to_disk`` of datasets wrote, return the files that hold its rows."""
    if "dataset_dict.json" in inside:
        splits = sorted(name for name in folders if (here / name / "state.json").exists())
        if len(splits) > 1:
            raise ValueError(f"{here}: has the splits {names(splits)}: name one of them, as in {here / splits[-1]}")
        return [name for name in inside if name != "dataset_dict.json"]
    if not {"state.json", "dataset_info.json"} <= set(inside):
        return inside
    try:
        with (here / "state.json").open("rb") as file:
            state = json.loads(file.read(_STATE))
        rows = {part["filename"] for part in state["_data_files"]}
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        raise ValueError(f"{here / 'state.json'}: does not say which files the data set has") from None
    for name in set(inside) - rows - {"state.json", "dataset_info.json"}:
        passed[str(here / name)] = "is no part of the data set"
    missing = rows - set(inside)
    if missing:
        raise ValueError(f"{here}: {names(sorted(map(str, missing)))} of the data set is not there")
    return sorted(rows)


def kind_of(path: Path) -> str | None:
    """Return what a file is by its suffix, that below ``.gz`` or ``.zst`` if it is packed; None if no log.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    str or None
        One of `KINDS`, or None.

    Examples
    --------
    >>> kind_of(Path("a.JSONL")), kind_of(Path("a.jsonl.gz")), kind_of(Path("a.txt")), kind_of(Path("a.parquet.gz"))
    ('.jsonl', '.jsonl', None, None)
    """
    kind = path.suffix.lower()
    if kind in PACKED:
        kind = Path(path.stem).suffix.lower()
        return kind if kind in _PACKABLE else None
    return kind if kind in KINDS else None


def _natural(parts: Sequence[str]) -> list[list[Any]]:
    return [[int(piece) if i % 2 else piece for i, piece in enumerate(re.split(r"(\d+)", part))] for part in parts]


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a regular file for reading, unpacked if it is packed, to a bounded size.

    Parameters
    ----------
    path : Path
        The file; what is packed ends with ``.gz`` or ``.zst``.

    Yields
    ------
    file object
        Its bytes, unpacked.

    Raises
    ------
    ValueError
        In one line, if it is no regular file, does not unpack, or unpacks to too much.
    """
    require_regular(path)
    with path.open("rb") as file:
        packed = path.suffix.lower()
        if packed not in PACKED:
            yield file
        else:
            stream = gzip.GzipFile(fileobj=file) if packed == ".gz" else pa.CompressedInputStream(file, "zstd")
            yield io.BufferedReader(_Unpacked(stream, path))


class _Unpacked(io.RawIOBase):
    """Bytes as they are unpacked, up to the bound."""

    def __init__(self, stream: Any, path: Path) -> None:
        self._stream, self._path, self._size = stream, path, 0
        self._packed = path.stat().st_size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            size = int(self._stream.readinto(buffer))
        except (EOFError, OSError, zlib.error, pa.ArrowException) as error:
            raise ValueError(f"{self._path}: cannot be unpacked ({one_line(error)})") from None
        self._size += size
        if self._size > max(UNPACKED, RATIO * self._packed):
            raise ValueError(
                f"{self._path}: {self._packed} bytes that unpack to more than {UNPACKED >> 30} GiB and "
                f"{RATIO} times as many"
            )
        return size
