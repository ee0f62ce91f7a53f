"""ms-swift: `completions.jsonl` of swift/rlhf_trainers/rollout_mixin.py and grpo_trainer.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pessimism.diagnosis.logged_groups import LoggedGroups
from pessimism.rollouts.read import read_rollouts
from tests.pessimism.rollouts.layouts.written import completions, damage, lines, prompt, six_groups
from tests.pessimism.rollouts.logs import message


def table(step: int, name: str = "gen_step") -> dict[str, list[Any]]:
    rows = completions()
    return {
        name: [step] * len(rows),
        "prompt": [prompt(group) for group, _, _ in rows],
        "completion": ["c"] * len(rows),
        "accuracy": [reward for _, _, reward in rows],
        "format": [None if group % 2 else 0.0 for group, _, _ in rows],
        "solution": ["1"] * len(rows),
        "num_turns": [1] * len(rows),
        "advantages": [0.5] * len(rows),
    }


@pytest.mark.parametrize("name", ["gen_step", "step"])
def test_a_line_is_a_log_of_the_trainer(tmp_path: Path, name: str) -> None:
    path = lines(tmp_path / "completions.jsonl", [table(3, name), table(5, name)])
    six_groups(path, [3, 5], "ms-swift")
    assert read_rollouts(path, reward_column="format", skip_bad=True)["reward"].tolist() == [0.0] * 24
    assert "'points' is not a column" in message(path, reward_column="points")


def test_older_versions_log_messages_and_a_total(tmp_path: Path) -> None:
    old = {name: values for name, values in table(1, "step").items() if name in {"step", "completion"}}
    old["messages"] = [[{"role": "user", "content": prompt(group)}] for group, _, _ in completions()]
    old["reward"] = [reward for _, _, reward in completions()]
    six_groups(lines(tmp_path / "completions.jsonl", [old]), [1], "ms-swift")


@pytest.mark.parametrize(
    ("change", "said", "entries"),
    [
        (lambda record: record["accuracy"].pop(), "gen_step has 24 entries, but accuracy has 23", 24),
        (lambda record: record.update(accuracy=1.0), "accuracy is 1.0, not a list", 24),
        (lambda record: record.pop("gen_step"), "missing key", 24),
        (lambda record: record["prompt"].__setitem__(7, None), "entry 7: prompt is null", 1),
        (lambda record: record["accuracy"].__setitem__(2, "x"), "entry 2: accuracy is 'x', not a number", 1),
        (lambda record: record["gen_step"].__setitem__(0, "x"), "entry 0: step is 'x', not an integer", 1),
    ],
)
def test_damage(tmp_path: Path, change: Callable[[Any], Any], said: str, entries: int) -> None:
    damage(tmp_path, "completions.jsonl", [table(1), table(2), table(3)], change, said, entries)


def test_a_reward_function_that_applies_to_no_completion_of_the_first_line_counts_in_the_others(tmp_path: Path) -> None:
    """Batches of one task each: a reward function logs null for the completions of the others."""
    math, code = table(1), table(2)
    math["accuracy"], math["format"], math["tests"] = [1.0] * 24, [0.5] * 24, [None] * 24
    code["accuracy"], code["format"], code["tests"] = [None] * 24, [0.5] * 24, [2.0] * 24
    log = read_rollouts(lines(tmp_path / "completions.jsonl", [math, code]))
    assert log.groupby("step")["reward"].unique().map(list).to_dict() == {1: [1.5], 2: [2.5]}
    assert log.attrs["columns"]["reward"] == "accuracy + format + tests"


def test_a_malformed_reward_leaves_no_function_out(tmp_path: Path) -> None:
    record = table(1)
    record["accuracy"][0] = "x"
    path = lines(tmp_path / "completions.jsonl", [record])
    assert message(path) == f"{path}:1: entry 0: accuracy is 'x', not a number"


@pytest.mark.parametrize("order", [("sum", "one"), ("one", "sum")])
def test_sums_of_some_files_keep_their_rounding(order: tuple[str, str], tmp_path: Path) -> None:
    """Equal totals of float32 parts, beside a file with one reward function and no advantages."""
    single = [float(np.float32(x)) for x in (0.1, 0.2, 0.3)]
    of = {
        "sum": {"acc": [single[0], single[2]] * 2, "fmt": [single[1], 0.0] * 2, "advantages": [0.0] * 4},
        "one": {"acc": [1.0, 0.0] * 2},
    }
    for number, name in enumerate(order):
        same = {"gen_step": [number] * 4, "prompt": [name] * 4, "completion": list("abcd")}
        lines(tmp_path / f"{number}.jsonl", [same | of[name]])
    log = read_rollouts(tmp_path)
    first, last = order
    zero = {"sum": False, "one": True}
    assert (log["rounding"] == 0.0).tolist() == [zero[first]] * 4 + [zero[last]] * 4
    assert log["advantage"].isna().tolist() == [zero[first]] * 4 + [zero[last]] * 4
    groups = LoggedGroups.of(log)
    assert dict(zip(groups.groups["prompt"], groups.differ, strict=True)) == {"sum": False, "one": True}
