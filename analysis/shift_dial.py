"""The shift of the mean as a dial: where more pessimism raises the true value, and where it only costs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import pessimism as ps

Floats = NDArray[np.float64]

SMOKE = {"seeds": 60, "rollouts": (32, 256, 1024), "shifts": (0.0, 1.0, 4.0, 10.0)}
WORLDS = ("competent", "uninformed")
SHIFTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0)


def world(name: str, actions: int, rewards: tuple[float, float], rng: np.random.Generator, seeds: int) -> Floats:
    """True rewards ``(seeds, K)`` of actions in the order of their probability, the likeliest first.

    "competent": they fall with the probability, evenly from the first of `rewards` to the second; "uninformed": the
    same ones in random order, another one for each seed.

    Examples
    --------
    >>> world("competent", 3, (1.0, 0.0), np.random.default_rng(0), 1)
    array([[1. , 0.5, 0. ]])
    """
    true = np.tile(np.linspace(*rewards, actions), (seeds, 1))
    return true if name == "competent" else rng.permuted(true, axis=1)


def trained(behavior: Floats, reward: Floats, counts: NDArray[np.int64], objective: ps.Objective) -> Floats:
    """Targets ``(seeds, K)`` on the actions drawn, with estimated rewards; the others keep their probability."""
    drawn = counts > 0
    seen = np.where(drawn, behavior, 0.0)
    mass = seen.sum(axis=-1, keepdims=True)
    target = ps.induced_target(seen / mass, reward, objective)
    return np.where(drawn, mass * target.policy, behavior)


def _mean(values: Floats) -> tuple[float, float]:
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))


def _rows(
    behavior: Floats, true: Floats, n: int, beta: float, shifts: Sequence[float], rng: np.random.Generator
) -> pd.DataFrame:
    counts = rng.multinomial(n, behavior, size=len(true))
    estimate = rng.binomial(counts, true) / np.maximum(counts, 1)
    everywhere = np.ones_like(counts)

    def improvement(objective: ps.Objective, reward: Floats = estimate, drawn: NDArray[np.int64] = counts) -> Floats:
        gained: Floats = np.vecdot(trained(behavior, reward, drawn, objective) - behavior, true)
        return gained

    nominal, nominal_error = _mean(improvement(ps.Nominal(beta=beta)))
    rows, first = [], improvement(ps.ShiftedMean(beta=beta, shift=shifts[0]))
    for shift in shifts:
        objective = ps.ShiftedMean(beta=beta, shift=shift)
        gained = improvement(objective)
        value, error = _mean(gained)
        over, over_error = _mean(gained - first)
        exact = float(improvement(objective, true, everywhere).mean())
        rows.append((shift, value, error, over, over_error, exact))
    columns = ["shift", "improvement", "standard_error", "over_first", "over_first_error", "exact"]
    frame = pd.DataFrame(rows, columns=columns).assign(nominal=nominal, nominal_error=nominal_error)
    return frame.assign(best=frame.index == frame["improvement"].round(12).argmax())


def shift_dial(
    beta: float = 0.05,
    actions: int = 32,
    rewards: tuple[float, float] = (0.7, 0.2),
    rollouts: Sequence[int] = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096),
    shifts: Sequence[float] = SHIFTS,
    seeds: int = 400,
    seed: int = 0,
) -> pd.DataFrame:
    """True value of the target under estimated rewards, against the shift of the mean and the number of rollouts.

    The behavior has probabilities proportional to 1/rank. Each of n rollouts draws an action from it and a reward 0 or
    1 with the true reward as probability; rewards are estimated by means, actions never drawn keep their probability.
    Rare actions have the noisiest estimates: in the "competent" world they are also the worst.

    Parameters
    ----------
    beta : float
        Temperature of the regression.
    actions : int
        K >= 2.
    rewards : tuple of two floats
        Largest and smallest true reward, in [0, 1].
    rollouts : sequence of int
        Numbers n of rollouts, shared by all actions.
    shifts : sequence of float
        Shifts c in temperatures, ascending; gains are measured from the first.
    seeds, seed : int
        Logs for each n, at least two, and their seed.

    Returns
    -------
    pandas.DataFrame
        A row per `world`, `rollouts` and `shift`: `improvement` of the true value over that of the behavior, with
        `standard_error`; `over_first`, paired, over the first shift, with its error; `exact`, the improvement under the
        true rewards; `nominal`, that of the nominal target on the same logs; `best` marks the best shift.

    Raises
    ------
    ValueError
        If a number is out of range.

    Examples
    --------
    >>> frame = shift_dial(rollouts=(64,), shifts=(0.0, 10.0), seeds=50)
    >>> frame.loc[frame["best"], ["world", "shift"]].to_numpy().tolist()
    [['competent', 10.0], ['uninformed', 0.0]]
    """
    _check(actions, rewards, rollouts, shifts, seeds)
    behavior = 1.0 / np.arange(1, actions + 1)
    behavior /= behavior.sum()
    blocks = []
    for which, name in enumerate(WORLDS):
        for n in rollouts:
            rng = np.random.default_rng([seed, which, n])
            true = world(name, actions, rewards, rng, seeds)
            blocks.append(_rows(behavior, true, n, beta, shifts, rng).assign(world=name, rollouts=n))
    frame = pd.concat(blocks, ignore_index=True)
    return frame[["world", "rollouts", *frame.columns.drop(["world", "rollouts"])]]


def _check(
    actions: int, rewards: tuple[float, float], rollouts: Sequence[int], shifts: Sequence[float], seeds: int
) -> None:
    for name, value, least in (("actions", actions, 2), ("seeds", seeds, 2), *(("rollouts", n, 1) for n in rollouts)):
        if not (isinstance(value, int) and value >= least):
            raise ValueError(f"{name} must be an integer >= {least}, got {value!r}")
    if not 0 <= rewards[1] <= rewards[0] <= 1:
        raise ValueError(f"rewards must be the largest and the smallest, in [0, 1], got {rewards!r}")
    if not shifts or list(shifts) != sorted(shifts):
        raise ValueError(f"shifts must be ascending, got {shifts!r}")


def _best(frame: pd.DataFrame, world: str) -> pd.DataFrame:
    return frame[frame["best"] & (frame["world"] == world)].sort_values("rollouts")


def _pays(best: pd.DataFrame) -> pd.DataFrame:
    """Where the best shift beats the first one by more than two standard errors."""
    return best[best["over_first"] > 2 * best["over_first_error"]]


def headline(frame: pd.DataFrame) -> str:
    """Up to how many rollouts a shift pays when the behavior is competent, and whether it does when it is not."""
    pays, other = _pays(_best(frame, "competent")), len(_pays(_best(frame, "uninformed")))
    where = f"up to n = {pays['rollouts'].max()} rollouts" if len(pays) else "at no n"
    never = "nowhere" if other == 0 else f"at {other} n"
    return f"A shift pays {where} of a behavior that knows what is good, {never} if it does not"


def finding(frame: pd.DataFrame) -> str:
    """The same in a sentence, with the best shifts and what they gain and cost."""
    best, most = _best(frame, "competent"), frame["shift"].max()
    few, many = best.iloc[0], best.iloc[-1]
    last = frame[(frame["shift"] == most) & (frame["rollouts"] == many["rollouts"])].set_index("world")["over_first"]
    first = frame["shift"].min()
    best_gain = best.sort_values("over_first").iloc[-1]
    blind = _best(frame, "uninformed")["shift"]
    return (
        f"With a competent behavior the best shift falls from c = {few['shift']:g} at n = {few['rollouts']} rollouts "
        f"to {many['shift']:g} at n = {many['rollouts']}; it gains at most {best_gain['over_first']:.4f} ± "
        f"{2 * best_gain['over_first_error']:.4f} in value over c = {first:g} (n = {best_gain['rollouts']}), while "
        f"c = {most:g} costs {-last['competent']:.3f} at n = {many['rollouts']}; if rewards have nothing to do with "
        f"the behavior the best shift is at most {blind.max():g}, and c = {most:g} costs {-last['uninformed']:.3f}. "
        f"Best shift minus nominal target: {few['improvement'] - few['nominal']:+.3f} at n = {few['rollouts']}, "
        f"{many['improvement'] - many['nominal']:+.3f} at n = {many['rollouts']}."
    )
