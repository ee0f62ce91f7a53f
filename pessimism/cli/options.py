"""Options that the commands of the console script share: their types, and the bandit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from pessimism.cli.problems import Problem, parse_numbers, read_problems
from pessimism.target.induced import induced_target
from pessimism.target.result import InducedTarget

# What is not given has no default worth printing.
Float = Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint="")]
Text = Annotated[str | None, tyro.conf.arg(metavar="STR", help_behavior_hint="")]
File = Annotated[Path | None, tyro.conf.arg(metavar="PATH", help_behavior_hint="")]
Flag = Annotated[bool, tyro.conf.arg(help_behavior_hint="")]


@dataclass(frozen=True)
class Source:
    """The bandit: on the command line, or one or many in a file."""

    behavior: Text = None
    """Probabilities separated by commas."""
    reward: Text = None
    """Rewards separated by commas."""
    reference: Text = None
    """Probabilities of the policy in the log-ratio, where it is not the behavior."""
    input: File = None
    """CSV, JSONL or parquet with columns behavior and reward, one problem or one action a row."""

    def problems(self) -> list[Problem]:
        """The problems, not yet validated as probabilities."""
        if self.input is not None:
            if self.behavior is not None or self.reward is not None or self.reference is not None:
                raise ValueError("--input already holds behavior and reward: give one or the other")
            return read_problems(self.input)
        if self.behavior is None or self.reward is None:
            raise ValueError("give --behavior and --reward, or --input FILE")
        reference = None if self.reference is None else parse_numbers("--reference", self.reference)
        return [
            Problem("0", parse_numbers("--behavior", self.behavior), parse_numbers("--reward", self.reward), reference)
        ]

    def solve(self, problems: list[Problem], objective: Any, unseen: bool) -> Iterator[tuple[str, InducedTarget]]:
        """Label and target of every one of its problems; an error names the file and the problem."""
        for problem in problems:
            try:
                target = induced_target(
                    problem.behavior, problem.reward, objective, reference=problem.reference, unseen=unseen
                )
            except ValueError as error:
                where = "" if self.input is None else f"{self.input}: problem {problem.label}: "
                raise ValueError(f"{where}{error}") from None
            yield problem.label, target
