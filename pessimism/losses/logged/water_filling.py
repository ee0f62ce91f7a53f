r"""Objectives concave in the ratio: their targets fill up like water, and give up the actions that stay dry.

For :math:`E_\mu[F(w)]` with a bounded slope F'(0), where every ratio is linear in a level t,
:math:`w_a = k_a (t - b_a)_+`, sorting the b_a gives the level without iterations.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from array_api_compat import array_namespace

from pessimism.arrays import Array, to_numpy
from pessimism.closed_forms import separable
from pessimism.losses.logged.base import LoggedObjective

if TYPE_CHECKING:
    from pessimism.core.bandit import Bandit
    from pessimism.core.solution import Solution

Gap = Callable[[Array, Array], Array]


def driest(q: Array, slope: Array, bottom: Array, reward: Array) -> Array:
    r"""Reward ``(N, 1)`` of the last action to fill while :math:`\sum_a q_a k_a (t - b_a)_+` rises to 1 with t.

    All arrays are ``(N, K)``, on the host; ``bottom`` is b, inf at an action that never fills. Bottoms measured from
    that action's own lose no digits where its level is low.
    """
    order = np.argsort(bottom, axis=-1, kind="stable")
    bottom, rate, reward = (np.take_along_axis(a, order, axis=-1) for a in (bottom, q * slope, reward))
    fills = np.isfinite(bottom)
    depth = np.where(fills, bottom, 0.0)
    filled = np.where(fills, np.cumsum(rate, axis=-1) * depth - np.cumsum(rate * depth, axis=-1), np.inf)
    last = np.sum(filled < 1.0, axis=-1, keepdims=True) - 1  # the level of its bottom holds less than the mass
    return np.take_along_axis(reward, last, axis=-1)


def log_of(x: Array) -> Array:
    """Logarithm of x >= 0; -inf where x is 0."""
    return np.log(x, out=np.full_like(x, -np.inf), where=x > 0)


def water_filling(
    bandit: Bandit, objective: LoggedObjective, advantage: Array, slope: Array, gap: Gap, multiplier: Gap
) -> Solution:
    """Target with ratios slope (t - b)_+ on the actions of positive reward, b falling in the reward.

    ``gap`` gives b(reward) - b(anchor), and ``multiplier`` maps t - b(anchor) and the anchor to lam. Where no reward is
    positive all policies are as good, and the reference is the nearest to itself.
    """
    q, reward = to_numpy(bandit.behavior), to_numpy(advantage)
    pays = (q > 0) & (reward > 0)
    none = ~np.any(pays, axis=-1, keepdims=True)
    usable, slope = np.where(none, q > 0, pays), np.where(none, 1.0, slope)
    height = np.where(usable & ~none, reward, 1.0)
    best = np.max(np.where(usable, height, 0.0), axis=-1, keepdims=True)
    anchor = driest(q, slope, np.where(usable, gap(height, best), np.inf), height)
    bottom = gap(height, anchor)
    active = usable & (bottom <= 0)
    rate, bottom = np.where(active, q * slope, 0.0), np.where(active, bottom, 0.0)
    level = (1.0 + np.sum(rate * bottom, axis=-1, keepdims=True)) / np.sum(rate, axis=-1, keepdims=True)
    depth = np.where(active, np.maximum(level - bottom, 0.0), 0.0)
    log_ratio = np.where(none, 0.0, log_of(slope) + log_of(depth))
    lam = np.where(none, 0.0, multiplier(level, anchor))[:, 0]
    several = none[:, 0] & (np.sum(q > 0, axis=-1) > 1)
    return separable.wrap(bandit, objective, advantage, log_ratio, lam, set_valued=several)


@dataclass(frozen=True)
class PowerMean(LoggedObjective):
    """Power-mean importance weights, without a penalty.

    It maximizes E_mu[w r / ((1 - l) + l w)]. The corrected weight stays below 1/l, so that a target exists without a
    KL: it induces w = (sqrt(r (1 - l)/nu) - (1 - l))_+ / l, nu normalizing.

    Parameters
    ----------
    l : float, default 0.1
        Share of the ratio w in the mean (1 - l) + l w that divides it, in (0, 1). The published one depends on n and on
        an unknown divergence; the default is this package's.

    Notes
    -----
    As l tends to 0 the target is greedy; as l tends to 1 it tends to mu sqrt(r), scaled. There is no temperature, and a
    factor on all rewards changes nothing. Rewards must be >= 0, else the objective is not concave.

    References
    ----------
    .. [1] Metelli, Russo, Restelli, "Subgaussian and differentiable importance sampling", NeurIPS 2021, at its exponent
       -1 (harmonic). It has no arXiv version.
    .. [2] arXiv 2406.03434, a later study of regularized weights.

    Examples
    --------
    >>> import pessimism as ps
    >>> ps.induced_target([0.5, 0.5], [0.2, 0.8], PowerMean(l=0.5)).policy.round(4)
    array([0.1667, 0.8333])
    """

    name: ClassVar[str] = "power_mean"
    title: ClassVar[str] = "Power-mean importance weights"
    short: ClassVar[str] = "power mean"
    paper: ClassVar[str] = "2406.03434"
    formula: ClassVar[str] = "-w r/((1 - l) + l w)"
    induces: ClassVar[str] = "water-filling, w = (sqrt(r (1 - l)/nu) - (1 - l))_+ / l, nu normalizing"
    temperature_field: ClassVar[str | None] = None

    l: float = 0.1  # noqa: E741 (the published letter is lambda, which is taken)

    def __post_init__(self) -> None:
        self.require_open_unit("l")

    def advantage(self, reward: Array, weights: Array | None = None) -> Array:
        """The reward itself, which must be >= 0."""
        return self.within(reward, weights)

    def score_weight(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Score weight g = w r (1 - l) / ((1 - l) + l w)^2."""
        w = array_namespace(log_ratio).exp(log_ratio)
        mean = (1.0 - self.l) + self.l * w
        return (w / mean) * (advantage * (1.0 - self.l) / mean)

    def loss(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Loss: -w r / ((1 - l) + l w)."""
        w = array_namespace(log_ratio).exp(log_ratio)
        return -w * advantage / ((1.0 - self.l) + self.l * w)

    def closed_form(self, bandit: Bandit, advantage: Array, *, unseen: bool) -> Solution | None:
        """Water filling: w = (sqrt(r (1 - l)) t - (1 - l))_+ / l, linear in the level t = 1/sqrt(nu)."""
        unit = math.sqrt(1.0 - self.l)

        def gap(reward: Array, anchor: Array) -> Array:
            root, top = np.sqrt(reward), np.sqrt(anchor)
            return unit * (anchor - reward) / (top + root) / top / root

        slope = unit / self.l * np.sqrt(np.maximum(to_numpy(advantage), 0.0))
        return water_filling(
            bandit, self, advantage, slope, gap, lambda t, anchor: (t + unit / np.sqrt(anchor)) ** -2.0
        )


@dataclass(frozen=True)
class Chi2(LoggedObjective):
    """Policy optimization with a chi^2 penalty.

    It maximizes E_pi[r] - (beta/2) chi^2(pi || mu), with chi^2(pi || mu) = E_mu[(w - 1)^2]; the loss of a sample is
    ``-w r + beta/2 (w - 1)^2``. It induces w = (1 + (r - s)/beta)_+, s normalizing: linear in the reward and sparse,
    where a KL is exponential.

    Parameters
    ----------
    beta : float, default 0.1
        Temperature, or weight of the penalty, in units of the advantage; > 0. There is no published default; 0.1 is
        that of this family.

    Notes
    -----
    It is the pure penalty that :class:`~pessimism.losses.importance_weighted.MixedChi2KL` mixes with a KL.

    References
    ----------
    .. [1] Compare arXiv 2407.13399.

    Examples
    --------
    >>> import pessimism as ps
    >>> ps.induced_target([0.5, 0.5], [0.0, 1.0], Chi2(beta=1.0)).policy.round(4)
    array([0.25, 0.75])
    """

    name: ClassVar[str] = "chi2"
    title: ClassVar[str] = "chi^2 penalty"
    short: ClassVar[str] = "χ² penalty"
    paper: ClassVar[str] = "2407.13399"
    formula: ClassVar[str] = "-w r + beta/2 (w - 1)^2"
    induces: ClassVar[str] = "w = (1 + (r - s)/beta)_+, s normalizing: linear and sparse"

    beta: float = 0.1

    def __post_init__(self) -> None:
        self.require_positive("beta")

    def score_weight(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Score weight g = w (r - beta (w - 1))."""
        xp = array_namespace(log_ratio)
        return xp.exp(log_ratio) * (advantage - self.beta * xp.expm1(log_ratio))

    def loss(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Loss: -w r + beta/2 (w - 1)^2."""
        xp = array_namespace(log_ratio)
        return 0.5 * self.beta * xp.expm1(log_ratio) ** 2 - xp.exp(log_ratio) * advantage

    def closed_form(self, bandit: Bandit, advantage: Array, *, unseen: bool) -> Solution | None:
        """Water filling, written from w = 1 where the support is kept, which a large beta needs."""
        q = to_numpy(bandit.behavior)
        reward = to_numpy(advantage)
        best = np.max(np.where(q > 0, reward, -np.inf), axis=-1, keepdims=True)
        bottom = np.where(q > 0, (best - reward) / self.beta, np.inf)
        anchor = driest(q, np.ones_like(q), bottom, reward)
        bottom = (anchor - reward) / self.beta
        kept = (q > 0) & (bottom <= 0)
        share, bottom = np.where(kept, q, 0.0), np.where(kept, bottom, 0.0)
        inside = np.sum(share, axis=-1, keepdims=True)
        outside = np.sum(np.where(kept, 0.0, q), axis=-1, keepdims=True)
        # E[w] = 1 on those kept: w - 1 is what the others leave plus the deviation of the rewards.
        offset = outside / inside + np.sum(share * bottom, axis=-1, keepdims=True) / inside
        above = np.where(kept, np.maximum(offset - bottom, -1.0), -1.0)
        log_ratio = np.log1p(above, out=np.full_like(above, -np.inf), where=above > -1.0)
        return separable.wrap(bandit, self, advantage, log_ratio, (anchor - self.beta * offset)[:, 0])
