"""What logs certify: lower bounds on the value of induced targets against the number of logged rounds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.bounds import BOUNDS, LoggedProblem, lower_bounds
from analysis.names import display_name
from analysis.work import each

SMOKE = {"rounds": (100, 1000, 10000), "logs": 16}
_BLOCK = 50  # logs in a piece of work
_RANK = np.arange(1, 17)
BEHAVIOR = tuple((1 / _RANK / (1 / _RANK).sum()).tolist())  # the better an action, the rarer
REWARD = tuple(np.linspace(0.1, 0.9, len(_RANK)).tolist())


def _chosen(lower: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share in each log's choice of every target ``(logs, targets, BOUNDS)``: 1 for the largest bound, ties divided."""
    largest = lower.round(12) == lower.round(12).max(axis=1, keepdims=True)
    return np.asarray(largest / largest.sum(axis=1, keepdims=True))


def _summary(lower: NDArray[np.float64], chosen: NDArray[np.float64], value: float) -> dict[str, float]:
    """Columns of one target, bound and n, from its bounds and shares ``(logs,)``."""
    low, middle, high = np.quantile(lower, (0.05, 0.5, 0.95))
    above, logs = lower > value, lower.size
    return {
        "mean": float(lower.mean()),
        "std_error": float(lower.std(ddof=1) / np.sqrt(logs)),
        "q05": float(low),
        "median": float(middle),
        "q95": float(high),
        "gap": value - float(lower.mean()),
        "violations": float(above.mean()),
        "violations_error": float(np.sqrt(above.mean() * (1 - above.mean()) / logs)),
        "chosen": float(chosen.mean()),
        "chosen_violations": float((chosen * above).mean()),
    }


def _check(reward: tuple[float, ...], rounds: tuple[int, ...], logs: int, delta: float) -> None:
    if not all(0 <= r <= 1 for r in reward):
        raise ValueError("reward must be in [0, 1], the chances of a reward of 1")
    if not rounds or min(rounds) < 2 or list(rounds) != sorted(set(rounds)):
        raise ValueError(f"rounds must be at least 2 and rise, got {rounds!r}")
    if logs < 2:
        raise ValueError(f"logs must be >= 2, got {logs!r}")
    if not 0 < delta < 0.5:
        raise ValueError(f"delta must be between 0 and 0.5, got {delta!r}")


def value_from_logs(
    behavior: tuple[float, ...] = BEHAVIOR,
    reward: tuple[float, ...] = REWARD,
    beta: float = 0.1,
    objectives: tuple[str, ...] = ("nominal", "kimi", "shifted_mean"),
    rounds: tuple[int, ...] = (30, 60, 100, 200, 400, 1000, 2000, 4000, 10000, 30000),
    logs: int = 400,
    delta: float = 0.05,
    seed: int = 0,
) -> pd.DataFrame:
    """Lower bounds on the values of induced targets, over many logs of the behavior with rewards 0 and 1.

    The targets are those of the true chances, and the logs are independent of them: what differs is how much of a known
    policy's value a log can certify, not how well a policy is learned.

    Parameters
    ----------
    behavior, reward : tuple of float
        Behavior probabilities, and chances of a reward of 1, one entry per action.
    beta : float
        Temperature of all objectives.
    objectives : tuple of str
        Registry names of the objectives whose targets are evaluated.
    rounds : tuple of int
        Numbers n of logged rounds, rising.
    logs : int
        Logs drawn for each n.
    delta : float
        Chance in (0, 1/2) that a bound may be above the value, the same for all: `el` is two-sided and gets 2 delta.
    seed : int
        Of the logs.

    Returns
    -------
    pandas.DataFrame
        A row per objective, n and bound of `BOUNDS`: `objective`, `setting`, `value` (true), `behavior_value`,
        `max_ratio`, `second_moment` (E_mu[w^2]), `n`, `delta`, `logs`, `estimator`, `constants` (see `bound_options`),
        `guarantee`; over the logs of the lower bound `mean`, `std_error`, `q05`, `median`, `q95`, `gap` (value less
        mean), `violations` (share of logs with the bound above the value), `violations_error` (its standard error),
        `chosen` (share of logs in which this target has the largest bound, ties divided) and `chosen_violations` (in
        which it is chosen and its bound is above its value).

    Raises
    ------
    ValueError
        If a chance is outside [0, 1], rounds are below 2 or do not rise, logs is below 2, or delta is outside (0, 1/2);
        as `analysis.settings.at_temperature` and `pessimism.induced_target` for the rest.

    References
    ----------
    arXiv 2405.14335 (ls, and the comparison with ix and clipped), 1906.03323 (el).

    Examples
    --------
    >>> frame = value_from_logs(rounds=(200,), logs=2)
    >>> frame.groupby("objective")["value"].first().round(3).to_dict()
    {'kimi': 0.593, 'nominal': 0.804, 'shifted_mean': 0.52}
    """
    _check(reward, rounds, logs, delta)
    problem = LoggedProblem(behavior, reward, beta, objectives)
    blocks = [range(first, min(first + _BLOCK, logs)) for first in range(0, logs, _BLOCK)]
    settings = [(problem, n, block, delta, seed) for n in rounds for block in blocks]
    found = each(lower_bounds, settings, desc="logs")
    rows: list[dict[str, Any]] = []
    for i, n in enumerate(rounds):
        lower = np.concatenate(found[i * len(blocks) : (i + 1) * len(blocks)])
        rows += _rows(problem, lower, {"n": n, "delta": delta, "logs": logs})
    return pd.DataFrame(rows)


