"""Files of records (JSON lines, JSON, CSV, parquet) as a `datasets.Dataset`, with the place of each row in its file."""

from __future__ import annotations

import codecs
import csv
import json
import math
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset

from pessimism.files import require_regular
from pessimism.messages import names, one_line, show
from pessimism.rollouts.formats import parquet_table
from pessimism.rollouts.lines import json_object, read_json, read_lines

Where = Callable[[int], str]  # row -> its place, as an error message names it


def read_file(path: Path) -> tuple[Dataset, Where]:
    """Read the records of a file.

    Parameters
    ----------
    path : Path
        A file whose suffix is one of `READERS`.

    Returns
    -------
    records : datasets.Dataset
        A row for each record; blank lines are no records. A key that a JSON record lacks is null there. A column that
        mixes text and numbers is text, in which NaN is null and 204.0 is "204".
    where : callable
        Place of a row for error messages: file and line, or file and row for JSON arrays and parquet.

    Raises
    ------
    ValueError
        In one line, as ``path:line: reason``, if the suffix is unknown, the file cannot be read, JSON or CSV is broken,
        a line is no JSON object, a row has more or fewer fields than the header, or the values of a column do not go
        together.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise ValueError(f"{path}: unknown suffix {path.suffix!r}; known are {', '.join(READERS)}")
    require_regular(path)
    try:
        return reader(path)
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"{path}: cannot be read ({one_line(error)})") from None


def _read_json_lines(path: Path) -> tuple[Dataset, Where]:
    records, lines = [], []
    for number, line in enumerate(read_lines(path), 1):
        if not line.isspace():
            try:
                records.append(json_object(line))
            except ValueError as error:
                raise ValueError(f"{path}:{number}: {error}") from None
            lines.append(number)
    return _dataset(path, records), lambda row: f"{path}:{lines[row]}"


def _read_json(path: Path) -> tuple[Dataset, Where]:
    """Read an array of objects, one object, or one object on each line, as many files of this suffix have it."""
    content = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    try:
        found = read_json(content.decode()) if content.strip() else []
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not valid UTF-8 (byte {error.start + 1})") from None
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            return _read_json_lines(path)
        raise ValueError(f"{path}:{error.lineno}: bad JSON, {error.msg} (column {error.colno})") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: bad JSON, {one_line(error)}") from None
    records = found if isinstance(found, list) else [found]
    for row, record in enumerate(records):
        if not isinstance(record, dict):
            raise ValueError(f"{path}: row {row}: expected a JSON object, found {show(record)}")
    return _dataset(path, records), lambda row: f"{path}: row {row}"


def _read_csv(path: Path) -> tuple[Dataset, Where]:
    records, lines, start = [], [], 1
    with closing(_text_lines(path)) as text:
        reader = csv.reader(text, strict=True)
        try:
            header = next(reader, [])
            if len(set(header)) < len(header):
                raise ValueError(f"{path}:1: two columns have one name, in {names(header)}")
            start = reader.line_num + 1
            for fields in reader:
                if fields and len(fields) != len(header):
                    raise ValueError(f"{path}:{start}: {len(fields)} fields, the header has {len(header)}")
                if fields:
                    records.append(dict(zip(header, fields, strict=True)))
                    lines.append(start)
                start = reader.line_num + 1
        except csv.Error as error:
            raise ValueError(f"{path}:{start}: bad CSV, {error}") from None
    return _dataset(path, records), lambda row: f"{path}:{lines[row]}"


def _text_lines(path: Path) -> Generator[str, None, None]:
    for number, line in enumerate(read_lines(path), 1):
        try:
            yield line.decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}:{number}: not valid UTF-8 (byte {error.start + 1})") from None


def _read_parquet(path: Path) -> tuple[Dataset, Where]:
    return Dataset(parquet_table(path)), lambda row: f"{path}: row {row}"


def _dataset(path: Path, records: list[dict[str, Any]]) -> Dataset:
    """Make columns of all keys, not only of those of the first record."""
    found = dict.fromkeys(name for record in records for name in record)
    return Dataset(pa.table({name: _array(path, name, [r.get(name) for r in records]) for name in found}))


def _array(path: Path, name: str, values: list[Any]) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError) as error:
        if all(value is None or type(value) in (str, int, float) for value in values):
            return pa.array([_text(value) for value in values])
        raise ValueError(f"{path}: column {name!r} has values that do not go together ({one_line(error)})") from None


def _text(value: str | int | float | None) -> str | None:
    """Make text of a value in a column that mixes text and numbers; NaN, as pandas writes a gap, is null."""
    if isinstance(value, float):
        value = None if math.isnan(value) else int(value) if value.is_integer() and abs(value) < 2**53 else value
    return None if value is None else str(value)


READERS: dict[str, Callable[[Path], tuple[Dataset, Where]]] = {
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
    ".json": _read_json,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}
