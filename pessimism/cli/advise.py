"""The command ``advise``: from a log and its trainer's settings to what to change."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from pessimism.advice.advise import advise
from pessimism.cli.options import (
    LOG,
    OBJECTIVE,
    add_log_options,
    add_log_probs,
    add_trainer,
    log_options,
    objective_of,
    settings_of,
    wanted,
)
from pessimism.cli.parser import Parser, number
from pessimism.cli.standard_input import readable_log

USAGE = "LOG... (--trainer FILE | --objective NAME) [options]"
HELP = """\
Say what to change: the verdict on the present objective; other objectives at equal
conservatism, and what each does to hard, middle and easy prompts; the least change
that leaves the negative regime at this group size; what the age of the data does in
optimizer steps; and where the log disagrees with a habit. Every part names the
computation that it comes from. pessimism target --help says what the words mean."""


def add_arguments(parser: Parser) -> None:
    """Add the options of the command."""
    parser.add_argument("path", metavar="LOG", type=Path, nargs="+", help=f"{LOG}. It may be - for standard input.")
    parser.add_argument("--objective", metavar="NAME", help=f"{OBJECTIVE} By default the trainer's.")
    add_trainer(parser, "its objective is taken where --objective is not given, and its group size and lag.")
    add_log_options(parser)
    add_log_probs(parser)
    advice = parser.add_argument_group("advice")
    advice.add_argument(
        "--candidates",
        metavar="NAME",
        nargs="+",
        help="Objectives to compare with, each with its hyper-parameters after a colon if need be; defaults to "
        "nominal, kimi, shifted_mean, oapl and std_normalized.",
    )
    advice.add_argument(
        "--matched",
        metavar="WANTED",
        type=wanted,
        help="What all candidates are brought to: kl=0.1, value=0.5, max_ratio=2, or like=nominal:beta=0.1; defaults "
        "to the mean KL of the present target, or kl=0.1 where that is greedy or leaks.",
    )
    advice.add_argument(
        "--kl-per-step",
        metavar="FLOAT",
        type=number,
        help="KL in nats by which one optimizer step moves the policy, where it is known; by default what the log "
        "measures, where it has log-probabilities and versions, and else a curve.",
    )
    advice.add_argument(
        "--share",
        metavar="FLOAT",
        type=number,
        default=0.9,
        help="Share of the groups that a change brings out of the negative regime; the default is 0.9.",
    )
    output = parser.add_argument_group("output", "Without an option, a page for people.")
    output.add_argument(
        "--json",
        action="store_true",
        help="Print one JSON object with all digits; null is a number that is undefined, and 1.7976931348623157e308 is "
        "infinity.",
    )


def run(options: argparse.Namespace) -> None:
    """Advise and print."""
    settings = settings_of(options)
    objective_of(options, settings, None)  # or what is missing, by the names of options
    with readable_log(options.path) as path:
        advice = advise(
            path,
            trainer=settings,
            objective=options.objective,
            candidates=options.candidates,
            matched=options.matched,
            kl_per_step=options.kl_per_step,
            share=options.share,
            log_options=log_options(options),
        )
    print(json.dumps(advice.to_dict(), allow_nan=False) if options.json else advice.text)
