"""From a log and the settings of its trainer to a verdict, a ranking and a number to set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from pessimism.advice.candidates import CANDIDATES, candidates, wanted_of
from pessimism.advice.group_size import laws_of, least_changes
from pessimism.advice.habits import habits
from pessimism.advice.lag import COLUMNS, Median, Schedule, keeps_first, lag_answer, lag_table, median_group
from pessimism.advice.result import SOURCES, TRIED, Advice
from pessimism.advice.sample import Sample
from pessimism.advice.step import step_of
from pessimism.comparison.compare import as_written
from pessimism.core.objective import Objective, ObjectiveLike
from pessimism.diagnosis.diagnose import diagnose
from pessimism.diagnosis.logged_groups import LoggedGroups, reads_lengths
from pessimism.diagnosis.verdict import VerdictRules
from pessimism.losses.registry import make_objective
from pessimism.rollouts.options import LogOptions, split_options
from pessimism.rollouts.read import LogLike
from pessimism.trainers.config import from_config
from pessimism.trainers.settings import TrainerSettings

_OLDER = (4, 16)  # steps, where no trainer says how old its data are


def advise(
    log: LogLike,
    *,
    trainer: Any = None,
    objective: str | ObjectiveLike | None = None,
    candidates: Iterable[str | ObjectiveLike] | None = None,
    matched: Mapping[str, Any] | None = None,
    kl_per_step: float | None = None,
    share: float = 0.9,
    rules: VerdictRules | None = None,
    check: bool = True,
    log_options: LogOptions | None = None,
    **columns: Any,
) -> Advice:
    """Say what to change: a verdict, candidates at equal conservatism, the least change, and what lag does.

    Parameters
    ----------
    log : pandas.DataFrame, datasets.Dataset, path or list
        Rollout log, as :func:`~pessimism.read_rollouts` reads it.
    trainer : TrainerSettings or source, optional
        Settings of the trainer, as :func:`~pessimism.from_config` takes or returns them: the present objective, the
        group size, the age of its data, and whether equal groups are dropped.
    objective : str or ObjectiveLike, optional
        The present objective, "name:key=value"; by default the trainer's.
    candidates : iterable of str or ObjectiveLike, optional
        Objectives to compare with; by default nominal, kimi, shifted_mean, oapl and std_normalized.
    matched : mapping of str to float, optional
        What all candidates are brought to by their temperature, as for :func:`~pessimism.compare`; by default the mean
        KL of the present target, or 0.1 nats where that is greedy, leaks or is not there.
    kl_per_step : float, optional
        KL in nats by which one optimizer step moves the policy, where it is known. By default what the log measures,
        where it was read with log-probabilities and versions (``log_prob_columns``), and else a curve.
    share : float, default 0.9
        Part of the groups that a change has to bring out of the negative regime.
    rules : VerdictRules, optional
        Thresholds of the verdict; by default those of :class:`~pessimism.VerdictRules`.
    check : bool, default True
        Whether an objective of one's own is checked first, once for each object (:func:`pessimism.check`).
    log_options : LogOptions, optional
        How the log is read. What this leaves open of groups, `drop_equal` and `singleton`, is as the trainer does it.
    **columns : Any
        The same as keywords, such as ``reward_column="score"``: see :class:`~pessimism.LogOptions`.

    Returns
    -------
    Advice
        Its ``text`` is a page, its tables are frames.

    Raises
    ------
    ValueError
        If neither trainer nor objective is given, the trainer's loss is no objective of this package and none is
        given, an argument is out of range, or the log cannot be read or has no group with a signal.

    See Also
    --------
    pessimism.diagnose : The report that the verdict is from.
    pessimism.compare : Objectives side by side on a log.

    Examples
    --------
    >>> import pessimism as ps
    >>> settings = {"loss_type": "grpo", "beta": 0.04, "num_generations": 16}
    >>> advice = ps.advise("examples/trl_completions", trainer=settings, objective="optimal_value:beta=0.5")
    >>> advice.least.query("not drop_equal")[["change", "setting", "negative"]].round(3).to_numpy().tolist()
    [['none', nan, 1.0], ['shift', 0.036, 0.037], ['mean of the group', nan, 0.0], ['leave-one-out', nan, 0.0]]
    """
    if kl_per_step is not None and not (isinstance(kl_per_step, int | float) and 0 < kl_per_step < np.inf):
        raise ValueError(f"kl_per_step must be a finite number > 0, got {kl_per_step!r}")
    if not 0.0 < share <= 1.0:
        raise ValueError(f"share must be in (0, 1], got {share!r}")
    settings = trainer if trainer is None or isinstance(trainer, TrainerSettings) else from_config(trainer)
    made = _present(settings, objective, check)
    rules = VerdictRules() if rules is None else rules
    named = _named(candidates, check)
    options, others = split_options(log_options, columns)
    if others:
        raise TypeError(f"advise() has no option {next(iter(others))!r}")
    options = options if settings is None else settings.of_log(options)
    report = diagnose(log, made, rules=rules, check=check, log_options=options)
    logged = report.logged
    assert logged is not None
    if not report.summary["informative"]:
        why_not = report.recommendation
        raise ValueError(f"log has nothing to advise on: {why_not[:1].lower()}{why_not[1:]}")
    word = report.summary["verdict"]
    present = Sample(logged)
    # Advantages of the log are those of the present objective.
    sample = present if logged.given is None else Sample(replace(logged, given=None))
    name, wanted, why = wanted_of(matched, word.get("alone", word["word"]), made, present)
    table, bands = _candidates(report, sample, made, named, (name, wanted), rules)
    size, drop = _group_size(settings, logged), settings is not None and settings.drop_equal
    laws = laws_of(logged)
    least = least_changes(laws, made, size, share, _why_not_its_own(logged))
    median = median_group(logged)
    step = step_of(logged, settings, kl_per_step)
    lag, lag_note, answer = _lag(made, settings, logged, median, step.kl)
    tried = {"recommendation": TRIED} if report.summary["recommendation"]["options"] else {}
    known = {"group_size": size, "median": "no group" if median is None else median.name}
    return Advice(
        objective=as_written(made),
        trainer=None if settings is None else str(settings),
        not_modelled=() if settings is None else settings.not_modelled,
        report=report,
        taken=sample.note,
        matched={"name": name, "value": wanted, "why": why},
        candidates=table,
        bands=bands,
        group_size=size,
        drop_equal=drop,
        least=least,
        laws=laws.note,
        lag=lag,
        lag_note=lag_note,
        lag_answer=answer,
        kl_from=step.told,
        habits=tuple(
            habits(
                report,
                made,
                drop_equal=drop,
                lags=settings is not None and bool(settings.lag),
                group_size=size,
                sample=sample,
                least=least,
                lag=lag,
            )
        ),
        sources={part: text.format(**known) for part, text in (SOURCES | tried).items()},
    )


_candidates = candidates  # the argument of `advise` has the name


def _present(settings: TrainerSettings | None, objective: Any, check: bool) -> Objective:
    """Return the present objective: the one given, else the trainer's."""
    if objective is not None:
        return make_objective(objective, check=check)
    if settings is None:
        raise ValueError("give objective, or trainer")
    if settings.objective is None:
        raise ValueError("trainer has a loss that is no objective of this package: give objective")
    return settings.objective


