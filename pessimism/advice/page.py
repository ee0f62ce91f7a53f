"""Advice as a page: the verdict first, tables that fit a terminal, and where each number comes from."""

from __future__ import annotations

import re
import shutil
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pessimism.display import table_lines
from pessimism.messages import plain

if TYPE_CHECKING:
    from pessimism.advice.result import Advice

WIDTH = 100
_LEAST = 60  # characters that a line has at least
_NAME = 36  # characters of names before the verdicts give way
_DIGITS = 3
_BANDS = ("hard", "middle", "easy")


def page(advice: Advice) -> str:
    """Write a page.

    Parameters
    ----------
    advice : Advice
        The advice.

    Returns
    -------
    str
        Lines of at most a hundred characters, or those of a narrower terminal.
    """
    parts = [_verdict, _candidates, _bands, _least, _lag, _habits]
    return plain_lines("\n\n".join(part(advice) for part in parts))


def plain_lines(text: str) -> str:
    """Lines without what would steer a terminal."""
    return "\n".join(plain(line) for line in text.split("\n"))


def _head(title: str, source: str) -> str:
    return f"{_wrapped(title)}\n{_wrapped(f'[{source}]', '  ')}"


def _wrapped(text: str, indent: str = "") -> str:
    return textwrap.fill(text, _width(), initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)


def _width() -> int:
    """Characters of a line: those of the terminal, where it is narrower."""
    return max(_LEAST, min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns))


def _table(names: list[str], columns: dict[str, list[Any]]) -> list[str]:
    """Lay out columns behind the names of objectives, which are folded where a line would be too long."""
    right = table_lines(columns, _DIGITS)
    room = _width() - max(map(len, right)) - 1
    folded = [_folded(plain(name), room) for name in ("objective", *names)]
    margin = max(len(part) for parts in folded for part in parts)
    lines = []
    for (first, *others), rest in zip(folded, right, strict=True):
        lines += [f"{first:{margin}} {rest}", *others]
    return lines


def _folded(name: str, room: int) -> list[str]:
    """Cut a name with settings behind its colon and commas into lines, as long as the room has it."""
    first, *others = re.findall(r"[^:, ]*[:, ]?", name)[:-1]
    lines = [first]
    for part in others:
        if len(lines[-1] + part.rstrip()) <= room:
            lines[-1] += part
        else:
            lines.append(f"  {part}")
    return [line.rstrip() for line in lines]


def _verdict(advice: Advice) -> str:
    summary = advice.report.summary
    lines = [
        _wrapped(f"verdict: {summary['verdict']['text']}"),
        _wrapped(f"[{advice.sources['verdict']}]", "  "),
        _wrapped(f"recommendation: {summary['recommendation']['text']}"),
        _wrapped(f"[{advice.sources['recommendation']}]", "  "),
        _wrapped(f"present objective: {advice.objective}"),
        f"log: {summary['rows']:,} completions, {summary['groups']:,} groups, {summary['informative']:,} with a signal",
    ]
    if summary["step_note"]:
        lines.append(_wrapped(summary["step_note"]))
    if advice.trainer is not None:
        lines.append(_wrapped(f"trainer: {advice.trainer}"))
    lines += [_wrapped(f"not modelled: {sentence}") for sentence in advice.not_modelled]
    return "\n".join(lines)


def _candidates(advice: Advice) -> str:
    matched, frame = advice.matched, advice.candidates
    name = {"kl": "KL", "max_ratio": "largest ratio"}.get(matched["name"], matched["name"])
    title = f"1. Candidates, each brought to a mean {name} of {matched['value']:.3g} ({matched['why']})"
    lines = [_head(title, f"{advice.sources['candidates']}: {advice.taken}")]
    there = frame[frame["verdict"].notna()]
    specs = [
        f"{spec}{' (present)' if role == 'present' else ''}"
        for spec, role in zip(there["objective"], there["role"], strict=True)
    ]
    columns = {
        short: there[long].tolist()
        for short, long in (
            ("verdict", "verdict"),
            ("kl", "kl"),
            ("value", "value"),
            ("gain", "gain_share"),
            ("max_w", "max_ratio"),
            ("leak", "leak"),
        )
    }
    lines += _table(specs, columns)
    for role, name, why, note in frame[["role", "objective", "why", "note"]].itertuples(index=False, name=None):
        if role == "candidate":
            lines.append(_wrapped(f"{name.partition(':')[0]}: {why}{'; ' if note else ''}{note}", "  "))
    told = "All numbers are medians over the groups with a signal"
    if matched["name"] == "kl":
        told += ", so that the KL of the table is not quite the mean that they are brought to"
    told += (
        ". gain: part of the possible gain in reward that the target takes; max_w: largest ratio; leak: mass that moves"
    )
    lines.append(_wrapped(f"{told} to completions that the log does not show."))
    return "\n".join(lines)


