"""The command ``compare``: several objectives side by side, in a table that fits the terminal."""

from __future__ import annotations

import argparse
import json
import math
import shutil
from typing import Any

from pessimism.cli.options import Source, add_format, add_source, check_format, source_of
from pessimism.cli.output import Columns, conservatism, json_values, print_columns, table_lines
from pessimism.cli.parser import Parser, number
from pessimism.losses.registry import objectives, parse_objective, short_setting
from pessimism.progress import progress

USAGE = "(--behavior P,P,... --reward R,R,... | --input FILE) [options]"
HELP = """\
Compare the policies that several objectives induce on the same bandit: a row for
each objective, with its regime, how conservative it is, and its policy.
pessimism target --help says what the words mean."""
_SHORT = {"pessimism_factor": "factor", "effective_temperature": "T_eff", "max_ratio": "max_w"}
_NUMBERS = ("kappa", "pessimism_factor", "effective_temperature", "kl", "value")
_STATUS = {"converged": "", "vanishing_support": "vanishing", "local_minimum": "local min"}
_DIGITS = 3
_LABEL = 24  # characters of a problem's name


def add_arguments(parser: Parser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "--objectives",
        metavar="NAME",
        nargs="+",
        default=(),
        help="Names of the objectives, each with its own hyper-parameters after a colon if need be, as in "
        "kimi oapl:beta1=0.5; defaults to all that pessimism objectives lists, or with --reference to all that "
        "take a reference policy.",
    )
    parser.add_argument(
        "--beta",
        metavar="FLOAT",
        type=number,
        help="Temperature of every objective that has one and does not set its own after a colon; defaults to the "
        "default of each objective.",
    )
    add_source(parser)
    add_format(parser, "null is a number that is undefined or infinite")


def run(options: argparse.Namespace) -> None:
    """Solve and print one row per problem and objective."""
    check_format(options)
    source = source_of(options)
    problems = source.problems()
    made = [parse_objective(spec, options.beta) for spec in options.objectives or _all(source)]
    solving = ((o, *pair) for o in made for pair in source.solve(problems, o, options.unseen))
    rows, names = [], []
    for objective, label, target in progress(solving, "solving", total=len(made) * len(problems)):
        row: dict[str, Any] = {"problem": label, "objective": str(objective), "status": str(target.status)}
        rows.append(row | conservatism(target) | {f"pi[{i}]": float(p) for i, p in enumerate(target.policy)})
        names.append(short_setting(objective, options.beta))
    columns = {name: [row.get(name) for row in rows] for name in dict.fromkeys(name for row in rows for name in row)}
    if options.json:
        rows = [json_values(dict(zip(columns, values, strict=True))) for values in zip(*columns.values(), strict=True)]
        print(json.dumps({"comparison": rows}, allow_nan=False))
    elif options.csv:
        print_columns(columns, csv=True)
    else:
        _print(columns | {"objective": names}, options.beta)


def _all(source: Source) -> list[str]:
    """Return every registered objective that the problem makes sense for."""
    return [n for n, cls in objectives().items() if source.reference is None or cls.takes_reference]


def _print(columns: dict[str, list[Any]], beta: float | None) -> None:
    shown, left_out = fitted(columns, shutil.get_terminal_size((100, 24)).columns)
    print("\n".join(table_lines(shown, _DIGITS)))
    common = "" if beta is None else f", temperature {beta:g}"
    print(f"Settings not shown: the defaults (pessimism objectives){common}.")
    print(", ".join(f"{short}: {name}" for name, short in _SHORT.items() if short in shown) + ".")
    print(f"{'Not shown: ' + ', '.join(left_out) + '. ' if left_out else ''}All digits and columns: --csv, --json.")


def fitted(columns: dict[str, list[Any]], width: int) -> tuple[Columns, list[str]]:
    """Return a comparison as columns of short texts, and the names of those that the width leaves no room for.

    Policy and largest ratio give way; the rest stays whatever the width.
    """
    shown: dict[str, list[Any]] = {"objective": columns["objective"]}
    if len(set(columns["problem"])) > 1:
        shown["problem"] = [label[:_LABEL] for label in columns["problem"]]
    shown["regime"] = columns["regime"]
    if set(columns["status"]) != {"converged"}:
        shown["status"] = [_STATUS.get(status, status.replace("_", " ")) for status in columns["status"]]
    for name in (*_NUMBERS, *(["leak"] if any(leak > 0 for leak in columns["leak"]) else [])):
        shown[_SHORT.get(name, name)] = columns[name]
    last = {"max_w": columns["max_ratio"], "policy": _policies(columns)}
    for names in (["max_w", "policy"], ["policy"], ["max_w"]):
        wider = shown | {name: last[name] for name in names}
        if max(map(len, table_lines(wider, _DIGITS))) <= width:
            return wider, [name for name in last if name not in names]
    return shown, [*last]


def _policies(columns: dict[str, list[Any]]) -> list[str]:
    """Write the probabilities of each row to two places; what is exactly 0 as such."""
    policies = zip(*(values for name, values in columns.items() if name.startswith("pi[")), strict=True)
    return [" ".join(_probability(p) for p in row if p is not None and not math.isnan(p)) for row in policies]


def _probability(p: float) -> str:
    return "   0" if p == 0 else f"{p:.2f}"
