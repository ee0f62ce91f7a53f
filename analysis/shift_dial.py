"""The shift of the mean as a dial: where more pessimism raises the true value, and where it only costs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

import pessimism as ps
from analysis.bandit_logs import Counts, check, drawn_logs, likelier_first, trained, world
from pessimism.arrays import Floats

SMOKE = {"seeds": 120, "rollouts": (32, 256, 1024), "shifts": (0.0, 1.0, 4.0, 10.0)}
WORLDS = ("competent", "uninformed")
SHIFTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0)


def _mean(values: Floats) -> tuple[float, float]:
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))


def _rows(
    behavior: Floats, true: Floats, n: int, beta: float, shifts: Sequence[float], rng: np.random.Generator
) -> pd.DataFrame:
    counts, estimate = drawn_logs(behavior, true, n, rng)
    everywhere, half = np.ones_like(counts), len(true) // 2

    def improvement(objective: ps.Objective, reward: Floats = estimate, drawn: Counts = counts) -> Floats:
        gained: Floats = np.vecdot(trained(behavior, reward, drawn, objective) - behavior, true)
        return gained

    nominal, nominal_error = _mean(improvement(ps.Nominal(beta=beta))[half:])
    chosen_by: list[float] = []
    rows: list[tuple[float, ...]] = []
    first = np.zeros(0)
    for shift in shifts:
        objective = ps.ShiftedMean(beta=beta, shift=shift)
        gained = improvement(objective)
        chosen_by.append(float(gained[:half].mean()))
        measured = gained[half:]
        first = first if rows else measured
        exact = float(improvement(objective, true, everywhere)[half:].mean())
        rows.append((shift, *_mean(measured), *_mean(measured - first), exact))
    columns = ["shift", "improvement", "standard_error", "over_first", "over_first_error", "exact"]
    frame = pd.DataFrame(rows, columns=columns).assign(nominal=nominal, nominal_error=nominal_error)
    return frame.assign(best=frame.index == np.round(chosen_by, 12).argmax())


def shift_dial(
    beta: float = 0.05,
    actions: int = 32,
    rewards: tuple[float, float] = (0.7, 0.2),
    rollouts: Sequence[int] = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096),
    shifts: Sequence[float] = SHIFTS,
    seeds: int = 800,
    seed: int = 0,
) -> pd.DataFrame:
    """True value of the target under estimated rewards, against the shift of the mean and the number of rollouts.

    The behavior has probabilities proportional to 1/rank. Each of n rollouts draws an action from it and a reward 0 or
    1 with the true reward as probability; rewards are estimated by means, actions never drawn keep their probability.
    Rare actions have the noisiest estimates: in the "competent" world they are also the worst. The best shift is chosen
    on the first half of the logs and everything else measured on the other: the largest of many noisy means is biased.

    Parameters
    ----------
    beta : float
        Temperature of the regression.
    actions : int
        K >= 2.
    rewards : tuple of two floats
        Largest and smallest true reward, different and in [0, 1].
    rollouts : sequence of int
        Numbers n of rollouts, shared by all actions.
    shifts : sequence of float
        Shifts c in temperatures, ascending; gains are measured from the first.
    seeds, seed : int
        Logs for each n, at least four, and their seed.

    Returns
    -------
    pandas.DataFrame
        A row per `world`, `rollouts` and `shift`: `improvement` of the true value over that of the behavior, with
        `standard_error`; `over_first`, paired, over the first shift, with its error; `exact`, the improvement under the
        true rewards; `nominal`, that of the nominal target on the same logs; `best` marks the shift chosen.

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
    check(actions, rewards, rollouts, seeds, least_seeds=4)
    if not shifts or list(shifts) != sorted(shifts):
        raise ValueError(f"shifts must be ascending, got {shifts!r}")
    behavior = likelier_first(actions)
    blocks = []
    for which, name in enumerate(WORLDS):
        for n in rollouts:
            rng = np.random.default_rng([seed, which, n])
            true = world(name, actions, rewards, rng, seeds)
            blocks.append(_rows(behavior, true, n, beta, shifts, rng).assign(world=name, rollouts=n))
    frame = pd.concat(blocks, ignore_index=True)
    return frame[["world", "rollouts", *frame.columns.drop(["world", "rollouts"])]]


