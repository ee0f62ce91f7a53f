"""Formats: broken records of CSV, parquet and frames where they are, round trips."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pessimism.rollouts import formats as log_formats
from pessimism.rollouts.read import read_rollouts
from tests.pessimism.rollouts.logs import ROWS, message, tuples, write


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl", ".ndjson", ".JSONL"])
def test_formats_read_alike(tmp_path: Path, suffix: str) -> None:
    frame = read_rollouts(write(tmp_path / f"log{suffix}"))
    assert list(frame.columns) == ["step", "prompt", "reward"]
    assert [str(dtype) for dtype in frame.dtypes] == ["int64", "category", "float64"]
    assert tuples(frame) == ROWS
    name = str(tmp_path / f"log{suffix}")
    expected = {"skipped": 0, "step_note": None, "files": [name], "layouts": {name: "columns"}, "passed_over": {}}
    assert frame.attrs.items() >= expected.items()
    assert frame.attrs["files"] == [str(tmp_path / f"log{suffix}")]
    assert frame.attrs["columns"] == {"prompt": "prompt", "reward": "reward", "step": "step"}
    nothing = ("skipped", "unscored", "step_note", "notes", "repeated", "drop_equal", "singleton", "used")
    assert not any(frame.attrs[name] for name in nothing)


BROKEN_CSV = [
    ("0,a", "2 fields, the header has 3"),
    ("0,a,1,2", "4 fields, the header has 3"),
    ("0,a,abc", "reward is 'abc', not a number"),
    ("0,a,", "reward is null, not a number"),
    ("0,a,nan", "reward is nan, not a finite number"),
    ("0,a,-inf", "reward is -inf, not a finite number"),
    ("0,,1", "prompt is null"),
    ("x,a,1", "step is 'x', not an integer"),
    (",a,1", "step is null, not an integer"),
    ('0,"a"b,1', "bad CSV, "),
    ("0,\udcff,1", "prompt is not valid Unicode text"),
    ('0,"two\nlines",oops', "reward is 'oops', not a number"),
]


@pytest.mark.parametrize(("line", "what"), BROKEN_CSV)
def test_a_broken_csv_line_after_fields_of_several_lines(tmp_path: Path, line: str, what: str) -> None:
    path = tmp_path / "log.csv"
    text = f'step,prompt,reward\n0,"a\nb\n\nc",1\n\n{line}\n1,b,True\n'  # the broken record starts on line 7
    path.write_bytes(text.encode(errors="surrogateescape"))
    told = message(path)
    assert told.startswith(f"{path}:7: ")
    assert what in told
    frame = read_rollouts(path, skip_bad=True)
    assert tuples(frame) == [(0, "a\nb\n\nc", 1.0), (1, "b", 1.0)]
    assert frame.attrs["skipped"] == 1


def test_an_open_quote_counts_every_line_it_swallows(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text('prompt,reward\na,1\n"b,0\nc,1\nd,1\n')
    assert message(path).startswith(f"{path}:3: bad CSV, unexpected end of data")
    frame = read_rollouts(path, skip_bad=True)
    assert (len(frame), frame.attrs["skipped"]) == (1, 3)


def test_long_csv_fields_and_the_csv_module_left_as_it_was(tmp_path: Path) -> None:
    limit = csv.field_size_limit()
    path = write(tmp_path / "log.csv", [(0, "a", "x" * (limit + 1), 1.0)], ("step", "prompt", "completion", "reward"))
    assert tuples(read_rollouts(path)) == [(0, "a", 1.0)]
    assert csv.field_size_limit() == limit


def broken_table() -> pa.Table:
    prompt, reward = ["a", None, "b", "c", "d"], [1.0, 1.0, math.nan, math.inf, 0.0]
    return pa.table({"step": [0] * 5, "prompt": prompt, "reward": reward})


@pytest.mark.parametrize("batch", [1, 2, 100])
def test_broken_parquet_rows(tmp_path: Path, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_formats, "BATCH", batch)
    path = tmp_path / "log.parquet"
    pq.write_table(broken_table(), path, row_group_size=3)
    assert message(path) == f"{path}: row 1: prompt is null"
    frame = read_rollouts(path, skip_bad=True)
    assert tuples(frame) == [(0, "a", 1.0), (0, "d", 0.0)]
    assert frame.attrs["skipped"] == 3
    pq.write_table(broken_table().slice(2), path)
    assert message(path) == f"{path}: row 0: reward is nan, not a finite number"


@pytest.mark.parametrize("batch", [1, 100])
def test_broken_frame_rows(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_formats, "BATCH", batch)
    frame = broken_table().to_pandas()
    assert message(frame) in {"row 1: prompt is null", "row 1: prompt is nan"}
    assert message(frame[2:]) == "row 0: reward is nan, not a finite number"
    expected = {"skipped": 3, "step_note": None, "files": [], "layouts": {"the frame": "columns"}}
    assert read_rollouts(frame, skip_bad=True).attrs.items() >= expected.items()
    read = read_rollouts(frame, skip_bad=True)
    assert (read.attrs["skipped"], read.attrs["step_note"], read.attrs["files"]) == (3, None, [])
    mixed = pd.DataFrame({"prompt": ["a", 1, b"c", {"x": object()}], "reward": [1, True, 0.5, 1]}, dtype=object)
    assert message(mixed) == "row 2: prompt is b'c', neither text nor a list of messages"
    assert read_rollouts(mixed, skip_bad=True)["prompt"].tolist() == ["a", "1"]
    told = "row 0: reward is the text '0.5', not a number: write it without quotes, or give its column a numeric type"
    assert message(pd.DataFrame({"prompt": ["a"], "reward": ["0.5"]})) == told


@given(
    st.lists(
        st.tuples(st.integers(-3, 3), st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.floats(-9, 9)),
        min_size=1,
        max_size=20,
    )
)
def test_round_trip_through_every_format(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, str, float]]
) -> None:
    folder = tmp_path_factory.mktemp("logs")
    for suffix in ("parquet", "jsonl", "csv"):
        assert tuples(read_rollouts(write(folder / f"log.{suffix}", rows))) == rows
    assert tuples(read_rollouts(pd.DataFrame(rows, columns=["step", "prompt", "reward"]))) == rows
