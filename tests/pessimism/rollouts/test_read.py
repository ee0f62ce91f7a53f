"""Rollout logs: every format reads alike, and every broken row is reported where it is."""

from __future__ import annotations

import csv
import json
import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pessimism.rollouts import formats as log_formats
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


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl", ".ndjson", ".JSONL"])
def test_formats_read_alike(tmp_path: Path, suffix: str) -> None:
    frame = read_rollouts(write(tmp_path / f"log{suffix}"))
    assert list(frame.columns) == ["step", "prompt", "reward"]
    assert [str(dtype) for dtype in frame.dtypes] == ["int64", "category", "float64"]
    assert tuples(frame) == ROWS
    assert frame.attrs == {"skipped": 0, "step_note": None, "files": [str(tmp_path / f"log{suffix}")]}


def test_frame_reads_like_its_file_and_is_left_alone() -> None:
    log = pd.read_parquet(EXAMPLES / "trl_completions" / "completions_00016.parquet")
    before = log.copy()
    frame = read_rollouts(log)
    pd.testing.assert_frame_equal(frame, read_rollouts(EXAMPLES / "trl_completions" / "completions_00016.parquet"))
    pd.testing.assert_frame_equal(log, before)
    pd.testing.assert_frame_equal(read_rollouts(frame), frame)


def test_trl_and_verl_samples_agree() -> None:
    trl = read_rollouts(EXAMPLES / "trl_completions")
    verl = read_rollouts(EXAMPLES / "verl_rollouts")
    assert len(trl) == 3072
    assert (trl.groupby(["step", "prompt"], observed=True).size() == 16).all()
    assert tuples(trl[trl["step"] == 32]) == tuples(verl)


def test_folder_in_natural_order_with_other_files_left_alone(tmp_path: Path) -> None:
    for step in (10, 2, 1):
        write(tmp_path / f"{step}.jsonl", [(step, "p", 1.0)])
    write(tmp_path / "3.csv", [(3, "p", 1.0)])
    write(tmp_path / ".4.csv", [(4, "p", 1.0)])
    (tmp_path / "README.md").write_text("notes")
    (tmp_path / "5.jsonl").mkdir()
    frame = read_rollouts(tmp_path)
    assert frame["step"].tolist() == [1, 2, 3, 10]
    assert [Path(name).name for name in frame.attrs["files"]] == ["1.jsonl", "2.jsonl", "3.csv", "10.jsonl"]


def test_source_errors_name_it(tmp_path: Path) -> None:
    assert message(tmp_path).startswith(f"{tmp_path}: no file with a known suffix")
    assert message(tmp_path / "no.csv") == f"{tmp_path / 'no.csv'}: no such file or folder"
    (tmp_path / "log.txt").write_text("x")
    assert message(tmp_path / "log.txt").startswith(f"{tmp_path / 'log.txt'}: unknown suffix '.txt'")
    (tmp_path / "broken.parquet").write_text("PAR1 no PAR1")
    assert message(tmp_path / "broken.parquet").startswith(
        f"{tmp_path / 'broken.parquet'}: cannot be read from row 0 on"
    )
    for name in ("empty.jsonl", "blank.jsonl"):
        (tmp_path / name).write_text("" if name == "empty.jsonl" else "\n \n")
        assert message(tmp_path / name) == f"{tmp_path / name}: no usable row, 0 malformed"
    (tmp_path / "empty.csv").write_text("")
    assert message(tmp_path / "empty.csv") == f"{tmp_path / 'empty.csv'}:1: no header line"
    assert message(pd.DataFrame({"prompt": [], "reward": []})) == "the frame: no usable row, 0 malformed"


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_column_options(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"log{suffix}", ROWS, ("epoch", "question", "points"))
    text = message(path)
    assert "prompt_column is required" in text
    assert "epoch, question, points" in text
    assert "reward_column is required" in message(path, prompt_column="question")
    assert "reward_column 'point' is not a column" in message(path, prompt_column="question", reward_column="point")
    assert "step_column 'time' is not a column" in message(path, step_column="time")
    frame = read_rollouts(path, prompt_column="question", reward_column="points", step_column="epoch")
    assert tuples(frame) == ROWS
    assert (read_rollouts(path, prompt_column="question", reward_column="points")["step"] == 0).all()


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_steps_merged_for_want_of_a_column_are_said(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"log{suffix}", [(1, "a", 1.0), (2, "a", 0.0)], ("Global_Step", "prompt", "reward"))
    note = read_rollouts(path).attrs["step_note"]
    assert note == (
        "no step column: all rows are one step (column 'Global_Step' looks like one: step_column, or --step-column "
        "Global_Step)"
    )
    assert read_rollouts(path, step_column="Global_Step").attrs["step_note"] is None
    plain = write(tmp_path / f"plain{suffix}", [("a", 1.0)], ("prompt", "reward"))
    assert read_rollouts(plain).attrs["step_note"] == "no step column: all rows are one step"


