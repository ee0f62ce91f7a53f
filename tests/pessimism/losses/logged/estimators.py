"""The published estimators of the systems on logged data, as concave functions of a policy."""

from __future__ import annotations

import warnings
from typing import Any

import cvxpy as cp
import numpy as np

import pessimism as ps
from tests.helpers import Array, make_problem, total_variation

SETTINGS: dict[str, list[dict[str, Any]]] = {
    "ips": [{"beta": 0.2}],
    "weight_clipping": [{"cap": 1.2, "beta": 0.2}, {"cap": 2.0, "beta": 0.02}, {"cap": 0.7, "beta": 0.2}],
    "propensity_clipping": [{"tau": 0.3, "beta": 0.2}, {"beta": 0.2}],
    "implicit_exploration": [{"gamma": 0.1, "beta": 0.2}],
    "exponential_smoothing": [{"alpha": 0.4, "beta": 0.2}, {"beta": 0.2}],
    "log_smoothing": [{"lam": 0.5}, {"lam": 50.0}],
    "log_smoothing_linear": [{"lam": 0.5, "beta": 0.2}],
    "power_mean": [{"l": 0.3}, {"l": 0.9}],
    "chi2": [{"beta": 0.1}, {"beta": 3.0}],
    "pevi": [{"n": 60, "delta": 0.1}],
    "pevi_kl": [{"n": 60, "delta": 0.1, "beta": 0.2}],
    "empirical_likelihood_lcb": [{"n": 2, "z": 1.96}, {"n": 30, "z": 1.0}, {"n": 1000, "z": 1.96}],
}


EVERY = [(name, hyper) for name, settings in SETTINGS.items() for hyper in settings]


GOLDEN = np.array([0.4, 0.3, 0.2, 0.1]), np.array([0.2, 0.4, 0.6, 0.8])  # of the literature's tables


def unit_problem(seed: int, width: int) -> tuple[Array, Array]:
    """A behavior and mean rewards in (0, 1)."""
    behavior, reward = make_problem(seed, width)
    return behavior, 1.0 / (1.0 + np.exp(-1.5 * reward))


def outcomes(reward: Array, moment: Array) -> list[tuple[Array, Array]]:
    """The two values of each action's reward, with their probabilities."""
    size = moment / reward
    return [(reward / size, size), (1 - reward / size, np.zeros_like(size))]


def published(name: str, h: dict[str, Any], q: Array, r: Array, m: Array, pi: cp.Variable) -> Any:
    """What the system maximizes, as an expectation over logged actions and rewards, in the published estimator."""
    w, width = cp.multiply(pi, 1 / q), len(q)
    rounds = outcomes(r, m)
    penalty = h.get("beta", 0.0) * cp.sum(cp.kl_div(pi, q))
    gamma = np.sqrt(np.log(2 * width / h.get("delta", 1.0)) / (2 * h.get("n", 1.0) * q))
    linear = {
        "ips": lambda reward: reward / q,
        "propensity_clipping": lambda reward: reward / np.maximum(q, h.get("tau", 1 / width)),
        "implicit_exploration": lambda reward: reward / (q + h["gamma"]),
        "exponential_smoothing": lambda reward: reward / q ** h.get("alpha", 1 - 1 / width),
        "log_smoothing_linear": lambda reward: np.log(1 + h["lam"] * reward / q) / h["lam"],
    }
    if name in linear:
        return sum(cp.sum(cp.multiply(q * chance * linear[name](reward), pi)) for chance, reward in rounds) - penalty
    if name == "weight_clipping":
        return cp.sum(cp.multiply(q * r, cp.minimum(w, h["cap"]))) - penalty
    if name == "log_smoothing":
        logs = (cp.multiply(q * chance, cp.log(1 + h["lam"] * cp.multiply(w, reward))) for chance, reward in rounds)
        return sum(cp.sum(x) for x in logs) / h["lam"]
    if name == "power_mean":  # w / ((1 - l) + l w) = (1 - (1 - l) / ((1 - l) + l w)) / l
        rest = 1 - h["l"]
        return cp.sum(cp.multiply(q * r, 1 - rest * cp.inv_pos(rest + h["l"] * w))) / h["l"]
    if name == "chi2":
        return r @ pi - 0.5 * h["beta"] * cp.sum(cp.multiply(q, cp.square(w - 1)))
    if name in ("pevi", "pevi_kl"):
        return (r - gamma) @ pi - penalty
    value = r @ pi
    parts = [cp.multiply(np.sqrt(q * chance), cp.multiply(w, reward) - value) for chance, reward in rounds]
    return value - h["z"] / np.sqrt(h["n"]) * cp.norm(cp.hstack(parts))


def assert_optimal(policy: Array, name: str, h: dict[str, Any], q: Array, r: Array, m: Array | None = None) -> None:
    """No policy of a cone program has a larger value, and its argument, known to half the digits, is the same."""
    pi = cp.Variable(len(q), nonneg=True)
    value = published(name, h, q, r, r if m is None else m, pi)
    tolerances = dict.fromkeys(("tol_gap_abs", "tol_gap_rel", "tol_feas"), 1e-11)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Solution may be inaccurate")  # it asks for the last digits
        cp.Problem(cp.Maximize(value), [cp.sum(pi) == 1]).solve(solver=cp.CLARABEL, **tolerances)
    assert total_variation(pi.value, policy) <= 1e-5
    pi.value = np.maximum(pi.value, 0.0) / np.maximum(pi.value, 0.0).sum()
    largest = float(value.value)
    pi.value = np.asarray(policy)
    assert float(value.value) >= largest - 1e-12


def policy_of(name: str, problem: tuple[Any, Any] = GOLDEN, **hyper: Any) -> Array:
    return np.asarray(ps.induced_target(*problem, name, **hyper).policy)
