"""Options that several commands share: the bandit, the objective, and how to print."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pessimism.cli.problems import LabeledBandit, parse_numbers
from pessimism.target.induced import induced_target
from pessimism.target.result import InducedTarget

OBJECTIVE = (
    "Name of the objective to train with, with its hyper-parameters after a colon if need be, as in "
    "kimi:beta=0.1; pessimism objectives lists the names."
)


@dataclass(frozen=True)
class Source:
    """The bandit: on the command line, or one or many in a file."""

    behavior: str | None = None
    reward: str | None = None
    reference: str | None = None
    input: Path | None = None

    def problems(self) -> list[LabeledBandit]:
        """Read the problems, which are not validated as probabilities yet."""
        if self.input is not None:
            if self.behavior is not None or self.reward is not None or self.reference is not None:
                raise ValueError("--input already holds behavior and reward: give one or the other")
            from pessimism.cli.problem_files import read_problems  # with pandas

            return read_problems(self.input)
        if self.behavior is None or self.reward is None:
            raise ValueError("give --behavior and --reward, or --input FILE")
        reference = None if self.reference is None else parse_numbers("--reference", self.reference)
        return [
            LabeledBandit(
                "0", parse_numbers("--behavior", self.behavior), parse_numbers("--reward", self.reward), reference
            )
        ]

    def solve(self, problems: list[LabeledBandit], objective: Any, unseen: bool) -> Iterator[tuple[str, InducedTarget]]:
        """Yield label and target of each of its problems; an error names the file and the problem."""
        for problem in problems:
            try:
                target = induced_target(
                    problem.behavior, problem.reward, objective, reference=problem.reference, unseen=unseen
                )
            except ValueError as error:
                where = "" if self.input is None else f"{self.input}: problem {problem.label}: "
                raise ValueError(f"{where}{error}") from None
            yield problem.label, target


def add_source(parser: argparse.ArgumentParser) -> None:
    """Add the options of a bandit."""
    group = parser.add_argument_group("bandit", "Either its actions as lists of numbers, or a file.")
    group.add_argument(
        "--behavior", metavar="P,P,...", help="Probability of each action under the policy that generated the data."
    )
    group.add_argument("--reward", metavar="R,R,...", help="Reward of each action.")
    group.add_argument(
        "--reference",
        metavar="P,P,...",
        help="Probability of each action under the reference policy, which the objective compares the policy with; "
        "defaults to the behavior.",
    )
    group.add_argument(
        "--input",
        metavar="FILE",
        type=Path,
        help="CSV, JSONL or parquet file with the columns behavior and reward, and reference if need be: a row for "
        "each problem, with lists in it, or a row for each action, with the problem it belongs to in a column problem.",
    )
    group.add_argument(
        "--unseen",
        action="store_true",
        help="In the negative regime let mass run away to actions other than the given ones, which stand for those "
        "that were seen; without this option all of it stays on the given actions.",
    )


def source_of(options: argparse.Namespace) -> Source:
    """Return the bandit that the options describe."""
    return Source(options.behavior, options.reward, options.reference, options.input)


def add_format(parser: argparse.ArgumentParser, json: str) -> None:
    """Add the options of the output; ``json`` says what null and infinity are there."""
    group = parser.add_argument_group("output", "Without an option, a table for people.")
    group.add_argument("--json", action="store_true", help=f"Print one JSON object with all digits; {json}.")
    group.add_argument(
        "--csv", action="store_true", help="Print CSV with all digits; a field is empty where undefined."
    )


def check_format(options: argparse.Namespace) -> None:
    """Raise ``ValueError`` where both formats are asked for."""
    if options.json and options.csv:
        raise ValueError("--json and --csv exclude each other: give one")
