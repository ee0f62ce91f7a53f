"""A diagnosis over all groups of a log: shares, medians, and what to change."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
import pandas as pd

from pessimism.diagnosis.report import Diagnosis
from pessimism.diagnosis.thresholds import SIGN
from pessimism.diagnosis.wording import (
    AS_CONSERVATIVE,
    SAME,
    read_boundary,
    read_positive,
    read_same,
    read_shift,
    read_undecided,
    read_unsolved,
)

_MEDIANS = ("reward_mean", "pessimism_factor", "effective_temperature", "kappa", "kl", "nominal_kl", "tv_nominal")
_MAXIMA = ("kl", "max_ratio", "leak")
_NEEDED = (
    *("n", "regime", *_MEDIANS, *_MAXIMA[1:], "given_up", "all_equal", "critical_shift", "critical_beta", "status"),
)
_POPULATION = ("population_regime", "population_shift", "population_beta", "population_beta1")


def summarize(report: Diagnosis | pd.DataFrame, *, share: float = 0.9) -> dict[str, Any]:
    """Sum up a report of :func:`~pessimism.diagnose` over its groups, and recommend a shift or a temperature.

    Parameters
    ----------
    report : Diagnosis or pandas.DataFrame
        What ``diagnose`` returned, or its frame, from a file for one, which knows neither objective nor temperature.
    share : float, default 0.9
        Part of the groups with a signal that the recommendation puts in the positive regime. A group has a signal where
        its rewards are not all equal, or where they are and mass leaks.

    Returns
    -------
    dict
        Ready for JSON: None stands for undefined, the largest float 1.7976931348623157e308 for infinity.

        - objective, groups, rows (completions), skipped (malformed lines), step_note (says so where the log had no step
          column);
        - share: of each regime, in-sample, among the share_of groups that the solver solved, with a signal or not;
        - population_share: of each regime, over new groups of their size, among all population_share_of groups;
          "undecided" and "undefined", too, for which population_note says why;
        - status: a count for each; all_equal, informative and giving_up: how many groups have equal rewards, a signal,
          and a signal with a target that gives up completions;
        - median_...: over the groups with a signal; a group that leaks has neither effective temperature nor pessimism
          factor. max_...: over all groups;
        - recommendation: share; extra_shift, such that every shift of the baseline by more than so many temperatures is
          enough, in-sample and in the population (see :func:`~pessimism.smallest_shift`); largest_beta, such that every
          temperature below it is enough (the largest float where any will do, 0 where none will, None where the
          temperature alone does not decide); smallest_beta1, of oapl and a_star_po with groups of two rewards (see
          :func:`~pessimism.smallest_beta1`); and text, which says all that.

    Raises
    ------
    ValueError
        If ``share`` is not in (0, 1], or a frame lacks the columns of a report.

    Examples
    --------
    >>> from pessimism.diagnosis.diagnose import diagnose
    >>> report = diagnose("examples/trl_completions", "oapl", beta1=0.1, beta2=0.2)
    >>> summary = summarize(report)
    >>> summary["groups"], summary["share"]["negative"], summary["recommendation"]["extra_shift"]
    (192, 0.9895, 0.872)
    >>> print(summary["recommendation"]["text"])  # doctest: +NORMALIZE_WHITESPACE
    Lower the baseline by more than 0.873 times the temperature (add more than 0.175 to every advantage), or use
    beta2 below 0.091 (greedier), or beta1 above 0.22, to bring at least 90% of the groups with a signal into the
    positive regime.
    """
    if not 0.0 < share <= 1.0:
        raise ValueError(f"share must be in (0, 1], got {share!r}")
    report = report if isinstance(report, Diagnosis) else Diagnosis(report)
    frame = report.frame
    missing = [name for name in (*_NEEDED, *_POPULATION) if name not in frame]
    if missing:
        raise ValueError(f"frame is not a report of diagnose: it has no column {', '.join(missing)}")
    unsolved = frame["status"] == "not_converged"  # whose regime and leak mean nothing
    leaks = (frame["regime"] == "negative") & (frame["leak"] > 0) & ~unsolved
    signal = frame[~frame["all_equal"] | leaks]
    solved = signal[signal["status"] != "not_converged"]
    summary: dict[str, Any] = {
        "objective": report.objective,
        "groups": len(frame),
        "rows": int(frame["n"].sum()),
        "skipped": report.skipped,
        "step_note": report.step_note,
        "share": {name: json_number((frame["regime"][~unsolved] == name).mean()) for name in SIGN},
        "share_of": int((~unsolved).sum()),
        "population_share": {str(k): json_number(v) for k, v in _shares(frame["population_regime"]).items()},
        "population_share_of": len(frame),
        "population_note": report.population_note,
        "status": {str(name): int(count) for name, count in frame["status"].value_counts().items()},
        "all_equal": int(frame["all_equal"].sum()),
        "informative": len(signal),
        "giving_up": int((solved["given_up"] > 0).sum()),
    }
    summary |= {f"median_{name}": json_number(signal[name].median()) for name in _MEDIANS}
    summary |= {f"max_{name}": json_number(frame[name].max()) for name in _MAXIMA}
    shift = _enough(_stricter(np.fmax, solved["critical_shift"], solved["population_shift"]), share)
    beta = -_enough(-_stricter(np.fmin, solved["critical_beta"], solved["population_beta"]), share)
    beta1 = _enough(solved["population_beta1"], share)
    summary["recommendation"] = {
        "share": share,
        "extra_shift": json_number(shift),
        "largest_beta": json_number(beta),
        "smallest_beta1": json_number(beta1),
        "text": _text(report, signal, solved, share, shift, beta, beta1),
    }
    return summary


def json_number(value: float) -> float | None:
    """Return a float that JSON has: None for one that is undefined, the largest one for infinity.

    Parameters
    ----------
    value : float
        Any number.

    Returns
    -------
    float or None
        A finite number, None for nan.

    Examples
    --------
    >>> json_number(math.nan), json_number(math.inf)
    (None, 1.7976931348623157e+308)
    """
    largest = sys.float_info.max
    return None if math.isnan(value) else min(max(float(value), -largest), largest)


def _shares(regime: pd.Series[str]) -> dict[str, float]:
    """Return the share of each regime, of the three in any case."""
    shares = regime.value_counts(normalize=True)
    return {name: shares.get(name, 0.0) for name in [*SIGN, *(set(shares.index) - set(SIGN))]}


def _stricter(which: np.ufunc, in_sample: pd.Series[float], population: pd.Series[float]) -> pd.Series[float]:
    """Return the stricter need of the two readings; the in-sample one where the population has none."""
    stricter: pd.Series[float] = which(in_sample, population)
    return stricter.where(in_sample.notna())


def _enough(needs: pd.Series[float], share: float) -> float:
    """Return what meets the needs of a share of the groups; those that nothing meets (nan) come last."""
    last = math.ceil(share * len(needs) - 1e-9) - 1
    return float(np.sort(needs.to_numpy())[last]) if len(needs) else math.nan


def _text(
    report: Diagnosis, signal: pd.DataFrame, solved: pd.DataFrame, share: float, shift: float, beta: float, beta1: float
) -> str:
    unsolved = len(signal) - len(solved)
    first = read_unsolved(unsolved, len(signal)) if unsolved else ""
    if unsolved and solved.empty:
        return first
    near = (solved["tv_nominal"] < SAME) & (solved["regime"] != "boundary") & (solved["status"] != "set_valued")
    same = int(near.sum())
    return (
        first
        + _advice(report, solved, share, shift, beta, beta1)
        + (read_same(same, len(solved)) if same and 2 * same >= len(solved) else "")
    )


def _advice(report: Diagnosis, signal: pd.DataFrame, share: float, shift: float, beta: float, beta1: float) -> str:
    """What to change, for groups with a signal and a solution."""
    groups = len(signal)
    positive, at_boundary, leaking = (signal["regime"] == name for name in SIGN)
    boundary, negative = int(at_boundary.sum()), int(leaking.sum())
    several = signal["status"] == "set_valued"
    nominal = int((at_boundary & ~several & (signal["tv_nominal"] < SAME)).sum())
    giving_up, without = int((signal["given_up"] > 0).sum()), int((signal["status"] == "no_target").sum())
    lowering_helps = report.lowering_helps
    if not groups:
        return "No group has a signal: within each one all rewards are equal."
    both = positive & signal["population_regime"].isin(["positive", "undefined"])
    if both.sum() >= share * groups:
        return read_positive(
            int(both.sum()),
            giving_up,
            groups,
            lowering_helps=lowering_helps,
            less=int((positive & (signal["pessimism_factor"] < 1.0 - AS_CONSERVATIVE)).sum()),
            negative=negative,
            leak=float(signal["leak"].max()),
            fresh=int((positive & ~both).sum()),
        )
    if math.isnan(shift):
        kl = float(signal["kl"][several].median())
        return read_undecided(
            without, boundary, nominal, int(several.sum()), giving_up, groups, lowering_helps=lowering_helps, kl=kl
        )
    if shift == 0:
        return read_boundary(boundary, nominal, groups)
    named = report.temperature_name or "a temperature"
    fresh = int(((signal["regime"] != "negative") & (signal["population_regime"] == "negative")).sum())
    return read_shift(shift, beta, beta1, share, report.temperature, named, fresh=fresh)
