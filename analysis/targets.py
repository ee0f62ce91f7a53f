"""One bandit under every objective: which policy each of them pulls towards."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

import pessimism as ps
from analysis.names import display_names
from analysis.settings import at_temperature, besides_temperature

SMOKE: dict[str, object] = {}
BEHAVIOR = (0.4, 0.3, 0.2, 0.1)
REWARD = (0.2, 0.4, 0.6, 0.8)

_METRICS = ("value", "kl", "chi_square", "max_ratio", "effective_temperature")
_SAME = 5e-6  # policies within this of one another are one target: five digits


def _block(name: str, objective: ps.Objective, behavior: np.ndarray, reward: np.ndarray) -> pd.DataFrame:
    target = ps.induced_target(behavior, reward, objective)
    metrics = target.conservatism().iloc[0]
    return pd.DataFrame(
        {
            "objective": name,
            "setting": besides_temperature(objective),
            "beta": np.nan if objective.temperature is None else objective.temperature,
            "action": np.arange(behavior.size),
            "behavior": behavior,
            "reward": reward,
            "policy": target.policy,
            "log_ratio": target.log_ratio,
            **{column: float(metrics[column]) for column in _METRICS},
            "kappa": float(target.kappa),
            "regime": str(target.regime),
            "status": str(target.status),
        }
    )


def _alike(policies: np.ndarray) -> np.ndarray:
    """For each policy ``(n, K)`` the number of the first one that is the same to five digits; nan is like nan."""
    apart = np.abs(policies[:, None] - policies[None])
    same = (apart < _SAME) | (np.isnan(policies)[:, None] & np.isnan(policies)[None])
    return np.asarray(same.all(axis=-1).argmax(axis=1))


def targets(
    behavior: Sequence[float] = BEHAVIOR,
    reward: Sequence[float] = REWARD,
    beta: float = 0.1,
    objectives: Iterable[str] | None = None,
) -> pd.DataFrame:
    """Induced target of one bandit under several objectives at temperature `beta`, greedy ones last.

    Parameters
    ----------
    behavior, reward : sequence of float
        Behavior probabilities and rewards, one entry per action.
    beta : float
        Temperature that every objective is set to (`analysis.settings.at_temperature`).
    objectives : iterable of str, optional
        Registry names; by default all of them.

    Returns
    -------
    pandas.DataFrame
        One row per objective and action: `objective`, `setting`, `beta` (nan for an objective without a temperature),
        `action`, `behavior`, `reward`, `policy`, `log_ratio`, `nominal` (the nominal target at `beta`), and, the same
        in all rows of an objective, `value`, `kl` (of the policy to the behavior, in nats), `chi_square`, `max_ratio`,
        `effective_temperature`, `kappa`, `regime`, `status`, `target` (counts the targets; the same number where
        policies are equal to five digits).
        Sorted by effective temperature, the most conservative target first, objectives without a target last.

    Examples
    --------
    >>> frame = targets(beta=0.1, objectives=["kimi", "nominal"])
    >>> frame.groupby("objective", sort=False)["policy"].max().round(2).to_dict()
    {'kimi': 0.38, 'nominal': 0.75}
    """
    q, r = np.asarray(behavior, dtype=float), np.asarray(reward, dtype=float)
    settings = at_temperature(beta, objectives)
    blocks = [_block(name, objective, q, r) for name, objective in sorted(settings.items())]
    first = _alike(np.stack([block["policy"].to_numpy() for block in blocks]))
    # Equal targets differ in the last bits: all rank as the first of them, and that by 12 digits.
    rank = [float(f"{blocks[i]['effective_temperature'].iloc[0]:.12g}") for i in first]
    order = sorted(range(len(blocks)), key=lambda i: (np.isnan(rank[i]), -rank[i], first[i], i))
    numbers = {alike: number for number, alike in enumerate(dict.fromkeys(first[order].tolist()))}
    nominal = ps.nominal_target(q, r, beta)
    return pd.concat([blocks[i].assign(nominal=nominal, target=numbers[first[i]]) for i in order], ignore_index=True)


def _missed(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """One row per objective that states a temperature, and those of them that miss the nominal target."""
    far = (frame["policy"] - frame["nominal"]).abs().groupby(frame["objective"]).max()
    stated = frame.drop_duplicates("objective").dropna(subset="beta")
    return stated, stated[~(stated["objective"].map(far) < _SAME)]


def headline(frame: pd.DataFrame) -> str:
    """How many objectives, set to the same temperature, lead elsewhere than the nominal target."""
    stated, missed = _missed(frame)
    if stated.empty:
        return "Objectives without a temperature have no nominal target to hit"
    text = f"Set to the same β = {stated['beta'].iloc[0]:g}, {len(missed)} of {len(stated)} objectives"
    return f"{text} lead elsewhere than the nominal target"


def finding(frame: pd.DataFrame) -> str:
    """The same in a sentence."""
    stated, missed = _missed(frame)
    total, targets_ = frame["objective"].nunique(), frame["target"].nunique()
    text = f"{len(missed)} of the {len(stated)} objectives with a temperature lead elsewhere than the nominal target"
    together = f"all {total} objectives together have {targets_} different targets."
    return f"{text}{_warmth(missed)}; {together}" if len(stated) else f"None has a temperature; {together}"


def _warmth(missed: pd.DataFrame) -> str:
    """How many of them are warmer than set, which the most, which least, and which are greedy."""
    factor = (missed["effective_temperature"] / missed["beta"]).set_axis(missed["objective"]).dropna()
    if factor.empty:
        return ""
    names = factor.groupby(factor.map(lambda value: f"{value:.3g}")).agg(lambda same: display_names(same.index))
    most, least = f"{factor.max():.3g}", f"{factor.min():.3g}"
    warmer = int((factor > 1).sum())
    text = f": {warmer} {'is' if warmer == 1 else 'are'} warmer than set"
    text += f", at most {most} times ({names[most]})" if factor.max() > 1 else ""
    if factor.min() < 1:
        coldest = "greedy, that is 0 times as warm," if factor.min() == 0 else f"coldest, {least} times as warm,"
        text += f"; {coldest} is {names[least]}"
    return text
