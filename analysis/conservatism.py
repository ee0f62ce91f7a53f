"""How far a target goes from the behavior as the stated temperature falls, and where it ends at zero."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

import pessimism as ps
from analysis.names import display_name

SMOKE = {"n": 9}
BEHAVIOR = (0.35, 0.25, 0.2, 0.12, 0.08)
REWARD = (0.0, 0.25, 0.5, 0.75, 1.0)

_MEASURES = ("kl", "entropy", "value", "max_ratio", "kappa", "effective_temperature")
_ABOUT_THE_MEAN = ("kimi", "shifted_mean")  # those whose baseline tends to E[r]; that of the others tends to max r

_NONE = 5e-4  # nats that print as none


def settings(beta: float, ratio: float = 10.0) -> dict[str, ps.Objective]:
    """The objectives compared, at temperature `beta`; OAPL with beta1 = `ratio` beta2.

    Parameters
    ----------
    beta : float
        Temperature, in units of reward.
    ratio : float, default 10.0
        OAPL's beta1 over its beta2.

    Returns
    -------
    dict of str to pessimism.Objective
        Objective by registry name.

    Examples
    --------
    >>> settings(0.1)["oapl"]
    OAPL(beta1=1.0, beta2=0.1)
    """
    return {
        "nominal": ps.Nominal(beta=beta),
        "optimal_value": ps.OptimalValue(beta=beta),
        "oapl": ps.OAPL(beta1=ratio * beta, beta2=beta),
        "kimi": ps.Kimi(beta=beta),
        "shifted_mean": ps.ShiftedMean(beta=beta),
    }


def limit(name: str, behavior: np.ndarray, reward: np.ndarray) -> np.ndarray:
    """Target of an objective of `settings` as beta -> 0: mu A_+ / E[A_+] about the mean, else mu on argmax r.

    A = r - E[r]: the shift of `shifted_mean` is a number of temperatures, and goes too. V* tends to max r at either of
    OAPL's temperatures, so that no other action keeps a positive advantage.

    Parameters
    ----------
    name : str
        Registry name.
    behavior : ndarray, shape (K,)
        Probabilities of the behavior policy.
    reward : ndarray, shape (K,)
        Reward of each action.

    Returns
    -------
    ndarray, shape (K,)
        Probabilities of the limit.

    Examples
    --------
    >>> limit("kimi", np.array([0.5, 0.25, 0.25]), np.array([0.0, 0.5, 1.0])).round(3).tolist()
    [0.0, 0.167, 0.833]
    """
    advantage = np.maximum(reward - behavior @ reward, 0.0)
    gain = behavior * (advantage if name in _ABOUT_THE_MEAN else reward == reward.max())
    return np.asarray(gain / gain.sum())


def conservatism(
    behavior: Sequence[float] = BEHAVIOR,
    reward: Sequence[float] = REWARD,
    least: float = 1e-4,
    most: float = 1e2,
    n: int = 61,
    ratio: float = 10.0,
) -> pd.DataFrame:
    """KL, entropy, value and largest ratio of targets of one bandit against the stated temperature.

    Parameters
    ----------
    behavior, reward : sequence of float
        Behavior probabilities and rewards, one entry per action.
    least, most, n : float, float, int
        Temperatures, n of them evenly spaced in the logarithm, in units of the reward.
    ratio : float
        beta1/beta2 of OAPL.

    Returns
    -------
    pandas.DataFrame
        One row per objective, temperature and action: `objective`, `beta`, `beta1` (of OAPL, else nan), `action`,
        `behavior`, `reward`, `policy`, `limit` (the target as beta -> 0), and, the same for all actions, `distance`
        (largest difference from the limit in any probability), `kl` (nats, of the policy to the behavior), `entropy`
        (nats), `value` (reward), `max_ratio`, `kappa`, `effective_temperature` (reward).

    Raises
    ------
    ValueError
        If the temperatures are not 0 < least < most, n >= 2, or the rewards are all equal: nothing to move to.

    Examples
    --------
    >>> frame = conservatism(least=1e-4, most=1.0, n=2).query("beta < 1e-3")
    >>> frame.groupby("objective")["max_ratio"].first().round(1).to_dict()["nominal"]
    12.5
    """
    if not (0 < least < most and n >= 2):
        raise ValueError(f"temperatures must be 0 < least < most and n >= 2, got {least:g}, {most:g}, {n}")
    q, r = np.asarray(behavior, dtype=float), np.asarray(reward, dtype=float)
    if not np.ptp(r) > 0:
        raise ValueError("reward must differ between actions")
    blocks = [
        _block(name, objective, beta, q, r)
        for beta in np.geomspace(least, most, n).tolist()
        for name, objective in settings(beta, ratio).items()
    ]
    order = list(settings(1.0))
    frame = pd.concat(blocks, ignore_index=True)
    place = frame["objective"].map(order.index).to_numpy()
    return frame.iloc[np.argsort(place, kind="stable")].reset_index(drop=True)


def _block(name: str, objective: ps.Objective, beta: float, behavior: np.ndarray, reward: np.ndarray) -> pd.DataFrame:
    target, end = ps.induced_target(behavior, reward, objective), limit(name, behavior, reward)
    metrics = target.conservatism().iloc[0]
    return pd.DataFrame(
        {
            "objective": name,
            "beta": beta,
            "beta1": objective.settings.get("beta1", np.nan),
            "action": np.arange(behavior.size),
            "behavior": behavior,
            "reward": reward,
            "policy": target.policy,
            "limit": end,
            "distance": np.abs(target.policy - end).max(),
            **{column: float(metrics[column]) + 0.0 for column in _MEASURES},
        }
    )


def _coldest(frame: pd.DataFrame, column: str) -> dict[str, float]:
    """A measure of each objective at the lowest temperature."""
    cold = frame.loc[frame["beta"].to_numpy() == frame["beta"].min()].drop_duplicates("objective")
    return dict(zip(cold["objective"], cold[column].astype(float), strict=True))


def _nats(entropy: float) -> str:
    return f"{entropy:.2g}" if entropy > _NONE else "none"


def _ratio(frame: pd.DataFrame) -> float:
    """OAPL's beta1 over its beta2."""
    oapl = frame[frame["objective"] == "oapl"]
    return float((oapl["beta1"] / oapl["beta"]).iloc[0])


