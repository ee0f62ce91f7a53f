"""The command ``compare``: several objectives side by side, in a table that fits the terminal."""

from __future__ import annotations

import argparse
import json
import math
import shutil
from typing import TYPE_CHECKING, Any

from pessimism.cli.options import (
    Source,
    add_format,
    add_problems,
    add_trainer,
    check_format,
    log_options,
    solver_of,
    source_of,
    trainer_of,
    wanted,
)
from pessimism.cli.output import Columns, conservatism, json_values, print_columns
from pessimism.cli.parser import Parser, number
from pessimism.core.objective import Objective
from pessimism.display import table_lines
from pessimism.losses.registry import objectives, parse_objective, short_setting
from pessimism.progress import progress
from pessimism.rollouts.options import require_log

if TYPE_CHECKING:
    from pessimism.trainers.settings import TrainerSettings

USAGE = "(LOG... | --behavior P,P,... --reward R,R,... | --input FILE) [options]"
HELP = """\
Compare the policies that several objectives induce on the same bandit, or on the
prompt groups of a rollout log: a row for each objective, with its regime, how
conservative it is, and on a bandit its policy. With --matched each objective is
first brought to the same KL, mean reward or largest ratio by its temperature.
pessimism target --help says what the words mean."""
_SHORT = {"pessimism_factor": "factor", "effective_temperature": "T_eff", "max_ratio": "max_w", "gain_share": "gain"}
_NUMBERS = ("kappa", "pessimism_factor", "effective_temperature", "kl", "value")
_STATUS = {"converged": "", "vanishing_support": "vanishing", "local_minimum": "local min"}
_DIGITS = 3
_SUMMED = (
    *("objective", "positive", "negative", "pessimism_factor", "kl", "tv_nominal", "max_ratio", "value", "gain_share"),
    *("leak", "solved"),
)
_NOTHING_MOVES = "not matched, having no temperature to move: pessimism match --over moves another hyper-parameter"
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
    add_trainer(parser, "its objective has the first row, as it is set.")
    parser.add_argument(
        "--beta",
        metavar="FLOAT",
        type=number,
        help="Temperature of every objective that has one and does not set its own after a colon; defaults to the "
        "default of each objective.",
    )
    parser.add_argument(
        "--matched",
        metavar="WANTED",
        type=wanted,
        help="What all objectives are brought to: kl=0.1, value=0.5, max_ratio=2, or like=nominal:beta=0.1 for the "
        "KL of another objective. Over a log, or several bandits, it is the mean over those whose rewards differ.",
    )
    parser.add_argument(
        "--sort",
        metavar="COLUMN",
        help="Column to sort the rows by, upwards; =-COLUMN for downwards, as in --sort=-kl. Bandits are summed up "
        "then, as with --matched: one row for each objective, without its policy.",
    )
    add_problems(parser)
    add_format(parser, "null is a number that is undefined or infinite")


def run(options: argparse.Namespace) -> None:
    """Solve and print one row per problem and objective, or one per objective where they are summed up."""
    check_format(options)
    source = source_of(options)
    trained = trainer_of(options)
    made = [parse_objective(spec, options.beta) for spec in options.objectives or _all(source)]
    if trained is not None and trained.objective is not None:
        made = [trained.objective, *(objective for objective in made if objective != trained.objective)]
    if options.path or options.matched is not None or options.sort is not None:
        _sum_up(made, options, trained)
        return
    require_log(log_options(options))
    problems = source.problems()
    solving = ((o, *pair) for o in made for pair in source.solve(problems, o, options.unseen))
    rows, names = [], []
    for objective, label, target in progress(solving, "solving", total=len(made) * len(problems)):
        row: dict[str, Any] = {"problem": label, "objective": str(objective), "status": str(target.status)}
        rows.append(row | conservatism(target) | {f"pi[{i}]": float(p) for i, p in enumerate(target.policy)})
        names.append(short_setting(objective, options.beta))
    columns = {name: [row.get(name) for row in rows] for name in dict.fromkeys(name for row in rows for name in row)}
    if options.json or options.csv:
        _print_all(columns, options)
    else:
        _print(columns | {"objective": names}, options.beta)


def _print_all(columns: dict[str, list[Any]], options: argparse.Namespace) -> None:
    """Print all columns with all digits, as JSON or CSV."""
    if options.csv:
        print_columns(columns, csv=True)
        return
    rows = [json_values(dict(zip(columns, values, strict=True))) for values in zip(*columns.values(), strict=True)]
    print(json.dumps({"comparison": rows}, allow_nan=False))


def _sum_up(made: list[Objective], options: argparse.Namespace, trained: TrainerSettings | None) -> None:
    """Print one row for each objective, over all problems."""
    from pessimism.comparison.compare import rounded, table  # with pandas

    solve = solver_of(options, trained)
    frame = table(made, solve, beta=options.beta, matched=options.matched, sort=options.sort)
    columns = {str(name): frame[name].tolist() for name in frame}
    if options.json or options.csv:
        _print_all(columns, options)
        return
    problems, silent = max(columns["problems"]), max(columns["no_signal"])
    if problems == silent:
        alone = "all rewards are equal, or there is one completion alone"
        raise ValueError(f"no problem has a signal: in each of the {problems:.0f} {alone}")
    columns["objective"] = [rounded(spec) for spec in columns["objective"]]
    shown = {
        _SHORT.get(name, name): columns[name] for name in _SUMMED if any(value == value for value in columns[name])
    }
    wider = shown | {name: _with_ends(columns, name) for name in ("kl", "value") if f"{name}_low" in columns}
    fits = max(map(len, table_lines(wider, _DIGITS))) <= shutil.get_terminal_size((100, 24)).columns
    print("\n".join(table_lines(wider if fits else shown, _DIGITS)))
    notes: dict[str, list[str]] = {}
    for name, note in zip(columns["objective"], columns["note"], strict=True):
        if note:
            notes.setdefault(_NOTHING_MOVES if "no temperature to move" in note else note, []).append(name)
    for note, of in notes.items():
        print(f"{', '.join(of)}: {note}")
    if problems > 1:
        matched = "" if options.matched is None else " What is matched is the mean."
        print(f"Medians and shares over {problems - silent} of {problems} problems, whose rewards differ.{matched}")
    if "kl_low" in columns:
        print("Their 95% intervals over prompts are the columns kl_low, kl_high and so on of --csv and --json.")
    words = ", ".join(f"{short}: {name}" for name, short in _SHORT.items() if short in shown)
    print(f"{words}. All digits and columns: --csv, --json.")


def _with_ends(columns: dict[str, list[Any]], name: str) -> list[str]:
    """Write medians of a log with the ends of their intervals, where there are both."""
    every = zip(columns[name], columns[f"{name}_low"], columns[f"{name}_high"], strict=True)
    return [f"{at:.3g}" + ("" if math.isnan(low) else f" [{low:.3g}, {high:.3g}]") for at, low, high in every]


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
