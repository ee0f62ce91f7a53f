"""What the commands of the console script print: tables, CSV, JSON, and facts in a line."""

from __future__ import annotations

import csv as csv_module
import math
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pessimism.display import table_lines, undefined
from pessimism.messages import plain
from pessimism.target.conservatism import numbers
from pessimism.target.result import FIELDS, InducedTarget

if TYPE_CHECKING:
    from pessimism.tokens.result import TokenTarget

Columns = Mapping[str, Sequence[Any]]  # name -> values, one for each row


def print_columns(columns: Columns, *, csv: bool) -> None:
    """Print columns as CSV or as an aligned table.

    Parameters
    ----------
    columns : mapping of str to sequence
        Name of a column -> its values; None and nan are undefined.
    csv : bool
        Whether to print CSV with all digits, a line for each row: a line break in a text is written as a backslash and
        a letter. Otherwise a table with four digits, numbers to the right.
    """
    if csv:
        writer = csv_module.writer(sys.stdout, lineterminator="\n")
        writer.writerow(columns)
        written = plain if sys.stdout.isatty() else _one_line  # a file gets other characters as they are
        writer.writerows(
            ["" if undefined(cell) else written(cell) if isinstance(cell, str) else cell for cell in row]
            for row in zip(*columns.values(), strict=True)
        )
        return
    print("\n".join(table_lines(columns)))


def _one_line(text: str) -> str:
    return text.replace("\r", r"\r").replace("\n", r"\n")


