"""Logs of a bandit: the world behind them, what is drawn, and targets trained on it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pessimism as ps
from analysis.bandit_logs import check, drawn_logs, likelier_first, trained, world
from tests.analysis.lambert import BETA, lambert


@pytest.mark.parametrize("shift", [0.5, 3.0])
def test_training_is_on_the_actions_drawn(shift: float) -> None:
    rng = np.random.default_rng(1)
    q, true = rng.dirichlet(np.ones(6)), rng.uniform(size=6)
    counts = np.array([[5, 0, 3, 9, 1, 0], [1, 1, 1, 1, 1, 1]])
    estimate = rng.binomial(counts, true) / np.maximum(counts, 1)
    found = trained(q, estimate, counts, ps.ShiftedMean(beta=BETA, shift=shift))
    for log, policy in enumerate(found):
        drawn = counts[log] > 0
        mass = q[drawn].sum()
        np.testing.assert_allclose(
            policy[drawn], mass * lambert(q[drawn] / mass, estimate[log, drawn], shift), rtol=1e-8
        )
        np.testing.assert_array_equal(policy[~drawn], q[~drawn])


def test_both_worlds_hold_the_same_rewards() -> None:
    rng = np.random.default_rng(0)
    competent = world("competent", 5, (0.9, 0.1), rng, 4000)
    uninformed = world("uninformed", 5, (0.9, 0.1), rng, 4000)
    np.testing.assert_allclose(competent, np.tile([0.9, 0.7, 0.5, 0.3, 0.1], (4000, 1)))
    np.testing.assert_allclose(np.sort(uninformed), np.sort(competent))
    assert np.abs(uninformed.mean(axis=0) - 0.5).max() < 4 * np.sqrt(0.08 / 4000)


def test_rollouts_are_counted_and_their_rewards_averaged() -> None:
    behavior, true = likelier_first(4), np.tile([0.9, 0.6, 0.3, 0.0], (3000, 1))
    counts, mean = drawn_logs(behavior, true, 12, np.random.default_rng(1))
    assert (counts.sum(axis=1) == 12).all()
    np.testing.assert_allclose(counts.mean(axis=0), 12 * behavior, atol=4 * np.sqrt(3 / 3000))
    successes = mean * counts
    np.testing.assert_allclose(successes, successes.round(), atol=1e-12)
    assert (mean[counts == 0] == 0).all()
    np.testing.assert_allclose(successes.sum(axis=0) / counts.sum(axis=0), true[0], atol=0.03)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"actions": 1}, "actions must be an integer >= 2, got 1"),
        ({"seeds": 1}, "seeds must be an integer >= 2, got 1"),
        ({"rollouts": ()}, "rollouts must hold at least one number"),
        ({"rollouts": (8, 0)}, "rollouts must be an integer >= 1, got 0"),
        ({"rewards": (0.2, 0.7)}, "rewards must be the largest and the smallest"),
    ],
)
def test_what_makes_no_logs_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        check(**{"actions": 3, "rewards": (0.7, 0.2), "rollouts": (16,), "seeds": 2, **change})
