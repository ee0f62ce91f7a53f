"""The command ``target``: the policy that an objective induces on a bandit."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from pessimism.cli.hyper import add_hyper, chosen_objective
from pessimism.cli.options import OBJECTIVE, Source, add_format, add_source, check_format, source_of
from pessimism.cli.output import actions, as_json, facts, prefixes, print_columns, tree_as_json, tree_facts
from pessimism.cli.parser import Parser
from pessimism.cli.problems import parse_numbers
from pessimism.core.objective import Objective
from pessimism.messages import plain
from pessimism.progress import progress

USAGE = "--objective NAME (--behavior P,P,... --reward R,R,... | --input FILE | --tree FILE) [options]"
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
from the behavior as the induced one, and the pessimism factor is that over beta.

With --tree the loss is one of tokens: the policy that it induces after every
prefix of the completions of a prompt, prefixes in the negative regime first."""
_SHOWN = 20  # prefixes of a table
_TOKENS = {
    "level": ("LEVEL", "token, prefix or sequence: whose ratio the loss sees; defaults to token where it can."),
    "aggregation": ("HOW", "sum, sequence_mean or token_mean of the tokens of a completion; defaults to sum."),
    "baseline": ("WHOSE", "prompt or prefix: among which completions the advantage is taken; defaults to prompt."),
    "group_size": ("G", "Completions of a group, whose statistics make the advantage; defaults to the population."),
    "mean_over": ("WHAT", "batch or group: whose tokens a token_mean is taken over; defaults to batch."),
    "rest_reward": ("R", "Reward of completions that are not listed; defaults to 0."),
    "rest_length": ("N", "Their length, which sequence_mean needs."),
}


def add_arguments(parser: Parser) -> None:
    """Add the options of the command."""
    parser.add_argument("--objective", metavar="NAME", required=True, help=OBJECTIVE)
    add_source(parser)
    add_format(parser, "null is a number that is undefined or infinite")
    group = parser.add_argument_group("tokens", "Completions of one prompt, and how their tokens enter the loss.")
    group.add_argument(
        "--tree",
        metavar="FILE",
        type=Path,
        help="JSON lines, - for standard input: a completion a line with tokens (their ids), log_probs (of each under "
        "the behavior) and reward; optionally reference_log_probs, mask (false where the policy did not choose the "
        "token) and truncated.",
    )
    for name, (metavar, what) in _TOKENS.items():
        group.add_argument(f"--{name.replace('_', '-')}", metavar=metavar, help=what)
    group.add_argument("--drop-equal", action="store_true", help="Drop groups whose rewards are all equal.")
    add_hyper(parser)


def run(options: argparse.Namespace) -> None:
    """Solve and print."""
    check_format(options)
    objective = chosen_objective(options.objective, options)
    if options.tree is not None:
        _run_tree(options, objective)
        return
    given = [name for name in (*_TOKENS, "drop_equal") if getattr(options, name) not in (None, False)]
    if given:
        raise ValueError(f"--{given[0].replace('_', '-')} needs --tree FILE")
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


def _run_tree(options: argparse.Namespace, objective: Objective) -> None:
    """Solve the prefixes of a token tree and print them."""
    if source_of(options) != Source():
        raise ValueError("--tree already holds behavior and reward: give one or the other")
    from pessimism.cli.standard_input import readable
    from pessimism.cli.tree_files import read_tree
    from pessimism.tokens.target import token_target

    rest = {"rest_reward": 0.0 if options.rest_reward is None else _number(options, "rest_reward")}
    if options.rest_length is not None:
        rest["rest_length"] = _number(options, "rest_length")
    names = ("level", "aggregation", "baseline", "mean_over")
    given = {name: value for name in names if (value := getattr(options, name)) is not None}
    if options.group_size is not None:
        given["group_size"] = _whole(options, "group_size")
    with readable(options.tree) as path:
        target = token_target(read_tree(path, **rest), objective, drop_equal=options.drop_equal, **given)
    if options.json:
        print(json.dumps(tree_as_json(target), allow_nan=False))
        return
    columns = prefixes(target)
    count = len(columns["prefix"])
    shown = count if options.csv else min(count, _SHOWN)
    print_columns({name: values[:shown] for name, values in columns.items()}, csv=options.csv)
    if not options.csv:
        if shown < count:
            print(f"... and {count - shown} more prefixes: --csv and --json have all of them")
        print(tree_facts(target))


def _number(options: argparse.Namespace, name: str) -> float:
    option, text = f"--{name.replace('_', '-')}", getattr(options, name)
    values = parse_numbers(option, text)
    if len(values) != 1:
        raise ValueError(f"{option} must be one number, got {text}")
    return float(values[0])


def _whole(options: argparse.Namespace, name: str) -> int:
    value = _number(options, name)
    if value != int(value):
        raise ValueError(f"--{name.replace('_', '-')} must be a whole number, got {getattr(options, name)}")
    return int(value)
