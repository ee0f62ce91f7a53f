"""Published losses written without the package, with a minimizer and a gradient flow of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import optimize
from scipy.integrate import solve_ivp

from pessimism.fixed_point.score import data_weight
from tests.flows import logit_field
from tests.helpers import Array


def minimized(loss: Callable[[Array], float], nu: Array) -> Array:
    """Policy of least loss, a function of log-probabilities, from a start away from ``nu``."""

    def of_logits(x: Array) -> float:
        return loss(x - np.logaddexp.reduce(x))

    start = np.log(nu) + 0.3 * np.random.default_rng(3).normal(size=len(nu))
    x = optimize.minimize(of_logits, start, method="BFGS", options={"gtol": 1e-8}).x
    return np.asarray(np.exp(x - np.logaddexp.reduce(x)))


def flow(objective: Any, q: Array, reward: Array, nu: Array, time: float) -> Array:
    """Policy that gradient flow on softmax logits has reached from the reference."""
    advantage = objective.advantage(reward, nu if getattr(objective, "baseline_under_reference", False) else q)
    run = solve_ivp(
        lambda _, x: logit_field(
            q, np.log(nu), lambda u: data_weight(objective, u, advantage, q, np.log(nu) - np.log(q)), x
        ),
        (0.0, time),
        np.log(nu),
        method="LSODA",
        rtol=1e-8,
        atol=1e-10,
    )
    x = run.y[:, -1]
    return np.asarray(np.exp(x - np.logaddexp.reduce(x)))


def standardized(q: Array, reward: Array) -> Array:
    mean = sum(q * reward)
    return (reward - mean) / np.sqrt(sum(q * (reward - mean) ** 2))


def quantile(nu: Array, reward: Array) -> Array:
    return np.array([sum(p for p, other in zip(nu, reward, strict=True) if other <= r) for r in reward])


def sigmoid(x: float) -> float:
    return float(1.0 / (1.0 + np.exp(-x)))


def win(gap: float, preference: str) -> float:
    return sigmoid(gap) if preference == "bradley_terry" else (1.0 + np.sign(gap)) / 2.0