def _bands(advice: Advice) -> str:
    frame, rules = advice.bands, advice.report.rules
    by = advice.report.summary["effect"]["bands_by"]
    where = f"hard below {rules.hard:g}, easy above {rules.easy:g}, by {by}"
    lines = [_head(f"2. What each does to hard, middle and easy prompts ({where}); medians", advice.sources["bands"])]
    names = list(dict.fromkeys(zip(frame["role"], frame["objective"], strict=True)))
    specs, columns = [spec for _, spec in names], dict[str, list[Any]]()
    of = {(r.role, r.objective, r.band): r for r in frame.itertuples()}
    for short, long in (("KL", "kl"), ("gain", "gain_share")):
        for band in _BANDS:
            columns[f"{short} {band}"] = [getattr(of[(*name, band)], long) for name in names]
    words = [[str(of[(*name, band)].verdict) for band in _BANDS] for name in names]
    told = [each[0] if len(set(each)) == 1 else " / ".join(each) for each in words]
    wider = columns | {"verdict": told}
    needed = min(_NAME, max(map(len, specs))) + 1 + max(map(len, table_lines(wider, _DIGITS)))
    lines += _table(specs, wider if needed <= _width() else columns)
    counts = ", ".join(f"{of[(*names[0], band)].groups} {band}" for band in _BANDS)
    lines.append(f"groups with a signal: {counts}")
    return "\n".join(lines)


def _least(advice: Advice) -> str:
    title = f"3. The least change that leaves the negative regime at groups of {advice.group_size}"
    lines = [_head(title, f"{advice.sources['least']}: {advice.laws}")]
    for drop, part in advice.least.groupby("drop_equal", sort=True):
        groups = "equal groups dropped" if drop else "all groups kept"
        mine = " (as the trainer is set)" if advice.trainer is not None and bool(drop) == advice.drop_equal else ""
        first = part.iloc[0]
        if pd.isna(first["negative"]):
            lines.append(_wrapped(f"{groups}{mine}: cannot be said, {first['note']}.", "  "))
            continue
        now = f"{groups}{mine}: {first['negative']:.0%} of these laws are negative"
        if first["holds"]:
            lines.append(_wrapped(f"{now}: nothing needs to change.", "  "))
            continue
        lines.append(_wrapped(f"{now}.", "  "))
        lines += [
            _wrapped(f"{_change(row)}: {row.negative:.0%} are negative{'' if row.holds else ', not enough'}", "    ")
            for row in part.iloc[1:].itertuples()
        ]
        if not part["holds"].any():
            lines.append("    No change that was tried is enough.")
    return "\n".join(lines)


def _change(row: Any) -> str:
    if row.change == "shift":
        return f"baseline lower by more than {row.setting:.3g} temperatures"
    if row.change == "beta1":
        return f"beta1 above {row.setting:.3g}"
    if row.change == "leave-one-out":
        return "the baseline from the other completions of the group"
    return "the mean of the group as baseline"


def _lag(advice: Advice) -> str:
    lines = [_head("4. What the age of the data does, in optimizer steps", advice.sources["lag"])]
    lines.append(_wrapped(advice.lag_note))
    frame = advice.lag
    if frame.empty:
        return "\n".join(lines)
    ran = frame[frame["age"].notna()]
    if not ran.empty:
        halves = [_half(row) for row in ran.itertuples()]
        lines += table_lines(
            {
                "KL per step": ran["kl_per_step"].tolist(),
                "age": ran["age"].astype(int).tolist(),
                "half the gain after": halves,
                "times": ran["slower"].tolist(),
                "at step": ran["steps"].astype(int).tolist(),
                "value": ran["value"].tolist(),
                "KL": ran["kl"].tolist(),
                "KL to data": ran["kl_to_data"].tolist(),
            },
            _DIGITS,
        )
        lines.append(
            _wrapped(
                "half the gain after: steps to half of the possible gain in reward; times: how many times those on the "
                "policy's own data. value, KL (to the first policy) and KL to data (the largest so far, to the policy "
                "that drew the data) are those at the step in front of them, when the own data have half of the gain."
            )
        )
    silent = frame[frame["age"].isna()]
    lines += [f"KL per step {row.kl_per_step:g}: {row.status}" for row in silent.itertuples()]
    lines.append(_wrapped(advice.lag_answer))
    lines.append(_wrapped(advice.kl_from))
    return "\n".join(lines)


def _half(row: Any) -> Any:
    """Steps to half of the gain, or why there are none."""
    if not np.isnan(row.half_gain_steps):
        return int(row.half_gain_steps)
    return "diverged" if row.status == "diverged" else f"not in {row.ran_for:.0f}"


def _habits(advice: Advice) -> str:
    if not advice.habits:
        return _wrapped(
            "5. No habit of these settings that we have a finding against was found to do harm on this log."
        )
    lines = ["5. Where this log disagrees with a habit"]
    for habit in advice.habits:
        lines.append(_wrapped(f"{habit.name}: {habit.claim}", "  "))
        lines.append(_wrapped(f"[{habit.source}; {habit.finding}]", "    "))
    return "\n".join(lines)
