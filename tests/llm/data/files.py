"""Files of questions and answers for tests."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from llm.data.examples import load_examples

RECORDS = [
    {"problem": "What is $1/4 + 1/4$?", "answer": r"\frac{1}{2}", "solution": "Add.", "level": 1},
    {"problem": "Zahl π,\n7?", "answer": "025", "solution": 'It "is".', "level": 2},
]


EXPECTED = {
    "prompt": [record["problem"] for record in RECORDS],
    "answer": [r"\frac{1}{2}", "025"],
    "solution": ["Add.", 'It "is".'],
    "level": [1, 2],
}


def as_lines(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def as_array(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text(json.dumps(records, indent=1), encoding="utf-8")
    return path


def as_csv(path: Path, records: list[dict[str, Any]]) -> Path:
    pd.DataFrame(records).to_csv(path, index=False)
    return path


def as_parquet(path: Path, records: list[dict[str, Any]]) -> Path:
    pd.DataFrame(records).to_parquet(path, index=False)
    return path


def refused(source: Path | str, said: str, **options: Any) -> None:
    """One line, with nothing of the message left out."""
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        load_examples(str(source), **options)
