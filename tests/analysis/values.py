"""What the tests of lower bounds from logs share: the bandit and its targets."""

from __future__ import annotations

import numpy as np

import pessimism as ps
from analysis.value_from_logs import (
    BEHAVIOR,
    REWARD,
)

MU, R, DELTA, N = np.array(BEHAVIOR), np.array(REWARD), 0.05, 1000


def policies() -> dict[str, np.ndarray]:
    """Of the targets, from the equation log w + kappa w = A/beta, kappa by its identity E[A]/beta + KL(mu || pi)."""
    found = {}
    for name, shift in (("nominal", None), ("kimi", 0.0), ("shifted_mean", 1.0)):
        if shift is None:
            weight = MU * np.exp(R / 0.1)
            found[name] = weight / weight.sum()
            continue
        target = ps.induced_target(MU, R, name, beta=0.1)
        w = target.policy / MU
        kappa = shift - MU @ np.log(w)
        np.testing.assert_allclose(np.log(w) + kappa * w, (R - MU @ R) / 0.1 + shift, atol=1e-9)
        found[name] = target.policy
    return found
