"""Bandit problems from a file: one or many, with any number of actions each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from pessimism.cli.problems import LabeledBandit, parse_numbers
from pessimism.files import require_regular
from pessimism.literals import real
from pessimism.messages import names, one_line, show
from pessimism.rollouts.csv_files import csv_table
from pessimism.rollouts.formats import parquet_table
from pessimism.rollouts.lines import json_object, read_lines

_COLUMNS = ("behavior", "reward", "reference")


def read_problems(path: str | Path) -> list[LabeledBandit]:
    """Read the problems of a CSV, JSONL or parquet file.

    Columns ``behavior`` and ``reward``, optionally ``reference``. Either one problem a row, each cell a list (JSON
    array; in CSV also "0.4,0.3"), or one action a row, with an optional column ``problem`` that says which it belongs
    to. A column ``problem`` labels them in the output.

    Parameters
    ----------
    path : str or path
        The file.

    Returns
    -------
    list of LabeledBandit
        The problems, not yet validated as probabilities.

    Raises
    ------
    ValueError
        If the suffix is unknown, a column is missing, or a cell or line cannot be read; it names the file and the row.
    """
    path = Path(path)
    frame = _read_frame(path)
    if frame.empty and not len(frame.columns):
        raise ValueError(f"{path}: the file is empty")
    for column in _COLUMNS[:2]:
        if column not in frame:
            raise ValueError(f"{path}: no column {column!r}; found {names(frame.columns)}")
    if frame.empty:
        raise ValueError(f"{path}: no problem in it")
    if pd.api.types.is_numeric_dtype(frame["behavior"]):
        return list(_one_action_a_row(path, frame))
    return [_one_problem_a_row(path, number, row) for number, row in enumerate(frame.to_dict("records"))]


def _read_frame(path: Path) -> pd.DataFrame:
    readers: dict[str, Callable[[Path], pd.DataFrame]] = {
        ".csv": _read_csv,
        ".parquet": _read_parquet,
        ".jsonl": _read_jsonl,
    }
    if path.suffix not in readers:
        raise ValueError(f"{path}: suffix must be one of {', '.join(readers)}")
    require_regular(path)
    try:
        return readers[path.suffix](path)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path}: cannot be read ({one_line(error)})") from None


def _read_csv(path: Path) -> pd.DataFrame:
    """Read texts; where every behavior is a number, those of the columns of numbers."""
    if not path.stat().st_size:
        return pd.DataFrame()

    def bad(place: str, reason: object, _: int) -> None:
        raise ValueError(f"{place}: {reason}") from None

    table: list[list[str | None]] = []
    with csv_table(path, bad) as (header, records):
        if twice := [name for name in header if header.count(name) > 1]:
            raise ValueError(f"{path}: column {show(twice[0])} appears {header.count(twice[0])} times")
        for line, fields in records:
            if len(fields) != len(header):
                raise ValueError(f"{path}:{line}: {len(fields)} fields, the header has {len(header)}")
            table.append([field or None for field in fields])
    frame = pd.DataFrame(table, columns=header, dtype=object)
    if "behavior" in frame and all(_is_real(cell) for cell in frame["behavior"]):
        for name in _COLUMNS:
            if name in frame and all(cell is None or _is_real(cell) for cell in frame[name]):
                frame[name] = [np.nan if cell is None else real(cell) for cell in frame[name]]
    return frame


def _is_real(cell: str | None) -> bool:
    try:
        return cell is not None and not math.isnan(real(cell))
    except ValueError:
        return False


def _read_parquet(path: Path) -> pd.DataFrame:
    frame: pd.DataFrame = parquet_table(path).to_pandas()
    return frame


def _read_jsonl(path: Path) -> pd.DataFrame:
    records = []
    for number, line in enumerate(read_lines(path), start=1):
        if not line.isspace():
            try:
                records.append(json_object(line))
            except ValueError as error:
                raise ValueError(f"{path}:{number}: {error}") from None
    return pd.DataFrame.from_records(records)


def _one_action_a_row(path: Path, frame: pd.DataFrame) -> Iterator[LabeledBandit]:
    for column in _COLUMNS:
        if column in frame and not pd.api.types.is_numeric_dtype(frame[column]):
            raise ValueError(f"{path}: column {column!r} must be numbers, one action a row, as behavior is")
    groups = frame.groupby("problem", sort=False, dropna=False) if "problem" in frame else [("0", frame)]
    for label, part in groups:
        reference = part["reference"].tolist() if "reference" in part else None
        yield LabeledBandit(str(label), part["behavior"].tolist(), part["reward"].tolist(), reference)


def _one_problem_a_row(path: Path, number: int, row: dict[Any, Any]) -> LabeledBandit:
    label = str(row.get("problem", number))
    cells = {c: _numbers(f"{path}: row {number}: {c}", row[c]) for c in _COLUMNS if c in row and _present(row[c])}
    for column in _COLUMNS[:2]:
        if column not in cells:
            raise ValueError(f"{path}: row {number}: {column} is missing")
    return LabeledBandit(label, cells["behavior"], cells["reward"], cells.get("reference"))


def _present(cell: Any) -> bool:
    return not (cell is None or (isinstance(cell, float) and np.isnan(cell)))


def _numbers(name: str, cell: Any) -> list[float]:
    if isinstance(cell, str):
        return parse_numbers(name, cell)
    try:
        if not isinstance(cell, list | tuple | np.ndarray):
            raise TypeError
        return [real(x) if isinstance(x, str) else float(x) for x in cell]
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name} must be a list of numbers, got {show(cell)}") from None
