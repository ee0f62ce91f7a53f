"""Reading a rollout log: files, folders and frames, names of columns, steps that are merged."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from pessimism.rollouts.read import read_rollouts
from tests.pessimism.rollouts.logs import EXAMPLES, ROWS, message, tuples, write


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
    assert tuples(trl[trl["step"] == 32].drop(columns="advantage")) == tuples(verl)


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
        assert message(tmp_path / name) == f"{tmp_path / name}: the file is empty, without a row"
    (tmp_path / "empty.csv").write_text("")
    assert message(tmp_path / "empty.csv") == f"{tmp_path / 'empty.csv'}: the file is empty, without a header line"
    assert message(pd.DataFrame({"prompt": [], "reward": []})) == "the frame: it is empty, without a row"
    (tmp_path / "verl.jsonl").write_text('{"input": "a", "output": "b", "score": 1.0, "step": 3}\n')
    beside = read_rollouts([tmp_path / "empty.jsonl", tmp_path / "verl.jsonl"])
    assert beside.attrs["columns"] == {"prompt": "input", "reward": "score", "step": "step"}
    assert beside.attrs["step_note"] is None


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


def test_no_progress_bar_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    read_rollouts(EXAMPLES / "trl_completions")
    assert capsys.readouterr() == ("", "")