def test_steps_missing_in_some_files_or_in_a_frame(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", [("a", 1.0)], ("prompt", "reward"))
    write(tmp_path / "b.csv")
    assert read_rollouts(tmp_path).attrs["step_note"] == "no step column in 1 of 2 files: their rows are all step 0"
    frame = pd.DataFrame({"prompt": ["a"], "reward": [1.0], "epoch": [3], "iter": [4]})
    assert "column 'iter' looks like one" in read_rollouts(frame).attrs["step_note"]


def test_the_column_of_bad_json_is_in_its_own_line(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"prompt": "a", "reward": 1}\n{"prompt":\n')
    assert message(tmp_path / "log.jsonl").endswith("log.jsonl:2: bad JSON, Expecting value (column 11)")


def test_a_column_that_appears_twice(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("prompt,reward,reward\na,1,0\n")
    assert "column 'reward' appears 2 times" in message(tmp_path / "log.csv")
    twice = pd.DataFrame([["a", 1.0, 0.0]], columns=["prompt", "reward", "reward"])
    assert "column 'reward' appears 2 times" in message(twice)


TRL = ("step", "prompt", "completion", "accuracy", "format", "advantage")


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_trl_reward_functions(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"log{suffix}", [(0, "a", "x", 1.0, 0.5, 0.0), (0, "a", "y", 0.0, 0.25, 0.0)], TRL)
    text = message(path)
    assert "accuracy, format" in text
    assert "'accuracy,format'" in text
    assert read_rollouts(path, reward_column="format")["reward"].tolist() == [0.5, 0.25]
    assert read_rollouts(path, reward_column="accuracy, format")["reward"].tolist() == [1.5, 0.25]
    assert "'formal' is not a column" in message(path, reward_column="accuracy,formal")
    one = write(
        tmp_path / f"one{suffix}", [(0, "a", "x", 1.0, 0.0)], ("step", "prompt", "completion", "exact", "advantage")
    )
    assert read_rollouts(one)["reward"].tolist() == [1.0]


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_reward_functions_that_do_not_apply_count_for_nothing(tmp_path: Path, suffix: str) -> None:
    rows = [(0, "a", "x", None, 0.5, 0.0), (0, "a", "y", 1.0, None, 0.0), (0, "a", "z", None, None, 0.0)]
    path = write(tmp_path / f"log{suffix}", rows, TRL)
    assert message(path, reward_column="accuracy,format").endswith(": every reward is null (accuracy, format)")
    frame = read_rollouts(path, reward_column="accuracy,format", skip_bad=True)
    assert frame["reward"].tolist() == [0.5, 1.0]
    assert frame.attrs["skipped"] == 1
    assert (
        message(path, reward_column="accuracy")
        .split(": accuracy is ")[0]
        .endswith({".parquet": "row 0"}.get(suffix, ""))
    )


@pytest.mark.parametrize("source", ["frame", "parquet", "jsonl"])
def test_conversations_are_grouped_by_their_content(tmp_path: Path, source: str) -> None:
    hello, bye = [{"role": "user", "content": "héllo"}], [{"role": "user", "content": "bye"}]
    rows = [{"prompt": hello, "reward": 1.0}, {"prompt": bye, "reward": 0.0}, {"prompt": hello[:], "reward": 0.0}]
    log: Any = pd.DataFrame(rows)
    if source == "parquet":
        log.to_parquet(tmp_path / "log.parquet")
        pd.testing.assert_frame_equal(
            read_rollouts(pd.read_parquet(tmp_path / "log.parquet")),
            read_rollouts(tmp_path / "log.parquet"),
            check_like=True,
        )
        log = tmp_path / "log.parquet"
    if source == "jsonl":
        log = tmp_path / "log.jsonl"
        log.write_text("".join(json.dumps(row) + "\n" for row in rows))
    prompt = read_rollouts(log)["prompt"]
    assert prompt.tolist() == [
        json.dumps(m, sort_keys=True, ensure_ascii=False, separators=(",", ":")) for m in (hello, bye, hello)
    ]
    assert prompt.cat.codes.tolist() == [0, 1, 0]


BROKEN_JSONL = [
    ('{"prompt": "a", "reward": 1', "bad JSON, "),
    ("nonsense", "bad JSON, "),
    ("[1, 2]", "expected a JSON object, found [1, 2]"),
    ("[" * 100_000, "bad JSON, "),
    ('{"prompt": "a"}', "missing key 'reward'"),
    ('{"reward": 1}', "missing key 'prompt'"),
    ('{"prompt": "a", "reward": "0.5"}', "reward is '0.5', not a number"),
    ('{"prompt": "a", "reward": null}', "reward is null, not a number"),
    ('{"prompt": "a", "reward": [1]}', "reward is [1], not a number"),
    ('{"prompt": "a", "reward": NaN}', "reward is nan, not a finite number"),
    ('{"prompt": "a", "reward": -Infinity}', "reward is -inf, not a finite number"),
    ('{"prompt": "a", "reward": 1e999}', "reward is inf, not a finite number"),
    ('{"prompt": "a", "reward": 1' + "0" * 400 + "}", "not a finite number"),
    ('{"prompt": null, "reward": 1}', "prompt is null"),
    ('{"prompt": NaN, "reward": 1}', "prompt is null"),
    ('{"prompt": "\\ud800", "reward": 1}', "prompt is not valid Unicode text"),
]


@pytest.mark.parametrize(("line", "what"), BROKEN_JSONL)
def test_a_broken_jsonl_line(tmp_path: Path, line: str, what: str) -> None:
    path, good = tmp_path / "log.jsonl", '{"prompt": "a", "reward": 1}'
    for place, lines in ((1, [line, good]), (4, [good, "", good, line, good])):
        path.write_text("\n".join(lines))
        text = message(path)
        assert text.startswith(f"{path}:{place}: ")
        assert what in text
        frame = read_rollouts(path, skip_bad=True)
        assert frame.attrs["skipped"] == 1
        assert len(frame) == lines.count(good)


def test_a_jsonl_line_that_is_not_utf8_and_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"prompt": "a", "reward": 1}\r\n{"prompt": "\xff", "reward": 1}\n')
    assert message(path) == f"{path}:2: not valid UTF-8 (byte 13)"
    assert tuples(read_rollouts(path, skip_bad=True)) == [(0, "a", 1.0)]
    path.write_text('{"prompt": "a\u2028b", "reward": true}\n{"prompt": "", "reward": false}\n', encoding="utf-8")
    assert tuples(read_rollouts(path)) == [
        (0, "a\u2028b", 1.0),
        (0, "", 0.0),
    ]  # U+2028 ends no line; true and false are 1 and 0


def test_only_broken_lines(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text("x\ny\n")
    assert message(path).startswith(f"{path}:1: bad JSON")
    assert message(path, skip_bad=True) == f"{path}: no usable row, 2 malformed"


STEPS: list[tuple[object, bool]] = [
    (3, True), (-2, True), (3.0, True), ("3", True), ("3.0", True), (2**63 - 1, True),
    (2.5, False), ("x", False), (None, False), (True, False), (2**63, False), ("inf", False), ("", False),
]  # fmt: skip


@pytest.mark.parametrize(("step", "good"), STEPS)
def test_steps_are_integers(tmp_path: Path, step: object, good: bool) -> None:
    path = write(tmp_path / "log.jsonl", [(0, "a", 1.0), (step, "a", 1.0)])
    if good:
        assert read_rollouts(path)["step"].tolist() == [0, int(float(str(step))) if isinstance(step, str) else step]
    else:
        assert message(path).startswith(f"{path}:2: step is ")


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
    assert read_rollouts(frame, skip_bad=True).attrs == {"skipped": 3, "step_note": None, "files": []}
    mixed = pd.DataFrame({"prompt": ["a", 1, b"c", {"x": object()}], "reward": [1, True, 0.5, 1]}, dtype=object)
    assert message(mixed) == "row 2: prompt is b'c', neither text nor a list of messages"
    assert read_rollouts(mixed, skip_bad=True)["prompt"].tolist() == ["a", "1"]
    assert message(pd.DataFrame({"prompt": ["a"], "reward": ["0.5"]})) == "row 0: reward is '0.5', not a number"


def test_column_types_of_every_kind(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    kinds: list[pa.DataType] = [pa.bool_(), pa.int8(), pa.uint64(), pa.float16(), pa.float32(), pa.decimal128(5, 2)]
    ones = {pa.bool_(): True, pa.float16(): np.float16(1), pa.decimal128(5, 2): Decimal(1)}
    for kind in kinds:
        one = ones.get(kind, 1)
        reward = pa.array([one, one - one if kind != pa.bool_() else False], type=kind)
        table = pa.table({"step": ["7", "8"], "prompt": pa.array(["b", "a"]).dictionary_encode(), "reward": reward})
        pq.write_table(table, path)
        for source in (path, table.to_pandas()):
            assert tuples(read_rollouts(source)) == [(7, "b", 1.0), (8, "a", 0.0)], kind  # older TRL: steps as text


def test_array_route_equals_row_route(tmp_path: Path) -> None:
    """One null sends a batch down the row-by-row route; its other rows must come out the same."""
    log = pd.read_parquet(EXAMPLES / "trl_completions" / "completions_00048.parquet")
    log.loc[len(log)] = {"step": 48, "prompt": None, "completion": "", "reward": 0.0, "advantage": 0.0}
    log.to_parquet(tmp_path / "log.parquet")
    expected = read_rollouts(EXAMPLES / "trl_completions" / "completions_00048.parquet")
    pd.testing.assert_frame_equal(read_rollouts(tmp_path / "log.parquet", skip_bad=True), expected)
    pd.testing.assert_frame_equal(read_rollouts(log, skip_bad=True), expected)


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


def test_no_progress_bar_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    read_rollouts(EXAMPLES / "trl_completions")
    assert capsys.readouterr() == ("", "")
