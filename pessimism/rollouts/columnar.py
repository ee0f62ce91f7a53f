"""Rows taken a batch at a time as arrays, of which only what is beyond doubt is appended without a look at each row."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pessimism.arrays import Floats
from pessimism.rollouts.rows import MISSING, Columns, Rows, csv_value, rounding

_ROWS, _SIZE = 4096, 2**24  # rows, and bytes of their lines, that wait for each other at most
_DIGITS = np.isin(np.arange(256), list(b"-+.eE0123456789"))  # bytes of which numbers are written here


class Gathered:
    """Rows of a text file that wait for each other, to be appended together as arrays.

    Parameters
    ----------
    rows : Rows
        What they are appended to.
    columns : Columns
        What they are read from; of each record these columns alone are kept.
    path : object
        The file, for the place of what is malformed.
    texts : bool, default False
        Whether all values are texts, as those of CSV are.
    """

    def __init__(self, rows: Rows, columns: Columns, path: object, *, texts: bool = False) -> None:
        self.rows, self.columns, self.path, self.texts = rows, columns, path, texts
        self.names, self.numbers = columns.tops(), columns.numbers()
        self.values: list[list[Any]] = [[] for _ in self.names]
        self.lines: list[int] = []
        self.size = 0

    def __enter__(self) -> Gathered:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None or issubclass(kind, ValueError):  # what comes first in a file is said first
            self.flush()

    def add(self, values: Iterable[Iterable[Any]], lines: Iterable[int], size: int) -> None:
        """Take columns of rows, in the order of ``names``, with the line of each row and the size of all."""
        for column, more in zip(self.values, values, strict=True):
            column += more
        self.lines += lines
        self.size += size
        if len(self.lines) >= _ROWS or self.size >= _SIZE:
            self.flush()

    def one(self, record: Mapping[str, Any], line: int, size: int) -> None:
        """Take a record, with its line and its size."""
        for name, column in zip(self.names, self.values, strict=True):
            column.append(record.get(name, MISSING))
        self.lines.append(line)
        self.size += size
        if len(self.lines) >= _ROWS or self.size >= _SIZE:
            self.flush()

    def flush(self) -> None:
        """Append what waits: as arrays, or row by row where anything is odd."""
        values, lines = self.values, self.lines
        self.values, self.lines, self.size = [[] for _ in self.names], [], 0
        if not lines:
            return
        # Objects are read row by row; the first value is the prompt.
        if not (self.columns.by_row() or self.columns.nested) and isinstance(values[0][0], str):
            try:
                found = zip(self.names, values, strict=True)
                batch = pa.RecordBatch.from_pydict({name: self._array(name, column) for name, column in found})
                if add_clean(batch, self.columns, self.rows):
                    return
            except (pa.ArrowException, OverflowError, TypeError, ValueError):  # mixed types, texts that are no numbers
                pass
        for line, *row in zip(lines, *values, strict=True):
            self.rows.take(self._record(row), self.columns, f"{self.path}:{line}")

    def _array(self, name: str, column: list[Any]) -> Any:
        whole = name == self.columns.step
        if self.texts and (whole or name in self.numbers):
            return _numbers(column, pa.int64() if whole else pa.float64())
        if not self.texts and set(map(type, column)) != {str}:
            return pa.array(column)
        number: defaultdict[str, int] = defaultdict(count().__next__)  # a text in many rows is looked at once
        indices = np.fromiter(map(number.__getitem__, column), dtype=np.int32, count=len(column))
        texts = [text or None for text in number] if self.texts else list(number)  # an empty field says nothing
        return pa.DictionaryArray.from_arrays(indices, pa.array(texts, type=pa.string()))

    def _record(self, row: Sequence[Any]) -> dict[str, Any]:
        pairs = zip(self.names, row, strict=True)
        if self.texts:
            return {name: csv_value(value, name in self.numbers) for name, value in pairs}
        return {name: value for name, value in pairs if value is not MISSING}


def _numbers(column: list[str], kind: pa.DataType) -> pa.Array:
    """Read texts as numbers; raise ValueError where one has any other way to say it, which the other route reads."""
    texts = pa.array(column, type=pa.string())
    _, ends, said = texts.buffers()
    last = int(np.frombuffer(ends, dtype=np.int32)[len(texts)])
    # Arrow reads words and hexadecimal digits, too.
    if said is None or not _DIGITS[np.frombuffer(said, dtype=np.uint8)[:last]].all():
        raise ValueError("no digits")
    return texts.cast(kind)


def add_clean(batch: pa.RecordBatch, columns: Columns, rows: Rows) -> bool:
    """Append a whole batch as arrays, if every row of it is beyond doubt; otherwise append nothing and say False."""
    found = None if columns.by_row() else _flat(batch, columns)
    if found is None:  # which the other route reads
        return False
    prompt, rewards = found[columns.prompt], [found[name] for name in columns.rewards]
    whole = [prompt, *rewards, *(found[name] for name in (columns.step, *columns.group) if name is not None)]
    if any(map(_nulls, whole)) or not is_text(prompt.type):
        return False
    if not all(is_numeric(column.type) for column in rewards) or not all(_coded(found[n].type) for n in columns.group):
        return False
    if columns.step is not None and not pa.types.is_signed_integer(found[columns.step].type):
        return False
    parts = [_floats(column) for column in rewards]
    weights = columns.weights or (1.0,) * len(parts)
    one = len(parts) == 1 and not columns.weights  # of which a sum would make 0.0 of -0.0
    with np.errstate(over="ignore", invalid="ignore"):  # which the other route says
        reward = parts[0] if one else np.asarray(sum(map(np.multiply, parts, weights)))
    if not np.isfinite(reward).all():
        return False
    others: dict[str, Any] = {}
    for kind, name in (("length", columns.length), ("advantage", columns.advantage), ("baseline", columns.baseline)):
        if name is None:
            continue
        if not is_numeric(found[name].type):
            return False
        values = others[f"{kind}s"] = _floats(found[name])
        asked = kind != "advantage" or columns.strict
        if (asked and not np.isfinite(values).all()) or (kind == "length" and not np.all(values >= 1)):
            return False
        if not asked:
            values = others[f"{kind}s"] = np.where(np.isfinite(values), values, np.nan)
    if columns.rounding is not None:
        others["roundings"] = _floats(found[columns.rounding])
    elif len(parts) > 1 or columns.weights:
        others["roundings"] = rounding(*parts, weights=weights)
    codes = _codes(prompt, lambda text: rows.code(text, columns.prompt))
    if columns.group:
        others["groups"] = _group_codes([found[name] for name in columns.group], columns, rows)
    if columns.problem is not None and _coded(found[columns.problem].type) and not _nulls(found[columns.problem]):
        others["problems"] = _codes(found[columns.problem], rows.problem_code)
    step = np.zeros(len(reward), dtype=np.int64)
    if columns.step is not None:
        step = found[columns.step].cast(pa.int64()).to_numpy()
    rows.extend(step, codes, reward, **others)
    return True


def _flat(batch: pa.RecordBatch, columns: Columns) -> dict[str, pa.Array] | None:
    """Columns of a batch by name, those inside of objects too; None where an object does not have its own."""
    ways = dict(columns.nested)
    found = {}
    for name in columns.names():
        top, *way = ways.get(name, (name,))
        column = batch.column(top)
        for key in way:
            if not pa.types.is_struct(column.type) or column.type.get_field_index(key) < 0:
                return None
            column = pc.struct_field(column, key)
        found[name] = column
    return found


def _floats(column: pa.Array) -> Floats:
    values: Floats = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return values


def _group_codes(found: list[pa.Array], columns: Columns, rows: Rows) -> np.ndarray[tuple[int], np.dtype[Any]]:
    """Return the numbers of groups, known by one column or several."""
    if len(found) == 1:
        return _codes(found[0], lambda value: rows.group_code([value], columns))
    parts = [column.dictionary_encode() if not pa.types.is_dictionary(column.type) else column for column in found]
    indices = np.stack([part.indices.to_numpy(zero_copy_only=False) for part in parts], axis=-1)
    distinct, which = np.unique(indices, axis=0, return_inverse=True)
    values = [part.dictionary.to_pylist() for part in parts]
    numbers = [
        rows.group_code([of[i] for of, i in zip(values, row, strict=True)], columns) for row in distinct.tolist()
    ]
    return np.array(numbers, dtype=np.intc)[which.ravel()]


def _nulls(column: pa.Array) -> bool:
    """Whether a value of a column is null, in the dictionary of one, too."""
    if column.null_count or not pa.types.is_dictionary(column.type) or not column.dictionary.null_count:
        return bool(column.null_count)
    used = column.dictionary.take(pa.array(pd.unique(column.indices.to_numpy())))
    return bool(used.null_count)


def _codes(column: pa.Array, code: Callable[[Any], int]) -> np.ndarray[tuple[int], np.dtype[Any]]:
    """Return the numbers that stand for the values of a column without nulls."""
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    indices = encoded.indices.to_numpy()
    used = pd.unique(indices)
    texts = encoded.dictionary.take(pa.array(used)).to_pylist()
    lookup = np.zeros(len(encoded.dictionary), dtype=np.intc)
    lookup[used] = [code(text) for text in texts]
    codes: np.ndarray[tuple[int], np.dtype[Any]] = lookup[indices]
    return codes


def add_records(records: Iterable[Mapping[Any, Any]], columns: Columns, rows: Rows, place: str, start: int) -> None:
    """Append records one by one, the first of them number `start`."""
    for number, record in enumerate(records, start):
        rows.take(record, columns, f"{place}row {number}")


def is_numeric(kind: pa.DataType) -> bool:
    """Return whether values of a kind are numbers, or true and false."""
    types = pa.types
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_decimal(kind))


def _coded(kind: pa.DataType) -> bool:
    """Whether values of a kind are known by text or by an integer."""
    return is_text(kind) or bool(pa.types.is_integer(kind))


def is_text(kind: pa.DataType) -> bool:
    """Return whether values of a kind are texts, or numbers of the texts of a dictionary."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
