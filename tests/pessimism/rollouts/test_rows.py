"""Rows and columns: types, steps, prompts that are conversations, sums of reward functions."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pessimism.rollouts.read import read_rollouts
from tests.pessimism.rollouts.logs import EXAMPLES, message, tuples, write

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
    for source in (path, pd.read_parquet(path)) if suffix == ".parquet" else (path,):
        frame = read_rollouts(source, reward_column="accuracy,format")  # TRL leaves out what no function applies to
        assert frame["reward"].tolist() == [0.5, 1.0]
        assert (frame.attrs["skipped"], frame.attrs["unscored"]) == (0, 1)
        frame = read_rollouts(source, reward_column="accuracy")
        assert frame["reward"].tolist() == [1.0]
        assert frame.attrs["unscored"] == 2
    other = write(tmp_path / f"other{suffix}", rows, ("step", "prompt", "text", "accuracy", "format", "advantage"))
    assert message(other, reward_column="accuracy,format").endswith(": every reward is null (accuracy, format)")
    frame = read_rollouts(other, reward_column="accuracy,format", skip_bad=True)
    assert frame["reward"].tolist() == [0.5, 1.0]
    assert (frame.attrs["skipped"], frame.attrs["unscored"]) == (1, 0)
    told = message(other, reward_column="accuracy").split(": accuracy is ")[0]
    assert told.endswith({".parquet": "row 0"}.get(suffix, ""))


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


def test_a_conversation_is_the_same_text_in_every_format(tmp_path: Path) -> None:
    """A table gives each message the keys of all messages, with null where it had none."""
    call = [{"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}]
    plain = [{"role": "user", "content": "a"}]
    rows = [
        {"prompt": plain, "reward": 1.0},
        {"prompt": [*plain, {"role": "assistant", "content": None, "tool_calls": call}], "reward": 0.0},
        {"prompt": [{"role": "user", "content": "a", "name": None}], "reward": 0.5},
        {"prompt": [{"role": "user", "content": "say :null"}], "reward": 0.5},
    ]
    (tmp_path / "1.jsonl").write_text("\n".join(map(json.dumps, rows)))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "2.parquet")
    wanted = [
        '[{"content":"a","role":"user"}]',
        '[{"content":"a","role":"user"},{"role":"assistant","tool_calls":'
        '[{"function":{"arguments":{"x":1},"name":"f"},"type":"function"}]}]',
        '[{"content":"a","role":"user"}]',
        '[{"content":"say :null","role":"user"}]',
    ]
    frames = [rows, pd.DataFrame(rows), pd.read_parquet(tmp_path / "2.parquet"), tmp_path / "1.jsonl"]
    for source in [*frames, tmp_path / "2.parquet"]:
        assert read_rollouts(source)["prompt"].tolist() == wanted


def test_ids_that_a_table_with_a_null_holds_as_floats_are_those_of_the_others(tmp_path: Path) -> None:
    rows = pd.DataFrame({"prompt": "a", "reward": [1.0, 0.0, 1.0], "id": [7, 8, None]})
    rows.to_parquet(tmp_path / "2.parquet")
    (tmp_path / "1.jsonl").write_text(json.dumps({"prompt": "a", "reward": 0.5, "id": 7}))
    frame = read_rollouts(tmp_path, group_column="id", skip_bad=True)
    assert (frame["group"].tolist(), frame.attrs["skipped"]) == ([0, 0, 1], 1)


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_text_in_the_place_of_an_object_is_said(suffix: str, tmp_path: Path) -> None:
    path, inner = tmp_path / f"log.{suffix}", '{"score": 1}'
    record = json.dumps({"prompt": "a", "extra": inner})
    path.write_text(record if suffix == "jsonl" else 'prompt,extra\na,"{""score"": 1}"\n')
    with pytest.raises(ValueError, match="extra") as found:
        read_rollouts(path, reward_column="extra.score")
    assert str(found.value) == (
        f"{path}:{1 if suffix == 'jsonl' else 2}: no 'extra.score': extra is the text '{inner}', not an object with "
        "keys: give what it says columns of their own"
    )
