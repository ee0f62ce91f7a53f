"""Logs written in every format, and what reading them says."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pessimism.rollouts.read import read_rollouts

EXAMPLES = Path(__file__).parents[3] / "examples"


ROWS = [(0, "a", 1.0), (0, "a", 0.0), (0, "b", 0.5), (1, "a", 0.25)]


def write(
    path: Path, rows: list[tuple[Any, ...]] = ROWS, names: tuple[str, ...] = ("step", "prompt", "reward")
) -> Path:
    """Write rows in the format that the suffix says."""
    if path.suffix == ".parquet":
        pd.DataFrame(rows, columns=list(names)).to_parquet(path)
    elif path.suffix == ".csv":
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([names, *rows])
    else:
        path.write_text("".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows))
    return path


def tuples(frame: pd.DataFrame) -> list[tuple[Any, ...]]:
    return list(frame.astype({"prompt": "str"}).itertuples(index=False, name=None))


def message(source: Any, **options: Any) -> str:
    with pytest.raises(ValueError) as error:  # noqa: PT011
        read_rollouts(source, **options)
    text = str(error.value)
    assert "\n" not in text
    return text
