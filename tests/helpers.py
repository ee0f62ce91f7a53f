"""Problems and assertions shared by the suite."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, replace
from functools import cache
from typing import Any

import numpy as np

import pessimism as ps
from pessimism.objectives.squared import SquaredRegression

Array = np.ndarray[Any, np.dtype[Any]]

# Hyper-parameters that are no special case; an objective without an entry, one registered later, gets its defaults.
HYPER: dict[str, dict[str, Any]] = {
    "nominal": {"beta": 0.3},
    "a_star_po": {"beta1": 0.7, "beta2": 0.3},
    "oapl": {"beta1": 0.9, "beta2": 0.3},
    "kimi": {"beta": 0.3},
    "shifted_mean": {"beta": 0.3, "shift": 0.7},
    "optimal_value": {"beta": 0.3},
    "constant_baseline": {"beta": 0.3, "value": -0.2},
    "std_normalized": {"beta": 0.8, "eps": 1e-2},
    "tba": {"beta": 0.3},
    "rebel": {"eta": 2.5},
    "awr": {"beta": 0.4, "w_max": 2.0},
    "asym_re": {"shift": -0.4},
    "truncated_is": {"beta": 0.3, "cap": 1.3},
    "mixed_chi2_kl": {"beta": 0.3, "gamma": 0.6},
}
# A second setting where it changes the kind of target.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "a_star_po-off_policy": ("a_star_po", {"beta1": 0.7, "beta2": 0.3, "sampling": "off_policy"}),
    "oapl-published": ("oapl", {}),
    "awr-uncapped": ("awr", {"beta": 0.4, "w_max": float("inf")}),
    "asym_re-full_support": ("asym_re", {"shift": -20.0}),
    "truncated_is-small_cap": ("truncated_is", {"beta": 0.3, "cap": 0.2}),
    "constant_baseline-negative": ("constant_baseline", {"beta": 0.3, "value": 2.5}),
}


@cache
def cases() -> dict[str, Any]:
    """Name -> objective: every registered one, and some variants."""
    found = {name: cls(**HYPER.get(name, {})) for name, cls in ps.objectives().items()}
    return found | {label: ps.objectives()[name](**hyper) for label, (name, hyper) in VARIANTS.items()}


def is_squared(objective: Any) -> bool:
    """Whether the loss is (beta u - A)^2 on data of the behavior: the Lambert family."""
    return isinstance(objective, SquaredRegression) and not objective.on_policy


def make_problem(seed: int, width: int, *, spread: float = 1.0) -> tuple[Array, Array]:
    """A random behavior and rewards on a grid of 2^-10, so that sums with small integers are exact."""
    rng = np.random.default_rng(seed)
    behavior = rng.dirichlet(np.ones(width))
    reward = np.round(spread * rng.normal(size=width) * 1024) / 1024
    return behavior, reward


# One problem of each kind; zero-probability actions carry rewards that nothing may see.
PROBLEMS: dict[str, tuple[Array, Array]] = {
    "generic": make_problem(0, 7),
    "two_actions": (np.array([0.9, 0.1]), np.array([0.0, 1.0])),
    "unseen_actions": (np.array([0.0, 0.5, 0.0, 0.2, 0.3]), np.array([9.0, 0.25, -9.0, 1.0, -0.5])),
    "ties": (np.array([0.1, 0.2, 0.3, 0.4]), np.array([1.0, 1.0, 0.0, 0.0])),
    "equal_rewards": (np.array([0.2, 0.3, 0.5]), np.array([0.7, 0.7, 0.7])),
    "one_hot": (np.array([0.0, 1.0, 0.0]), np.array([5.0, 0.3, -5.0])),
    "rare_best": (np.array([1e-9, 0.4, 0.6 - 1e-9]), np.array([1.0, 0.5, 0.25])),
}

# How hyper-parameters scale with rewards: exponent of the factor, 0 where a field is dimensionless.
_UNITS = {"beta": 1, "beta1": 1, "beta2": 1, "value": 1, "eps": 1, "eta": -1}
_UNITS_OF: dict[str, dict[str, int]] = {"std_normalized": {"beta": 0}, "asym_re": {"shift": 1}}


def rescaled(objective: Any, factor: float) -> Any:
    """The objective for rewards multiplied by ``factor``: every hyper-parameter in reward units moves along."""
    units = _UNITS | _UNITS_OF.get(objective.name, {})
    names = [f.name for f in fields(objective) if units.get(f.name, 0)]
    return replace(objective, **{name: getattr(objective, name) * factor ** units[name] for name in names})


def shifted(objective: Any, constant: float) -> Any:
    """The objective for rewards plus ``constant``: only a baseline that is a number must move along."""
    return replace(objective, value=objective.value + constant) if objective.name == "constant_baseline" else objective


def total_variation(p: Array, q: Array) -> float:
    """Largest total variation distance of the rows."""
    return float(np.max(0.5 * np.sum(np.abs(np.asarray(p) - np.asarray(q)), axis=-1)))


def assert_policy(policy: Array, behavior: Array, *, leak: float = 0.0) -> None:
    """Non-negative, sums to 1 - leak, and exactly zero where the behavior is."""
    policy = np.asarray(policy)
    assert np.all(policy >= 0), f"negative probability {policy.min()}"
    assert np.all(policy[np.broadcast_to(behavior, policy.shape) == 0] == 0), "mass outside the behavior's support"
    np.testing.assert_allclose(policy.sum(axis=-1) + leak, 1.0, rtol=0, atol=1e-12, err_msg="does not sum to one")


def assert_log_policies_agree(actual: Any, expected: Any, *, tolerance: float = 1e-12) -> None:
    """Log-probabilities agree within tolerance * max(1, abs(log p)); both minus infinity counts as equal, nan never."""
    actual, expected = np.asarray(actual, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    assert actual.shape == expected.shape, f"shapes {actual.shape} and {expected.shape} differ"
    same = actual == expected
    with np.errstate(invalid="ignore"):
        error = np.where(same, 0.0, np.abs(actual - expected) / np.maximum(1.0, np.abs(expected)))
    worst = np.max(np.where(np.isnan(error), np.inf, error), initial=0.0)
    assert worst <= tolerance, f"log-probabilities differ by {worst:.3g} > {tolerance:.3g}"


def assert_monotone(values: Iterable[float], *, increasing: bool) -> None:
    """Strictly monotone."""
    steps = np.diff(np.asarray(list(values)))
    assert np.all(steps > 0 if increasing else steps < 0), f"steps {steps} are not all of one sign"


def softmax(logits: Array) -> Array:
    """Probabilities of logits ``(..., K)``."""
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))
