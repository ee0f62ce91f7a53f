"""Problems and assertions shared by the suite."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from functools import cache
from typing import Any

import numpy as np

import pessimism as ps
from pessimism.losses.regression import SquaredRegression
from tests.cases import CASES

Array = np.ndarray[Any, np.dtype[Any]]


@cache
def cases() -> dict[str, Any]:
    """Name -> objective: every registered one, and some variants."""
    return {label: case.objective for label, case in CASES.items()}


def having(law: str) -> list[str]:
    """Labels of the cases that obey a law of the suite."""
    return [label for label, case in CASES.items() if getattr(case, law)]


def posed(label: str, problem: str) -> tuple[Array, Array]:
    """A problem with rewards that the objective accepts."""
    behavior, reward = PROBLEMS[problem]
    return behavior, accepted(label, reward)


def accepted(label: str, reward: Any) -> Any:
    """Rewards as they are, or, where they must be probabilities, their logistic image on a grid."""
    if not CASES[label].unit_rewards:
        return reward
    return (1.0 / (1.0 + np.exp(-reward)) * 1024).round() / 1024


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

# How hyper-parameters scale with rewards: exponent of the factor; a case may say otherwise.
_UNITS = {"beta": 1, "beta1": 1, "beta2": 1, "value": 1, "eps": 1, "eta": -1}


def rescaled(objective: Any, factor: float, units: Mapping[str, int] | None = None) -> Any:
    """The objective for rewards multiplied by ``factor``: every hyper-parameter in reward units moves along."""
    exponents = _UNITS | (_units_of(objective) if units is None else dict(units))
    names = [f.name for f in fields(objective) if exponents.get(f.name, 0)]
    return replace(objective, **{name: getattr(objective, name) * factor ** exponents[name] for name in names})


def _units_of(objective: Any) -> dict[str, int]:
    """Units of the case of the same objective."""
    for case in CASES.values():
        if type(case.objective) is type(objective) and case.units is not None:
            return dict(case.units)
    return {}


def shifted(label: str, constant: float) -> Any:
    """The objective for rewards plus ``constant``: only a baseline that is a number must move along."""
    case = CASES[label]
    if case.moves_with is None:
        return case.objective
    return replace(case.objective, **{case.moves_with: getattr(case.objective, case.moves_with) + constant})


def log_policy(behavior: Any, reward: Any, objective: Any, **options: Any) -> Array:
    """Log-probabilities of the induced target, as numpy."""
    return np.asarray(ps.induced_target(behavior, reward, objective, **options).log_policy)


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


def numbers(text: str) -> list[float]:
    """Numbers of a sentence, in their order: what it says of the data, whatever its words."""
    plain = re.sub(r"(?<=\d),(?=\d{3}\b)", "", text)
    return [float(number) for number in re.findall(r"(?<![\w.])-?\d+(?:\.\d+)?(?:e[+-]?\d+)?", plain)]
