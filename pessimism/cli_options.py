"""Options that the commands of the console script share: hyper-parameters, the bandit, the format."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from pessimism.induced import induced_target
from pessimism.objectives import Objective, ObjectiveLike, make_objective
from pessimism.problems import Problem, parse_numbers, read_problems
from pessimism.result import InducedTarget

# What is not given has no default worth printing.
Float = Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint="")]
Text = Annotated[str | None, tyro.conf.arg(metavar="STR", help_behavior_hint="")]
File = Annotated[Path | None, tyro.conf.arg(metavar="PATH", help_behavior_hint="")]
Flag = Annotated[bool, tyro.conf.arg(help_behavior_hint="")]
Choice = Annotated[Literal["on_policy", "off_policy"] | None, tyro.conf.arg(help_behavior_hint="")]


@dataclass(frozen=True)
class Hyper:
    """Hyper-parameters; what is not given keeps its published default (see pessimism objectives)."""

    beta: Float = None
    """Temperature of the regression or of the KL penalty."""
    beta1: Float = None
    """Temperature of the optimal value (oapl, a_star_po)."""
    beta2: Float = None
    """Temperature of the regression (oapl, a_star_po)."""
    shift: Float = None
    """Temperatures off the mean (shifted_mean); reward units on the mean (asym_re)."""
    value: Float = None
    """Baseline (constant_baseline)."""
    eps: Float = None
    """Added to the standard deviation (std_normalized)."""
    eta: Float = None
    """Inverse temperature (rebel)."""
    w_max: Float = None
    """Cap of the weight (awr)."""
    cap: Float = None
    """Cap of the importance weight (truncated_is)."""
    gamma: Float = None
    """Chi-square share of the penalty (mixed_chi2_kl)."""
    sampling: Choice = None
    """Where the data come from (a_star_po)."""

    def given(self) -> dict[str, Any]:
        """Those that were set."""
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}


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

    def solve(self, problems: list[Problem], objective: Any, unseen: bool) -> list[tuple[str, InducedTarget]]:
        """Label and target of every one of its problems; an error names the file and the problem."""
        solved = []
        for problem in problems:
            try:
                target = induced_target(
                    problem.behavior, problem.reward, objective, reference=problem.reference, unseen=unseen
                )
            except ValueError as error:
                where = "" if self.input is None else f"{self.input}: problem {problem.label}: "
                raise ValueError(f"{where}{error}") from None
            solved.append((problem.label, target))
        return solved


def parse_objective(spec: str, beta: float | None) -> Objective:
    """An objective from "name" or "name:key=value,key=value", at temperature beta unless it sets its own.

    Examples
    --------
    >>> parse_objective("shifted_mean:shift=2", beta=0.25)
    ShiftedMean(beta=0.25, shift=2.0)
    """
    name, hyper = _parsed(spec)
    objective = make_objective(name, **hyper)
    assert isinstance(objective, Objective)
    own = objective.temperature_field in hyper or "eta" in hyper
    return objective if beta is None or own else objective.at_temperature(beta)


def chosen_objective(spec: str, hyper: Hyper) -> ObjectiveLike:
    """Return the objective of a command: its name, with hyper-parameters after a colon or as options.

    Examples
    --------
    >>> chosen_objective("oapl:beta1=0.5", Hyper(beta2=0.1))
    OAPL(beta1=0.5, beta2=0.1)
    """
    name, own = _parsed(spec)
    given = hyper.given()
    for key in own:
        if key in given:
            raise ValueError(f"{key} is given twice, in {spec!r} and as --{key.replace('_', '-')}")
    return make_objective(name, **own, **given)


def _parsed(spec: str) -> tuple[str, dict[str, Any]]:
    """Name and hyper-parameters of "name" or "name:key=value,key=value"."""
    name, colon, settings = spec.partition(":")
    if colon and not settings:
        raise ValueError(f"objective {spec!r}: nothing after the colon, expected key=value")
    hyper: dict[str, Any] = {}
    for setting in settings.split(",") if settings else ():
        key, equals, value = (part.strip() for part in setting.partition("="))
        if not equals:
            raise ValueError(f"objective {spec!r}: {setting!r} must be key=value")
        if key in hyper:
            raise ValueError(f"objective {spec!r}: {key} is given twice")
        try:
            hyper[key] = float(value)
        except ValueError:
            hyper[key] = value
    return name, hyper