def headline(frame: pd.DataFrame) -> str:
    """What is left of the entropy at the lowest temperature."""
    entropy, beta = _coldest(frame, "entropy"), f"{frame['beta'].min():.2g}"
    if np.ptp(list(entropy.values())) <= _NONE:
        return f"At β = {beta} all five objectives keep the same entropy: {_nats(entropy['kimi'])} nats"
    return (
        f"At β = {beta} {display_name('kimi')} keeps {entropy['kimi']:.2f} nats of entropy, nominal and V* "
        f"{_nats(entropy['nominal'])}, {display_name('oapl')} (β₁ = {_ratio(frame):g} β₂) {_nats(entropy['oapl'])}"
    )


def finding(frame: pd.DataFrame) -> str:
    """The same in a sentence."""
    entropy, ratio, distance = (_coldest(frame, column) for column in ("entropy", "max_ratio", "distance"))
    apart = f"{max(distance[name] for name in _ABOUT_THE_MEAN):.1g} of mu A_+/E[A_+]"
    start = f"At beta = {frame['beta'].min():.2g} the targets of "
    if np.ptp(list(entropy.values())) <= _NONE:
        return (
            f"{start}all five objectives keep the same entropy, {_nats(entropy['kimi'])} nats: the advantage is "
            f"positive for the best actions only, so that those about the mean, within {apart}, are greedy, too."
        )
    in_vain = " (decoupling does not help while beta1 falls with beta2)" if entropy["oapl"] <= _NONE else ""
    return (
        f"{start}{display_name('nominal')} and {display_name('optimal_value')} keep {_nats(entropy['nominal'])} of the "
        f"entropy in nats, that of {display_name('oapl')} with beta1 = {_ratio(frame):g} beta2 "
        f"{_nats(entropy['oapl'])}{in_vain}, those about the mean {entropy['kimi']:.3f} ({display_name('kimi')}) and "
        f"{entropy['shifted_mean']:.3f} ({display_name('shifted_mean')}): they are within {apart}, with ratios up to "
        f"{ratio['kimi']:.2f} instead of {ratio['nominal']:.2f}."
    )
