"""Weighted likelihoods: published losses minimized, gradient flow, weights that overflow."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pessimism as ps
from pessimism.losses.registry import make_objective
from tests.helpers import Array, assert_log_policies_agree, make_problem
from tests.pessimism.losses.published import flow, minimized, quantile, standardized


# Published population losses, as functions of log-probabilities, written without the package.
def loss_of(label: str, q: Array, nu: Array, reward: Array) -> Callable[[Array], float]:
    u = lambda log_pi: log_pi - np.log(nu)  # noqa: E731
    if label == "qrpo":
        target = np.log(quantile(nu, reward)) - 0.3 * np.log(0.3 / 1.3)
        return lambda log_pi: float(q @ (target - 0.3 * u(log_pi)) ** 2)
    if label == "qrpo-identity":
        target = quantile(nu, reward) - 0.3 * np.log(0.3 * (np.exp(1 / 0.3) - 1.0))
        return lambda log_pi: float(q @ (target - 0.3 * u(log_pi)) ** 2)
    if label == "apa":
        return lambda log_pi: float(q @ (u(log_pi) - standardized(q, reward) / 0.9) ** 2)
    if label == "tpo":
        tilted = q * np.exp(standardized(q, reward) / 0.7)
        return lambda log_pi: float(-(tilted / tilted.sum()) @ log_pi)
    if label == "rloo":
        return lambda log_pi: float(-np.exp(log_pi) @ (reward - 0.4 * u(log_pi)))
    if label == "roirl":
        return lambda log_pi: float(-(q * (reward + 3.0)) @ log_pi)
    if label == "roirl-exponential":
        return lambda log_pi: float(-(q * np.exp(reward / 0.6)) @ log_pi)
    raise KeyError(label)


SETTINGS: dict[str, dict[str, Any]] = {
    "qrpo": {"beta": 0.3},
    "qrpo-identity": {"beta": 0.3, "transform": "identity"},
    "apa": {"beta": 0.9, "eps": 1e-14},
    "tpo": {"beta": 0.7},
    "rloo": {"beta": 0.4},
    "roirl": {},
    "roirl-exponential": {"weight": "exponential", "beta": 0.6},
}


@pytest.mark.parametrize("label", SETTINGS)
@pytest.mark.parametrize("width", [2, 4, 6])
@pytest.mark.parametrize("own_reference", [False, True])
def test_routes_to_the_target(label: str, width: int, own_reference: bool) -> None:
    """Published loss minimized, gradient flow and the generic fixed point against the closed form."""
    q, reward = make_problem(80 + width, width)
    objective = make_objective(label.split("-")[0], **SETTINGS[label])
    nu = make_problem(90, width)[0] if own_reference else q
    if own_reference and not objective.takes_reference:
        with pytest.raises(ValueError, match=r"^reference: objective .* has no log-ratio to another reference"):
            ps.induced_target(q, reward, objective, reference=nu)
        return
    given = reward + 3.0 if label == "roirl" else reward
    options = {"reference": nu} if own_reference else {}
    target = ps.induced_target(q, given, objective, **options)
    np.testing.assert_allclose(minimized(loss_of(label, q, nu, reward), nu), target.policy, atol=2e-6)
    np.testing.assert_allclose(flow(objective, q, given, nu, 1e4), target.policy, atol=1e-4)
    generic = ps.induced_target(q, given, objective, method="fixed_point", **options)
    assert_log_policies_agree(generic.log_policy, target.log_policy, tolerance=1e-9)


@pytest.mark.parametrize(("name", "hyper"), [("roirl", {"weight": "exponential"}), ("awr", {"w_max": np.inf})])
@pytest.mark.parametrize("base", [0.0, 100.0, 1e4])
def test_exponential_weights_that_overflow_keep_target_and_certificate(name: str, hyper: Any, base: float) -> None:
    q, reward = np.array([0.2, 0.3, 0.5]), base + np.array([0.125, 0.25, -2.0 * base])
    target = ps.induced_target(q, reward, name, beta=0.125, **hyper)
    assert np.isinf(target.multiplier) == (base > 0)
    # Two rewards one temperature apart, and one that is below them by as much as it is.
    weights = q * np.exp([-1.0, 0.0, -(0.25 + 2.0 * base) / 0.125])
    np.testing.assert_allclose(target.policy, weights / weights.sum(), rtol=1e-12)
    assert target.certificate()["worst"][0] < 1e-15
    off = target.solution._replace(log_ratio=np.zeros((1, 3)))
    assert dataclasses.replace(target, solution=off).certificate()["stationarity"][0] > 0.1


@pytest.mark.parametrize(
    ("name", "hyper", "message"),
    [
        ("qrpo", {"transform": "normal"}, 'qrpo: transform must be "identity" or "log", got \'normal\''),
        ("roirl", {"weight": "exp"}, 'roirl: weight must be "identity" or "exponential", got \'exp\''),
        ("reinforce", {"sampling": "stale"}, 'reinforce: sampling must be "on_policy" or "off_policy", got \'stale\''),
        ("rloo", {"sampling": 1}, 'rloo: sampling must be "on_policy" or "off_policy", got 1'),
        ("topr", {"value": None}, "topr: value must be a finite number, got None"),
        ("opo", {"length": (1.0, 0.0)}, r"opo: length\[1\] must be >= 1, got 0.0"),
        ("opo", {"length": (1.0, "a")}, r"opo: length must be a finite number, got array\(.*\)"),
        ("tpo", {"min_std": 0.0}, "tpo: min_std must be > 0, got 0.0"),
        ("apa", {"eps": -1.0}, "apa: eps must be > 0, got -1.0"),
    ],
)
def test_bad_settings_are_named(name: str, hyper: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        make_objective(name, **hyper)
