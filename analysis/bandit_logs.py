"""Logs of a bandit with rewards 0 or 1: the world behind them, rollouts, and targets trained on what was drawn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

import pessimism as ps
from pessimism.arrays import Floats

Counts = NDArray[np.int64]


def check(actions: int, rewards: Sequence[float], rollouts: Sequence[int], seeds: int, least_seeds: int = 2) -> None:
    """Refuse what makes no logs to compare.

    Parameters
    ----------
    actions : int
        Number of actions, at least 2.
    rewards : sequence of float
        The largest and the smallest mean reward.
    rollouts : sequence of int
        Numbers of rollouts in a log.
    seeds : int
        Number of logs.
    least_seeds : int, default 2
        Smallest number of logs allowed.

    Raises
    ------
    ValueError
        If there are fewer than two actions or `least_seeds` seeds, if there is no number of rollouts or one below 1, or
        if `rewards` are not two different ones in [0, 1], the larger first.

    Examples
    --------
    >>> check(2, (0.7, 0.2), (16,), 2)
    """
    if len(rollouts) == 0:
        raise ValueError("rollouts must hold at least one number, got none")
    numbers = (("actions", actions, 2), ("seeds", seeds, least_seeds), *(("rollouts", n, 1) for n in rollouts))
    for name, value, least in numbers:
        if not (isinstance(value, int) and value >= least):
            raise ValueError(f"{name} must be an integer >= {least}, got {value!r}")
    if len(rewards) != 2 or not 0 <= rewards[1] < rewards[0] <= 1:
        raise ValueError(f"rewards must be the largest and the smallest, different and in [0, 1], got {rewards!r}")


def likelier_first(actions: int) -> Floats:
    """Behavior ``(K,)`` with probabilities proportional to 1/rank.

    Parameters
    ----------
    actions : int
        Number of actions, at least 2.

    Returns
    -------
    ndarray, shape (K,)
        Probabilities.

    Examples
    --------
    >>> likelier_first(2).round(3).tolist()
    [0.667, 0.333]
    """
    weight = 1.0 / np.arange(1, actions + 1)
    behavior: Floats = weight / weight.sum()
    return behavior


def world(name: str, actions: int, rewards: tuple[float, float], rng: np.random.Generator, seeds: int) -> Floats:
    """True rewards ``(seeds, K)`` of actions in the order of their probability, the likeliest first.

    "competent": they fall with the probability, evenly from the first of `rewards` to the second; "uninformed": the
    same ones in random order, another one for each seed.

    Parameters
    ----------
    name : {"competent", "uninformed"}
        Which world.
    actions : int
        Number of actions, at least 2.
    rewards : sequence of float
        The largest and the smallest mean reward.
    rng : numpy.random.Generator
        Where the random order comes from.
    seeds : int
        Number of worlds.

    Returns
    -------
    ndarray, shape (seeds, K)
        Mean reward of each action.

    Examples
    --------
    >>> world("competent", 3, (1.0, 0.0), np.random.default_rng(0), 1)
    array([[1. , 0.5, 0. ]])
    """
    true = np.tile(np.linspace(*rewards, actions), (seeds, 1))
    return true if name == "competent" else rng.permuted(true, axis=1)


def drawn_logs(behavior: Floats, true: Floats, n: int, rng: np.random.Generator) -> tuple[Counts, Floats]:
    """Counts ``(seeds, K)`` of the actions in n rollouts and means of their rewards, 0 where an action is not drawn.

    Parameters
    ----------
    behavior : ndarray, shape (K,)
        Probabilities of the behavior policy.
    true : ndarray, shape (seeds, K)
        Mean reward of each action.
    n : int
        Rollouts in a log.
    rng : numpy.random.Generator
        Where the draws come from.

    Returns
    -------
    tuple of ndarray
        Counts and mean rewards, both of shape (seeds, K).

    Examples
    --------
    >>> counts, mean = drawn_logs(likelier_first(2), np.array([[1.0, 0.0]]), 9, np.random.default_rng(0))
    >>> counts.sum(), mean.tolist()
    (np.int64(9), [[1.0, 0.0]])
    """
    counts = rng.multinomial(n, behavior, size=len(true))
    return counts, rng.binomial(counts, true) / np.maximum(counts, 1)


def trained(behavior: Floats, reward: Floats, counts: Counts, objective: ps.Objective) -> Floats:
    """Targets ``(seeds, K)`` on the actions drawn, with estimated rewards; the others keep their probability."""
    drawn = counts > 0
    seen = np.where(drawn, behavior, 0.0)
    mass = seen.sum(axis=-1, keepdims=True)
    target = ps.induced_target(seen / mass, reward, objective)
    return np.where(drawn, mass * target.policy, behavior)
