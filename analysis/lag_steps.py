"""Gradient steps on groups sampled from an older policy, for many prompts and learning rates at once.

One step moves the logits theta of the current policy pi along the gradient of an objective on G completions of the
policy q that was current L steps ago: theta += lr / unit * mean_i g(u_i, A_i) grad log pi(a_i), with the group's own
statistics in the advantages A. The reference in the log-ratio u is q; for an objective that takes two ratios (GRPO) it
is the initial policy.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

import pessimism as ps
from pessimism import divergences
from pessimism.arrays import Floats
from pessimism.fixed_point.score import data_weight

COLLAPSED = 0.01  # a policy with less than this beside its likeliest completion has collapsed

Flags = NDArray[np.bool_]
Actions = NDArray[np.intp]


class Prompts(NamedTuple):
    """N prompts: log-probabilities of the start and rewards, both ``(N, K)``, and a generator each.

    Observed rewards are 0 or 1, and `reward` the chance of 1, unless they are `certain`: `reward` itself each time.
    """

    log_start: Floats
    reward: Floats
    generators: list[np.random.Generator]
    certain: bool = False


def draw_prompts(count: int, actions: int, seed: int) -> Prompts:
    """Starts are the softmax of normal logits, rewards uniform in [0, 1]; more prompts change none of the first ones.

    Parameters
    ----------
    count : int
        Number of prompts.
    actions : int
        Completions of a prompt.
    seed : int
        Seed of prompts and samples.

    Returns
    -------
    Prompts
        Starts, rewards and a generator for each prompt.

    Examples
    --------
    >>> draw_prompts(3, 4, seed=0).reward.shape
    (3, 4)
    """
    # A spawn key, since a list [seed, i] would give the very stream of `lagged_iteration`'s [seed, i, 0].
    generators = [np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(i,))) for i in range(count)]
    logits = np.stack([rng.standard_normal(actions) for rng in generators])
    reward = np.stack([rng.random(actions) for rng in generators])
    return Prompts(_normalized(logits), reward, generators)


def unit(objective: ps.Objective) -> float:
    """Pull of an advantage of one at a log-ratio of zero, beyond that of none: 2 beta for a regression, else 1.

    Parameters
    ----------
    objective : pessimism.Objective
        What is trained.

    Returns
    -------
    float
        The pull.

    Examples
    --------
    >>> unit(ps.Kimi(beta=0.1)), unit(ps.PPO())
    (0.2, 1.0)
    """
    zero = np.zeros((1, 1))
    none, one = (_weight(objective, zero, zero, zero, advantage, None) for advantage in (zero, zero + 1))
    return float(one[0, 0] - none[0, 0])


def _weight(
    objective: ps.Objective, policy: Floats, data: Floats, start: Floats, advantage: Floats, weights: Floats | None
) -> Floats:
    """Score weight from the log-probabilities of a group's members under the policy, its data's and the initial one."""
    if objective.takes_share:
        return np.asarray(data_weight(objective, policy - start, advantage, weights, start - data))
    return np.asarray(data_weight(objective, policy - data, advantage, weights, None))


def exact_gradient(objective: ps.Objective, policy: Floats, data: Floats, start: Floats, reward: Floats) -> Floats:
    """Expected ascent on the logits ``(..., K)``; policies are log-probabilities of this shape.

    Parameters
    ----------
    objective : pessimism.Objective
        What is trained.
    policy : ndarray, shape (..., K)
        Log-probabilities of the current policy.
    data : ndarray, shape (..., K)
        Those of the policy that made the data.
    start : ndarray, shape (..., K)
        Those of the initial policy.
    reward : ndarray, shape (..., K)
        Reward of each action.

    Returns
    -------
    ndarray, shape (..., K)
        The move of the logits.

    Examples
    --------
    >>> half = np.log([[0.5, 0.5]])
    >>> exact_gradient(ps.Nominal(beta=1.0), half, half, half, np.array([[0.0, 1.0]])).tolist()
    [[-0.25, 0.25]]
    """
    q = np.exp(data)
    pull = q * _weight(objective, policy, data, start, objective.advantage(reward, q), q)
    return np.asarray(pull - np.exp(policy) * pull.sum(axis=-1, keepdims=True))


def group_gradient(
    objective: ps.Objective, policy: Floats, data: Floats, start: Floats, actions: Actions, reward: Floats
) -> Floats:
    """Ascent on the logits ``(..., K)`` from groups of `actions` with observed `reward`, both ``(..., G)``.

    Parameters
    ----------
    objective : pessimism.Objective
        What is trained.
    policy : ndarray, shape (..., K)
        Log-probabilities of the current policy.
    data : ndarray, shape (..., K)
        Those of the policy that made the data.
    start : ndarray, shape (..., K)
        Those of the initial policy.
    actions : ndarray of int, shape (..., G)
        Sampled actions.
    reward : ndarray, shape (..., G)
        Their observed rewards.

    Returns
    -------
    ndarray, shape (..., K)
        The move of the logits.

    Examples
    --------
    >>> half = np.log([[0.5, 0.5]])
    >>> group_gradient(ps.Nominal(beta=1.0), half, half, half, np.array([[0, 1]]), np.array([[0.0, 1.0]])).tolist()
    [[-0.25, 0.25]]
    """
    group, width = actions.shape[-1], policy.shape[-1]
    now, then, first = (np.take_along_axis(logs, actions, axis=-1) for logs in (policy, data, start))
    g = _weight(objective, now, then, first, objective.advantage(reward, None), None) / group
    cells = actions.reshape(-1, group) + width * np.arange(actions.size // group)[:, None]
    pull = np.bincount(cells.ravel(), weights=g.ravel(), minlength=policy.size).reshape(policy.shape)
    return np.asarray(pull - np.exp(policy) * g.sum(axis=-1, keepdims=True))


def walk(
    objective: ps.Objective,
    prompts: Prompts,
    *,
    lag: int,
    lrs: Sequence[float],
    steps: int,
    group: int | None,
    optimizer: Callable[[Floats], Floats] | None = None,
) -> Iterator[tuple[Floats, Flags]]:
    """Log-policies ``(R, N, K)`` for R learning rates, at the start and after each step, and which runs have ended.

    All learning rates, and all lags and objectives with like prompts, see the same random numbers. A run whose logits
    are no longer finite has ended and stays at its last policy. `group` None: exact gradients, with the statistics of
    the population. `optimizer` turns each gradient into a move at a learning rate of one; None divides by `unit`.

    Parameters
    ----------
    objective : pessimism.Objective
        What is trained.
    prompts : Prompts
        Starts and rewards.
    lag : int
        Age of the data in steps.
    lrs : sequence of float
        Learning rates.
    steps : int
        Number of steps.
    group : int or None
        Completions sampled for each prompt and step; None takes exact gradients.
    optimizer : callable, optional
        Turns a gradient into a move; None divides by `unit`.

    Yields
    ------
    tuple of ndarray
        Log-policies, and whether each run has ended, shape (R, N).

    Examples
    --------
    >>> run = walk(ps.Kimi(beta=0.1), draw_prompts(5, 3, seed=0), lag=2, lrs=(0.1, 1.0), steps=4, group=8)
    >>> [policy.shape for policy, ended in run] == 5 * [(2, 5, 3)]
    True
    """
    shape = (len(lrs), *prompts.reward.shape)
    start, chance = (np.broadcast_to(table, shape) for table in (prompts.log_start, prompts.reward))
    rate = np.reshape(lrs, (-1, 1, 1)) / (unit(objective) if optimizer is None else 1.0)
    policy, ended = start, np.zeros(shape[:2], dtype=bool)
    history = deque([policy], maxlen=lag + 1)
    yield policy, ended
    for _ in range(steps):
        data = history[0]
        with np.errstate(over="ignore", invalid="ignore"):
            if group is None:
                move = exact_gradient(objective, policy, data, start, chance)
            else:
                move = group_gradient(objective, policy, data, start, *_sampled(data, chance, prompts, group))
            moved = _normalized(policy + rate * (move if optimizer is None else optimizer(move)))
        ended = ended | ~np.isfinite(moved).all(axis=-1)
        policy = np.where(ended[..., None], policy, moved)
        history.append(policy)
        yield policy, ended


def _sampled(data: Floats, chance: Floats, prompts: Prompts, group: int) -> tuple[Actions, Floats]:
    """A group of each policy ``(R, N, K)`` and its rewards ``(R, N, G)``, by inverse distribution functions."""
    uniform = np.stack([rng.random((2, group)) for rng in prompts.generators])
    upto = np.cumsum(np.exp(data), axis=-1)
    upto /= upto[..., -1:]
    actions = np.count_nonzero(upto[..., None, :] <= uniform[:, 0, :, None], axis=-1)
    reward = np.take_along_axis(chance, actions, axis=-1)
    return actions, reward if prompts.certain else (uniform[:, 1] < reward).astype(float)


def measured(policy: Floats, ended: Flags, prompts: Prompts) -> dict[str, float]:
    """Means over the prompts of policies ``(N, K)``, with the standard error of the value.

    Parameters
    ----------
    policy : ndarray, shape (N, K)
        Probabilities.
    ended : ndarray of bool, shape (N,)
        Which runs have ended.
    prompts : Prompts
        Starts and rewards.

    Returns
    -------
    dict of str to float
        Measure by name.

    Examples
    --------
    >>> prompts = draw_prompts(2, 3, seed=0)
    >>> measured(np.eye(3)[[0, 0]], np.array([True, False]), prompts)["ended"]
    0.5
    """
    value = np.sum(policy * prompts.reward, axis=-1)
    collapsed = policy.max(axis=-1) > 1 - COLLAPSED
    return {
        "value": float(value.mean()),
        "value_error": float(value.std(ddof=1) / np.sqrt(len(value))),
        "entropy": float(np.mean(divergences.entropy(policy))) + 0.0,  # no negative zero
        "kl": float(np.mean(divergences.kl_divergence(policy, np.exp(prompts.log_start)))),
        "collapsed": float(collapsed.mean()),
        "premature": float(np.mean(collapsed & (policy.argmax(axis=-1) != prompts.reward.argmax(axis=-1)))),
        "ended": float(ended.mean()),
    }


def _normalized(logits: Floats) -> Floats:
    return np.asarray(logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True))
