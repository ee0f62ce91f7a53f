"""Programs of statistical lower bounds: empirical likelihood of logged data, and its first order in policies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy

from pessimism.arrays import Array
from pessimism.convex.program import Outcome, Program, cvxpy, policies, policy_program, solve


@dataclass(frozen=True)
class LikelihoodInterval:
    """Values that empirical likelihood cannot reject.

    Attributes
    ----------
    low, high : float
        Ends of the interval.
    point_low, point_high : float
        Values of the most likely distributions, rewards off the sample at rmin and at rmax.
    dual : float
        Multiplier N b of the condition E[w] = 1 at the most likely distribution.
    status : tuple of three str
        What the solver says of the three programs: most likely, lower end, upper end.
    accuracy : float
        The worst of the accuracies that the solvers report.
    """

    low: float
    high: float
    point_low: float
    point_high: float
    dual: float
    status: tuple[str, str, str]
    accuracy: float


class _Sample:
    """Distributions on the sampled (w, r) and, off the sample, on the corners of what is possible."""

    def __init__(self, weights: Array, rewards: Array, counts: Array | None, corners: tuple[float, ...]) -> None:
        cp = cvxpy()
        self.weights, self.rewards = policies(weights=weights, rewards=rewards)
        self.counts = np.ones_like(self.weights) if counts is None else np.asarray(counts, dtype=float)
        self.size = float(self.counts.sum())
        wmin, wmax, rmin, rmax = corners
        if not 0 <= wmin < 1 < wmax:
            raise ValueError(f"wmin and wmax must enclose 1, 0 <= wmin < 1 < wmax, got {wmin} and {wmax}")
        if not rmin < rmax:
            raise ValueError(f"rmin must be < rmax, got {rmin} and {rmax}")
        for name, array, least, most in (("weights", self.weights, wmin, wmax), ("rewards", self.rewards, rmin, rmax)):
            if np.any((array < least) | (array > most)):
                raise ValueError(f"{name} must be in [{least}, {most}], got {array.min()} to {array.max()}")
        if self.size < 2:
            raise ValueError(f"weights must hold at least two samples, got {self.size:g}")
        self.corner_w, self.corner_r = np.repeat([wmin, wmax], 2), np.tile([rmin, rmax], 2)
        self.scale = np.maximum(1.0, self.corner_w)  # mass at a large weight is small
        self.on = cp.Variable(len(self.weights))
        self.off = cp.Variable(4)
        mass = cp.sum(self.on) + (1.0 / self.scale) @ self.off == 1
        self.mean = self.weights @ self.on + (self.corner_w / self.scale) @ self.off == 1
        self.constraints = [mass, self.mean, self.on >= 0, self.off >= 0]
        # Mean log-likelihood from that of the empirical distribution.
        share = self.counts / self.size
        self.likelihood = share @ cp.log(cp.multiply(1.0 / share, self.on))
        self.value = (self.weights * self.rewards) @ self.on + (self.corner_w * self.corner_r / self.scale) @ self.off

    def optimize(self, objective: Any, further: Sequence[Any], solvers: Sequence[str] | None) -> Outcome:
        return solve(cvxpy().Problem(objective, [*self.constraints, *further]), solvers)


def empirical_likelihood_interval_program(
    weights: Array,
    rewards: Array,
    wmin: float,
    wmax: float,
    rmin: float = 0.0,
    rmax: float = 1.0,
    alpha: float = 0.05,
    *,
    counts: Array | None = None,
    solvers: Sequence[str] | None = None,
) -> LikelihoodInterval:
    r"""Empirical likelihood: confidence interval of a policy's value from logged ratios and rewards (arXiv 1906.03323).

    Over distributions Q of (w, r) with E[w] = 1, mass off the sample included: the most likely one, and the least and
    the largest E[w r] among those whose log-likelihood is within half the F(1, N - 1) quantile of its. Written in the
    primal, with the sample's masses as variables.

    Parameters
    ----------
    weights, rewards : array_like, shape (N,)
        Logged ratios w = pi/q and rewards r.
    wmin, wmax : float
        Extreme ratios that are possible, wmin < 1 < wmax.
    rmin, rmax : float, default 0.0 and 1.0
        Extreme rewards that are possible.
    alpha : float, default 0.05
        Chance that the interval misses the value.
    counts : array_like, shape (N,), optional
        How often each pair was seen. Default: once.
    solvers : sequence of str, optional
        Names of solvers in the order of trial. Default: those of :func:`pessimism.convex.program.solve`.

    Returns
    -------
    LikelihoodInterval
        Ends, the most likely values, and how solving went.

    Examples
    --------
    >>> found = empirical_likelihood_interval_program([1.0102, 0.0], [1.0, 0.0], 0.0, 2000.0, counts=[2, 8])
    >>> round(found.low, 4), round(found.high, 4)
    (0.0255, 1.0)
    """
    cp = cvxpy()
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must be in (0, 1), got {alpha}")
    sample = _Sample(weights, rewards, counts, (wmin, wmax, rmin, rmax))
    likely = sample.optimize(cp.Maximize(sample.likelihood), [], solvers)
    nan = float("nan")
    if not likely.solved:
        return LikelihoodInterval(nan, nan, nan, nan, nan, (likely.status, "not_run", "not_run"), nan)
    on = np.array(sample.on.value)
    off_sample = max(0.0, 1.0 - float(sample.weights @ on))
    seen = float((sample.weights * sample.rewards) @ on)
    dual = float(sample.mean.dual_value) * sample.size
    slack = 0.5 * float(scipy.stats.f.ppf(1.0 - alpha, 1, sample.size - 1)) / sample.size
    enough = [sample.likelihood >= float(sample.likelihood.value) - slack]
    ends, outcomes = [], [likely]
    for objective in (cp.Minimize(sample.value), cp.Maximize(sample.value)):
        outcomes.append(sample.optimize(objective, enough, solvers))
        ends.append(float(sample.value.value) if outcomes[-1].solved else nan)
    return LikelihoodInterval(
        low=ends[0],
        high=ends[1],
        point_low=seen + off_sample * rmin,
        point_high=seen + off_sample * rmax,
        dual=dual,
        status=(outcomes[0].status, outcomes[1].status, outcomes[2].status),
        accuracy=max(outcome.accuracy for outcome in outcomes),
    )


def confidence_bound_program(
    behavior: Array,
    mean: Array,
    second_moment: Array,
    caution: float,
    *,
    solvers: Sequence[str] | None = None,
) -> Program:
    r"""Policy of the largest lower bound, :math:`\max_\pi v - z S` with :math:`v = \langle \pi, p \rangle`.

    :math:`S^2 = \sum_a \pi_a^2 m_a / q_a - v^2` is the variance of w R, a norm of pi: a second-order cone program. It
    is the first order of the empirical likelihood bound (arXiv 1906.03323) with ``caution`` = z / sqrt(n); its
    multiplier is the bound itself.

    Parameters
    ----------
    behavior : array_like, shape (K,)
        Probabilities q of the behavior, all positive.
    mean, second_moment : array_like, shape (K,)
        Moments p and m of the rewards; m >= p^2.
    caution : float
        Weight z of the standard deviation, >= 0.
    solvers : sequence of str, optional
        Names of solvers in the order of trial. Default: those of :func:`pessimism.convex.program.solve`.

    Returns
    -------
    Program
        Policy, multiplier of the normalization and optimal value.

    Examples
    --------
    >>> found = confidence_bound_program([0.5, 0.5], [0.5, 0.5], [0.5, 0.5], 0.1)
    >>> found.policy.round(6), abs(found.dual - found.value) < 1e-8
    (array([0.5, 0.5]), True)
    """
    q, p, m = policies(behavior=behavior, mean=mean, second_moment=second_moment)
    if np.any(m < p**2 - 1e-12):
        raise ValueError(f"second_moment must be >= mean^2, got {m[np.argmin(m - p**2)]}")
    root = np.sqrt(q)
    off_mean = np.eye(len(q)) - np.outer(root, root)

    def utility(cp: Any, policy: Any) -> Any:
        within = cp.multiply(np.sqrt(np.maximum(m - p**2, 0.0) / q), policy)
        between = off_mean @ cp.multiply(p / root, policy)
        return policy @ p - caution * cp.norm(cp.hstack([within, between]))

    return policy_program("confidence_bound", len(q), utility, solvers=solvers)
