r"""Lag: what learning from the samples of an older policy does, objective by objective.

Two dynamics. *rounds* is :func:`pessimism.lagged_iteration`: each policy is trained to convergence on a group drawn
from the policy L rounds ago. There lag L runs L + 1 chains that never meet, so that it only delays: round t at lag L
has the law of round ceil(t / (L + 1)) at lag 0 (docs/theory.md, section 8). *steps* is what large-scale RL does: the
logits take one gradient step on a group drawn from the policy L steps ago (`analysis.lag_steps`). There lag can change
where one arrives: the log-ratio to the older policy is not 0, and a ratio, a clip or a pull back to it sets in.

Losses differ in scale by beta, so a learning rate is that of a policy gradient (divided by `analysis.lag_steps.unit`):
at lag 0 objectives with the same advantage are then one algorithm. All run on one grid of rates.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

import pessimism as ps
from analysis.lag_steps import Flags, Prompts, draw_prompts, measured, walk
from analysis.names import display_name, display_names
from analysis.settings import at_temperature
from analysis.work import each
from pessimism.arrays import Floats

SMOKE = {"lags": (0, 16), "lrs": (0.8, 3.2), "steps": 120, "rounds": 17, "prompts": 8, "records": 2}
COMPARED = ("nominal", "ppo", "grpo", "kimi", "optimal_value", "oapl", "shifted_mean", "reinforce", "asym_re")


def settings(beta: float) -> dict[str, ps.Objective]:
    """The objectives compared: temperatures at `beta`, GRPO's penalty as published, REINFORCE on old samples.

    Parameters
    ----------
    beta : float
        Temperature, in units of reward.

    Returns
    -------
    dict of str to pessimism.Objective
        Objective by registry name.

    Examples
    --------
    >>> settings(0.1)["reinforce"], settings(0.1)["oapl"]
    (Reinforce(value=0.0, sampling='off_policy'), OAPL(beta1=1.0, beta2=0.1))
    """
    return {**at_temperature(beta, COMPARED), "grpo": ps.GRPO(), "reinforce": ps.Reinforce(sampling="off_policy")}


def trained(
    objective: ps.Objective, prompts: Prompts, *, lag: int, rounds: int, group: int, seed: int
) -> Iterator[tuple[Floats, Flags]]:
    """Policies ``(N, K)`` at the start and after each round, and which runs have ended for want of a target.

    Those stay at their last policy.

    Parameters
    ----------
    objective : pessimism.Objective
        What is trained.
    prompts : Prompts
        Starts and rewards.
    lag : int
        Age of the data in rounds.
    rounds : int
        Rounds of training to convergence.
    group : int
        Completions sampled for each prompt and round.
    seed : int
        Seed of the samples.

    Yields
    ------
    tuple of ndarray
        Policies of a round, and whether each run has ended, shape (N,).

    Examples
    --------
    >>> prompts = draw_prompts(2, 3, seed=0)
    >>> *_, (policy, ended) = trained(ps.AsymRE(shift=0.1), prompts, lag=0, rounds=3, group=8, seed=0)
    >>> ended.tolist(), bool(np.allclose(policy, np.exp(prompts.log_start)))
    ([True, True], True)
    """
    policy = np.exp(prompts.log_start)
    columns = [f"pi_{a}" for a in range(policy.shape[1])]
    options: dict[str, Any] = {"samples": group, "noise": "bernoulli", "seed": seed, "policies": True}
    frame = ps.lagged_iteration(policy, prompts.reward, objective, rounds=rounds, lag=lag, **options)
    reached = np.full((rounds + 1, *policy.shape), np.nan)
    reached[frame["round"], frame["problem"]] = frame[columns]
    ended = np.zeros(len(policy), dtype=bool)
    for found in reached:
        ended = ended | np.isnan(found).any(axis=-1)
        policy = np.where(ended[:, None], policy, found)
        yield policy, ended


def _times(last: int, records: int) -> set[int]:
    return set(np.linspace(0, last, records + 1).round().astype(int).tolist())


def _recorded(policy: Floats, ended: Flags, prompts: Prompts) -> dict[str, Any]:
    """What is measured, with the `values` of the prompts one by one, which `_paired` turns into an error."""
    return {**measured(policy, ended, prompts), "values": np.sum(policy * prompts.reward, axis=-1)}


def _paired(frame: pd.DataFrame) -> pd.DataFrame:
    """The standard error of the difference to the least lag: prompts are the same, so that theirs cancels."""
    like = [frame[key] for key in ("dynamics", "objective", "lr", "time")]
    first = pd.Series(frame.index).groupby(like, dropna=False).transform("first")  # lags increase
    values = np.stack(frame["values"].to_list())
    error = (values - values[first]).std(axis=1, ddof=1) / np.sqrt(values.shape[1])
    frame.insert(list(frame.columns).index("value_error") + 1, "difference_error", error)
    return frame.drop(columns="values")


def _steps(
    name: str,
    beta: float,
    lag: int,
    lrs: tuple[float, ...],
    steps: int,
    group: int,
    drawn: tuple[int, int, int],
    records: int,
) -> pd.DataFrame:
    """One objective at one lag, all learning rates at once."""
    prompts, rows = draw_prompts(*drawn), []
    run = walk(settings(beta)[name], prompts, lag=lag, lrs=lrs, steps=steps, group=group)
    for time, (policies, ended) in enumerate(run):
        if time in _times(steps, records):
            for lr, policy, over in zip(lrs, np.exp(policies), ended, strict=True):
                rows.append({"lr": lr, "time": time, "updates": time, **_recorded(policy, over, prompts)})
    return pd.DataFrame(rows).assign(dynamics="steps", objective=name, lag=lag)


def _rounds(
    name: str, beta: float, lag: int, rounds: int, group: int, drawn: tuple[int, int, int], records: int
) -> pd.DataFrame:
    """One objective at one lag, each policy trained to convergence."""
    prompts, rows = draw_prompts(*drawn), []
    run = trained(settings(beta)[name], prompts, lag=lag, rounds=rounds, group=group, seed=drawn[-1])
    for time, (policy, ended) in enumerate(run):
        if time in _times(rounds, records):
            updates = -(-time // (lag + 1))
            rows.append({"lr": np.nan, "time": time, "updates": updates, **_recorded(policy, ended, prompts)})
    return pd.DataFrame(rows).assign(dynamics="rounds", objective=name, lag=lag)


def lag(
    beta: float = 0.1,
    lags: tuple[int, ...] = (0, 1, 4, 16, 64),
    lrs: tuple[float, ...] = (0.2, 0.8, 3.2, 12.8, 51.2),
    steps: int = 1000,
    rounds: int = 65,
    group: int = 8,
    prompts: int = 64,
    actions: int = 32,
    seed: int = 0,
    records: int = 8,
) -> pd.DataFrame:
    """Value, entropy, KL to the start and collapse over time, by objective, lag and learning rate, in both dynamics.

    Every prompt is a bandit with a seed of its own: the start is the softmax of normal logits, a completion's chance of
    reward 1 is uniform in [0, 1]. Prompts are the same for all objectives, lags and rates.

    Parameters
    ----------
    beta : float
        Temperature of all objectives that have one but GRPO (0.04, as published; against the initial policy).
    lags : tuple of int
        How many steps or rounds the data are behind.
    lrs : tuple of float
        Learning rates of the steps, in units of a policy gradient.
    steps, rounds : int
        Length of the two dynamics. GRPO has no rounds: each of its targets needs a gradient flow, a second a round.
    group : int
        Completions sampled a step or a round, per prompt, at least 2.
    prompts, actions, seed : int
        Number of prompts and of completions of each, at least 2, and the seed of all.
    records : int
        Times recorded after the start, evenly.

    Returns
    -------
    pandas.DataFrame
        `dynamics` ("steps" or "rounds"), `objective`, `lag`, `lr` (nan for rounds), `time` (steps or rounds), `updates`
        (of a chain: ceil(time / (lag + 1)) in rounds, time in steps), and over the prompts the mean of `value`,
        `entropy` (nats), `kl` (of the policy to the start, nats), `value_error` (standard error), `difference_error`
        (standard error of the difference in value to the least lag, paired by prompt; 0 at that lag), the shares
        `collapsed` (all mass but 1% on one completion), `premature` (one that is not the best) and `ended`: logits that
        overflow, or a round without a target. Such runs count in all columns with the last policy that they had.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Examples
    --------
    >>> frame = lag(lags=(0,), lrs=(0.8,), steps=20, rounds=2, prompts=4, records=1)
    >>> last = frame[(frame["dynamics"] == "steps") & (frame["time"] == 20)].set_index("objective")["value"].round(9)
    >>> bool(last["kimi"] == last["ppo"] == last["nominal"])
    True
    """
    _check(lags, lrs, steps=(steps, 1), rounds=(rounds, 1), records=(records, 1), group=(group, 2))
    _check(lags, lrs, prompts=(prompts, 2), actions=(actions, 2))
    drawn = (prompts, actions, seed)
    pieces = [(name, beta, behind) for name in COMPARED for behind in lags]
    stepped = [(*piece, lrs, steps, group, drawn, records) for piece in pieces]
    rounded = [(*piece, rounds, group, drawn, records) for piece in pieces if piece[0] != "grpo"]
    found: list[pd.DataFrame] = each(_steps, stepped, desc="steps")
    found += each(_rounds, rounded, desc="rounds")
    frame = _paired(pd.concat(found, ignore_index=True))
    first = ["dynamics", "objective", "lag"]
    return frame[[*first, *frame.columns.drop(first)]]


def _check(lags: tuple[int, ...], lrs: tuple[float, ...], **least: tuple[int, int]) -> None:
    for name, (value, bound) in least.items():
        if value < bound:
            raise ValueError(f"{name} must be an integer >= {bound}, got {value!r}")
    for name, values, good in (("lags", lags, [n >= 0 for n in lags]), ("lrs", lrs, [0 < lr < np.inf for lr in lrs])):
        if not values or not all(good) or list(values) != sorted(set(values)):
            rule = "integers >= 0" if name == "lags" else "finite numbers > 0"
            raise ValueError(f"{name} must be increasing {rule}, at least one, got {values!r}")


def last(frame: pd.DataFrame, dynamics: str) -> pd.DataFrame:
    """Rows of one dynamics at its last recorded time."""
    part = frame[frame["dynamics"] == dynamics]
    rows: pd.DataFrame = part[part["time"] == part["time"].max()]
    return rows


def held(frame: pd.DataFrame) -> pd.DataFrame:
    """The steps' last rows at one learning rate for all: the largest that costs nothing at the least lag.

    That is, whose value there, over all objectives, is within a standard error of the best rate's.
    """
    rows = last(frame, "steps")
    means = rows[rows["lag"] == rows["lag"].min()].groupby("lr")[["value", "value_error"]].mean().round(9)
    enough = (means["value"] - means["value_error"]).loc[means["value"].idxmax()]
    chosen: pd.DataFrame = rows[rows["lr"] == means.index[means["value"] >= enough].max()]
    return chosen


def retuned(frame: pd.DataFrame) -> pd.DataFrame:
    """The steps' last rows at the learning rate of most value, for every objective and lag.

    A rate on the edge of those tried is not the best of all; `finding` says whose are.
    """
    rows = last(frame, "steps").round({"value": 9}).sort_values("lr", kind="stable")
    return rows.loc[rows.groupby(["objective", "lag"], sort=False)["value"].idxmax()].sort_index()


def _ends(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows of the least and of the largest lag, by objective."""
    by = rows.set_index("objective")
    return by[by["lag"] == by["lag"].min()], by[by["lag"] == by["lag"].max()]


