"""Six groups of four completions, as every writer's log has them here, and what reading them says."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pessimism.diagnosis.logged_groups import LoggedGroups
from pessimism.rollouts.log_probs import KNOWN
from pessimism.rollouts.read import read_rollouts
from tests.pessimism.rollouts.logs import message

PASSED = (0, 1, 2, 3, 3, 4)  # of the four completions of a group


def completions() -> list[tuple[int, int, float]]:
    """Number of the group, number in the group, reward."""
    return [(group, i, float(i < passed)) for group, passed in enumerate(PASSED) for i in range(4)]


def prompt(group: int) -> str:
    return f"What is {group}+{group + 1}?"


def lines(path: Path, records: Iterable[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def six_groups(source: Any, steps: Iterable[int], layout: str, **options: Any) -> pd.DataFrame:
    """Read a log, which has the six groups at each of these steps; and its log-probabilities, which change nothing."""
    frame = read_rollouts(source, **options)
    groups = LoggedGroups.of(frame)
    steps = list(steps)
    assert groups.groups["step"].tolist() == sorted(steps * 6)
    assert (groups.sizes == 4).all()
    means = np.add.reduceat(groups.reward, groups.start) / 4
    assert means.tolist() == [passed / 4 for passed in PASSED] * len(steps)
    assert set(frame.attrs["layouts"].values()) == {layout}
    more = read_rollouts(source, **options | {"log_prob_columns": KNOWN})
    pd.testing.assert_frame_equal(more[list(frame)], frame)
    return more


def damage(
    folder: Path, name: str, records: list[Any], change: Callable[[Any], Any], said: str, entries: int = 1
) -> None:
    """Change the second of some records: it is malformed, in a line that names its place, and all others are read."""
    whole = len(read_rollouts(lines(folder / name, records)))
    changed = json.loads(json.dumps(records[1]))
    change(changed)
    path = lines(folder / name, [records[0], changed, *records[2:]])
    told = message(path)
    assert told.startswith(f"{path}:2: ")
    assert said in told
    rest = read_rollouts(path, skip_bad=True)
    assert len(rest) == whole - entries
    lines(path, records)
    path.write_bytes(path.read_bytes()[:-10])  # cut in its last line
    told = message(path)
    assert told.startswith(f"{path}:{len(records)}: bad JSON")
    assert len(read_rollouts(path, skip_bad=True)) < whole


def two_runs(folder: Path, dump: Callable[[Path], object], groups: int) -> None:
    """Write the same log twice, as two runs: the ids of one say nothing of the other, and groups are not merged."""
    for name in ("a", "b"):
        (folder / name).mkdir()
        dump(folder / name)
    for path in (folder / "b").rglob("*.jsonl"):  # else it would be the same batch once more
        path.write_text(path.read_text().replace("}\n", ', "run_name": "b"}\n'))
    found = LoggedGroups.of(read_rollouts(folder))
    assert len(found.groups) == 2 * groups
    assert (found.sizes == 4).all()