def _rows(problem: LoggedProblem, lower: NDArray[np.float64], given: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Rows of one n, from the bounds ``(logs, targets, BOUNDS)``."""
    q, r, chosen = np.asarray(problem.behavior), np.asarray(problem.reward), _chosen(lower)
    for t, (name, objective, target) in enumerate(problem.targets()):
        ratio, value = target.policy / q, float(target.policy @ r)
        about = {"objective": name, "setting": str(objective), "value": value, "behavior_value": float(q @ r)}
        about |= {"max_ratio": float(ratio.max()), "second_moment": float(q @ ratio**2), **given}
        for b, (estimator, constants) in enumerate(BOUNDS):
            guarantee = "asymptotic" if estimator == "el" else "finite-sample"
            bound = {"estimator": estimator, "constants": constants, "guarantee": guarantee}
            yield {**about, **bound, **_summary(lower[:, t, b], chosen[:, t, b], value)}


def overtakes(frame: pd.DataFrame, estimator: str, constants: str = "ratios") -> int | None:
    """The n from which on the target of largest value has the largest bound in most logs; None for nowhere.

    Parameters
    ----------
    frame : pandas.DataFrame
        As `value_from_logs` returns it.
    estimator : str
        Estimator of the bound.
    constants : {"ratios", "default"}
        Where its constants come from.

    Returns
    -------
    int or None
        Number of logged rounds.

    Examples
    --------
    >>> frame = pd.DataFrame({"objective": ["a"] * 3, "value": 0.8, "n": [10, 99, 500], "chosen": [0.7, 0.4, 0.6]})
    >>> overtakes(frame.assign(estimator="ls", constants="ratios"), "ls")
    500
    """
    rows = frame[(frame["estimator"] == estimator) & (frame["constants"] == constants)]
    chosen = rows[rows["objective"] == boldest(frame)].set_index("n")["chosen"].sort_index()
    since = (chosen > 0.5)[::-1].cummin()[::-1]
    return int(since.index[since][0]) if since.any() else None


def boldest(frame: pd.DataFrame) -> str:
    """The objective whose target has the largest value."""
    return str(frame["objective"].iloc[frame["value"].round(12).argmax()])


def _crossings(frame: pd.DataFrame, constants: str) -> str:
    """Where the boldest target takes the lead, by bound, the earliest first."""
    names: dict[int | None, list[str]] = {}
    for name in (name for name, how in BOUNDS if how == constants):
        names.setdefault(overtakes(frame, name, constants), []).append(name)
    never = names.pop(None, [])
    said = [f"{n:,} ({', '.join(names[n])})" for n in sorted(n for n in names if n is not None)]
    parts = [f"from n = {' and '.join([', '.join(said[:-1]), said[-1]] if said[1:] else said)} on"] if said else []
    return " and ".join([*parts, *([f"at no n ({', '.join(never)})"] if never else [])])


def headline(frame: pd.DataFrame) -> str:
    """From how many rounds on the boldest target is the one to choose."""
    if frame["objective"].nunique() == 1:
        return f"Lower bounds on the value of {display_name(boldest(frame))} against logged rounds"
    return f"In most logs {display_name(boldest(frame))} has the largest bound {_crossings(frame, 'ratios')}"


def _tightest(rows: pd.DataFrame) -> str:
    """The bound that is most often the tightest of a target and n, and how often; where all are 0 none is."""
    mean = rows.pivot(index=["objective", "n"], columns="estimator", values="mean")
    counts = mean[mean.max(axis=1) > 0].idxmax(axis=1).value_counts()
    return f"{counts.index[0]} in {counts.iloc[0]} of {len(mean)} cases" if len(counts) else "none, as all are 0"


def _gaps(fair: pd.DataFrame) -> str:
    """How far the bounds of el and ls lie below the value of each target, at an n in the middle."""
    rounds = sorted(fair["n"].unique())
    n = rounds[len(rounds) // 2]
    gap = fair[fair["n"] == n].pivot(index="objective", columns="estimator", values="gap")
    names = fair["objective"].unique()
    pairs = gap.loc[names, ["el", "ls"]].to_numpy()
    said = [f"{el:.3f} and {ls:.3f} for {display_name(name)}" for name, (el, ls) in zip(names, pairs, strict=True)]
    return f"at n = {n:,} those of el and ls lie below the value by {', '.join(said)}"


def finding(frame: pd.DataFrame) -> str:
    """The same in a sentence."""
    fair = frame[frame["constants"] == "ratios"]
    finite = fair[fair["guarantee"] == "finite-sample"]
    above = frame.groupby("guarantee")["violations"].max()
    text = f"With constants from the ratios the tightest bound is {_tightest(fair)}, of those that are valid at every "
    text += f"n {_tightest(finite)}; {_gaps(fair)}; "
    if frame["objective"].nunique() > 1:
        text += f"in most logs {display_name(boldest(frame))} has the largest bound {_crossings(frame, 'ratios')}, "
        text += f"with the default constants {_crossings(frame, 'default')}; "
    text += f"at a level of {frame['delta'].iloc[0]:.1%} bounds valid at every n are above the value in at most "
    text += f"{above['finite-sample']:.1%} of the logs, that of el, which is asymptotic, in up to "
    return f"{text}{above['asymptotic']:.1%}."