def _best(frame: pd.DataFrame, world: str) -> pd.DataFrame:
    return frame[frame["best"] & (frame["world"] == world)].sort_values("rollouts")


def _pays(best: pd.DataFrame) -> pd.DataFrame:
    """Where the shift chosen beats the first one by more than two standard errors, on other logs."""
    return best[best["over_first"] > 2 * best["over_first_error"]]


def _where(best: pd.DataFrame) -> str:
    """At which numbers of rollouts a shift pays."""
    ns, pays = best["rollouts"].tolist(), _pays(best)["rollouts"].tolist()
    if not pays:
        return "at no n"
    return f"up to n = {pays[-1]}" if pays == ns[: len(pays)] else f"at {len(pays)} of {len(ns)} n"


def _course(best: pd.DataFrame) -> str:
    """How the shift chosen goes with the number of rollouts."""
    few, many = best.iloc[0], best.iloc[-1]
    if best["shift"].nunique() == 1:
        return f"is c = {few['shift']:g} at every n"
    change = few["shift"] - many["shift"]
    verb = "falls" if change > 0 else "rises" if change < 0 else "goes"
    return (
        f"{verb} from c = {few['shift']:g} at n = {few['rollouts']} to c = {many['shift']:g} at n = {many['rollouts']}"
    )


def _gain(best: pd.DataFrame, first: float) -> str:
    """The largest gain that counts; nothing where the first shift is chosen throughout."""
    pays = _pays(best)
    if (best["shift"] == first).all():
        return ""
    if len(pays) == 0:
        return f" and gains no more than two standard errors over c = {first:g}"
    most = pays.sort_values("over_first").iloc[-1]
    value, error = most["over_first"], 2 * most["over_first_error"]
    return f" and gains at most {value:.2g} ± {error:.1g} in value over c = {first:g} (n = {most['rollouts']})"


def _cost(row: pd.Series) -> str:
    """What a shift does to the value, where it is more than two standard errors."""
    if abs(row["over_first"]) <= 2 * row["over_first_error"]:
        return f"c = {row['shift']:g} neither costs nor gains more than two standard errors"
    return f"c = {row['shift']:g} {'costs' if row['over_first'] < 0 else 'gains'} {abs(row['over_first']):.2g}"


def headline(frame: pd.DataFrame) -> str:
    """Up to how many rollouts a shift pays when the behavior is competent, and whether it does when it is not."""
    competent, other = (_where(_best(frame, name)) for name in WORLDS)
    if competent == other:
        return f"A shift pays {competent}, whether the behavior knows what is good or not"
    return f"A shift pays {competent} if the behavior knows what is good, {other} if it does not"


def finding(frame: pd.DataFrame) -> str:
    """The same in a sentence, with the best shifts and what they gain and cost."""
    best, blind = (_best(frame, name) for name in WORLDS)
    few, many, first = best.iloc[0], best.iloc[-1], frame["shift"].min()
    end = frame[(frame["shift"] == frame["shift"].max()) & (frame["rollouts"] == many["rollouts"])].set_index("world")
    nominal = [f"{row['improvement'] - row['nominal']:+.2g} at n = {row['rollouts']}" for row in (few, many)]
    return (
        "With the best shift chosen on one half of the logs and measured on the other: if the behavior is competent it "
        f"{_course(best)}{_gain(best, first)}, while at n = {many['rollouts']} {_cost(end.loc['competent'])}; if "
        f"rewards have nothing to do with the behavior it {_course(blind)}{_gain(blind, first)}, while at "
        f"n = {many['rollouts']} {_cost(end.loc['uninformed'])}. Best shift minus nominal target, competent: "
        f"{', '.join(dict.fromkeys(nominal))}."
    )