def _gains(low: pd.DataFrame, high: pd.DataFrame) -> pd.Series:
    """Value at the largest lag less that at the least, in paired standard errors; 0 where there is no difference."""
    error = high["difference_error"]
    return ((high["value"] - low["value"]) / error.where(error > 0)).fillna(0.0)


def headline(frame: pd.DataFrame) -> str:
    """For how many objectives lag means fewer prompts collapsed by the last step, and more value."""
    rows = held(frame)
    low, high = _ends(rows)
    later = int((high["collapsed"] < low["collapsed"]).sum())
    better = int((_gains(low, high) > 2).sum())
    return (
        f"After {rows['time'].iloc[0]} steps, lag {high['lag'].iloc[0]} has delayed collapse for {later} of {len(low)} "
        f"objectives and raised value (> 2 SE) for {better}"
    )


def finding(frame: pd.DataFrame) -> str:
    """The same with numbers, the overflows, the rates retuned and the rounds."""
    rows = held(frame)
    low, high = _ends(rows)
    lost = {name: f", {share:.0%} of its runs overflow" for name, share in high["ended"].items() if share > 0}
    some = high.sort_values("premature", kind="stable")
    shares = ", ".join(
        f"{display_name(name)} {share:.0%} ({whole:.0%} at all{lost.get(name, '')})"
        for name, share, whole in zip(some.index, some["premature"], some["collapsed"], strict=True)
    )
    gains = ", ".join(
        f"{display_name(name)} {t:+.1f}" for name, t in _gains(low, high).sort_values(kind="stable").items()
    )
    trained_ = last(frame, "rounds")
    return (
        f"At learning rate {rows['lr'].iloc[0]:g}, the largest that costs nothing at lag {low['lag'].iloc[0]}, and "
        f"after {rows['time'].iloc[0]} steps, {low['premature'].min():.0%} to {low['premature'].max():.0%} of the "
        f"prompts have collapsed on a completion that is not the best at lag {low['lag'].iloc[0]} "
        f"({low['collapsed'].min():.0%} to {low['collapsed'].max():.0%} at all), and at lag {high['lag'].iloc[0]}: "
        f"{shares}; in standard errors paired by prompt the value changes by: {gains}; with the rate retuned at each "
        f"lag{_edge(frame)} the values are {_ranges(retuned(frame))}; trained to convergence, where lag only delays, "
        f"{_ranges(trained_)} after {trained_['time'].iloc[0]} rounds."
    )


def _edge(frame: pd.DataFrame) -> str:
    """Whose best rate at the largest lag is the largest tried, so that a larger one may be better."""
    high = _ends(retuned(frame))[1]
    names = list(high.index[high["lr"] == last(frame, "steps")["lr"].max()])
    return f" (to the largest tried for {display_names(names)} at lag {high['lag'].iloc[0]})" if names else ""


def _ranges(rows: pd.DataFrame) -> str:
    said = [
        f"{part['value'].min():.2f} to {part['value'].max():.2f} at lag {part['lag'].iloc[0]}" for part in _ends(rows)
    ]
    return " and ".join(dict.fromkeys(said))
