"""Gradient flow on tabular softmax logits: where an objective's expected gradient leads from the behavior."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp

Array = Any


def logit_field(q: Array, log_reference: Array, weight: Callable[[Array], Array], logits: Array) -> Array:
    r"""Expected gradient on softmax logits, :math:`q_a g_a - \pi_a \sum_b q_b g_b`, for one problem ``(K,)``.

    ``weight`` maps log-ratios log(pi / reference) to score weights g. Source: arXiv 2605.28150.
    """
    log_policy = logits - np.logaddexp.reduce(logits)
    pull = q * weight(log_policy - log_reference)
    return pull - np.exp(log_policy) * pull.sum()


def flow_to_rest(
    q: Array, log_reference: Array, weight: Callable[[Array], Array], start: Array, *, tolerance: float = 1e-9
) -> tuple[Array, bool]:
    """Follow the logit field from ``start`` until it rests: (log-policy, whether the field fell by ``tolerance``).

    Time is stretched tenfold until the field is small beside its size at the start.
    """
    logits, span = np.array(start, dtype=np.float64), 1.0
    scale = np.abs(q * weight(start - np.logaddexp.reduce(start) - log_reference)).sum()
    for _ in range(12):
        step = solve_ivp(
            lambda _, y: logit_field(q, log_reference, weight, y),
            (0.0, span),
            logits,
            method="LSODA",
            rtol=1e-9,
            atol=1e-11,
        )
        if not step.success or not np.all(np.isfinite(step.y)):
            return logits, False
        logits = step.y[:, -1] - step.y[:, -1].max()
        if np.abs(logit_field(q, log_reference, weight, logits)).max() <= tolerance * scale:
            return logits - np.logaddexp.reduce(logits), True
        span *= 10.0
    return logits - np.logaddexp.reduce(logits), False
