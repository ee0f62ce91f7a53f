"""One bandit under every objective: which policy each of them pulls towards."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

import pessimism as ps
from analysis.settings import CORE, at_temperature, besides_temperature

SMOKE: dict[str, object] = {}
BEHAVIOR = (0.4, 0.3, 0.2, 0.1)
REWARD = (0.2, 0.4, 0.6, 0.8)


def targets(
    behavior: Sequence[float] = BEHAVIOR,
    reward: Sequence[float] = REWARD,
    beta: float = 0.1,
    objectives: Iterable[str] = CORE,
) -> pd.DataFrame:
    """Induced target of one bandit under several objectives at temperature `beta`, greedy ones last.

    Parameters
    ----------
    behavior, reward : sequence of float
        Behavior probabilities and rewards, one entry per action.
    beta : float
        Temperature that every objective is set to (`analysis.settings.at_temperature`).
    objectives : iterable of str
        Registry names; by default the Lambert family and its neighbors.

    Returns
    -------
    pandas.DataFrame
        One row per objective and action: `objective`, `setting`, `beta`, `action`, `behavior`, `reward`, `policy`,
        `log_ratio`, and, the same in all rows of an objective, `value`, `kl`, `effective_temperature`, `kappa`,
        `regime`, `status`.
        Sorted by effective temperature, the most conservative target first.

    Examples
    --------
    >>> frame = targets(beta=0.1, objectives=["kimi", "nominal"])
    >>> frame.groupby("objective", sort=False)["policy"].max().round(2).to_dict()
    {'kimi': 0.38, 'nominal': 0.75}
    """
    q, r = np.asarray(behavior, dtype=float), np.asarray(reward, dtype=float)
    blocks = []
    for name, objective in at_temperature(beta, objectives).items():
        target = ps.induced_target(q, r, objective)
        metrics = target.conservatism().iloc[0]
        blocks.append(
            pd.DataFrame(
                {
                    "objective": name,
                    "setting": besides_temperature(objective),
                    "beta": beta,
                    "action": np.arange(q.size),
                    "behavior": q,
                    "reward": r,
                    "policy": target.policy,
                    "log_ratio": target.log_ratio,
                    "value": float(metrics["value"]),
                    "kl": float(metrics["kl"]),
                    "effective_temperature": float(metrics["effective_temperature"]),
                    "kappa": float(target.kappa),
                    "regime": str(target.regime),
                    "status": str(target.status),
                }
            )
        )
    frame = pd.concat(blocks, ignore_index=True)
    # Equal targets differ in the last bits: rank by 12 digits, then by name.
    rank = frame["effective_temperature"].map(lambda x: float(f"{x:.12g}"))
    by = frame.assign(rank=rank).sort_values(["rank", "objective", "action"], ascending=[False, True, True])
    return by.drop(columns="rank").reset_index(drop=True)


_SAME = 5  # digits of the effective temperature to which equal targets agree


def _misses(frame: pd.DataFrame) -> tuple[int, int, float]:
    """How many objectives miss the nominal target, of how many, and by which factor at most."""
    rows = frame.drop_duplicates("objective")
    ratio = (rows["effective_temperature"] / rows["beta"]).to_numpy()
    known = ratio[(ratio > 0) & np.isfinite(ratio)]
    missed = int((np.abs(ratio - 1) > 10.0**-_SAME).sum())
    return missed, len(rows), float(np.maximum(known, 1 / known).max())


def headline(frame: pd.DataFrame) -> str:
    """How many objectives miss the target that they claim."""
    missed, total, factor = _misses(frame)
    beta = frame["beta"].iloc[0]
    return f"Same β = {beta:g}: {missed} of {total} objectives miss the nominal target, by up to {factor:.1f}×"


def finding(frame: pd.DataFrame) -> str:
    """The same in a sentence."""
    missed, total, factor = _misses(frame)
    return (
        f"Set to the same temperature, {missed} of {total} objectives miss the nominal target; the effective "
        f"temperature is off by a factor of up to {factor:.1f}."
    )
