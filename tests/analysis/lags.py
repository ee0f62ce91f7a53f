"""What the tests of lag share."""

from __future__ import annotations

import numpy as np

import pessimism as ps
from analysis.lag import settings
from analysis.lag_steps import draw_prompts, walk

BETA = 0.3


EVERY = settings(BETA)


def exact(objective: ps.Objective, lag: int, steps: int, lr: float) -> list[np.ndarray]:
    """Policies of one prompt over time, on exact gradients."""
    run = walk(objective, draw_prompts(1, 5, seed=3), lag=lag, lrs=(lr,), steps=steps, group=None)
    return [np.exp(policy[0, 0]) for policy, _ in run]