def _named(given: Iterable[str | ObjectiveLike] | None, check: bool) -> Mapping[str, str] | list[Objective]:
    if given is None:
        return CANDIDATES
    if isinstance(given, str):
        raise ValueError(f"candidates must be a list of names or objectives, got the text {given!r}: write [{given!r}]")
    return [make_objective(one, check=check) for one in given]


def _group_size(settings: TrainerSettings | None, logged: LoggedGroups) -> int:
    """Return the trainer's group size, else the median of those in the log."""
    if settings is not None and settings.group_size is not None:
        return settings.group_size
    return int(np.sort(logged.sizes)[(len(logged.sizes) - 1) // 2])


def _lag(
    objective: Objective,
    settings: TrainerSettings | None,
    logged: LoggedGroups,
    median: Median | None,
    curve: tuple[float, ...],
) -> tuple[pd.DataFrame, str, str]:
    """Table of the dynamics, what it is about, or why there is none, and what it says of the trainer's lag."""
    why = _why_not_its_own(logged) or _why_no_dynamics(objective, median)
    if why is not None or median is None:
        return pd.DataFrame(columns=list(COLUMNS)), f"Not computed: {why}.", ""
    schedules, told = _schedules(settings)
    reference = "the first policy" if keeps_first(objective) else "the one of its data"
    note = (
        f"{told} Age 0 is the policy's own data. Exact gradients on softmax logits; the reference is {reference}; the "
        "step size is such that the first step has that KL."
    )
    table, age = lag_table(objective, median, schedules, curve), schedules[0].age
    mine = settings is not None and settings.lag == age
    return table, note, lag_answer(table, age, f"the trainer's age of {age}" if mine else f"an age of {age}")


def _why_not_its_own(logged: LoggedGroups) -> str | None:
    """Why other data would not have the advantages that these have."""
    return None if logged.given is None else f"the {logged.given}s are those of the log, and other data have none"


def _why_no_dynamics(objective: Objective, median: Median | None) -> str | None:
    if median is None:
        return "no group has a signal"
    if objective.on_policy:
        return f"{objective} samples from the current policy at each step, so that its data have no age"
    if objective.over_batch:
        return "the advantage depends on the other groups of the batch"
    if objective.facts or reads_lengths(objective):
        return "the objective knows something of each completion, such as its length"
    if objective.takes_propensity:
        return "the weight needs the probability of each completion, which the log does not show"
    return None


def _schedules(settings: TrainerSettings | None) -> tuple[list[Schedule], str]:
    """Ages of the data to look at, and what they are."""
    if settings is None or settings.lag is None or settings.reuse is None:
        return [
            Schedule(1, age) for age in _OLDER
        ], f"No settings say how old the data are: ages of {_OLDER[0]} and {_OLDER[1]}."
    every = min(settings.reuse, settings.lag + 1)
    mine = Schedule(every, settings.lag - every + 1)
    if mine.age == 0:
        return (
            [Schedule(1, age) for age in _OLDER],
            f"The trainer's data are its policy's own; ages of {_OLDER[0]} and {_OLDER[1]} steps are beside that.",
        )
    older = Schedule(every, mine.lag + mine.age)
    return (
        [mine, older],
        f"The trainer's data are up to {mine.age} steps old (refreshed every {mine.refresh_every}, {mine.lag} behind); "
        f"{older.age} is twice that.",
    )
