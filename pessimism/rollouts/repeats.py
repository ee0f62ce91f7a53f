"""Files of a log that hold the completions of another one once more: a batch that serves several optimizer steps.

TRL writes the completions of the last batch at every step that it logs (`trl/trainer/grpo_trainer.py`), so that with
num_iterations=2 each batch is in two files, under two steps.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pessimism.messages import counted, names
from pessimism.rollouts.csv_files import csv_table
from pessimism.rollouts.json_files import JsonError, json_records
from pessimism.rollouts.lines import has_lines, json_object, read_lines
from pessimism.rollouts.rows import Columns, Rows
from pessimism.rollouts.sources import File

_BATCH = 1024


class Repeats:
    """Finds such files while a log is read, and takes their rows back.

    Only files whose prompts and rewards are the same, in the same order, are compared in full.
    """

    def __init__(self) -> None:
        self.found: list[str] = []
        self._first: dict[bytes, list[File]] = {}
        self._rows = 0

    def after(self, file: File, rows: Rows, mark: list[int]) -> None:
        """Take back the rows since a mark, which the file gave, where an earlier file has given them too."""
        count = len(rows.codes) - mark[1]
        if count < 2 or file.kind not in _RECORDS:
            return
        digest = hashlib.blake2b()
        for values, start in ((rows.codes, mark[1]), (rows.rewards, mark[2])):
            digest.update(values[start:].tobytes())
        earlier = self._first.setdefault(digest.digest(), [])
        if any(same_completions(file, other, rows.taken[-1]) for other in earlier):
            self.found.append(str(file.path))
            self._rows += count
            rows.take_back(mark)
        else:
            earlier.append(file)

    @property
    def note(self) -> str | None:
        """What is to be said of such files."""
        if not self.found:
            return None
        one = len(self.found) == 1
        return (
            f"{names(Path(path).name for path in self.found)} {'holds' if one else 'hold'} the completions of an "
            f"earlier file once more ({counted(self._rows, 'row')}), as a trainer logs a batch that serves several "
            "steps: each is counted once"
        )


def same_completions(file: File, other: File, columns: Columns) -> bool:
    """Whether two files have the same records but for their steps.

    Where no column tells the completions of one prompt apart, equal rewards may be chance: then they do not count.
    """
    apart: dict[Any, str] = {}
    told = False
    taken = {*columns.names(), *([columns.like_step] if columns.like_step else [])}
    readers = _RECORDS[file.kind](file.path), _RECORDS[other.kind](other.path)
    for record, twin in zip_longest(*readers):
        if record is None or twin is None or columns.prompt not in record:
            return False
        for of in (record, twin):
            of.pop(columns.step or columns.like_step or "", None)
        if repr(record) != repr(twin):
            return False
        text = repr([value for name, value in record.items() if name not in taken])
        told = told or apart.setdefault(repr(record.get(columns.prompt)), text) != text
    return told


def _of_parquet(path: Path) -> Iterator[dict[str, Any]]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(_BATCH):
            yield from batch.to_pylist()


def _of_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    for line in read_lines(path):
        if not line.isspace():
            try:
                yield json_object(line)
            except ValueError:  # counted when the file was read
                yield {"": line}


def _of_json(path: Path) -> Iterator[dict[str, Any]]:
    if has_lines(path):
        yield from _of_jsonl(path)
        return
    try:
        for record in json_records(path):
            yield record if isinstance(record, dict) else {}
    except JsonError:
        yield {}


def _of_csv(path: Path) -> Iterator[dict[str, Any]]:
    bad: list[object] = []
    with csv_table(path, lambda *what: bad.append(what)) as (header, records):
        for _, fields in records:
            yield dict(zip(header, fields, strict=True)) if len(fields) == len(header) and not bad else {}
    if bad:
        yield {}


_RECORDS = {
    **{".parquet": _of_parquet, ".jsonl": _of_jsonl, ".ndjson": _of_jsonl},
    **{".json": _of_json, ".csv": _of_csv},
}
