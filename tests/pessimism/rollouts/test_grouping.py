"""Groups of a log: sessions of several outputs, problems of one text, sizes that look wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pessimism as ps
from pessimism.rollouts.grouping import distribution, sessions_of, several_problems, size_notes, taken_for

PASSES = (0, 1, 2, 3, 3, 4)


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def verl(last: float | None = None) -> list[dict[str, Any]]:
    """Rows as verl since 0.9 dumps them (trainer/ppo/ray_trainer.py): the key of each output as its uid."""
    rows = []
    for prompt, passes in enumerate(PASSES):
        for rollout in range(4):
            for output in range(2):
                text = f"What is {prompt}?" + (" [tool] 0" if output else "")
                score = float(rollout < passes)
                uid = f"b_{prompt}_{rollout}_{output}"
                rows.append({"input": text, "output": "o", "gts": "1", "score": score, "step": 7, "uid": uid})
    if last is not None:
        rows[-1]["score"] = last
    return rows


def test_outputs_of_a_session_are_one_completion(tmp_path: Path) -> None:
    frame = ps.read_rollouts(write(tmp_path / "7.jsonl", verl()))
    assert len(frame) == 24
    groups = frame.groupby("group")["reward"].agg(["size", "mean"])
    assert groups["size"].tolist() == [4] * 6
    assert groups["mean"].tolist() == [n / 4 for n in PASSES]
    assert set(frame["prompt"]) == {f"What is {i}?" for i in range(6)}  # of the first output
    note = "48 rows are the outputs of 24 sessions by their uid: one completion each"
    assert frame.attrs["notes"] == [note]
    again = ps.read_rollouts(frame)
    assert (len(again), again.attrs["notes"]) == (24, [note])


def test_the_last_output_has_the_score_of_a_session_in_any_order_of_rows(tmp_path: Path) -> None:
    rows = verl(last=9.0)
    for order in (rows, rows[::-1]):
        frame = ps.read_rollouts(write(tmp_path / "7.jsonl", order))
        assert sorted(frame["reward"].tolist())[-1] == 9.0
        assert "; in 1 of them the outputs have different rewards, and that of the last one counts" in str(
            frame.attrs["notes"]
        )


def test_uids_of_another_form_are_groups_as_they_are(tmp_path: Path) -> None:
    rows = verl()
    for row in rows:
        row["uid"] = row["input"] = row["uid"].split("_")[1]
    frame = ps.read_rollouts(write(tmp_path / "7.jsonl", rows))
    assert frame.groupby("group").size().tolist() == [8] * 6
    assert frame.attrs["notes"] == []
    assert sessions_of([]) is None
    assert sessions_of(["a_0_0", "a"]) is None


def pictures() -> list[dict[str, Any]]:
    prompt = [{"role": "user", "content": "What is in the picture?"}]
    return [
        {"id": i, "prompt": prompt, "completion": "c", "reward": float(k < n)}
        for i, n in enumerate(PASSES)
        for k in range(4)
    ]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_problems_of_one_text_are_said(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / "log.jsonl", pictures())
    if suffix == ".parquet":
        import pandas as pd

        path = tmp_path / "log.parquet"
        pd.DataFrame([row | {"prompt": "What is in the picture?"} for row in pictures()]).to_parquet(path)
    report = ps.diagnose(path, "kimi", beta=0.5)
    (said,) = [text for text in report.read["warnings"] if "--group-column id" in text]
    assert said.startswith("1 group of one prompt has 6 values of column 'id' between them")
    apart = ps.diagnose(path, "kimi", beta=0.5, group_column="id")
    assert apart["n"].tolist() == [4] * 6
    assert apart["pass_rate"].tolist() == [n / 4 for n in PASSES]
    assert apart["group"].tolist() == list(range(6))
    assert apart.read["warnings"] == []
    assert apart.summary["verdict"]["prompts"] == 4  # each picture is a sample, though the text is one


def test_an_id_of_each_row_is_no_problem(tmp_path: Path) -> None:
    rows = [row | {"id": i} for i, row in enumerate(pictures())]
    frame = ps.read_rollouts(write(tmp_path / "log.jsonl", rows))
    assert frame.attrs["notes"] == []
    assert several_problems(frame, np.full(24, -1, dtype=np.int32), "id") is None


def test_sizes_that_look_wrong_are_said(tmp_path: Path) -> None:
    sizes = np.array([4, 4, 4, 8, 12])
    (merged,) = size_notes(sizes, "prompt")
    assert merged.startswith("2 of 5 groups have a multiple of the usual 4 completions, up to 12")
    assert "--group-column" in merged
    (single,) = size_notes(np.array([1, 1, 3]), "input")
    assert single.startswith("2 of 3 groups have one completion")
    assert "is the input what" in single
    (one,) = size_notes(np.array([4, 4, 4, 1]), "prompt")
    assert one.startswith("1 of 4 groups has a single completion, which has nothing to be compared with")
    assert size_notes(np.array([4, 4, 3]), "prompt") == []  # one completion lost
    assert distribution(sizes) == "3 of 4, 1 of 8, 1 of 12"
    assert distribution(np.arange(1, 8)) == "1 of 1, 1 of 2, 1 of 3, 1 of 4, 3 of 3 other sizes (1 to 7)"
    assert taken_for({"prompt": "q", "step": None}) == "prompt: q"
    rows = [{"prompt": f"p{i}", "reward": i % 2} for i in range(6)]
    said = ps.diagnose(write(tmp_path / "log.jsonl", rows), "kimi").read["warnings"]
    assert any(text.startswith("6 of 6 groups have one completion") for text in said)


def test_uids_of_a_layout_with_runs_are_read_as_uids_whatever_the_folder_is_called(tmp_path: Path) -> None:
    """AReaL's ids are those of a run, which its folder tells; that of the folder has the form of a uid here."""
    path = tmp_path / "run_1_0" / "1" / "7.jsonl"
    path.parent.mkdir(parents=True)
    rows = [
        {
            "task_id": 7,
            "sample_idx": i,
            "head_version": 1,
            "tail_version": 1,
            "seqlen": 9,
            "prompt_len": 3,
            "prompt": "p",
        }
        | {"reward": float(i % 2), "uid": uid}
        for i, uid in enumerate(("a_0_0", "a_0_1", "a_1_0", "b_0_0"))
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    frame = ps.read_rollouts(path, group_column="uid")
    assert frame["reward"].tolist() == [1.0, 0.0, 1.0]
    assert frame["group"].tolist() == [0, 0, 1]
    for row in rows:
        row["uid"] = row["uid"][0]
    path.write_text("\n".join(map(json.dumps, rows)))
    assert ps.read_rollouts(path, group_column="uid")["group"].tolist() == [0, 0, 0, 1]


def test_ids_that_start_anew_in_each_file_are_said_to_merge_problems(tmp_path: Path) -> None:
    for run, prompts in (("1", "ab"), ("2", "ac")):
        rows = [{"prompt": p, "reward": i, "step": 1, "id": n} for n, p in enumerate(prompts) for i in (0, 1)]
        (tmp_path / f"{run}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    log = ps.read_rollouts(tmp_path, group_column="id")
    assert log.groupby("group")["prompt"].agg(lambda of: sorted(set(of))).tolist() == [["a"], ["b", "c"]]
    assert log.attrs["notes"] == [
        "1 of 2 groups by id has completions of several prompts: if these are different problems, as where ids start "
        "anew in each file, --group-column id,prompt keeps them apart"
    ]
    apart = ps.read_rollouts(tmp_path, group_column=["id", "prompt"])
    assert (apart["group"].nunique(), apart.attrs["notes"]) == (3, [])


def test_ids_that_start_anew_at_each_step_merge_nothing(tmp_path: Path) -> None:
    rows = [{"prompt": f"{step}", "reward": i, "step": step, "id": 0} for step in (1, 2) for i in (0, 1)]
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert ps.read_rollouts(tmp_path, group_column="id").attrs["notes"] == []
