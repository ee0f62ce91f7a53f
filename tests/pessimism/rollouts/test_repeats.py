"""A batch in two files is counted once; what is alike by chance is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import pessimism as ps
from pessimism.rollouts.repeats import same_completions
from pessimism.rollouts.rows import Columns
from pessimism.rollouts.sources import File

PASSES = (0, 1, 2, 3, 3, 4)


def trl(step: int, text: str = "c") -> pd.DataFrame:
    """Completions as TRL writes them (trainer/grpo_trainer.py), one function that may abstain."""
    rows: list[Any] = [
        (step, f"What is {i}?", f"{text}{k}", float(k < n), 0.0) for i, n in enumerate(PASSES) for k in range(4)
    ]
    return pd.DataFrame(rows, columns=["step", "prompt", "completion", "accuracy_reward", "advantage"])


@pytest.mark.parametrize("suffix", ["parquet", "jsonl", "jsonl.gz", "json", "csv", "csv.gz"])
def test_a_batch_in_two_files_is_counted_once(tmp_path: Path, suffix: str) -> None:
    for step in (1, 2, 3):
        log = trl(step, "c" if step < 3 else "d")
        path = tmp_path / f"completions_{step:05}.{suffix}"
        if suffix == "parquet":
            log.to_parquet(path)
        elif suffix.startswith("csv"):
            log.to_csv(path, index=False)
        else:
            log.to_json(path, orient="records", lines=suffix != "json")
    frame = ps.read_rollouts(tmp_path)
    assert frame["step"].value_counts().to_dict() == {1: 24, 3: 24}  # other texts with the same rewards stay
    assert [Path(path).name for path in frame.attrs["repeated"]] == [f"completions_00002.{suffix}"]
    (note,) = frame.attrs["notes"]
    assert note.startswith(f"completions_00002.{suffix} holds the completions of an earlier file once more (24 rows)")
    assert ps.read_rollouts(frame).attrs["repeated"] == frame.attrs["repeated"]
    assert len(ps.diagnose(tmp_path, "kimi")) == 12


def test_nulls_do_not_hide_a_repetition(tmp_path: Path) -> None:
    for step in (1, 2):
        log = trl(step)
        log.loc[3::4, "accuracy_reward"] = None
        log.to_parquet(tmp_path / f"{step}.parquet")
    frame = ps.read_rollouts(tmp_path)
    assert frame.groupby("prompt", observed=True).size().tolist() == [3] * 6
    assert len(frame.attrs["repeated"]) == 1


def test_what_is_alike_by_chance_stays(tmp_path: Path) -> None:
    for step in (1, 2):  # without texts equal rewards may be chance
        trl(step).drop(columns=["completion", "advantage"]).to_parquet(tmp_path / f"{step}.parquet")
    frame = ps.read_rollouts(tmp_path, reward_column="accuracy_reward")
    assert (len(frame), frame.attrs["repeated"]) == (48, [])
    one, two = tmp_path / "1.parquet", tmp_path / "2.parquet"
    trl(1).to_parquet(one)
    trl(2).iloc[:-1].to_parquet(two)
    files = File(one, ".parquet", named=False), File(two, ".parquet", named=False)
    assert not same_completions(*files, Columns("prompt", ("accuracy_reward",), "step"))


def test_what_is_malformed_in_a_csv_file_is_no_repetition(tmp_path: Path) -> None:
    for step, odd in ((1, "1,What is 5?"), (2, '"x"y'), (3, "1,What is 5?")):
        path = tmp_path / f"{step}.csv"
        trl(step).to_csv(path, index=False)
        path.write_text(path.read_text() + odd)
    frame = ps.read_rollouts(tmp_path, skip_bad=True)
    assert (len(frame), frame.attrs["repeated"], frame.attrs["skipped"]) == (72, [], 3)
