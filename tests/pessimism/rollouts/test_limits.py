"""What a reader does with more than it can hold, and with what two readers would read differently."""

from __future__ import annotations

import json
import lzma
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pessimism.rollouts import csv_files, lines
from pessimism.rollouts.read import read_rollouts
from tests.pessimism.rollouts.logs import message, tuples, write

GOOD = '{"prompt": "a", "reward": 1}\n'


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
@pytest.mark.parametrize("skip_bad", [False, True])
def test_a_line_beyond_the_limit_is_refused_with_its_number(
    suffix: str, skip_bad: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "LINE", 2**20)
    path = write(tmp_path / f"log.{suffix}")
    end = path.read_bytes().count(b"\n") + 1
    with path.open("ab") as file:
        file.write(b"a" * (2**20 + 1))
    assert message(path, skip_bad=skip_bad) == f"{path}:{end}: longer than 1 MiB, the most that a line may have"


def test_a_quote_that_stays_open_is_no_end_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_files, "LINE", 2**20)
    path = tmp_path / "log.csv"
    for opened in ('"', '"x","'):  # a block more than the bound, at most, is read
        path.write_text(
            "prompt,reward\n" + opened + ('a\n","' if len(opened) > 1 else "a\n") * 2**20
        )  # a block more than the bound, at most, is read
        assert "a record of more than 1 MiB" in message(path, skip_bad=True)


def test_a_record_of_the_limit_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_files, "LINE", 1000)
    monkeypatch.setattr(lines, "LINE", 1000)
    path = tmp_path / "log.csv"
    path.write_text("prompt,reward\n" + f"{'a' * 997},1\n" + '"' + "b\n" * 497 + '",1\n')
    assert tuples(read_rollouts(path))[0] == (0, "a" * 997, 1.0)


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_many_columns_are_refused_in_a_short_line(suffix: str, tmp_path: Path) -> None:
    names = [f"c{i}" for i in range(10_001)]
    path = write(tmp_path / f"log.{suffix}", [tuple(range(len(names)))], tuple(names))
    assert message(path) == f"{path}: 10001 columns, more than the 10000 that a log may have"


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_names_in_errors_are_cut_and_cannot_control_a_terminal(suffix: str, tmp_path: Path) -> None:
    names = ["x" * 5000, "\x1b[2J", *(f"c{i}" for i in range(3000))]
    said = message(write(tmp_path / f"log.{suffix}", [tuple(range(len(names)))], tuple(names)))
    assert len(said) < 1000
    assert said.isprintable()
    assert "and 2982 more" in said


