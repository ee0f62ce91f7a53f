"""Bandits of the clipped and capped objectives, and PPO's surrogate as a concave program."""

from __future__ import annotations

from typing import Any

import cvxpy as cp
import numpy as np

from tests.helpers import Array, make_problem

BANDITS = [make_problem(seed, width) for seed, width in ((20, 2), (21, 3), (22, 5), (23, 8), (26, 12), (24, 33))]


TIED = (np.array([0.1, 0.2, 0.3, 0.4]), np.array([1.0, 1.0, 0.0, 0.0]))


def clipped_value(target: Any, w: Array) -> float:
    """E_q[min(w A, clip(w) A)] of ratios."""
    q, A, objective = target.behavior, target.advantage, target.objective
    held = np.clip(w, 1 - objective.eps_low, 1 + objective.eps_high)
    return float(q @ np.minimum(w * A, held * A))


def surrogate(objective: Any, w: Any, q: Array, A: Array) -> Any:
    """The same as a concave program."""
    up, down = A > 0, A < 0
    gained = cp.minimum(w[up], 1 + objective.eps_high)
    lost = cp.maximum(w[down], 1 - objective.eps_low)
    return cp.sum(cp.multiply((q * A)[up], gained)) + cp.sum(cp.multiply((q * A)[down], lost))
