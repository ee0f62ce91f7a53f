"""What a log was taken for, said before anything is said of it: files, columns, groups, and what looks wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pessimism.diagnosis.advantage_check import check_advantages
from pessimism.diagnosis.logged_groups import LoggedGroups
from pessimism.messages import counted, cut, names, plain
from pessimism.rollouts.grouping import distribution, size_notes, taken_for

_REASONS = 5  # for which files were passed over that are said


def what_was_read(log: pd.DataFrame, logged: LoggedGroups) -> dict[str, Any]:
    r"""Say what was read of a log.

    Parameters
    ----------
    log : pandas.DataFrame
        What :func:`~pessimism.read_rollouts` returned.
    logged : LoggedGroups
        Its groups.

    Returns
    -------
    dict
        Ready for JSON: files, layout, columns, rows, groups, steps, sizes (completions -> groups), by (what groups are
        known by), advantages (what those of the log say of the groups), and in sentences lines and warnings.

    Examples
    --------
    >>> from pessimism.rollouts.read import read_rollouts
    >>> log = read_rollouts("examples/trl_completions")
    >>> said = what_was_read(log, LoggedGroups.of(log))
    >>> print("\n".join(said["lines"]))
    3 files (completions_00016.parquet, completions_00032.parquet, completions_00048.parquet), layout: TRL: 3072 rows
    columns: prompt: prompt, reward: reward, step: step, advantage: advantage (compared, not used)
    192 groups by prompt and step, at 3 steps; completions of a group: 192 of 16
    the logged advantages are those of dr_grpo, the reward minus the mean of the group, to rounding (192 groups)
    """
    attrs, sizes = log.attrs, logged.sizes
    columns = dict(attrs.get("columns", {}))
    by = columns.get("group", "prompt")
    steps = int(logged.groups["step"].nunique())
    check = check_advantages(logged)
    for name in ("advantage", "baseline"):
        if name in columns:
            columns[name] += " (used)" if logged.given == name else " (compared, not used)"
    files = [Path(path).name for path in attrs.get("files", [])]
    found = f"{counted(len(files), 'file')} ({names(files)})" if files else "a frame"
    layouts = [name for name in dict.fromkeys(attrs.get("layouts", {}).values()) if name != "columns"]
    layout = f", layout: {' and '.join(layouts)}" if layouts else ""
    count = len(logged.groups)
    lines = [
        f"{found}{layout}: {counted(len(log), 'row')}",
        f"columns: {plain(taken_for(columns))}",
        f"{counted(count, 'group')} by {plain(by)} and step, at {counted(steps, 'step')}; completions of a group: "
        f"{distribution(sizes)}",
        *([check.text] if check is not None and check.fits else []),
    ]
    return {
        "files": list(attrs.get("files", [])),
        "layout": " and ".join(layouts) or None,
        "columns": columns,
        "rows": len(log),
        "groups": count,
        "steps": steps,
        "sizes": {str(n): int(times) for n, times in zip(*np.unique(sizes, return_counts=True), strict=True)},
        "by": by,
        "advantages": None if check is None else check._asdict(),
        "lines": lines,
        "warnings": [*_left_out(attrs, logged), *attrs.get("notes", []), *size_notes(sizes, by)]
        + ([check.text] if check is not None and not check.fits else []),
    }


def _by_reason(passed: dict[str, str]) -> str:
    """Name files that were passed over, those of one reason together; the most of one reason first."""
    reasons: dict[str, list[str]] = {}
    for path, why in passed.items():
        reasons.setdefault(why, []).append(Path(path).name)
    told = sorted(reasons.items(), key=lambda item: -len(item[1]))
    rest = sum(len(files) for _, files in told[_REASONS:])
    more = [f"{rest} more"] if rest else []
    return "; ".join([f"{names(files)} ({plain(cut(why, 100))})" for why, files in told[:_REASONS]] + more)


def _left_out(attrs: dict[Any, Any], logged: LoggedGroups) -> list[str]:
    """Say what of a log is not in its groups, or not as it stands there."""
    said = []
    if passed := attrs.get("passed_over"):
        said.append(f"{counted(len(passed), 'file')} passed over: {_by_reason(passed)}")
    if attrs.get("skipped"):
        said.append(f"{counted(attrs['skipped'], 'malformed row')} left out")
    if attrs.get("unscored"):
        what = counted(attrs["unscored"], "completion")
        said.append(f"{what} without a reward (no reward function applies) left out, as the means of TRL do")
    if logged.dropped:
        said.append(f"{counted(logged.dropped, 'group')} of equal rewards left out, as asked (drop_equal)")
    if logged.merged:
        groups = f"{logged.merged} of {len(logged.groups)} groups"
        said.append(
            f"in {groups} rewards differ by the rounding of their sums or of float32 alone: they count as equal"
        )
    return said


def clustered_by(frame: pd.DataFrame) -> str:
    """Return what is independent of each other: "prompt", or "group" where several groups of a step have one prompt."""
    return "group" if "group" in frame and frame.duplicated(["step", "prompt"]).any() else "prompt"


def clusters(frame: pd.DataFrame) -> NDArray[np.intp]:
    """Number of what was sampled for each group of a report: its prompt, or its group where several have one prompt."""
    return pd.factorize(frame[clustered_by(frame)].astype(str))[0].astype(np.intp)