@pytest.mark.parametrize("key", ["reward", "prompt", "step"])
@pytest.mark.parametrize("depth", [900, 960, 990, 2000, 100_000])
def test_a_deep_nesting_is_a_row_or_a_malformed_one(depth: int, key: str, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    row = {"prompt": '"a"', "reward": "1", "step": "0"}
    deep = row | {key: "[" * depth + "]" * depth}
    path.write_text("".join("{" + ", ".join(f'"{k}": {v}' for k, v in r.items()) + "}\n" for r in (row, deep)))
    read = read_rollouts(path, skip_bad=True)
    assert len(read) + read.attrs["skipped"] == 2
    assert key == "prompt" or read.attrs["skipped"] == 1
    if read.attrs["skipped"]:
        assert message(path).startswith(f"{path}:2: ")


def test_a_small_parquet_that_unpacks_to_gigabytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    schema = pa.schema([("prompt", pa.string()), ("reward", pa.float64())])
    rows = 2**20
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        table = pa.table({"prompt": pa.array(["a"] * rows), "reward": np.zeros(rows)}, schema=schema)
        for _ in range(80):
            writer.write_table(table)
    assert path.stat().st_size < 2**20
    assert "bytes that unpack to 1.25 GiB, more than 1 GiB and 100 times as many" in message(path)


def test_a_log_that_is_compressed_otherwise_is_said(tmp_path: Path) -> None:
    write(tmp_path / "1.jsonl")
    packed = tmp_path / "2.jsonl.xz"
    packed.write_bytes(lzma.compress(GOOD.encode()))
    assert message(tmp_path) == f"{packed}: is compressed: unpack it, or move it elsewhere"
    assert message(packed).startswith(f"{packed}: unknown suffix '.xz'")


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_what_is_no_file_beside_good_ones_is_said(kind: str, tmp_path: Path) -> None:
    write(tmp_path / "1.jsonl")
    odd = tmp_path / "2.jsonl"
    if kind == "pipe":
        os.mkfifo(odd)
    else:
        odd.symlink_to("gone.jsonl")
    said = {"pipe": "is a pipe, not a regular file", "link": "is a link to gone.jsonl, which is not there"}[kind]
    assert message(tmp_path, skip_bad=True) == f"{odd}: {said}"


@pytest.mark.parametrize("text", ["1_000", "١٢", "１", "1__0", "\u20031", "0x1", "1e", "1,", "infinity", "1_0.5"])
def test_numbers_of_csv_are_ascii_or_refused(text: str, tmp_path: Path) -> None:
    path = write(tmp_path / "log.csv", [(0, "a", text)])
    assert f"{path}:2: reward is " in message(path)
    path = write(tmp_path / "log.csv", [(text, "a", 1.0)])
    assert f"{path}:2: step is " in message(path)


@pytest.mark.parametrize("step", ["1_0", "١", "9007199254740994.0", "1e17"])
def test_steps_are_whole_and_exact(step: str, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(f'{{"prompt": "a", "reward": 1, "step": "{step}"}}\n')
    assert "step is " in message(path)


@pytest.mark.parametrize(
    "line",
    [
        '{"prompt": "a", "reward": 0, "reward": 1}',
        '{"prompt": [{"r": 1, "r": 2}], "reward": 1}',
        '{"a": 1, "\\u0061": 1}',
    ],
)
def test_a_key_that_stands_twice_is_malformed(line: str, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(GOOD + line + "\n")
    assert "stands there twice" in message(path)
    assert read_rollouts(path, skip_bad=True).attrs["skipped"] == 1


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_what_is_not_finite_is_no_reward(value: str, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(f'{{"prompt": "a", "reward": {value}}}\n')
    assert "not a finite number" in message(path)


@pytest.mark.parametrize("as_list", [False, True])
@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("reward", {}, "reward is 1000000000000000000000000000000000000..., not a finite number"),
        ("step", {}, "step is 1000000000000000000000000000000000000..., not an integer"),
        (
            "head_version",
            {"log_prob_columns": "lp"},
            "head_version is 1000000000000000000000000000000000000..., no num",
        ),
        ("advantage", {}, None),  # which nobody asked for
        (
            "advantage",
            {"advantage_column": "advantage"},
            "advantage is 1000000000000000000000000000000000000..., not a",
        ),
        ("length", {"length_column": "length"}, "length is 1000000000000000000000000000000000000..., not a finite nu"),
        ("id", {"group_column": "id"}, None),
    ],
)
def test_an_integer_beyond_float64_is_one_line(
    name: str, options: dict[str, str], said: str | None, as_list: bool, tmp_path: Path
) -> None:
    rows = [{"prompt": "a", "reward": 1.0, "lp": -1.0} | {name: value} for value in (1, 10**400)]
    path = tmp_path / "log.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    source = rows if as_list else path
    if said is None:
        assert read_rollouts(source, **options)["reward"].tolist() == [1.0, 1.0]
    else:
        assert said in message(source, **options)
        assert len(read_rollouts(source, skip_bad=True, **options)) == 1


def test_a_frame_with_an_integer_inside_that_arrow_does_not_have() -> None:
    frame = pd.DataFrame({"prompt": ["a"], "responses": [[{"reward": 10**400}]]})
    assert message(frame).startswith("reward_column is required")


@pytest.mark.filterwarnings("error")
def test_a_sum_beyond_float64_is_said_once() -> None:
    frame = pd.DataFrame({"prompt": "a", "x": [1e308, 1.0], "y": [1e308, 1.0]})
    assert message(frame, reward_column="x,y") == "row 0: the sum of rewards is inf, not a finite number"
