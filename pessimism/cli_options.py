"""Options that the commands of the console script share: hyper-parameters, the bandit, the format."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from pessimism.induced import induced_target
from pessimism.objectives import Objective, make_objective
from pessimism.problems import Problem, parse_numbers, read_problems
from pessimism.result import InducedTarget


@dataclass(frozen=True)
class Hyper:
    """Hyper-parameters; what is not given keeps its published default (see `pessimism objectives`)."""

    beta: float | None = None
    """Temperature of the regression or of the KL penalty."""
    beta1: float | None = None
    """Temperature of the optimal value (oapl, a_star_po)."""
    beta2: float | None = None
    """Temperature of the regression (oapl, a_star_po)."""
    shift: float | None = None
    """Temperatures off the mean (shifted_mean); reward units on the mean (asym_re)."""
    value: float | None = None
    """Baseline (constant_baseline)."""
    eps: float | None = None
    """Added to the standard deviation (std_normalized)."""
    eta: float | None = None
    """Inverse temperature (rebel)."""
    w_max: float | None = None
    """Cap of the weight (awr)."""
    cap: float | None = None
    """Cap of the importance weight (truncated_is)."""
    gamma: float | None = None
    """Chi-square share of the penalty (mixed_chi2_kl)."""
    sampling: Literal["on_policy", "off_policy"] | None = None
    """Where the data come from (a_star_po)."""

    def given(self) -> dict[str, Any]:
        """Those that were set."""
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}


@dataclass(frozen=True)
class Source:
    """The bandit: on the command line, or one or many in a file."""

    behavior: str | None = None
    """Probabilities separated by commas."""
    reward: str | None = None
    """Rewards separated by commas."""
    reference: str | None = None
    """Probabilities of the policy in the log-ratio, where it is not the behavior."""
    input: Path | None = None
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

    def solve(self, objective: Any, unseen: bool) -> list[tuple[str, InducedTarget]]:
        """Label and target of every problem; an error names the file and the problem."""
        solved = []
        for problem in self.problems():
            try:
                target = induced_target(
                    problem.behavior, problem.reward, objective, reference=problem.reference, unseen=unseen
                )
            except ValueError as error:
                where = "" if self.input is None else f"{self.input}: problem {problem.label}: "
                raise ValueError(f"{where}{error}") from None
            solved.append((problem.label, target))
        return solved


@dataclass(frozen=True)
class Format:
    """How to print; a table without either."""

    json: bool = False
    """Print one JSON object."""
    csv: bool = False
    """Print CSV."""

    def table(self, frame: pd.DataFrame) -> None:
        """Print a frame as CSV or as an aligned table."""
        if self.csv:
            print(frame.to_csv(index=False), end="")
        else:
            print(frame.to_string(index=False, float_format="{:.4g}".format, na_rep="-"))


def parse_objective(spec: str, beta: float | None) -> Objective:
    """An objective from "name" or "name:key=value,key=value", at temperature beta unless it sets its own.

    Examples
    --------
    >>> parse_objective("shifted_mean:shift=2", beta=0.25)
    ShiftedMean(beta=0.25, shift=2.0)
    """
    name, _, settings = spec.partition(":")
    hyper: dict[str, Any] = {}
    for setting in settings.split(",") if settings else ():
        key, equals, value = setting.partition("=")
        if not equals:
            raise ValueError(f"objective {spec!r}: {setting!r} must be key=value")
        try:
            hyper[key] = float(value)
        except ValueError:
            hyper[key] = value
    objective = make_objective(name, **hyper)
    assert isinstance(objective, Objective)
    own = objective.temperature_field in hyper or "eta" in hyper
    return objective if beta is None or own else objective.at_temperature(beta)
