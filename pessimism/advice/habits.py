"""Where a log disagrees with a habit: rules that each rest on a finding, told where their claim was computed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from pessimism.advice.candidates import kl_by_band
from pessimism.advice.sample import Sample
from pessimism.comparison.compare import as_written, rounded
from pessimism.comparison.match import one_setting
from pessimism.comparison.problems import over_signal
from pessimism.core.objective import Objective
from pessimism.diagnosis.report import Diagnosis
from pessimism.diagnosis.summary import BANDS
from pessimism.losses.regression import Kimi, StdNormalized

_WARM = 1.5  # factor of the stated temperature from which on it is worth a word
_MANY = 0.1  # part of the groups that a rule must concern
_EVEN = 1.1  # ratio from which on two bands differ


@dataclass(frozen=True)
class Habit:
    """A habit that this log speaks against.

    Attributes
    ----------
    name : str
        The rule: "dropping equal groups", "dividing by the spread", "counting the lag as a factor", "the stated
        temperature" or "the optimal value as baseline".
    claim : str
        What was found on this log.
    finding : str
        The finding that it rests on: a study of docs/findings.md, or a section of docs/theory.md.
    source : str
        The computation.

    Examples
    --------
    >>> import pessimism as ps
    >>> advice = ps.advise("examples/verl_rollouts", objective="optimal_value:beta=0.5", candidates=["nominal"])
    >>> [habit.name for habit in advice.habits]
    ['the optimal value as baseline']
    """

    name: str
    claim: str
    finding: str
    source: str


def habits(
    report: Diagnosis,
    objective: Objective,
    *,
    drop_equal: bool,
    lags: bool,
    group_size: int,
    sample: Sample,
    least: pd.DataFrame,
    lag: pd.DataFrame,
) -> list[Habit]:
    """Rules that apply to these settings and hold on this log.

    Parameters
    ----------
    report : Diagnosis
        That of the present objective.
    objective : Objective
        The present objective.
    drop_equal : bool
        Whether the trainer drops groups whose rewards are all equal.
    lags : bool
        Whether the trainer's data are older than its policy.
    group_size : int
        Completions of a group.
    sample : Sample
        The groups, with the advantages that each objective itself gives them.
    least, lag : pandas.DataFrame
        The tables of the advice.

    Returns
    -------
    list of Habit
        Those that apply.
    """
    found = [
        _dropping(least, group_size) if drop_equal else None,
        _spread(objective, report, sample),
        _lag(lag) if lags else None,
        _temperature(report),
        _optimal_value(report),
    ]
    return [habit for habit in found if habit is not None]


def _dropping(least: pd.DataFrame, group_size: int) -> Habit | None:
    now = least[least["change"] == "none"].set_index("drop_equal")["negative"].astype(float)
    if now.isna().any() or not now.get(True, np.nan) > now.get(False, np.nan):
        return None
    claim = (
        f"Dropping groups of equal rewards brings more prompts into the negative regime: {now[True]:.0%} in place of "
        f"{now[False]:.0%}. The groups left are no sample of the policy, and the baseline is too high for them."
    )
    return Habit(
        "dropping equal groups", claim, "docs/theory.md, section 6, group mean", f"population at n = {group_size}"
    )


def _spread(objective: Objective, report: Diagnosis, sample: Sample) -> Habit | None:
    """Compare the loss with itself without the division, or with the one that differs in nothing else."""
    assert report.logged is not None
    given = report.logged.given is not None  # then the advantages are divided by what the log divides them by
    if given or objective.over_batch or objective.facts or not divides_by_spread(objective):
        return None
    with_it, alike = sample.solve(objective), "at its own setting"
    if "scale" in objective.settings:
        without = replace(objective, **{"scale": "none"})
        told = f"{objective.name} without it (scale=none)"
    elif isinstance(objective, StdNormalized):
        kl = over_signal(with_it, "kl", "mean")[0]
        try:
            without, _ = one_setting(Kimi(), sample.solve, "kl", float(kl))
        except ValueError:  # no temperature has that KL
            return None
        told, alike = rounded(as_written(without)), "at the same mean KL"
    else:
        return None  # no loss differs from it in nothing else
    divided, plain = (kl_by_band(report, sample, solved.targets[0]) for solved in (with_it, sample.solve(without)))
    ends = [band for band in ("hard", "easy") if np.isfinite(divided[band]) and np.isfinite(plain[band])]
    if not ends or not all(divided[band] > _EVEN * plain[band] for band in ends):
        return None
    each = " and ".join(f"{band} ones {plain[band]:.2g} -> {divided[band]:.2g}" for band in ends)
    claim = (
        f"{objective.name} divides by the spread of the group, which moves prompts of extreme pass rates farther "
        f"{alike}. In units of the KL of middle prompts, in {told} -> with it: {each}. That is said of this loss: "
        "others need not have it."
    )
    return Habit(
        "dividing by the spread",
        claim,
        "docs/findings.md, pass_rate",
        f"targets of the in-sample groups under {objective.name} and {without.name}"
        if without.name != objective.name
        else f"targets of the in-sample groups under {objective.name}, with and without it",
    )


def divides_by_spread(objective: Objective) -> bool:
    """Whether rewards in another unit give the same advantage.

    Parameters
    ----------
    objective : Objective
        The objective.

    Returns
    -------
    bool
        Whether they do.

    Examples
    --------
    >>> import pessimism as ps
    >>> divides_by_spread(ps.StdNormalized(beta=1.0)), divides_by_spread(ps.Kimi(beta=1.0))
    (True, False)
    """
    reward = np.array([[0.0, 0.25, 0.75, 1.0]])  # which objectives of a Bernoulli reward take, too
    one, tenth = (np.asarray(objective.advantage(unit * reward)) for unit in (1.0, 0.1))
    return bool(
        np.any(one != 0) and np.allclose(one, tenth, rtol=0.02, atol=0.0)
    )  # what an eps beside the spread leaves


def _lag(lag: pd.DataFrame) -> Habit | None:
    own = lag[(lag["age"] == 0) & lag["half_gain_steps"].notna()]
    older = lag[(lag["age"] > 0) & lag["kl_per_step"].isin(own["kl_per_step"])]
    if older.empty or not (older["slower"] < older["age"] + 1).all():  # nor where older data never get there (nan)
        return None
    low, high, first, last = (getattr(older[of], which)() for of in ("slower", "age") for which in ("min", "max"))
    claim = (
        "Data that are L optimizer steps old do not make training L + 1 times as long, as rounds that each end at "
        f"their target do: at ages of {first:.0f} to {last:.0f} half of the gain takes {low:.2f} to {high:.2f} times "
        "the steps, by the KL per step. To divide the step size by the lag gives away more than that."
    )
    return Habit("counting the lag as a factor", claim, "docs/findings.md, lag", "tabular dynamics on the median group")


def _temperature(report: Diagnosis) -> Habit | None:
    rate, factor = report.frame["pass_rate"], report.frame["advantage_factor"]
    if rate.isna().all():
        return None
    band = np.where(rate < report.rules.hard, BANDS[0], np.where(rate > report.rules.easy, BANDS[2], BANDS[1]))
    median = factor.groupby(band).median()
    hard, easy = (median.get(name, np.nan) for name in ("hard", "easy"))
    if not hard >= _WARM:
        return None
    beside = "" if np.isnan(easy) else f", and {easy:.2g} times on easy ones"
    claim = f"The temperature is not the stated one: on hard prompts it acts {hard:.2g} times as warm{beside}."
    return Habit("the stated temperature", claim, "docs/findings.md, pass_rate and targets", "from the log")


def _optimal_value(report: Diagnosis) -> Habit | None:
    frame = report.frame
    some = frame[~frame["all_equal"] & (frame["n"] > 1)]
    if some.empty:
        return None
    share = ((some["regime"] != "negative") & (some["population_regime"] == "negative")).mean()
    if share <= _MANY:
        return None
    claim = (
        f"The baseline looks harmless group by group and is not: {share:.0%} of the groups are not negative in-sample "
        "and negative over new groups of their size."
    )
    return Habit("the optimal value as baseline", claim, "docs/findings.md, group_size", "population at the logged n")
