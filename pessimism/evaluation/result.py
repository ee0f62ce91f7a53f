"""What an evaluation says: a value, an interval, and how much data stand behind them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy.special import ndtri

from pessimism.arrays import Floats
from pessimism.display import html_table
from pessimism.equality import ByValue
from pessimism.evaluation.policies import Ratios
from pessimism.evaluation.ratio_check import check_ratios

FINITE = "finite-sample"
ASYMPTOTIC = "asymptotic"
_ROUNDING = 1e-9  # by which an estimate may leave the range of the rewards, relative to them


@dataclass(frozen=True, repr=False, eq=False)
class Evaluation(ByValue):
    """Value of a policy, estimated from the logs of another.

    Attributes
    ----------
    value : float
        Point estimate, in reward units. The pessimistic estimators shrink it towards the lowest reward by design.
    lower, upper : float
        Interval that holds the value with probability 1 - delta over the draw of the logs. One-sided estimators give a
        lower bound and ``upper = inf``.
    ess : float
        Effective sample size (sum w)^2 / sum w^2 of the ratios, between 0 (no overlap) and the number of rows.
    n : int
        Independent units: rounds, or episodes for star.
    estimator : str
        Name of the estimator.
    delta : float
        Chance of missing the value that the interval allows.
    guarantee : str
        "finite-sample": the interval is right at every n under the estimator's assumptions; or "asymptotic".
    options : mapping
        Options in effect, defaults filled in.
    details : mapping
        Further numbers, which the page of the estimator explains.
    mean_ratio, mean_ratio_error : float
        Mean of the ratios of the policy to the behavior, 1 but for chance if the propensities are right and the
        behavior covers the policy, and its standard error (nan from a single round).
    ratio_check : {"consistent", "rejected", "uncovered", "undecided"}
        "consistent" where the mean ratio is 1 within four standard errors; else "undecided" where large ratios may be
        missing from the logs, "uncovered" where the policy's actions that no round shows explain it, and "rejected"
        where neither does.
    reward_range : tuple of two floats
        Lowest and highest reward, as logged or as the options state them; for star of the episodes' returns.
    notes : tuple of str
        What to know before one relies on the numbers; empty where nothing is conspicuous.

    Examples
    --------
    >>> from pessimism import evaluate
    >>> logs = {"action": [0, 1, 1], "reward": [0.0, 1.0, 1.0], "pscore": [0.5, 0.5, 0.5]}
    >>> found = evaluate([0.25, 0.75], logs, estimator="ips", delta=0.1)
    >>> print(found)
    ips: 1, in [0.177573, 1.82243] with probability 0.9 (asymptotic)
    effective sample size 2.579, mean ratio 1.167 (standard error 0.333)
    >>> found.in_range, found.notes
    (True, ())
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
    mean_ratio: float = np.nan
    mean_ratio_error: float = np.nan
    ratio_check: str = "undecided"
    reward_range: tuple[float, float] = (-np.inf, np.inf)
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """One flat row for a frame: all but options, details and notes."""
        names = ("estimator", "value", "lower", "upper", "ess", "n", "delta", "guarantee")
        return {name: getattr(self, name) for name in (*names, "mean_ratio", "mean_ratio_error", "ratio_check")}

    @property
    def in_range(self) -> bool:
        """Whether the estimate lies in the range of the rewards, to rounding."""
        low, high = self.reward_range
        slack = _ROUNDING * max(abs(low), abs(high))
        return low - slack <= self.value <= high + slack

    @property
    def _interval(self) -> str:
        if np.isinf(self.upper) and np.isfinite(self.lower):
            return f"at least {self.lower:.6g}"
        return f"in [{self.lower:.6g}, {self.upper:.6g}]"

    @property
    def _mean_ratio(self) -> str:
        return f"{self.mean_ratio:.4g} (standard error {self.mean_ratio_error:.3g})"

    def __str__(self) -> str:
        """Return the estimate, what it rests on, and the notes, a line each."""
        sure = f"with probability {1 - self.delta:g} ({self.guarantee})"
        estimate = f"{self.estimator}: {self.value:.6g}, {self._interval} {sure}"
        data = f"effective sample size {self.ess:.4g}, mean ratio {self._mean_ratio}"
        return "\n".join([estimate, data, *(f"note: {note}" for note in self.notes)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = [
            ("value", self.value),
            (f"with probability {1 - self.delta:g}", self._interval),
            ("guarantee", self.guarantee),
            ("effective sample size", self.ess),
            ("episodes" if self.estimator == "star" else "rounds", self.n),
            ("mean ratio", self._mean_ratio),
            *(("note", note) for note in self.notes),
        ]
        return html_table(rows, caption=f"Evaluation by {self.estimator}")


def conclude(
    estimator: str,
    seen: Ratios,
    value: float,
    interval: tuple[float, float],
    delta: float,
    guarantee: str,
    options: Mapping[str, Any] | None = None,
    details: Mapping[str, Any] | None = None,
    *,
    weight: Floats | None = None,
    returns: Floats | None = None,
) -> Evaluation:
    """Put together what an estimator found with what its ratios and rewards say about the logs.

    Parameters
    ----------
    estimator : str
        Its name.
    seen : Ratios
        Ratios and rewards, one of each per row of the logs.
    value : float
        The estimate.
    interval : tuple of two floats
        Lower and upper bound.
    delta : float
        Chance that the interval misses the value.
    guarantee : str
        FINITE or ASYMPTOTIC.
    options, details : mapping, optional
        As in :class:`Evaluation`.
    weight : ndarray, shape (n,), optional
        Weights that the effective sample size is of. Default: the ratios.
    returns : ndarray, shape (n_units,), optional
        What each independent unit has earned. Default: the rewards.

    Returns
    -------
    Evaluation
        With the mean ratio, the range of the rewards and the notes filled in.
    """
    options = {} if options is None else options
    returns = seen.reward if returns is None else returns
    ess = effective_sample_size(seen.weight)
    source: Any = "kernel" if estimator == "kernel" else "weight" if seen.action is None else "pscore"
    check = check_ratios(seen.weight, ess, source=source, unlogged=seen.unlogged)
    low, high = options.get("reward_min", returns.min()), options.get("reward_max", returns.max())
    found = Evaluation(
        value=value,
        lower=interval[0],
        upper=interval[1],
        ess=ess if weight is None else effective_sample_size(weight),
        n=len(returns),
        estimator=estimator,
        delta=delta,
        guarantee=guarantee,
        options=options,
        details={} if details is None else details,
        mean_ratio=check.mean,
        mean_ratio_error=check.error,
        ratio_check=check.verdict,
        reward_range=(float(low), float(high)),
    )
    outside = f"the estimate {value:.6g} lies outside the range of the rewards, [{low:.6g}, {high:.6g}]"
    notes = tuple(filter(None, (check.note, "" if found.in_range else outside)))
    return replace(found, notes=notes)


def effective_sample_size(weight: Floats) -> float:
    """Kish's (sum w)^2 / sum w^2 of ratios; 0 where all are zero.

    Parameters
    ----------
    weight : ndarray, shape (n,)
        Ratios >= 0.

    Returns
    -------
    float
        Between 0 and n.

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


def normal_interval(value: float, terms: Floats, delta: float) -> tuple[float, float]:
    """Value plus and minus the normal quantile times the standard error of independent terms ``(n,)``.

    The whole line from a single round, whose spread nobody knows.
    """
    n = len(terms)
    if n == 1:
        return -np.inf, np.inf
    half = float(-ndtri(delta / 2) * terms.std(ddof=1) / np.sqrt(n))
    return value - half, value + half
