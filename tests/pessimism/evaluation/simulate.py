"""A bandit whose value is known, and logs of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.helpers import Array

BEHAVIOR = np.array([0.4, 0.3, 0.2, 0.1])
CHANCE = np.array([0.2, 0.4, 0.6, 0.8])  # of reward 1
POLICY = np.array([0.05, 0.15, 0.3, 0.5])
VALUE = float(POLICY @ CHANCE)


def draw(seed: int, *shape: int) -> tuple[Array, Array]:
    """Actions and rewards of the behavior."""
    rng = np.random.default_rng(seed)
    action = np.minimum(np.searchsorted(np.cumsum(BEHAVIOR), rng.random(shape)), 3)
    return action, (rng.random(shape) < CHANCE[action]).astype(float)


def bandit_feedback(seed: int = 0, n: int = 200) -> dict[str, Any]:
    """A dictionary as Open Bandit Pipeline makes it."""
    action, reward = draw(seed, n)
    return {
        "n_rounds": n,
        "n_actions": 4,
        "context": np.random.default_rng(seed + 1).normal(size=(n, 5)),
        "action_context": np.eye(4),
        "action": action,
        "position": None,
        "reward": reward,
        "expected_reward": np.tile(CHANCE, (n, 1)),
        "pi_b": np.tile(BEHAVIOR, (n, 1))[:, :, None],
        "pscore": BEHAVIOR[action],
    }
