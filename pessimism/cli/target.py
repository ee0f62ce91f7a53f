"""The command ``target``: the policy that an objective induces on a bandit."""

from __future__ import annotations

import argparse
import json

from pessimism.cli.hyper import add_hyper, chosen_objective
from pessimism.cli.options import OBJECTIVE, add_format, add_source, check_format, source_of
from pessimism.cli.output import actions, as_json, facts, print_columns
from pessimism.cli.parser import Parser
from pessimism.messages import plain
from pessimism.progress import progress

USAGE = "--objective NAME (--behavior P,P,... --reward R,R,... | --input FILE) [options]"
HELP = """\
Compute the policy that an objective induces on a bandit: where training ends
when it minimizes this objective on data of the behavior policy.

The nominal policy is printed beside it: the behavior times exp(reward/beta),
normalized, to which regularization by a KL at the temperature beta leads. The
regime says how the two compare:
  positive  the induced policy is more conservative, nearer to the behavior
  boundary  they are the same
  negative  the baseline is so high that mass runs away from the given actions
The effective temperature is the one at which the nominal policy would be as far
from the behavior as the induced one, and the pessimism factor is that over beta."""


def add_arguments(parser: Parser) -> None:
    """Add the options of the command."""
    parser.add_argument("--objective", metavar="NAME", required=True, help=OBJECTIVE)
    add_source(parser)
    add_format(parser, "null is a number that is undefined or infinite")
    add_hyper(parser)


def run(options: argparse.Namespace) -> None:
    """Solve and print."""
    check_format(options)
    objective = chosen_objective(options.objective, options)
    source = source_of(options)
    problems = source.problems()
    solving = source.solve(problems, objective, options.unseen)
    solved = list(progress(solving, "solving", total=len(problems)))
    if options.json:
        print(json.dumps(as_json(solved), allow_nan=False))
        return
    print_columns(actions(solved), csv=options.csv)
    if not options.csv:
        for label, target in solved:
            print(("" if len(solved) == 1 else f"{plain(label)}: ") + facts(target))
