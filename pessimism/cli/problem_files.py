"""Bandit problems from a file: one or many, with any number of actions each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pessimism.cli.problems import LabeledBandit, parse_numbers
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
            raise ValueError(f"{path}: no column {column!r}; found {', '.join(map(str, frame.columns))}")
    if frame.empty:
        raise ValueError(f"{path}: no problem in it")
    if pd.api.types.is_numeric_dtype(frame["behavior"]):
        return list(_one_action_a_row(path, frame))
    return [_one_problem_a_row(path, number, row) for number, row in enumerate(frame.to_dict("records"))]


def _read_frame(path: Path) -> pd.DataFrame:
    readers: dict[str, Callable[[Path], pd.DataFrame]] = {
        ".csv": pd.read_csv,
        ".parquet": pd.read_parquet,
        ".jsonl": _read_jsonl,
    }
    if path.suffix not in readers:
        raise ValueError(f"{path}: suffix must be one of {', '.join(readers)}")
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    try:
        return readers[path.suffix](path)
    except pd.errors.EmptyDataError:
        return pd.DataFrame()
    except (pd.errors.ParserError, UnicodeDecodeError, OSError) as error:
        raise ValueError(f"{path}: cannot be read: {' '.join(str(error).split())}") from None


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
        return [float(x) for x in cell]
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be a list of numbers, got {cell!r}") from None
