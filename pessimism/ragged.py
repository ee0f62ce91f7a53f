"""Targets of problems with different numbers of actions as one batch, so that what is measured is measured once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from pessimism.bandit import to_numpy
from pessimism.result import InducedTarget

_ROWS = ("kappa", "regime", "leak", "status")
_REPEATED = ("reward", "advantage")  # the last action is repeated: maxima and minima over the actions stay
_FILLED = {"behavior": 0.0, "log_ratio": 0.0, "log_reference": -math.inf, "log_policy": -math.inf}


def stack(targets: Sequence[InducedTarget]) -> InducedTarget:
    """Join targets of batches ``(n_i, K_i)`` under one objective into one of ``(sum n_i, max K_i)``, in numpy.

    Narrower problems are padded with actions that neither behavior nor policy takes, which leaves every divergence and
    every expectation as it is. Statistics of a sampled group become those of the population.

    Examples
    --------
    >>> import pessimism as ps
    >>> pair, triple = (ps.induced_target(None, [reward], "kimi") for reward in ([0.0, 1.0], [0.0, 0.5, 1.0]))
    >>> stack([pair, triple]).behavior.round(4)
    array([[0.5   , 0.5   , 0.    ],
           [0.3333, 0.3333, 0.3333]])
    """
    width = max(target.reward.shape[-1] for target in targets)
    arrays: dict[str, Any] = {name: np.concatenate([getattr(t, name) for t in targets]) for name in _ROWS}
    for name in _REPEATED:
        arrays[name] = np.concatenate([_widened(getattr(t, name), width, None) for t in targets])
    for name, filler in _FILLED.items():
        arrays[name] = np.concatenate([_widened(getattr(t, name), width, filler) for t in targets])
    return InducedTarget(objective=targets[0].objective, **arrays)


def _widened(values: Any, width: int, filler: float | None) -> np.ndarray[Any, Any]:
    """Rows ``(n, K)`` at ``(n, width)``; the new places hold the filler, or the last entry where it is None."""
    rows = to_numpy(values)
    shape = (len(rows), width - rows.shape[-1])
    return np.hstack([rows, np.broadcast_to(rows[:, -1:], shape) if filler is None else np.full(shape, filler)])
