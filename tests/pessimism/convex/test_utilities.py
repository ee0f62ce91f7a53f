"""Concave surrogates as programs, against their optimality conditions by hand."""

from __future__ import annotations

import numpy as np
import pytest

from pessimism.convex.utilities import (
    capped_score_program,
    imitation_program,
    likelihood_program,
    log_smoothing_program,
    power_mean_program,
    projection_program,
    shaped_program,
    truncated_program,
)
from tests.pessimism.convex.conditions import Q, R, slopes_agree


def test_likelihood_and_projection() -> None:
    found = likelihood_program([0.0, 3.0, 1.0])
    assert found.policy == pytest.approx([0.0, 0.75, 0.25], abs=1e-6)
    assert found.dual == pytest.approx(4.0, abs=1e-5)
    point = np.array([1.1, 0.4, -0.5])
    found = projection_program(point)
    assert found.policy == pytest.approx(np.maximum(point - found.dual, 0.0), abs=1e-6)


@pytest.mark.parametrize("smoothing", [0.1, 1.0, 10.0])
def test_logarithmic_smoothing_fills_water(smoothing: float) -> None:
    """(mu/lam) (p/nu - 1)_+ for Bernoulli rewards, (mu/lam) (1/nu - 1/r)_+ for deterministic ones."""
    bernoulli = log_smoothing_program(Q, np.ones((1, 4)), smoothing, chances=R)
    np.testing.assert_allclose(bernoulli.policy, Q / smoothing * np.maximum(R / bernoulli.dual - 1.0, 0.0), atol=1e-5)
    sure = log_smoothing_program(Q, R, smoothing)
    np.testing.assert_allclose(sure.policy, Q / smoothing * np.maximum(1.0 / sure.dual - 1.0 / R, 0.0), atol=1e-5)
    chances = np.array([[0.5] * 4, [0.5] * 4])
    mixed = log_smoothing_program(Q, np.array([R, 2 * R]), smoothing, chances=chances, kl=0.2)
    w = mixed.policy / Q
    slope = 0.5 * sum(c * R / (1 + smoothing * w * c * R) for c in (1, 2))
    slopes_agree(slope - 0.2 * np.log(w), mixed)


@pytest.mark.parametrize("power", [0.1, 0.9])
def test_power_mean_fills_water(power: float) -> None:
    found = power_mean_program(Q, R, power)
    w = np.maximum(np.sqrt(R * (1 - power) / found.dual) - (1 - power), 0.0) / power
    np.testing.assert_allclose(found.policy, Q * w, atol=1e-5)


@pytest.mark.parametrize("cap", [0.3, 1.5, 4.0])
def test_capped_scores(cap: float) -> None:
    advantage = R - Q @ R
    found = capped_score_program(Q, advantage, cap)
    slopes_agree(advantage * np.minimum(1.0, cap / np.maximum(found.policy / Q, 1e-12)), found)
    assert found.value_of is not None
    assert found.value_of(np.log(np.maximum(found.policy, 1e-300))) == pytest.approx(found.value, abs=1e-7)
    assert found.value_of(np.log(Q)) < found.value


def test_mixed_data() -> None:
    advantage = R - Q @ R
    found = shaped_program(Q, advantage, 0.1, 0.5)
    slopes_agree(advantage * (0.5 + 0.5 * 0.1 * Q / (found.policy + 0.1) ** 2), found)
    bounded, plain = (imitation_program(Q, advantage, 0.7, kind) for kind in (True, False))
    slopes_agree(0.3 * advantage + 0.7 * Q * (1.0 - bounded.policy), bounded)
    slopes_agree(0.3 * advantage + 0.7 * Q / plain.policy, plain)


def test_truncated_penalty() -> None:
    found = truncated_program(Q, R, 0.3, 0.7, 1.1)
    w = found.policy / Q
    slopes_agree(R - 0.3 * (np.log(w) + 0.7 * np.maximum(w, 1.1)), found)
    assert 0 < np.sum(w > 1.1) < 4
