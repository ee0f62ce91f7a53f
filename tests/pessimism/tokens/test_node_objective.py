"""An objective at a prefix: its weight is the mean over the law below, and minus the derivative of its loss."""

from __future__ import annotations

import numpy as np
import pytest

from pessimism.losses.registry import make_objective
from pessimism.tokens.node_objective import NodeObjective

WEIGHT, ADVANTAGE = np.array([[0.3, 0.7], [0.5, 0.0]]), np.array([[1.0, -0.4], [0.2, 9.0]])
MEAN = (WEIGHT * ADVANTAGE).sum(axis=-1) / WEIGHT.sum(axis=-1)


def at_prefix(spec: str, beyond: float | np.ndarray = 0.0) -> NodeObjective:
    return NodeObjective(make_objective(spec), WEIGHT, ADVANTAGE - MEAN[:, None], np.array([0.0, 1.0]), beyond)


@pytest.mark.parametrize("spec", ["kimi:beta=0.5", "ppo", "sapo", "awr:beta=2", "grpo:beta=0.1"])
def test_weight_is_the_mean_over_the_law(spec: str) -> None:
    u, own = np.array([[0.1, -0.3], [0.05, 0.4]]), make_objective(spec)
    found = at_prefix(spec).score_weight(u, np.broadcast_to(MEAN, u.shape))
    first = [0.3 * own.score_weight(x, np.array([1.0])) + 0.7 * own.score_weight(x, np.array([-0.4])) for x in u[:, :1]]
    np.testing.assert_allclose(found[:, :1], first)
    np.testing.assert_allclose(found[:, 1:], [0.5 * own.score_weight(x, np.array([0.2])) for x in u[:, 1:]])
    h = 1e-6
    losses = [at_prefix(spec).loss(u + side, np.broadcast_to(MEAN, u.shape)) for side in (h, -h)]
    if spec != "awr:beta=2":
        np.testing.assert_allclose(found, -(losses[0] - losses[1]) / (2 * h), atol=1e-6)


def test_the_ratio_of_the_prefix_moves_the_jumps() -> None:
    moved = at_prefix("ppo", np.array([0.1, 0.3])).kinks_at(np.array([0.5, 0.5]))
    np.testing.assert_allclose(moved[1], np.log(1.2) - np.array([0.1, 0.3]))
    u = np.array([[0.0, 0.0]])
    np.testing.assert_allclose(
        at_prefix("kimi", np.array([0.1, 0.3])).score_weight(u, MEAN[None]),
        at_prefix("kimi").score_weight(np.array([[0.1, 0.3]]), MEAN[None]),
    )
