"""Pieces of the population experiment: one training to the end each, and the minima of one loss."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

import pessimism as ps
from llm.validation.exact_training import fit, train
from llm.validation.minima import Minimum, minima
from llm.validation.problem import Pair, SumProblem, one_thread
from pessimism.arrays import Floats

_TILTED = 0.9  # probability of the completion that a start is tilted towards


class Descent(NamedTuple):
    """Log-probabilities ``(N,)`` at the start and at the end of a training on one prompt."""

    log_start: Floats
    log_policy: Floats
    evaluations: int


class Landscape(NamedTuple):
    """The minima of a loss on one prompt, lowest first, and log-probability, reward and text of all completions."""

    minima: list[Minimum]
    log_behavior: Floats
    reward: Floats
    said: list[str]


def fitted(folder: str, pair: Pair, objective: ps.Objective, steps: int, stages: int) -> dict[str, Any]:
    """Train a fresh copy of the model to the end on one prompt, and compare it as `exact_training.fit` does."""
    with one_thread():
        at = SumProblem(folder, pair)
        return fit(at.model, at.completions, at.prompt, at.reward, objective, steps=steps, stages=stages)


def landscape(folder: str, pair: Pair, objective: ps.Objective) -> Landscape:
    """Find every minimum of the loss on one prompt, lowest first."""
    with one_thread():
        at = SumProblem(folder, pair)
        found = minima(np.exp(at.log_behavior), at.reward, objective)
        return Landscape(found, at.log_behavior, at.reward, at.said())


def descended(folder: str, pair: Pair, objective: ps.Objective, start: str, steps: int) -> Descent:
    """Train from another policy than the behavior, which is the model as it comes.

    Parameters
    ----------
    folder : str
        Folder of the model.
    pair : tuple of int
        The sum that is asked.
    objective : Objective
        The objective.
    start : str
        "behavior", or which completion has nine tenths of the mass at the start: "right", "wrong" (the likeliest one
        without full reward) or "empty" (eos at once). Such a start is itself made by training on the same behavior.
    steps : int
        Most iterations.

    Returns
    -------
    Descent
        The start, the end, and the number of evaluations.

    Raises
    ------
    ValueError
        If ``start`` is none of these, or the completion has that much mass already.
    """
    with one_thread():
        at = SumProblem(folder, pair)
        given = at.completions, at.prompt
        log_q = log_start = at.log_behavior
        if start != "behavior":
            action = _completion(at, start)
            if log_q[action] >= np.log(_TILTED):
                raise ValueError(f"start {start!r}: {at.said()[action]!r} has probability {np.exp(log_q[action]):.3f}")
            wanted = np.zeros(len(at.completions))
            wanted[action] = 1.0
            odds = np.log(_TILTED / (1.0 - _TILTED)) - log_q[action] + np.log1p(-np.exp(log_q[action]))
            _, log_start, _ = train(at.model, *given, wanted, ps.AWR(beta=1.0 / odds, w_max=np.inf), steps=50)
        _, log_policy, count = train(at.model, *given, at.reward, objective, log_behavior=log_q, steps=steps)
    return Descent(log_start, log_policy, count)


def _completion(at: SumProblem, start: str) -> int:
    q = np.exp(at.log_behavior)
    chosen = {"right": at.reward == 1.0, "wrong": at.reward < 1.0, "empty": at.completions.lengths.numpy() == 1}
    if start not in chosen:
        raise ValueError(f"start must be behavior, {', '.join(chosen)}, got {start!r}")
    # Length 1 is eos at once, first in the order; ties and the rest by probability.
    return int(np.argmax(np.where(chosen[start], q, -1.0)))
