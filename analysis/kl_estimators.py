"""KL estimators k1, k2, k3, in the reward or in the loss, on new or on old data: where each of the twelve leads."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Literal

import numpy as np
import pandas as pd

import pessimism as ps
from analysis.work import each

SMOKE = {"n": 4}
ESTIMATORS: tuple[Literal["k1", "k2", "k3"], ...] = ("k1", "k2", "k3")
PLACEMENTS: tuple[Literal["reward", "loss"], ...] = ("reward", "loss")
SAMPLINGS: tuple[Literal["on_policy", "off_policy"], ...] = ("on_policy", "off_policy")
_SAME = 1e-9  # total variation within which a target is the nominal one


def kl_estimators(
    behavior: tuple[float, ...] = (0.4, 0.3, 0.2, 0.1),
    reward: tuple[float, ...] = (0.2, 0.4, 0.6, 0.8),
    low: float = 0.03,
    high: float = 1.0,
    n: int = 21,
) -> pd.DataFrame:
    """Induced target of one bandit under every estimator, placement and sampling, over the temperature.

    Parameters
    ----------
    behavior, reward : tuple of float
        Behavior probabilities and rewards, one entry per action. The behavior is the reference, too.
    low, high : float
        Range of beta, in reward units.
    n : int
        Temperatures, evenly spaced in the logarithm.

    Returns
    -------
    pandas.DataFrame
        `estimator`, `placement`, `sampling`, `beta`, `status` (of the induced target), `leads_to` ("nominal", "other":
        another policy on all actions, "fewer actions", "one action", "no target"), `tv` (total variation from the
        nominal target), `effective_temperature`, `factor` (that over beta), `value` (expected reward) and `policy_0`,
        `policy_1`, ...; nan where there is no target.

    Raises
    ------
    ValueError
        If low is not in (0, high], or n < 1; as `pessimism.induced_target` for the rest.

    Examples
    --------
    >>> frame = kl_estimators(low=0.1, high=0.1, n=1)
    >>> frame[frame["sampling"] == "on_policy"]["leads_to"].tolist()
    ['nominal', 'one action', 'fewer actions', 'nominal', 'one action', 'other']
    """
    if not 0 < low <= high:
        raise ValueError(f"low must be in (0, high], got {low!r} and {high!r}")
    if n < 1:
        raise ValueError(f"n must be >= 1, got {n!r}")
    betas = [float(f"{beta:.6g}") for beta in np.geomspace(low, high, n)]
    settings = [
        (behavior, reward, *choice, beta) for choice in product(ESTIMATORS, PLACEMENTS, SAMPLINGS) for beta in betas
    ]
    found: list[dict[str, object]] = each(_at, settings, desc="targets")
    return pd.DataFrame(found)


def _at(
    behavior: Sequence[float],
    reward: Sequence[float],
    estimator: Literal["k1", "k2", "k3"],
    placement: Literal["reward", "loss"],
    sampling: Literal["on_policy", "off_policy"],
    beta: float,
) -> dict[str, object]:
    """One row."""
    target = ps.induced_target(behavior, reward, ps.KLRegularized(estimator, placement, sampling, beta))
    metrics = target.conservatism().iloc[0]
    tv = float(np.abs(target.policy - target.nominal).sum() / 2)
    left = int((target.policy > 0).sum())
    leads_to = "nominal" if tv < _SAME else "other" if left == len(target.policy) else "fewer actions"
    leads_to = "one action" if left == 1 else leads_to
    return {
        "estimator": estimator,
        "placement": placement,
        "sampling": sampling,
        "beta": beta,
        "status": str(target.status),
        "leads_to": "no target" if str(target.status) == "no_target" else leads_to,
        "tv": tv,
        "effective_temperature": float(metrics["effective_temperature"]),
        "factor": float(metrics["pessimism_factor"]),
        "value": float(metrics["value"]),
        **{f"policy_{action}": float(p) for action, p in enumerate(target.policy)},
    }


def named(frame: pd.DataFrame) -> pd.Series:
    """A name for every row's combination.

    Parameters
    ----------
    frame : pandas.DataFrame
        As `kl_estimators` returns it.

    Returns
    -------
    pandas.Series
        Text, on the index of the frame.

    Examples
    --------
    >>> named(kl_estimators(low=0.1, high=0.1, n=1)).iloc[1]
    'k1 in reward, off-policy'
    """
    names: pd.Series = frame["estimator"] + " in " + frame["placement"] + ", " + frame["sampling"].str.replace("_", "-")
    return names


def _counts(frame: pd.DataFrame) -> tuple[list[str], list[str], int]:
    """Combinations that are nominal at every temperature, those that never keep all actions, how many there are."""
    by = frame.assign(name=named(frame)).groupby("name", sort=False)["leads_to"]
    nominal = by.apply(lambda x: (x == "nominal").all())
    lost = by.apply(lambda x: (~x.isin(["nominal", "other"])).all())
    return nominal.index[nominal].tolist(), lost.index[lost].tolist(), len(nominal)


def headline(frame: pd.DataFrame) -> str:
    """How many of the combinations lead to the policy that they all aim at."""
    nominal, lost, total = _counts(frame)
    return f"{len(nominal)} of {total} KL penalties lead to the nominal target, and {len(lost)} never keep all actions"


def finding(frame: pd.DataFrame) -> str:
    """The same in a sentence."""
    nominal, lost, total = _counts(frame)
    text = f"{len(nominal)} of {total} KL penalties lead to the nominal target at every temperature"
    text += f" ({'; '.join(nominal)})" if nominal else ""
    text += f", {len(lost)} drop actions or have no target at all of them"
    text += f" ({'; '.join(lost)})" if lost else ""
    other = frame.assign(name=named(frame))[frame["leads_to"] == "other"]
    if len(other):
        worst = other.iloc[int(other["tv"].to_numpy().argmax())]
        text += (
            f"; of the targets on all actions that are not nominal the farthest is {worst['name']} at beta = "
            f"{worst['beta']:.2g}, {worst['tv']:.2f} in total variation, {worst['factor']:.2g} times as warm as stated"
        )
    return f"{text}."
