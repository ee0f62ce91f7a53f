"""Closed forms of the water-filling and lower-bound systems against 50-digit arithmetic, from mild to extreme."""

from __future__ import annotations

from typing import Any

import mpmath as mp
import numpy as np
import pytest

import pessimism as ps
from tests.helpers import Array, assert_log_policies_agree

FIELDS: dict[str, dict[str, list[float]]] = {
    "weight_clipping": {"cap": [1.01, 1.5, 3, 1e4], "beta": [1e-6, 1e-3, 0.1, 1, 1e3, 1e6]},
    "log_smoothing": {"lam": [1e-8, 1e-3, 0.1, 1, 10, 1e4, 1e8]},
    "power_mean": {"l": [1e-8, 1e-3, 0.1, 0.5, 0.9, 0.999999]},
    "chi2": {"beta": [1e-8, 1e-3, 0.1, 1, 1e3, 1e6]},
    "empirical_likelihood_lcb": {"n": [1e-3, 1, 5, 20, 100, 1e4, 1e8], "z": [0.5, 1.96, 5]},
}


def level(q: list[Any], slope: list[Any], bottom: list[Any]) -> list[Any]:
    """Ratios slope (t - bottom)_+ whose mean is one."""
    order = sorted(range(len(q)), key=lambda i: bottom[i])
    t = mp.mpf(0)
    for count in range(1, len(q) + 1):
        active = order[:count]
        total = sum(q[i] * slope[i] for i in active)
        t = (1 + sum(q[i] * slope[i] * bottom[i] for i in active)) / total
        if count == len(q) or t <= bottom[order[count]]:
            break
    return [slope[i] * max(t - bottom[i], mp.mpf(0)) for i in range(len(q))]


def clipped(q: list[Any], p: list[Any], cap: Any, beta: Any) -> list[Any]:
    """min(c e^(p/beta), cap) by bisection in log c."""
    best = max(p)
    low, high = -(mp.mpf(10) ** 9), mp.mpf(10) ** 9
    for _ in range(220):
        middle = (low + high) / 2
        ratios = [min(mp.exp(middle + (x - best) / beta), cap) for x in p]
        low, high = (middle, high) if mp.fdot(q, ratios) < 1 else (low, middle)
    return ratios


def bounded(q: list[Any], p: list[Any], m: list[Any], k2: Any) -> list[Any]:
    """(p - eta)_+ / m, normalized, at the root of the optimality condition."""

    def sums(eta: Any) -> tuple[Any, Any]:
        heights = [max(x - eta, mp.mpf(0)) / y for x, y in zip(p, m, strict=True)]
        return mp.fsum(map(mp.fprod, zip(q, heights, p, strict=True))), mp.fdot(q, heights)

    low = -(1 - mp.fsum(x * y * y / z for x, y, z in zip(q, p, m, strict=True)))
    low, high = low / mp.fsum(x * y / z for x, y, z in zip(q, p, m, strict=True)), max(p)
    for _ in range(190):
        eta = (low + high) / 2
        captured, total = sums(eta)
        falls = captured * (1 - captured) - k2 * (1 - captured) ** 2 - eta * total > 0
        low, high = (eta, high) if falls else (low, eta)
    _, total = sums(low)
    return [max(x - low, mp.mpf(0)) / y / total for x, y in zip(p, m, strict=True)]


def exact(name: str, behavior: Array, reward: Array, moment: Array, hyper: dict[str, float]) -> Array:
    """Log-policy to 50 digits."""
    with mp.workdps(50):
        q, p, m = ([mp.mpf(float(x)) for x in a] for a in (behavior, reward, moment))
        q = [x / mp.fsum(q) for x in q]
        h = {k: mp.mpf(float(v)) for k, v in hyper.items()}
        if name == "weight_clipping":
            w = clipped(q, p, h["cap"], h["beta"])
        elif name == "log_smoothing":
            w = level(q, [x**2 / (h["lam"] * y) for x, y in zip(p, m, strict=True)], [1 / x for x in p])
        elif name == "power_mean":
            unit = mp.sqrt(1 - h["l"])
            w = level(q, [unit * mp.sqrt(x) / h["l"] for x in p], [unit / mp.sqrt(x) for x in p])
        elif name == "chi2":
            w = level(q, [1 / h["beta"]] * len(p), [-h["beta"] - x for x in p])
        else:
            w = bounded(q, p, m, h["z"] ** 2 / h["n"])
        return np.array([float(mp.log(x * y)) if y > 0 else -np.inf for x, y in zip(q, w, strict=True)])


def draw(rng: np.random.Generator, kind: int) -> tuple[Array, Array, Array]:
    """Behavior, means and second moments between those of a certain and of a Bernoulli reward."""
    width = int(rng.choice([1, 2, 3, 6, 10]))
    behavior, reward = rng.dirichlet(np.ones(width)), rng.uniform(0.01, 1.0, size=width)
    if kind % 3 == 1:  # rare actions
        behavior = np.maximum(behavior ** rng.choice([5, 40]), 1e-290)
    if kind % 5 == 0:  # ties
        reward = np.ceil(reward * 4) / 4
    if kind % 7 == 0:
        reward = 1e-6 * reward
    if kind % 6 == 0:  # near ties
        reward = 1 - 1e-6 * reward
    moment = np.maximum(reward**2 + rng.random(width) * (reward - reward**2), reward**2)
    return behavior / behavior.sum(), reward, moment


@pytest.mark.parametrize("name", FIELDS)
def test_digits(name: str) -> None:
    rng = np.random.default_rng(sorted(FIELDS).index(name))
    kinds = set()
    for kind in range(40):
        behavior, reward, moment = draw(rng, kind)
        hyper = {field: float(rng.choice(values)) for field, values in FIELDS[name].items()}
        given = {}
        if name in ("log_smoothing", "empirical_likelihood_lcb"):
            given, moment = ({"second_moment": tuple(moment)}, moment) if kind % 2 else ({}, reward)
        target = ps.induced_target(behavior, reward, name, **hyper, **given)
        kinds.add(str(target.status))
        expected = exact(name, behavior, reward, moment, hyper)
        assert_log_policies_agree(target.log_policy, expected)
        assert float(target.certificate()["worst"].iloc[0]) <= 1e-10
    assert kinds == ({"converged"} if name == "weight_clipping" else {"converged", "vanishing_support"})
