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
from pessimism.rollouts.lines import json_object, read_lines
from pessimism.rollouts.rows import Columns, Rows

_BATCH = 1024


class Repeats:
    """Finds such files while a log is read, and takes their rows back.

    Only files whose prompts and rewards are the same, in the same order, are compared in full.
    """

    def __init__(self) -> None:
        self.found: list[str] = []
        self._first: dict[bytes, list[Path]] = {}
        self._rows = 0

    def after(self, path: Path, rows: Rows, mark: list[int]) -> None:
        """Take back the rows since a mark, which the file gave, where an earlier file has given them too."""
        count = len(rows.codes) - mark[1]
        if count < 2 or path.suffix.lower() not in _RECORDS:
            return
        digest = hashlib.blake2b()
        for values, start in ((rows.codes, mark[1]), (rows.rewards, mark[2])):
            digest.update(values[start:].tobytes())
        earlier = self._first.setdefault(digest.digest(), [])
        if any(same_completions(path, other, rows.taken[-1]) for other in earlier):
            self.found.append(str(path))
            self._rows += count
            rows.take_back(mark)
        else:
            earlier.append(path)

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


def same_completions(path: Path, other: Path, columns: Columns) -> bool:
    """Whether two files have the same records but for their steps.

    Where no column tells the completions of one prompt apart, equal rewards may be chance: then they do not count.
    """
    apart: dict[Any, str] = {}
    told = False
    taken = {*columns.names(), *([columns.like_step] if columns.like_step else [])}
    readers = _RECORDS[path.suffix.lower()](path), _RECORDS[other.suffix.lower()](other)
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


_RECORDS = {".parquet": _of_parquet, ".jsonl": _of_jsonl, ".ndjson": _of_jsonl}
