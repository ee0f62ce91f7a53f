"""Every group of a small problem, one at a time, and the objectives that are compared on them."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from pessimism import OAPL, ConstantBaseline, Kimi, OptimalValue, ShiftedMean, StdNormalized
from pessimism.core.objective import ObjectiveLike

BEHAVIOR, REWARD = np.array([0.4, 0.35, 0.2, 0.05]), np.array([0.0, 0.6, 1.0, 0.6])


OPTIONS = [(False, False), (True, False), (False, True), (True, True)]


SQUARED: list[Any] = [
    Kimi(beta=0.3),
    ShiftedMean(beta=0.3, shift=0.4),
    OptimalValue(beta=0.2),
    OAPL(beta1=0.5, beta2=0.2),
    ConstantBaseline(beta=0.3, value=0.4),
    StdNormalized(beta=0.8),
]


def every_sample(
    objective: ObjectiveLike, behavior: Any, reward: Any, size: int, leave_one_out: bool, drop_equal: bool
) -> tuple[Any, Any, Any]:
    """Probability, action and advantage of every completion in every group that is kept, one group at a time."""
    weight, action, advantage = [], [], []
    for group in product(range(len(behavior)), repeat=size):
        r = reward[list(group)]
        if drop_equal and np.ptp(r) == 0:
            continue
        for i, a in enumerate(group):
            others = np.delete(r, i)
            if leave_one_out:
                value = others[0] - objective.advantage(others)[0]
                advantage.append(r[i] - value)
            else:
                advantage.append(objective.advantage(r)[i])
            weight.append(np.prod(behavior[list(group)]) / size)
            action.append(a)
    return np.array(weight), np.array(action), np.array(advantage)
