"""How old the policy was that sampled the completions of a log, and how far the policy moves in an optimizer step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pessimism.diagnosis.logged_groups import LoggedGroups
from pessimism.diagnosis.readings import mean_with_error
from pessimism.diagnosis.sampled import Sampled
from pessimism.equality import ByValue

_SHOWN = 8  # lags in a line
_TELL = 2.0  # standard errors from 0


@dataclass(frozen=True, eq=False)
class Lag(ByValue):
    """Distribution of the lag: the step of the log that trained on a completion, less the version that sampled it.

    Attributes
    ----------
    counts : dict of int to int
        Completions of each lag, that of the oldest version that sampled a part of them.
    mixed : int
        How many of them several versions sampled.
    unknown : int
        Completions without a version.

    Examples
    --------
    >>> print(Lag({0: 6, 1: 2}, mixed=0, unknown=0))
    lag (step - version that sampled): 0 in 75%, 1 in 25%; mean 0.25, at most 1
    """

    counts: dict[int, int]
    mixed: int
    unknown: int

    @property
    def mean(self) -> float:
        """Mean over completions."""
        return sum(lag * n for lag, n in self.counts.items()) / sum(self.counts.values())

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it.

        Returns
        -------
        dict
            The fields, with texts for keys, and mean, least and most.
        """
        counts = {str(lag): n for lag, n in self.counts.items()}
        ends = {"mean": self.mean, "least": min(self.counts), "most": max(self.counts)}
        return {"counts": counts, **ends, "mixed": self.mixed, "unknown": self.unknown}

    def __str__(self) -> str:
        total = sum(self.counts.values())
        often = sorted(self.counts, key=lambda lag: -self.counts[lag])[:_SHOWN]
        shares = ", ".join(f"{lag} in {100.0 * self.counts[lag] / total:.3g}%" for lag in sorted(often))
        said = f"lag (step - version that sampled): {shares}"
        said += f" and {len(self.counts) - _SHOWN} others" if len(self.counts) > _SHOWN else ""
        said += f"; mean {self.mean:.3g}, at most {max(self.counts)}"
        said += f"; {self.mixed} sampled by several versions" if self.mixed else ""
        said += f"; {self.unknown} without a version" if self.unknown else ""
        if min(self.counts) < 0:
            said += "; below 0: versions and steps are not counted alike, or the log has no column for the step"
        return said


def lags(logged: LoggedGroups) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """Lag of each completion, of the oldest and of the newest version that sampled a part of it; nan without one.

    Parameters
    ----------
    logged : LoggedGroups
        The groups of a log.

    Returns
    -------
    tuple of ndarray, shape (rows,), or None
        In the order of the groups; None where no completion has a version.
    """
    facts = logged.facts
    if facts is None or "version" not in facts:
        return None
    step = np.repeat(logged.groups["step"].to_numpy(), logged.sizes)
    return step - facts["version"].to_numpy(), step - facts["last_version"].to_numpy()


def lag_of(logged: LoggedGroups) -> Lag | None:
    """Return the distribution of the lag, None for a log without versions.

    Parameters
    ----------
    logged : LoggedGroups
        The groups of a log.

    Returns
    -------
    Lag or None
        The distribution.
    """
    found = lags(logged)
    if found is None:
        return None
    oldest, newest = found
    known = ~np.isnan(oldest)
    values, counts = np.unique(oldest[known].astype(np.int64), return_counts=True)
    mixed = int(np.sum(oldest[known] != newest[known]))
    return Lag(dict(zip(values.tolist(), counts.tolist(), strict=True)), mixed, int(np.sum(~known)))


@dataclass(frozen=True, eq=False)
class KLPerStep(ByValue):
    """How far a policy moves in an optimizer step, measured in a log.

    Attributes
    ----------
    kl : tuple of float, or None
        KL(behavior || policy) in nats after one step, the two ends: if the steps go one way, so that KL grows with
        their square, and if each goes its own. The same where the policy is one step old. None where it cannot be had.
    error : tuple of float, or None
        Standard errors of the two.
    steps : int or None
        Optimizer steps between the policy that sampled and the one that was trained, in which it was measured.
    at : dict of int to (float, float, int)
        For each number of optimizer steps the KL, its standard error over prompts, and the completions.
    reason : str
        Why there is none, or from what it comes.
    """

    kl: tuple[float, float] | None
    error: tuple[float, float] | None
    steps: int | None
    at: dict[int, tuple[float, float, int]]
    reason: str


