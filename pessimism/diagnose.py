"""What an objective does to real rollouts: one row of numbers, and one line of plain English, per prompt group.

A group is the sampled completions of one prompt at one step. They are read as the whole seen support, equally likely;
the space of completions is far larger, so mass may leak to unseen ones (``unseen=True``).
Source: arXiv 2605.28150; docs/theory.md.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from decimal import ROUND_CEILING, ROUND_FLOOR, Context
from os import PathLike
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import elementwise
from tqdm import tqdm

from pessimism.induced import induced_target
from pessimism.objectives import ObjectiveLike, make_objective
from pessimism.result import temperature_of
from pessimism.rollouts import read_rollouts

Floats = NDArray[np.float64]

COLUMNS = (
    *("step", "prompt", "n", "reward_mean", "baseline", "Z", "regime", "kappa", "effective_temperature"),
    *(
        "pessimism_factor",
        "kl",
        "max_ratio",
        "leak",
        "all_equal",
        "critical_shift",
        "critical_beta",
        "status",
        "reading",
    ),
)
_READING = ("regime", "status", "all_equal", "leak", "pessimism_factor", "effective_temperature", "critical_shift")
_CHUNK = 2**20  # rewards solved at once: memory stays bounded whatever the size of the log
_TROUBLE = {
    "vanishing_support": "the target gives up some of the completions seen",
    "no_target": "no target, the loss has no minimum on this group",
    "not_converged": "the solver did not converge",
}
_SIGN = {"positive": 1.0, "boundary": 0.0, "negative": -1.0}
_EPS = float(np.finfo(np.float64).eps)


def diagnose(
    source: pd.DataFrame | str | PathLike[str],
    objective: str | ObjectiveLike,
    *,
    prompt_column: str | None = None,
    reward_column: str | None = None,
    step_column: str | None = None,
    skip_bad: bool = False,
    **hyper: Any,
) -> pd.DataFrame:
    """Which policy the objective pulls each prompt group of a rollout log towards, and how conservative that policy is.

    Parameters
    ----------
    source : rollout log; with the column options and ``skip_bad`` as for :func:`~pessimism.rollouts.read_rollouts`.
    objective : name of a registered objective with its hyper-parameters in ``hyper``, or an objective.

    Returns
    -------
    pandas.DataFrame
        One row per (step, prompt), sorted by step, then by first appearance of the prompt in the log:

        - step, prompt, n (completions), reward_mean, baseline (reward units), all_equal (no reward differs: no signal);
        - Z = E[exp(A/beta)], regime ("positive", "boundary", "negative"), kappa, status, leak (mass pulled to unseen
          completions), kl = KL(target || behavior) in nats, max_ratio = max target/behavior;
        - effective_temperature (reward units): the one at which the nominal target is as far from the behavior;
          pessimism_factor: the same in units of the objective's own temperature;
        - critical_shift: every shift of the baseline by more than this many temperatures downwards makes the group
          positive, 0 where it is not negative; critical_beta (reward units): every temperature below it does, inf
          where all do, 0 where none does. nan where the baseline, or the temperature alone, does not decide;
        - reading: the row in a line of plain English.

        ``attrs`` has objective, rows, skipped and files.

    Raises
    ------
    ValueError
        Unknown objective or hyper-parameter, one out of range, or a log that cannot be read (``path:line: why``).

    Examples
    --------
    >>> import pandas as pd
    >>> log = pd.DataFrame({"prompt": ["1+1="] * 4, "reward": [1.0, 0.0, 0.0, 0.0]})
    >>> report = diagnose(log, "kimi", beta=0.5)
    >>> report[["n", "reward_mean", "Z", "regime", "kappa", "pessimism_factor"]].round(3)
       n  reward_mean      Z    regime  kappa  pessimism_factor
    0  4         0.25  1.575  positive  0.257             1.319
    >>> print(report["reading"][0])
    positive: as close to the behavior as nominal at 1.32 times the temperature (0.659)
    """
    made = make_objective(objective, **hyper)
    log = read_rollouts(
        source,
        prompt_column=prompt_column,
        reward_column=reward_column,
        step_column=step_column,
        skip_bad=skip_bad,
    )
    groups, rewards, start = _group(log)
    parts = []
    with tqdm(
        total=len(log), desc="diagnosing", unit=" rows", unit_scale=True, delay=2, disable=None, leave=False
    ) as bar:
        for index in _batches(groups["n"].to_numpy()):
            n = int(groups["n"].iloc[index[0]])
            parts.append(_measure(rewards[start[index, None] + np.arange(n)], made).set_index(index))
            bar.update(n * len(index))
    frame = pd.concat([groups, pd.concat(parts).sort_index()], axis=1)
    frame["reading"] = [_reading(*row) for row in frame[list(_READING)].itertuples(index=False)]
    earlier = int(source.attrs.get("skipped", 0)) if isinstance(source, pd.DataFrame) else 0
    frame = frame[list(COLUMNS)]
    frame.attrs = {
        "objective": str(made),
        "rows": len(log),
        "skipped": log.attrs["skipped"] + earlier,
        "files": log.attrs["files"],
    }
    return frame


def _group(log: pd.DataFrame) -> tuple[pd.DataFrame, Floats, NDArray[np.intp]]:
    """Return the groups (step, prompt, n), the rewards sorted by group, and where in them each group starts."""
    step, code = log["step"].to_numpy(), log["prompt"].cat.codes.to_numpy()
    order = np.lexsort((code, step))
    step, code = step[order], code[order]
    start = np.flatnonzero(np.append(True, (np.diff(step) != 0) | (np.diff(code) != 0)))
    prompt = log["prompt"].cat.categories.take(code[start])
    groups = pd.DataFrame({"step": step[start], "prompt": prompt, "n": np.diff(np.append(start, len(log)))})
    return groups, log["reward"].to_numpy()[order], start


def _batches(n: NDArray[np.int64]) -> Iterator[NDArray[np.intp]]:
    """Yield groups of one size, as many at a time as make a chunk."""
    by_size = np.argsort(n, kind="stable")
    for same in np.split(by_size, np.flatnonzero(np.diff(n[by_size])) + 1):
        most = max(1, _CHUNK // int(n[same[0]]))
        for first in range(0, len(same), most):
            yield same[first : first + most]


def _measure(rewards: Floats, objective: ObjectiveLike) -> pd.DataFrame:
    """Facts of equally large groups, rewards ``(groups, n)``."""
    target = induced_target(None, rewards, objective, unseen=True)
    facts = target.conservatism()
    log_z = facts["log_z"].to_numpy(dtype=float)
    with np.errstate(over="ignore"):
        z = np.exp(log_z)
    # The baseline decides the regime of this target where the regime is what log Z says.
    rounding = 64 * _EPS * np.abs(rewards).max(axis=-1) / (temperature_of(objective) or math.nan)
    sign = np.where(np.abs(log_z) <= rounding, 0.0, np.sign(log_z))
    decided = np.isfinite(target.kappa) & (sign == [_SIGN.get(regime, math.nan) for regime in target.regime])
    return pd.DataFrame(
        {
            "reward_mean": rewards.mean(axis=-1),
            "baseline": target.baseline,
            "Z": z,
            "regime": target.regime,
            "kappa": target.kappa,
            **{
                name: facts[name].to_numpy()
                for name in ("effective_temperature", "pessimism_factor", "kl", "max_ratio")
            },
            "leak": target.leak,
            "all_equal": rewards.max(axis=-1) == rewards.min(axis=-1),
            "critical_shift": np.where(decided, np.where(sign < 0, -log_z, 0.0), np.nan),
            "critical_beta": np.where(decided, _critical_temperature(rewards, objective), np.nan),
            "status": target.status,
        }
    )


def _critical_temperature(rewards: Floats, objective: ObjectiveLike) -> Floats:
    """Largest temperature at which E[exp(A/beta)] >= 1; nan where the advantage depends on the temperature itself."""
    field = getattr(objective, "temperature_field", None)
    if field is None or not dataclasses.is_dataclass(objective) or isinstance(objective, type):
        return np.full(len(rewards), np.nan)
    temperature = getattr(objective, field)
    other = dataclasses.replace(objective, **{field: 2.0 * temperature})
    probe = temperature * np.array([[0.0, 1.0, 3.0]])
    if not np.array_equal(objective.advantage(probe), other.advantage(probe)):
        return np.full(len(rewards), np.nan)
    advantage = np.asarray(objective.advantage(rewards), dtype=float)
    return critical_temperature(advantage, _rounding(rewards, advantage))


def _rounding(rewards: Floats, advantage: Floats) -> Floats:
    """Error of an advantage (r - V) s, whose scale s shows in the spreads."""
    spread = np.ptp(rewards, axis=-1)
    scale = np.where(spread > 0, np.ptp(advantage, axis=-1) / np.where(spread > 0, spread, 1.0), 1.0)
    return np.asarray(8.0 * _EPS * np.abs(rewards).max(axis=-1) * scale)


def critical_temperature(advantage: Floats, rounding: Floats) -> Floats:
    r"""Largest beta with E[exp(A/beta)] >= 1, for advantages ``(groups, n)`` known up to ``rounding``.

    inf where E[A] >= 0 (and A > 0 somewhere), 0 where A <= 0. Between them log E[exp(t A)], convex in t = 1/beta, falls
    from 0, and rises through 0 once. Hoeffding's lemma bounds that root from below, the mass on max A from above.
    """
    top, mean = advantage.max(axis=-1), advantage.mean(axis=-1)
    beta = np.where(top <= rounding, 0.0, np.inf)
    (rows,) = np.nonzero((top > rounding) & (mean < -rounding))
    if rows.size:
        a = advantage[rows]
        at_top = np.mean(a == a.max(axis=-1, keepdims=True), axis=-1)
        ends = -4.0 * mean[rows] / np.ptp(a, axis=-1) ** 2, -1.01 * np.log(at_top) / top[rows]

        def certainty(t: Floats, row: Floats) -> Floats:
            return np.asarray(np.log1p(np.expm1(t[:, None] * a[row.astype(int)]).mean(axis=-1)) / t)

        beta[rows] = 1.0 / elementwise.find_root(certainty, ends, args=(np.arange(rows.size, dtype=float),)).x
    return beta


def _reading(
    regime: str, status: str, all_equal: bool, leak: float, factor: float, effective: float, shift: float
) -> str:
    if status in _TROUBLE:
        return f"{regime}: {_TROUBLE[status]}"
    if regime == "negative":
        cure = (
            ""
            if math.isnan(shift)
            else f"; lowering the baseline by more than {_digits(shift, ROUND_CEILING)} temperatures prevents it"
        )
        return f"negative: {leak:.1%} of the mass leaks to unseen completions{cure}"
    if all_equal:
        return "no signal: all rewards are equal, the target is the behavior"
    if regime == "boundary":
        return "boundary: the nominal target, with no implicit pessimism"
    if effective == 0:
        return "positive: within rounding of the greedy policy"
    if math.isnan(factor):
        return "positive"
    return f"positive: as close to the behavior as nominal at {factor:.3g} times the temperature ({effective:.3g})"


def _digits(value: float, rounding: str) -> str:
    """Three digits of a bound, rounded to the side on which it holds; the last digits of the value are noise."""
    slack = value * (1.0 - 1e-12 if rounding == ROUND_CEILING else 1.0 + 1e-12)
    return f"{float(Context(prec=3, rounding=rounding).create_decimal_from_float(slack)):g}"


def summarize(frame: pd.DataFrame, *, share: float = 0.9) -> dict[str, Any]:
    """Sum up a report of :func:`diagnose` over its groups, and recommend a shift or a temperature.

    Parameters
    ----------
    frame : what :func:`diagnose` returned.
    share : of the groups whose rewards are not all equal, the part that the recommendation puts in the positive regime.

    Returns
    -------
    dict
        Ready for JSON (None stands for not a number and for infinity): groups, rows, skipped, share of the groups in
        each regime, all_equal (a count), medians and extremes over the groups with a signal, and recommendation:
        share, extra_shift (every shift of the baseline by more than so many temperatures is enough), largest_beta
        (every temperature below it is enough; None where the temperature alone does not decide, or any will do), and
        text.

    Raises
    ------
    ValueError
        ``share`` not in (0, 1], or a frame without the columns of a report.

    Examples
    --------
    >>> report = diagnose("examples/trl_completions", "oapl", beta1=0.1, beta2=0.2)
    >>> summary = summarize(report)
    >>> summary["groups"], summary["share"]["negative"], summary["recommendation"]["extra_shift"]
    (192, 0.99, 0.808)
    >>> print(summary["recommendation"]["text"])  # doctest: +NORMALIZE_WHITESPACE
    Lower the baseline by more than 0.809 temperatures, or use a temperature below 0.1, to bring at least 90% of the
    groups with a signal into the positive regime.
    """
    if not 0.0 < share <= 1.0:
        raise ValueError(f"share must be in (0, 1], got {share!r}")
    missing = [name for name in COLUMNS if name not in frame]
    if missing:
        raise ValueError(f"frame is not a report of diagnose: it has no column {', '.join(missing)}")
    signal = frame[~frame["all_equal"]]
    summary: dict[str, Any] = {
        "objective": frame.attrs.get("objective"),
        "groups": len(frame),
        "rows": int(frame["n"].sum()),
        "skipped": int(frame.attrs.get("skipped", 0)),
        "share": {name: _number((frame["regime"] == name).mean()) for name in _SIGN},
        "all_equal": int(frame["all_equal"].sum()),
    }
    for name in ("reward_mean", "pessimism_factor", "effective_temperature", "kappa", "kl"):
        summary[f"median_{name}"] = _number(signal[name].median())
    for name in ("kl", "max_ratio", "leak"):
        summary[f"max_{name}"] = _number(frame[name].max())
    summary["recommendation"] = _recommend(signal, share)
    return summary


def _number(value: Any) -> float | None:
    """Return a float that JSON has, or None."""
    return float(value) if math.isfinite(value) else None


def _recommend(signal: pd.DataFrame, share: float) -> dict[str, Any]:
    """Order statistics of what each group needs; groups that nothing moves (nan) come last."""
    shift = beta = math.nan
    if len(signal):
        last = math.ceil(share * len(signal) - 1e-9) - 1
        shift = np.sort(signal["critical_shift"].to_numpy())[last]
        beta = -np.sort(-signal["critical_beta"].to_numpy())[last]
    positive = (signal["regime"] == "positive").mean()
    if not len(signal):
        text = "No group has a signal: within each one all rewards are equal."
    elif positive >= share:
        text = f"{positive:.1%} of the groups with a signal are in the positive regime: nothing needs to change."
    elif math.isnan(shift):
        text = "The baseline does not decide the regime of this objective: no shift changes it."
    else:
        amount = f"more than {_digits(shift, ROUND_CEILING)} temperatures" if shift > 0 else "any amount"
        cooler = f", or use a temperature below {_digits(beta, ROUND_FLOOR)}," if 0 < beta < math.inf else ""
        text = (
            f"Lower the baseline by {amount}{cooler} to bring at least {share:.0%} of the groups with a signal "
            "into the positive regime."
        )
    return {"share": share, "extra_shift": _number(shift), "largest_beta": _number(beta), "text": text}
