"""Share of the sampled groups in each regime, each taken in-sample: its G completions as the whole support."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pessimism.groups.reward_law import Counts, RewardLaw, compositions, few_groups, log_multinomial, members_left_out
from pessimism.groups.target import solve_group
from pessimism.losses.registry import ObjectiveLike
from pessimism.progress import progress
from pessimism.target.induced import induced_target

Floats = NDArray[np.float64]

REGIMES = ("positive", "boundary", "negative")
_COUNTED = 2**12  # groups that are solved one by one rather than sampled


def regime_shares(
    objective: ObjectiveLike,
    laws: list[RewardLaw],
    size: int,
    leave_one_out: bool,
    drop_equal: bool,
    *,
    draws: int,
    seed: int,
) -> pd.DataFrame:
    """Shares of the regimes (of the groups kept) and their standard error, a row per law.

    Counted over all groups where they are few, over seeded draws of groups otherwise.
    """
    rows, known = [], {}
    for law in progress(laws, "problems"):
        width = len(law.values)
        counted = few_groups(size, width, _COUNTED)
        if counted:
            key = law.values.tobytes()
            if key not in known:
                counts = compositions(size, width)
                known[key] = counts, _regimes(objective, law.values, counts, leave_one_out)
            counts, regimes = known[key]
            weight = np.exp(log_multinomial(counts, law.mass[None])[0])
        else:
            counts = np.random.default_rng(seed).multinomial(size, law.mass / law.mass.sum(), size=draws)
            regimes, weight = _regimes(objective, law.values, counts, leave_one_out), np.ones(draws)
        if drop_equal:
            weight = np.where(counts.max(axis=-1) == size, 0.0, weight)
        total = weight.sum()
        share = [weight[regimes == name].sum() / total if total > 0 else np.nan for name in REGIMES]
        error = max(np.sqrt(s * (1 - s) / total) for s in share) if not counted and total > 0 else 0.0
        rows.append([*share, error])
    return pd.DataFrame(rows, columns=[*REGIMES, "standard_error"])


def _regimes(objective: ObjectiveLike, values: Floats, counts: Counts, leave_one_out: bool) -> NDArray[np.str_]:
    """Regime ``(M,)`` of each group, mass being free to leave it."""
    size, width = int(counts[0].sum()), len(values)
    if not leave_one_out:
        which = np.repeat(np.tile(np.arange(width), len(counts)), counts.ravel()).reshape(len(counts), size)
        return np.asarray(induced_target(None, values[which], objective, unseen=True).regime)
    advantage = np.zeros(counts.shape)
    for v in range(width):
        has = counts[:, v] > 0
        others = counts[has] - np.eye(width, dtype=np.int64)[v]
        if len(others):
            advantage[has, v] = members_left_out(objective, values[None], others)[0, :, v]
    rewards = np.broadcast_to(values, counts.shape)
    return np.asarray(solve_group(objective, counts / size, rewards, advantage, unseen=True).regime)
