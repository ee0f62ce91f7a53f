"""What to change, tried before it is said: the log is solved again with the other setting, and both sides are shown."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, ROUND_FLOOR
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pessimism.core.objective import Objective
from pessimism.diagnosis.logged_groups import LoggedGroups
from pessimism.diagnosis.population import population_reading
from pessimism.diagnosis.thresholds import given_up
from pessimism.diagnosis.verdict import SCALE, VerdictRules, verdicts, word_of
from pessimism.diagnosis.wording import digits, distance
from pessimism.groups.target import is_squared
from pessimism.losses.regression import OAPL, AStarPO
from pessimism.target.conservatism import effect
from pessimism.target.result import InducedTarget

MEDIANS = ("value", "gain_share", "kl", "max_ratio", "tv_nominal", "leak")
SETTLED = ("conservative", "nominal", "bold", "moderate")
_MOST = 1024  # groups solved again for an option
_LADDER = 128  # groups solved again for each temperature on the way to one
_DRAWN = 256  # groups of which the population is read again
_BEYOND = 1e-6  # relative: what is said is "more than", or "below"
_RUNGS = 8  # half decades of temperature tried
_LOWER = (0.1, 0.2, 0.5, 1.0, 2.0)  # baselines tried, lower by so much of the largest spread of the advantages
_SMALL = 1e-3  # temperature below the first that is tried where there is none yet


@dataclass(frozen=True)
class Option:
    """A change of one setting, and what it does.

    Attributes
    ----------
    name : str
        "shift", "baseline", the name of the temperature, or "beta1".
    at : float
        The setting that was tried; a shift, or how far the baseline is lowered, in temperatures, if there is one.
    groups : int
        Groups that were solved again, out of those with a signal.
    before, after : dict
        What the target does on these groups: verdict, positive, leaking and giving_up (shares), and medians.
    holds : bool
        Whether it does what is said of it.
    bolder : bool
        Whether the target is farther from the behavior than before.
    """

    name: str
    at: float
    groups: int
    before: dict[str, Any]
    after: dict[str, Any]
    holds: bool
    bolder: bool


class Trial:
    """Groups with a signal and a solution, and how they were solved, to try options on.

    Parameters
    ----------
    logged : LoggedGroups
        The log.
    objective : Objective
        The objective.
    solved : pandas.DataFrame
        Rows of the report that have a signal and a solution, indexed by the number of the group.
    rules : VerdictRules
        Thresholds of the verdict.
    """

    def __init__(self, logged: LoggedGroups, objective: Objective, solved: pd.DataFrame, rules: VerdictRules) -> None:
        self.logged, self.objective, self.solved, self.rules = logged, objective, solved, rules
        self.all = solved.index.to_numpy(dtype=np.intp)

    def _sample(self, groups: NDArray[np.intp], most: int) -> NDArray[np.intp]:
        """At most so many of some groups, evenly spaced; all of them where the advantage depends on the batch."""
        if self.objective.over_batch or len(groups) <= most:
            return groups
        return groups[np.linspace(0, len(groups) - 1, most).astype(np.intp)]

    def _solve(self, groups: NDArray[np.intp], objective: Objective | None, shift: float) -> pd.DataFrame:
        """What a verdict needs to know of some groups, solved with another objective or shift."""
        parts = []
        for index, targets in self.logged.targets(objective or self.objective, groups, shift=shift):
            target = InducedTarget.concatenate(targets)
            facts = effect(target) | {"regime": target.regime, "status": target.status, "given_up": given_up(target)}
            parts.append(pd.DataFrame(facts, index=pd.Index(index)))
        return pd.concat(parts).loc[groups].join(self.solved[["n", "all_equal", "only_advantage"]])

    def _told(self, frame: pd.DataFrame) -> dict[str, Any]:
        """What targets do, in a word, shares and medians."""
        words = verdicts(frame, self.rules)
        return {
            "verdict": word_of(words, self.rules),
            "positive": float((frame["regime"] == "positive").mean()),
            "leaking": float((words == "leaking").mean()),
            "giving_up": float(((frame["given_up"] > 0) | (frame["status"] == "no_target")).mean()),
            **{name: float(frame[name].median()) for name in MEDIANS},
        }

    def option(
        self,
        name: str,
        at: float,
        needs: pd.Series[float] | None = None,
        *,
        objective: Objective | None = None,
        shift: float = 0.0,
        enough: float = 0.0,
        accept: Collection[str] = (),
        most: int = _MOST,
    ) -> Option:
        """Solve the log again with one setting changed.

        It holds what it promises where every group of which ``needs`` says so is positive, in-sample and in the
        population, and a share of ``enough`` of them all; and where the verdict is one to ``accept``.
        """
        groups = self._sample(self.all, most)
        before = self.solved.loc[groups]
        after = self._solve(groups, objective, shift)
        told = self._told(before), self._told(after)
        holds = not accept or told[1]["verdict"] in accept
        if needs is not None:
            positive = (after["regime"] == "positive").to_numpy()
            promised = (needs.reindex(groups) <= at).to_numpy()
            holds = bool(np.all(positive[promised])) and self._in_population(promised, groups, objective, shift)
            if len(groups) == len(self.all):
                holds = holds and positive.mean() >= enough - 1e-9
        bolder = told[1]["kl"] > told[0]["kl"] * (1.0 + 1e-6)
        return Option(name, at, len(groups), *told, holds=bool(holds), bolder=bolder)

    def _in_population(
        self, promised: NDArray[np.bool_], groups: NDArray[np.intp], objective: Objective | None, shift: float
    ) -> bool:
        """Whether no group of which it is promised is negative in the population."""
        some = self._sample(groups[promised], _DRAWN)
        if not some.size or self.objective.over_batch:
            return True
        some = some[np.argsort(self.logged.sizes[some], kind="stable")]
        rows, first = [], 0
        for same in self.logged.by_size(some):
            rows.append((np.arange(first, first + len(same)), self.logged.reward[self.logged.rows(same)]))
            first += len(same)
        made = self.logged.objective_on(objective or self.objective, self.logged.rows(some[:1])[0])
        frame, _ = population_reading(rows, made, shift=shift, why=self.logged.why_no_population)
        return not (frame["population_regime"] == "negative").any()

    def lowered(self, share: float) -> tuple[Option | None, list[float]]:
        """The first of some lower baselines with which a share of the groups gives up nothing, and all of them."""
        some = self._sample(self.all, _LADDER)
        parts = [target for _, targets in self.logged.targets(self.objective, some) for target in targets]
        spread = max(float(np.ptp(target.advantage_rows, axis=-1).max()) for target in parts)
        rungs = [float(f"{part * spread / (self.objective.temperature or 1.0):.2g}") for part in _LOWER]
        for at in rungs:
            option = None
            for most in (_LADDER, _MOST):
                option = self.option("baseline", at, shift=at, most=most)
                if option.after["giving_up"] > 1.0 - share + 1e-9:
                    option = None
                    break
            if option is not None:
                return option, rungs
        return None, rungs

    def rungs(self, rising: bool) -> list[tuple[float, Objective]]:
        """Half decades of temperature above or below, from small ones on where its penalty is switched off."""
        objective, field = self.objective, self.objective.temperature_field
        start = objective.temperature
        make: Callable[[float], Objective] = objective.at_temperature
        if start is None and rising and field is not None and getattr(objective, field, None) == 0:
            start, make = _SMALL, lambda at: objective.replaced(field, at)
        found: list[tuple[float, Objective]] = []
        for rung in range(1, _RUNGS + 1) if start is not None and start > 0 else ():
            at = float(f"{start * 10.0 ** (0.5 * rung if rising else -0.5 * rung):.2g}")
            try:
                found.append((at, make(at)))
            except ValueError:  # out of the range of this objective
                break
        return found

    def temperature(
        self, name: str, rungs: list[tuple[float, Objective]], rising: bool, accept: Collection[str] = SETTLED
    ) -> Option | None:
        """The first of some temperatures that changes the verdict to one to accept."""
        for at, other in rungs:
            if self.option(name, at, objective=other, accept=accept, most=_LADDER).holds:
                option = self.option(name, at, objective=other, accept=accept)
                if option.holds and option.bolder != rising:
                    return option
        return None


def always_positive(objective: Objective) -> str | None:
    """Say why every group is positive (or at the boundary) in-sample under an objective, None where the log decides."""
    if objective.over_batch or objective.facts or not is_squared(objective):
        return None
    if isinstance(objective, OAPL | AStarPO):
        higher = objective.beta1 >= objective.beta2
        return "V* falls with the temperature, and beta1 >= beta2" if higher else None
    rng = np.random.default_rng(0)
    for size in (1, 2, 5, 16):
        reward = np.concatenate([rng.normal(size=(8, size)), (rng.random((8, size)) < 0.3).astype(float)])
        advantage = np.asarray(objective.advantage(np.concatenate([reward, 100.0 * reward, 0.01 * reward])))
        if np.any(advantage.mean(axis=-1) < -1e-12 * np.abs(advantage).max(axis=-1)):
            return None
    return "the mean advantage of a group is never negative, so that E[exp(A/beta)] >= 1"


def tried(option: Option, groups: int, temperature: str = "", inverse: str = "") -> str:
    """What an option does, in numbers before and after; ``inverse`` is what holds a temperature of another name."""
    name = temperature if option.name == "temperature" else option.name
    setting = "such a shift" if name == "shift" else f"{name} {option.at:.3g}{inverse}"
    if name == "baseline":
        setting = f"the baseline lower by {option.at:.3g}{' times the temperature' if temperature else ''}"
    some = "" if option.groups == groups else f" ({option.groups} of {groups} groups solved again)"
    before, after = option.before, option.after

    def both(name: str, form: str = ".3g") -> str:
        shown = distance if name == "tv_nominal" else float
        ends = ("none" if math.isnan(of[name]) else f"{shown(of[name]):{form}}" for of in (before, after))
        return " -> ".join(ends)  # none: there is no target

    parts = [f"leaking groups {both('leaking', '.0%')}"] if before["leaking"] or after["leaking"] else []
    if before["giving_up"] or after["giving_up"]:
        parts.append(f"groups that give up completions {both('giving_up', '.0%')}")
    parts += [f"positive groups {both('positive', '.0%')}"] if before["positive"] != after["positive"] else []
    parts += [f"KL {both('kl')}", f"gain {both('gain_share', '.0%')} of what is possible"]
    parts += [f"largest ratio {both('max_ratio')}"]
    if not math.isnan(before["tv_nominal"]):
        parts.append(f"distance to nominal {both('tv_nominal')}")
    return f"With {setting}{some}: {', '.join(parts)}; verdict {before['verdict']} -> {after['verdict']}."


def read_lowered(option: Option | None, rungs: list[float], groups: int, temperature: str) -> str:
    """Say what a lower baseline does for the completions that are given up, or that none that was tried keeps them.

    ``temperature`` is its name, empty where there is none; it is the unit then.
    """
    if option is not None:
        return f" {tried(option, groups, temperature)}"
    unit = " times the temperature" if temperature else ""
    return f" No lower baseline that was tried keeps all of them, {rungs[0]:g} to {rungs[-1]:g}{unit}."


def positive_options(
    trial: Trial,
    share: float,
    shift: tuple[float, pd.Series[float]],
    beta: tuple[float, pd.Series[float]],
    beta1: tuple[float, pd.Series[float]],
) -> list[Option]:
    """Shift, temperature and beta1 that bring a share of the groups into the positive regime, as a text writes them."""
    objective, found = trial.objective, []
    if shift[0] >= 0 and math.isfinite(shift[0]):
        at = float(digits(shift[0], ROUND_CEILING)) if shift[0] > 0 else 0.1
        found.append(trial.option("shift", at, shift[1], shift=at * (1.0 + _BEYOND), enough=share))
    if 0 < beta[0] < math.inf and objective.temperature_field is not None:
        at = float(digits(beta[0], ROUND_FLOOR))
        other = objective.at_temperature(at * (1.0 - _BEYOND))
        option = trial.option("temperature", -at, -beta[1], objective=other, enough=share)  # enough is what lies below
        found.append(replace(option, at=at))
    if 0 < beta1[0] < math.inf:
        at = float(digits(beta1[0], ROUND_CEILING))
        regression: Any = objective
        other = replace(regression, beta1=at * (1.0 + _BEYOND))
        found.append(trial.option("beta1", at, beta1[1], objective=other, enough=share))
    return found


def about_size(trial: Trial, word: str, named: str, groups: int) -> tuple[str, list[Option]]:
    """What to say, and what was tried, where a target is too timid or greedy, or leaks at every shift."""
    if word not in (SCALE[0], SCALE[-1], "leaking"):
        return "", []
    rising = word != SCALE[0]
    rungs = trial.rungs(rising)
    option = trial.temperature(named, rungs, rising)
    side = "conservative" if rising else "bolder"
    told = " How far a round should move is a choice that cannot be made from a log."
    if option is None:
        why = _untried(trial.objective)
        if rungs:
            ends = f"{rungs[0][0]:g} to {rungs[-1][0]:g}"
            why = f"no {named} that was tried, {ends}, makes it conservative, nominal or bold"
            past = trial.temperature(named, rungs, rising, accept=[SCALE[0]] if rising else [SCALE[-1], "leaking"])
            if past is not None:
                inverse = _inverse(trial.objective, dict(rungs)[past.at])
                return f" The target is {word}, and {why}. {tried(past, groups, named, inverse)}{told}", [past]
        return f" The target is {word}, and {why}: this choice cannot be made from a log.", []
    more = "higher" if rising else "lower"
    inverse = _inverse(trial.objective, dict(rungs)[option.at])
    text = f" The target is {word}: a {more} {named} is the {side} side. {tried(option, groups, named, inverse)}{told}"
    return text, [option]


def _untried(objective: Objective) -> str:
    """Why no temperature was tried."""
    if objective.temperature is None:
        return "it has no temperature"
    return f"a temperature of {objective.temperature:g} is at the end of its range"


def _inverse(objective: Objective, other: Objective) -> str:
    """The hyper-parameter that holds the temperature of another name, such as the inverse that REBEL has."""
    if objective.temperature_field is not None:
        return ""
    moved = [name for name, value in other.settings.items() if value != objective.settings[name]]
    return "".join(f" ({name} {other.settings[name]:.3g})" for name in moved)


def few(prompts: int, rules: VerdictRules) -> str:
    """Say that there are too few prompts to say anything."""
    them = "1 prompt has" if prompts == 1 else f"{prompts} prompts have"
    return f" Too few groups: only {them} a signal, and a verdict takes {rules.few}."
