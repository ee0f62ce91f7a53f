"""Whether ratios can be those of the policy that made the logs: their mean must be 1 within its standard error.

If the propensities are right and the behavior can do whatever the policy may do, a ratio w >= 0 has mean 1. The check
must not blame right propensities for a heavy tail. That is harmless above 1, where a product of 1 + b (w - 1) exceeds
1/p with probability p at most, whatever the tail (as in :func:`~pessimism.evaluation.lower_bounds.ls_lower`). Below 1 a
few large ratios that the sample has missed explain any mean: mass d in ratios of size M is missed by n rounds with
probability exp(-n d / M). The mean is held against the propensities only if that is as unlikely as 4 standard errors
for ratios as much larger than the largest seen as that is than the twentieth, and at least twice as large. See
docs/evaluation.md for how often that blames right propensities and how often it finds wrong ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import log_ndtr

from pessimism.arrays import Floats
from pessimism.core.validation import SUM_TOLERANCE
from pessimism.equality import ByValue

ERRORS = 4.0  # standard errors beyond which the mean ratio is not 1
_EVIDENCE = -float(log_ndtr(-ERRORS))  # of a normal variable to be that far on one side, as a logarithm
_RANK = 20  # of the ratio that tells how fast the large ones grow
_UNSEEN = 2.0  # ratios may always be this many times the largest one seen
_ENOUGH = 50.0  # effective sample size below which the spread of the ratios is unknown
_UNCOVERED = "{unlogged:.3g} of the policy's probability is on actions that the logs never show"
_OTHER = "the propensities are not those of the policy that made the logs, at its sampling temperature, row by row"
_BEYOND = "or the policy does what the behavior never does"
_DENSITY = "it must be the density of the logged action under the behavior"
_CAUSES = {  # by what the ratios are made of, and whether their mean is above 1
    ("pscore", True): f"pscore is too small: {_OTHER}",
    ("pscore", False): f"pscore is too large: {_OTHER}, or a sum of log-probabilities misses tokens; {_BEYOND}",
    ("weight", True): f"weight is too large: {_OTHER}, or the ratios were never normalized",
    ("weight", False): f"weight is too small: {_OTHER}, or a sum of log-probabilities misses tokens; {_BEYOND}",
    ("kernel", True): f"pscore is too small: {_DENSITY}",
    ("kernel", False): f"pscore is too large: {_DENSITY}; or the kernel reaches beyond what the behavior does",
}


@dataclass(frozen=True, eq=False)
class RatioCheck(ByValue):
    """Mean of the ratios, its standard error, and what follows from them.

    Attributes
    ----------
    mean, error : float
        Mean ratio, and its standard error (nan from a single round).
    verdict : {"consistent", "rejected", "uncovered", "undecided"}
        "consistent" where the mean is 1 within four standard errors; else "undecided" where heavy tails may explain
        that, "uncovered" where actions that the logs never show do, and "rejected" where neither does.
    note : str
        Says what is wrong and the likely cause; empty where nothing is.
    """

    mean: float
    error: float
    verdict: Literal["consistent", "rejected", "uncovered", "undecided"]
    note: str = ""


def check_ratios(
    weight: Floats,
    ess: float,
    *,
    source: Literal["pscore", "weight", "kernel"] = "pscore",
    unlogged: float = 0.0,
) -> RatioCheck:
    """Compare the mean of ratios with 1.

    Parameters
    ----------
    weight : ndarray, shape (n,)
        Ratios of the policy to the behavior on the logged actions, one per independent draw of an action.
    ess : float
        Their effective sample size.
    source : {"pscore", "weight", "kernel"}, default "pscore"
        What the ratios come from: propensities, the logs themselves, or a kernel over densities. It decides which
        cause is likely.
    unlogged : float, default 0.0
        Probability that the policy gives to actions that the logs never show.

    Returns
    -------
    RatioCheck
        Mean, standard error, verdict, and a sentence where the mean is not 1.

    Examples
    --------
    >>> check_ratios(np.array([0.5, 1.5] * 500), 800.0).verdict
    'consistent'
    >>> check_ratios(np.array([0.25, 0.75] * 500), 800.0).verdict  # twice the true propensities
    'rejected'
    >>> check_ratios(np.array([0.25, 0.75] * 20), 32.0).verdict  # too few rounds to say
    'undecided'
    """
    n, largest = len(weight), float(weight.max())
    mean = float(weight.mean())
    if n == 1:
        return RatioCheck(mean, np.nan, "undecided")
    error = largest * float((weight / (largest or 1.0)).std(ddof=1)) / np.sqrt(n)
    if abs(mean - 1.0) <= ERRORS * error + SUM_TOLERANCE:
        return RatioCheck(mean, error, "consistent")
    said = f"the mean ratio of the policy to the behavior is {mean:.4g}, standard error {error:.2g}, but must be 1"
    if mean > 1.0:
        bet = min(1.0, np.sqrt(2.0 * _EVIDENCE / n))
        believable = float(np.log1p(bet * (weight - 1.0)).sum()) >= _EVIDENCE
    else:
        believable = ess >= _ENOUGH and n * (1.0 - mean) >= _EVIDENCE * _possible(weight)
    if not believable:
        what = "the propensities are wrong" if mean > 1.0 else "large ratios are missing or the propensities are wrong"
        few = f"{n} rounds with an effective sample size of {ess:.3g} are too few to tell whether {what}"
        rest = f"; {_UNCOVERED.format(unlogged=unlogged)}" if unlogged > 0 else ""
        return RatioCheck(mean, error, "undecided", f"{said}: {few}{rest}")
    if mean < 1.0 <= mean + unlogged + ERRORS * error + SUM_TOLERANCE:
        return RatioCheck(mean, error, "uncovered", f"{said}: {_UNCOVERED.format(unlogged=unlogged)}")
    return RatioCheck(mean, error, "rejected", f"{said}; the likely cause: {_CAUSES[source, mean > 1.0]}")


def _possible(weight: Floats) -> float:
    """How large a ratio may be that the sample has missed."""
    if len(weight) < _RANK:
        return np.inf
    ranked = float(np.partition(weight, -_RANK)[-_RANK])
    growth = float(weight.max()) / ranked if ranked > 0 else np.inf
    return max(growth, _UNSEEN) * float(weight.max())
