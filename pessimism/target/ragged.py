"""Targets of problems with different numbers of actions as one batch, so that what is measured is measured once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pessimism.closed_forms.tilts import Solution
from pessimism.core.bandit import make_bandit
from pessimism.target.result import InducedTarget


def stack(targets: Sequence[InducedTarget]) -> InducedTarget:
    """Join targets of batches ``(n_i, K_i)`` in numpy, under one objective, into one target ``(sum n_i, max K_i)``.

    Narrower problems are padded with copies of their last action that neither behavior nor policy takes: that leaves
    every expectation and every divergence as it is, and the extremes of reward and advantage too. Statistics of a
    sampled group become those of the population.

    Examples
    --------
    >>> import pessimism as ps
    >>> pair, triple = (ps.induced_target(None, [reward], "kimi") for reward in ([0.0, 1.0], [0.0, 0.5, 1.0]))
    >>> stack([pair, triple]).behavior.round(4)
    array([[0.5   , 0.5   , 0.    ],
           [0.3333, 0.3333, 0.3333]])
    """
    behavior = _padded([target.bandit.behavior for target in targets], mode="constant")
    reward = _padded([target.bandit.reward for target in targets], mode="edge")
    names = ("kappa", "regime", "leak", "status")
    facts: dict[str, Any] = {name: np.concatenate([getattr(t.solution, name) for t in targets]) for name in names}
    return InducedTarget(
        objective=targets[0].objective,
        bandit=make_bandit(behavior, reward),
        solution=Solution(_padded([target.solution.log_ratio for target in targets], mode="constant"), **facts),
        advantage_rows=_padded([target.advantage_rows for target in targets], mode="edge"),
    )


def _padded(rows: Sequence[Any], mode: Any) -> np.ndarray[Any, Any]:
    """Rows ``(n_i, K_i)`` as ``(sum n_i, max K_i)``."""
    width = max(part.shape[-1] for part in rows)
    return np.concatenate([np.pad(part, ((0, 0), (0, width - part.shape[-1])), mode=mode) for part in rows])