def fitted_lines(
    columns: Columns, width: int, *, dropped: Sequence[str], least: int, digits: int = 4
) -> tuple[list[str], list[str]]:
    r"""Lay out columns as a table of some width: some give way, and the texts of the last one are wrapped.

    Parameters
    ----------
    columns : mapping of str to sequence
        Name of a column -> its values; the last one has texts.
    width : int
        Characters of a line.
    dropped : sequence of str
        Names of the columns that give way, in this order.
    least : int
        Characters that the last column gets, or as many as its longest text has: columns give way until it does.
    digits : int, default 4
        Digits of numbers.

    Returns
    -------
    lines : list of str
        The table; wider than ``width`` only where nothing is left to give way.
    left_out : list of str
        Names of the columns that gave way.

    Examples
    --------
    >>> facts = {"n": [4], "kl": [0.25], "reading": ["more conservative than nominal"]}
    >>> lines, left_out = fitted_lines(facts, 22, dropped=["n", "kl"], least=16)
    >>> print("\n".join(lines))
      kl reading
    0.25 more conservative
         than nominal
    >>> left_out
    ['n']
    """
    *others, last = columns
    texts = [plain(str(text)) for text in columns[last]]
    shown, left_out = {name: columns[name] for name in others}, []
    for name in (*(name for name in dropped if name in shown), None):
        left = table_lines(shown, digits)
        room = width - max(map(len, left)) - 1
        if name is None or room >= min(least, max(map(len, (last, *texts)))):
            break
        del shown[name]
        left_out.append(name)
    margin, lines = max(map(len, left)), []
    for begin, text in zip(left, (last, *texts), strict=True):
        parts = textwrap.wrap(text, max(room, least // 2), break_on_hyphens=False) or [""]
        lines += [
            f"{first:{margin}} {part}".rstrip() for first, part in zip([begin, *[""] * len(parts)], parts, strict=False)
        ]
    return lines, left_out


def conservatism(target: InducedTarget) -> dict[str, Any]:
    """Return how conservative a target of one problem is: the row of ``target.conservatism()``, without a frame."""
    return {name: column[0].item() for name, column in numbers(target).items()}


def json_values(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row as JSON has it: None for a number that is undefined or infinite."""
    return {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in row.items()}


def as_json(solved: list[tuple[str, InducedTarget]]) -> dict[str, Any]:
    """Fields, objective and conservatism of a target, or of several as lists in the order of the problems."""
    every = [
        target.to_dict() | {"objective": str(target.objective), "conservatism": json_values(conservatism(target))}
        for _, target in solved
    ]
    if len(every) == 1:
        return every[0]
    names = (*FIELDS, "objective", "conservatism")
    return {"problem": [label for label, _ in solved]} | {name: [t[name] for t in every] for name in names}


def actions(solved: list[tuple[str, InducedTarget]]) -> dict[str, list[Any]]:
    """Columns with a row for each action of each target, the label of the problem first where they are several."""
    names = ("behavior", "reward", "advantage", "policy", "log_policy", "log_ratio", "nominal")
    columns: dict[str, list[Any]] = {"problem": []} if len(solved) > 1 else {}
    columns |= {name: [] for name in ("action", *names)}
    for label, target in solved:
        count = len(target.policy)
        if len(solved) > 1:
            columns["problem"] += [label] * count
        columns["action"] += range(count)
        for name in names:
            columns[name] += getattr(target, name).tolist()
    return columns


def facts(target: InducedTarget) -> str:
    """Return the regime of a target and how conservative it is, in a line, or two where there is no target."""
    found = conservatism(target)
    shown = ("kl", "max_ratio", "value", "effective_temperature", "pessimism_factor")
    said = [f"{target.objective}: regime {target.regime}", f"kappa {float(target.kappa):.4g}"]
    said += [f"{name.replace('_', ' ')} {found[name]:.4g}" for name in shown]
    said += [f"leak {float(target.leak):.4g}"] if target.leak > 0 else []
    why = target.message.get(())
    line = ", ".join(said) + ("" if target.status == "converged" else f" ({target.status})")
    return line if why is None else f"{line}\n{why}"


def prefixes(target: TokenTarget) -> dict[str, list[Any]]:
    """Return columns of the prefixes of a token target, those in the negative regime first, the most visited first."""
    negative, reached = target.regime == "negative", target.reached
    order = sorted(range(len(reached)), key=lambda node: (not negative[node], -reached[node]))
    columns = {"prefix": [" ".join(map(str, s)) or "(start)" for s in target.tree.prefixes], **_of_prefixes(target)}
    return {name: [values[node] for node in order] for name, values in columns.items()}


def _of_prefixes(target: TokenTarget) -> dict[str, list[Any]]:
    numbers = {"reached": target.reached, "value": target.tree.value, "kappa": target.kappa, "kl": target.prefix_kl}
    return {name: of.tolist() for name, of in {**numbers, "regime": target.regime, "status": target.status}.items()}


def tree_facts(target: TokenTarget) -> str:
    """Return what a token target does to completions, in lines."""
    temperature = target.effective_temperature
    of_tokens = f", {target.negative_share:.1%} of the visits to prefixes in the negative regime"
    said = [
        f"{target.objective}: kl {target.kl:.4g}",
        f"value {target.value:.4g} (behavior {target.tree.value[0]:.4g})",
        f"entropy {target.entropy:.4g}",
        f"effective temperature {'undefined' if math.isnan(temperature) else format(temperature, '.4g')}",
    ]
    return ", ".join(said) + ("" if math.isnan(target.negative_share) else of_tokens)


def tree_as_json(target: TokenTarget) -> dict[str, Any]:
    """Return a token target for JSON: the whole, its prefixes with the policy at each, its completions."""
    tree = target.tree
    parts = {"tokens": tree.token, "behavior": np.exp(tree.log_behavior), "policy": target.policy}
    split = {name: [part.tolist() for part in np.split(of, tree.start[1:-1])] for name, of in parts.items()}
    per_prefix = {"prefix": [list(s) for s in tree.prefixes], **_of_prefixes(target), **split}
    per_completion = {
        "tokens": [list(s) for s in tree.completions],
        "reward": tree.reward.tolist(),
        "policy": target.completion_policy.tolist(),
        "log_ratio": target.completion_log_ratio.tolist(),
    }
    whole = ("kl", "value", "entropy", "effective_temperature", "leak", "negative_share")
    found = {"objective": str(target.objective)} | {name: getattr(target, name) for name in whole}
    rows = {
        name: [json_values(dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)]
        for name, columns in (("prefixes", per_prefix), ("completions", per_completion))
    }
    return {**json_values(found), **rows}


def paragraph(text: str) -> str:
    """Wrap a text to the terminal; a file or a pipe gets it as one line, which tools can search."""
    if not sys.stdout.isatty():
        return text
    width = shutil.get_terminal_size((100, 24)).columns
    return textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False)
