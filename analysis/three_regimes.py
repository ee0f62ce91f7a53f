"""One bandit through the three regimes: what a baseline below, at and above the optimal value does to the target."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import logsumexp

import pessimism as ps
from analysis.work import each

SMOKE = {"n": 7, "starts": 6}
_SAME = 1e-6  # largest difference in probability between the end of a flow and the minimum that it has reached


def three_regimes(
    behavior: tuple[float, ...] = (0.4, 0.3, 0.2, 0.1),
    reward: tuple[float, ...] = (0.2, 0.4, 0.6, 0.8),
    beta: float = 0.25,
    low: float = -2.0,
    high: float = 4.0,
    n: int = 25,
    starts: int = 40,
    seed: int = 0,
) -> pd.DataFrame:
    """Every local minimum of the squared loss with a constant baseline V, and how much of the simplex flows into it.

    Parameters
    ----------
    behavior, reward : tuple of float
        Behavior probabilities and rewards, one entry per action.
    beta : float
        Temperature.
    low, high : float
        Range of (V - V*)/beta, V* the optimal value at `beta`.
    n : int
        Baselines, evenly spaced in that range.
    starts : int
        Starts of gradient flow at each baseline, uniform on the simplex, the same at all of them.
    seed : int
        Of the starts.

    Returns
    -------
    pandas.DataFrame
        A row per baseline and minimum, lowest loss first: `offset` ((V - V*)/beta), `baseline` (V), `regime`, `log_z`,
        `leak` (mass that leaves if there are unseen actions), `elsewhere` (starts that end in no minimum), `minima`
        (how many), and of the minimum `surplus` (action on the branch W_-1, -1 for none), `surplus_reward` (its
        reward), `kappa`, `loss` (over beta^2), `entropy` (nats), `is_target` (whether `induced_target` returns it),
        `from_behavior` (whether the flow from the behavior ends there), `reached` (starts that do), `share`, and
        `policy_0`, `policy_1`, ...

    Raises
    ------
    ValueError
        If n or starts is below 1, or low is above high; as `pessimism.induced_target` for the rest.

    Examples
    --------
    >>> frame = three_regimes(low=-1.0, high=3.0, n=2, starts=1)
    >>> frame[["regime", "kappa", "surplus"]].round(2).values.tolist()
    [['positive', 0.75, -1], ['negative', -0.42, 3], ['negative', -0.86, 2], ['negative', -1.42, 1]]
    """
    for name, number in (("n", n), ("starts", starts)):
        if number < 1:
            raise ValueError(f"{name} must be >= 1, got {number!r}")
    if low > high:
        raise ValueError(f"low must not be above high, got {low!r} and {high!r}")
    offsets = np.linspace(low, high, n).round(12).tolist()
    settings = [(behavior, reward, beta, offset, starts, seed) for offset in offsets]
    found: list[pd.DataFrame] = each(_at, settings, desc="baselines")
    return pd.concat(found, ignore_index=True)


def _at(
    behavior: Sequence[float], reward: Sequence[float], beta: float, offset: float, starts: int, seed: int
) -> pd.DataFrame:
    """The rows of one baseline."""
    optimal = float(ps.induced_target(behavior, reward, "optimal_value", beta=beta).baseline)
    objective = ps.ConstantBaseline(beta=beta, value=optimal + beta * offset)
    target = ps.induced_target(behavior, reward, objective)
    points = ps.stationary_points(behavior, reward, objective)
    policies = np.array([point.policy for point in points])
    drawn = np.random.default_rng(seed).dirichlet(np.ones(len(reward)), starts)
    first, *reached = (_basin(policies, behavior, reward, objective, start) for start in (target.behavior, *drawn))
    counts = np.bincount(np.array(reached) + 1, minlength=len(points) + 1)
    which = np.arange(len(points))
    return pd.DataFrame(
        {
            "offset": offset,
            "baseline": objective.value,
            "regime": str(target.regime),
            "log_z": float(logsumexp(target.advantage / beta, b=target.behavior)) + 0.0,
            "leak": float(ps.induced_target(behavior, reward, objective, unseen=True).leak),
            "elsewhere": counts[0],
            "minima": len(points),
            "surplus": [-1 if point.branch is None else point.branch for point in points],
            "surplus_reward": [np.nan if point.branch is None else reward[point.branch] for point in points],
            "kappa": [point.kappa for point in points],
            "loss": [point.loss / beta**2 for point in points],
            "entropy": -np.sum(policies * np.log(policies), axis=1),
            "is_target": which == _nearest(policies, target.policy),
            "from_behavior": which == first,
            "reached": counts[1:],
            "share": counts[1:] / starts,
            **{f"policy_{action}": policies[:, action] for action in range(policies.shape[1])},
        }
    )


def _basin(
    policies: np.ndarray, behavior: Sequence[float], reward: Sequence[float], objective: ps.Objective, start: np.ndarray
) -> int:
    """The minimum in which gradient flow from `start` ends; -1 for none."""
    flow = ps.gradient_flow(behavior, reward, objective, start=start, tolerance=1e-6)
    return _nearest(policies, flow.policy) if flow.status == "converged" else -1


def _nearest(policies: np.ndarray, policy: np.ndarray) -> int:
    distance = np.abs(policies - policy).max(axis=1)
    return int(distance.argmin()) if distance.min() < _SAME else -1


def _marks(frame: pd.DataFrame) -> tuple[float | None, float | None]:
    """The first offset with several minima; the first at which the flow from the behavior misses the lowest one."""
    several = frame.loc[frame["minima"] > 1, "offset"]
    lowest = frame.drop_duplicates("offset")
    missed = lowest.loc[~lowest["from_behavior"], "offset"]
    return (None if several.empty else float(several.min())), (None if missed.empty else float(missed.min()))


def headline(frame: pd.DataFrame) -> str:
    """Where minima multiply, and where training from the behavior misses the lowest."""
    several, missed = _marks(frame)
    if several is None:
        return f"One minimum at every baseline from V* {frame['offset'].min():+g}β to V* {frame['offset'].max():+g}β"
    text = f"Once the baseline reaches V* + {several:g}β, minima coexist (up to {frame['minima'].max()})"
    if missed is None:
        return text
    then = "" if missed == several else f", once it reaches V* + {missed:g}β,"
    return f"{text} and{then} training from μ misses the lowest"


def finding(frame: pd.DataFrame) -> str:
    """The same in a sentence."""
    several, missed = _marks(frame)
    reached, elsewhere = int(frame["reached"].sum()), int(frame.drop_duplicates("offset")["elsewhere"].sum())
    text = f"{reached} of {reached + elsewhere} gradient flows from random starts end in an enumerated minimum"
    if several is None:
        return f"{text}; each baseline has one."
    last = frame[frame["offset"] == frame["offset"].max()].iloc[0]
    text += (
        f"; several coexist once the baseline reaches V* + {several:g} beta, {frame['minima'].max()} at most, and at "
        f"V* + {last['offset']:g} beta the lowest draws {last['share']:.0%} of the starts"
    )
    if missed is not None:
        text += f"; the flow from the behavior misses the lowest once the baseline reaches V* + {missed:g} beta"
    return f"{text}."