def kl_per_step(logged: LoggedGroups, *, steps_per_version: int = 1, steps: int | None = None) -> KLPerStep:
    """Measure how far the policy moves in an optimizer step, where a log can tell.

    Completions that are some steps old show how far the policy went in them: KL(behavior || policy), by tokens where
    the log has them. What completions of lag 0 show, a difference between the engines that sample and train, is
    subtracted.

    Parameters
    ----------
    logged : LoggedGroups
        The groups of a log that was read with log-probabilities, ``report.logged`` of a diagnosis.
    steps_per_version : int, default 1
        Optimizer steps between two versions of the policy that samples.
    steps : int, optional
        Optimizer steps by which every completion is old, for a log without versions.

    Returns
    -------
    KLPerStep
        The KL of a step, or the reason why there is none.

    Raises
    ------
    ValueError
        If ``steps_per_version`` or ``steps`` is below 1.

    Examples
    --------
    >>> import pandas as pd, pessimism as ps
    >>> log = {"prompt": list("aabb"), "reward": [0, 1, 0, 1], "step": 3, "sampling_client_step": 1}
    >>> log |= {"mu": [-1.0, -2.0, -1.5, -0.5], "pi": [-1.2, -1.8, -1.3, -0.8]}
    >>> report = ps.diagnose(pd.DataFrame(log), "kimi", log_prob_columns="mu,pi")
    >>> found = kl_per_step(report.logged)
    >>> found.steps, tuple(round(kl, 4) for kl in found.kl)
    (2, (0.0064, 0.0129))
    """
    for name, value in ("steps_per_version", steps_per_version), ("steps", steps):
        if value is not None and value < 1:
            raise ValueError(f"{name} must be >= 1, got {value!r}")
    sampled = Sampled(logged)
    why = sampled.why_no_ratios()
    if why is not None:
        return KLPerStep(None, None, None, {}, why)
    old, why = _steps_old(sampled, steps_per_version, steps)
    if old is None:
        return KLPerStep(None, None, None, {}, why)
    assert sampled.log_ratio is not None
    by_tokens = sampled.column("token_kl_reverse")
    with np.errstate(over="ignore"):
        values = np.expm1(sampled.log_ratio) - sampled.log_ratio if by_tokens is None else by_tokens
    at = {}
    for one in np.unique(old[~np.isnan(old)]).astype(int).tolist():
        some = old == one
        found = mean_with_error(values[some], sampled.cluster[some])
        at[one] = (found["mean"], found["mean_error"], int(some.sum()))
    return _of_one(at, "sum over tokens of w - 1 - u" if by_tokens is not None else "mean of w - 1 - u")


def _steps_old(sampled: Sampled, per_version: int, steps: int | None) -> tuple[NDArray[Any] | None, str]:
    """Optimizer steps by which each completion is old, nan where that is not one number; or why not."""
    if steps is not None:
        return np.full(len(sampled.rows), float(steps)), ""
    found = lags(sampled.logged)
    if found is None:
        return None, "the log does not say which version of the policy sampled a completion"
    oldest, newest = (lag[sampled.rows] for lag in found)
    old = np.where((oldest == newest) & (oldest >= 0), per_version * oldest, np.nan)
    if not np.any(old > 0):
        return None, "no completion is known to be older than the policy that was trained on it"
    return old, ""


def _of_one(at: dict[int, tuple[float, float, int]], words: str) -> KLPerStep:
    least = min(steps for steps in at if steps > 0)
    kl, error, _ = at[least]
    mismatch, its_error, _ = at.get(0, (0.0, 0.0, 0))
    kl, error = kl - mismatch, float(np.hypot(error, its_error))
    text = f"KL(behavior || policy), {words}, of completions {least} optimizer steps old: {kl:.3g} +- {error:.2g}"
    text += f", less {mismatch:.3g} of those that are not old" if 0 in at else ""
    if not kl > _TELL * (0.0 if np.isnan(error) else error):
        return KLPerStep(None, None, None, at, f"{text}: not told from 0")
    ends = (float(least) ** 2, float(least))
    return KLPerStep((kl / ends[0], kl / ends[1]), (error / ends[0], error / ends[1]), least, at, text)
