"""Options of a log: one definition, as keywords or as one object; nested keys, weights, columns of groups."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import pessimism as ps
from pessimism.rollouts.options import LogOptions, require_log, several, split_options
from tests.pessimism.rollouts.logs import message, write

NESTED = [
    {"meta": {"id": i // 2, "q": "ab"[i // 2], "time": {"step": 3}}, "extra_info": {"score": i / 4, "len": 2 + i}}
    for i in range(4)
]
NAMES: dict[str, Any] = {
    "prompt_column": "meta.q",
    "reward_column": "extra_info.score",
    "step_column": "meta.time.step",
    "group_column": "meta.id",
    "length_column": "extra_info.len",
}


def nested(folder: Path, suffix: str) -> Any:
    path = folder / f"log{suffix}"
    if suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in NESTED))
    elif suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(NESTED), path)
    else:
        return pd.DataFrame(NESTED)
    return path


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet", "frame"])
def test_names_with_dots_reach_into_objects(tmp_path: Path, suffix: str) -> None:
    source = nested(tmp_path, suffix)
    frame = ps.read_rollouts(source, **NAMES)
    assert frame["prompt"].tolist() == ["a", "a", "b", "b"]
    assert frame["reward"].tolist() == [0.0, 0.25, 0.5, 0.75]
    assert frame["step"].tolist() == [3] * 4
    assert frame["group"].tolist() == [0, 0, 1, 1]
    assert frame["length"].tolist() == [2.0, 3.0, 4.0, 5.0]
    told = message(source, prompt_column="meta.q", reward_column="extra.score")
    assert told.startswith("reward_column 'extra.score' is not a column; columns found in ")
    lost = message(source, prompt_column="meta.q", reward_column="extra_info.points")
    where = {
        ".jsonl": f"{source}:1: missing key 'extra_info.points': extra_info has the keys score, len",
        "frame": "row 0: missing key 'extra_info.points': extra_info has the keys score, len",
    }
    assert message(source, prompt_column="meta.q").endswith(
        "; numbers inside them: extra_info.score, meta.id, extra_info.len"
    )
    assert lost == where.get(suffix, f"{source}: no column 'extra_info.points': extra_info holds score, len")


def test_a_column_with_dots_in_its_own_name_comes_first(tmp_path: Path) -> None:
    rows = [{"prompt": "a", "x.y": 1.0, "x": {"y": 7.0}}, {"prompt": "a", "x.y": 2.0, "x": {"y": 7.0}}]
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for source in (path, pd.DataFrame(rows)):
        assert ps.read_rollouts(source, reward_column="x.y")["reward"].tolist() == [1.0, 2.0]


WAYS: list[Any] = ["a:1,b:0.1", ["a", "b:0.1"], {"a": 1, "b": 0.1}, " a , b: 1e-1"]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet", ".csv"])
@pytest.mark.parametrize("weights", WAYS)
def test_weights_of_rewards(tmp_path: Path, suffix: str, weights: Any) -> None:
    rows = [("p", 1.0, 1.0), ("p", 0.0, 1.0), ("p", None, -2.0), ("p", 0.5, None)]
    path = write(tmp_path / f"log{suffix}", rows, ("prompt", "a", "b"))
    frame = ps.read_rollouts(path, reward_column=weights)
    assert frame["reward"].tolist() == pytest.approx([1.1, 0.1, -0.2, 0.5], abs=1e-15)
    assert frame.attrs["columns"]["reward"] == "a + 0.1 b"
    whole = write(tmp_path / f"whole{suffix}", rows[:2], ("prompt", "a", "b"))
    assert ps.read_rollouts(whole, reward_column=weights)["reward"].tolist() == [1.1, 0.1]


def test_one_reward_with_a_weight_and_names_with_colons(tmp_path: Path) -> None:
    path = write(tmp_path / "log.csv", [("p", 4.0, 1.0)], ("prompt", "a", "a:2"))
    assert ps.read_rollouts(path, reward_column="a:0.5")["reward"].tolist() == [2.0]
    assert ps.read_rollouts(path, reward_column="a:2")["reward"].tolist() == [1.0]  # a column of that name


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"a": float("nan")}, "the weight of 'a' must be a finite number, got nan"),
        ("a:x", "the weight of 'a' must be a finite number, got 'x'"),
        ({"a": None}, "the weight of 'a' must be a finite number, got null"),
        (["a", "a:2"], "names 'a' more than once"),
        ([], "names no column"),
    ],
)
def test_bad_weights_are_named(tmp_path: Path, given: Any, what: str) -> None:
    path = write(tmp_path / "log.csv", [("p", 4.0)], ("prompt", "a"))
    assert what in message(path, reward_column=given)


def test_several_columns_make_a_group(tmp_path: Path) -> None:
    rows = [("p", "x", 0, 1.0), ("p", "x", 1, 0.0), ("p", "y", 0, 0.5), ("p", "x", 0, 0.25)]
    for suffix in (".jsonl", ".parquet", ".csv"):
        path = write(tmp_path / f"log{suffix}", rows, ("prompt", "problem", "epoch", "reward"))
        for columns in ("problem,epoch", ["problem", "epoch"]):
            frame = ps.read_rollouts(path, group_column=columns)
            assert frame["group"].tolist() == [0, 1, 2, 0]
        assert ps.read_rollouts(path, group_column="problem")["group"].tolist() == [0, 0, 1, 0]
    assert "group_column 'task' is not a column" in message(path, group_column=["problem", "task"])


def test_global_step_is_a_step(tmp_path: Path) -> None:
    path = write(tmp_path / "log.csv", [("p", 4, 1.0), ("p", 5, 0.0)], ("prompt", "global_step", "reward"))
    frame = ps.read_rollouts(path)
    assert frame["step"].tolist() == [4, 5]
    assert frame.attrs["step_note"] is None


def test_all_verbs_take_the_same_options(tmp_path: Path) -> None:
    rows = [("p", i % 2, i % 3) for i in range(8)] + [("q", 1, i % 2) for i in range(4)]
    path = write(tmp_path / "log.csv", rows, ("question", "id", "points"))
    keywords: dict[str, Any] = {"prompt_column": "question", "reward_column": "points", "group_column": "id"}
    options = LogOptions(**keywords)
    found = ps.diagnose(path, "kimi", beta=0.5, **keywords).frame
    pd.testing.assert_frame_equal(ps.diagnose(path, "kimi", beta=0.5, log_options=options).frame, found)
    assert len(found) == 2
    table = ps.compare(log=path, objectives=["kimi:beta=0.5"], **keywords)
    pd.testing.assert_frame_equal(ps.compare(log=path, objectives=["kimi:beta=0.5"], log_options=options), table)
    assert table["problems"].tolist() == [2]
    at = ps.match(log=path, objective="kimi", kl=0.1, **keywords)
    assert ps.match(log=path, objective="kimi", kl=0.1, log_options=options) == at
    both = pd.DataFrame({"kl": ps.diagnose(path, at, log_options=options).frame["kl"]})
    assert float(both["kl"].mean()) == pytest.approx(0.1, rel=1e-6)
    with pytest.raises(TypeError, match="compare\\(\\) has no option 'rewards'"):
        ps.compare(log=path, objectives=["kimi"], rewards="points")
    with pytest.raises(TypeError, match="read_rollouts\\(\\) has no option 'colunm'"):
        ps.read_rollouts(path, colunm="points")
    for verb in (ps.compare, ps.match):
        with pytest.raises(ValueError, match="^prompt_column is an option of a log, and log is not given"):
            verb([0.5, 0.5], [0.0, 1.0], **({"objective": "kimi", "kl": 0.1} if verb is ps.match else {}), **keywords)


def test_options_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="advantage_column already has the baseline in it"):
        LogOptions(advantage_column="a", baseline_column="b")
    with pytest.raises(ValueError, match="singleton must be 'zero' or 'reward', got 'r'"):
        LogOptions(singleton="r")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="prompt_column must be the name of one column"):
        LogOptions(prompt_column=["a"])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="log_options already holds skip_bad"):
        split_options(LogOptions(), {"skip_bad": True})
    require_log(LogOptions())
    assert several("a, b") == several(["a", "b"]) == ("a", "b")
    assert several(None) == ()
