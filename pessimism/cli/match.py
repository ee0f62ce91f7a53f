"""The command ``match``: the setting of an objective that gives a wanted KL, value or largest ratio."""

from __future__ import annotations

import argparse
import json
from typing import Any

from pessimism.cli.options import (
    OBJECTIVE,
    add_format,
    add_problems,
    add_trainer,
    check_format,
    objective_of,
    solver_of,
    trainer_of,
)
from pessimism.cli.output import json_values, print_columns
from pessimism.cli.parser import Parser, number
from pessimism.comparison.compare import as_written, rounded, table
from pessimism.comparison.match import one_setting, wanted_number
from pessimism.comparison.problems import over_signal
from pessimism.losses.registry import make_objective, parse_objective

USAGE = "(LOG... | --behavior P,P,... --reward R,R,... | --input FILE) --objective NAME --kl FLOAT [options]"
HELP = """\
Find the setting of an objective at which its target is as far from the behavior as
is wanted, or as good: the temperature, or another hyper-parameter, that gives a KL,
a mean reward, a largest ratio, or the KL of another objective. On a log, or a file
of several bandits, that is the mean or the median over the prompt groups, or
bandits, whose rewards differ. pessimism target --help says what the words mean."""
_SHOWN = ("kl", "value", "behavior_value", "gain_share", "max_ratio", "leak", "status")


def add_arguments(parser: Parser) -> None:
    """Add the options of the command."""
    parser.add_argument("--objective", metavar="NAME", help=OBJECTIVE)
    add_trainer(parser, "its objective is taken where --objective is not given.")
    wanted = parser.add_argument_group("wanted", "Just one of these.")
    wanted.add_argument("--kl", metavar="FLOAT", type=number, help="KL(target || behavior), in nats.")
    wanted.add_argument("--value", metavar="FLOAT", type=number, help="Mean reward of the target.")
    wanted.add_argument("--max-ratio", metavar="FLOAT", type=number, help="Largest ratio of target to behavior.")
    wanted.add_argument("--like", metavar="NAME", help="Another objective, as in nominal:beta=0.1, for its KL.")
    search = parser.add_argument_group("search")
    search.add_argument(
        "--over", metavar="NAME", help="Hyper-parameter that moves, as in shift; defaults to the temperature."
    )
    search.add_argument(
        "--statistic",
        choices=("mean", "median"),
        default="mean",
        help="What is matched over the groups of a log, or over several bandits; the default is mean.",
    )
    add_problems(parser)
    add_format(parser, "null is a number that is undefined or infinite")


def run(options: argparse.Namespace) -> None:
    """Search, solve at what was found, print."""
    check_format(options)
    trained = trainer_of(options)
    objective = parse_objective(objective_of(options, trained, None), None)
    name, wanted = wanted_number(options.like, kl=options.kl, value=options.value, max_ratio=options.max_ratio)
    solve = solver_of(options, trained)
    if wanted is None:
        wanted = solve(make_objective(options.like))
    found, note = one_setting(objective, solve, name, wanted, over=options.over, statistic=options.statistic)
    targets = solve(found)
    frame = table([found], lambda _: targets)
    row: dict[str, Any] = {str(name): frame[name].tolist()[0] for name in frame}  # numbers of Python
    row["note"] = note
    reached, known, signal = over_signal(targets, name, options.statistic)
    if options.json:
        print(json.dumps({"match": json_values(row) | {"settings": found.settings}}, allow_nan=False))
    elif options.csv:
        print_columns({key: [value] for key, value in row.items()}, csv=True)
    else:
        print(rounded(as_written(found)))
        if signal > 1:
            over = f"{known} of {row['problems']} problems, whose rewards differ"
            print(f"{options.statistic} {name.replace('_', ' ')} {reached:.4g} over {over}")
        facts = ", ".join(f"{key.replace('_', ' ')} {_short(row[key])}" for key in _SHOWN)
        print(f"medians: {facts}" if signal > 1 else facts)
        if row["negative"] > 0:
            what = f"{round(row['negative'] * signal)} of {signal} problems are" if signal > 1 else "the problem is"
            print(f"warning: at this setting {what} in the negative regime, where mass runs away from what was sampled")
        if note:
            print(note)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
