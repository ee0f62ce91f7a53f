"""What an evaluation says: a value, an interval, and how much data stand behind them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.special import ndtri

from pessimism.evaluation.checks import FloatArray

FINITE = "finite-sample"
ASYMPTOTIC = "asymptotic"


@dataclass(frozen=True)
class Evaluation:
    """Value of a policy, estimated from the logs of another.

    Attributes
    ----------
    value : point estimate, in reward units. The pessimistic estimators shrink towards the lowest reward by design.
    lower, upper : interval that holds the value with probability 1 - delta over the draw of the logs. One-sided
        estimators give a lower bound and ``upper = inf``.
    ess : effective sample size (sum w)^2 / sum w^2 of the ratios, between 0 (no overlap) and the number of rows.
    n : independent units: rounds, or episodes for star.
    estimator : its name.
    delta : chance of missing the value that the interval allows.
    guarantee : "finite-sample", the interval is right at every n under the estimator's assumptions, or "asymptotic".
    options : the options in effect, defaults filled in.
    details : further numbers, which the estimator's own page explains.

    Examples
    --------
    >>> from pessimism import evaluate
    >>> logs = {"action": [0, 1, 1], "reward": [0.0, 1.0, 1.0], "pscore": [0.5, 0.5, 0.5]}
    >>> found = evaluate([0.25, 0.75], logs, estimator="ips", delta=0.1)
    >>> round(found.value, 3), found.lower < found.value < found.upper
    (1.0, True)
    """

    value: float
    lower: float
    upper: float
    ess: float
    n: int
    estimator: str
    delta: float
    guarantee: str
    options: Mapping[str, Any] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """One flat row for a frame, without options and details."""
        names = ("estimator", "value", "lower", "upper", "ess", "n", "delta", "guarantee")
        return {name: getattr(self, name) for name in names}

    def __str__(self) -> str:
        """Return one line to print."""
        if np.isinf(self.upper) and np.isfinite(self.lower):
            interval = f"at least {self.lower:.6g}"
        else:
            interval = f"in [{self.lower:.6g}, {self.upper:.6g}]"
        sure = f"with probability {1 - self.delta:g} ({self.guarantee})"
        return f"{self.estimator}: {self.value:.6g}, {interval} {sure}; effective sample size {self.ess:.6g}"


def effective_sample_size(weight: FloatArray) -> float:
    """Kish's (sum w)^2 / sum w^2 of ratios ``(n,)``; 0 where all are zero.

    Examples
    --------
    >>> effective_sample_size(np.array([2.0, 1.0, 1.0, 0.0]))
    2.6666666666666665
    """
    top = float(weight.max())
    if top == 0.0:
        return 0.0
    scaled = weight / top
    return float(scaled.sum() ** 2 / (scaled**2).sum())


def normal_interval(value: float, terms: FloatArray, delta: float) -> tuple[float, float]:
    """Value plus and minus the normal quantile times the standard error of independent terms ``(n,)``.

    The whole line from a single round, whose spread nobody knows.
    """
    n = len(terms)
    if n == 1:
        return -np.inf, np.inf
    half = float(-ndtri(delta / 2) * terms.std(ddof=1) / np.sqrt(n))
    return value - half, value + half
