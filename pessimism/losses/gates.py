r"""Smooth gates on the ratio in the place of a clip: SAPO's sigmoid and VESPO's gamma weight.

Both fade where the ratio is large, and an action that has lost its mass is pulled no longer: the weight per mass rises
and falls, so that fixed points are several. The target is the one that gradient flow from the behavior reaches.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from array_api_compat import array_namespace

from pessimism.arrays import Array, to_numpy
from pessimism.closed_forms import separable
from pessimism.core.objective import stop_gradient
from pessimism.core.solution import Solution
from pessimism.losses.centered import sigmoid
from pessimism.losses.standardized import Scale, Standardized

if TYPE_CHECKING:
    from pessimism.core.bandit import Bandit

_LARGEST = 700.0  # logarithm of a weight that is a float still


@dataclass(frozen=True)
class Gated(Standardized):
    """Base of the family: no temperature, and several fixed points."""

    temperature_field: ClassVar[str | None] = None

    @property
    def by_flow(self) -> bool:
        """Always: the weight per mass is not monotone."""
        return True

    def closed_form(self, bandit: Bandit, advantage: Array, *, unseen: bool) -> Solution | None:
        """All mass on the actions with A > 0 where these are alike, or nothing else is stable; else the flow decides.

        Where an action with A <= 0 is kept, lam <= 0, and those with A > 0 gain more than that: the flow leaves it.
        Actions of one probability and one advantage keep one ratio, as rewards of 0 or 1 make them in a sampled group,
        unless they part there because the weight per mass still rises.
        """
        q, A = to_numpy(bandit.behavior), to_numpy(advantage)
        size = np.max(np.where(q > 0, np.abs(A), 0.0), axis=-1, keepdims=True)
        good = (q > 0) & (16.0 * np.finfo(float).eps * size < A)
        some, idle = np.any(good, axis=-1), size[:, 0] == 0
        alike = some.copy()
        for value in (q, A):
            least, most = (s * np.max(np.where(good, s * value, -np.inf), axis=-1) for s in (-1.0, 1.0))
            alike &= most - least <= 8.0 * np.finfo(float).eps * np.where(some, most, 1.0)
        mass = np.sum(np.where(good, q, 0.0), axis=-1, keepdims=True)
        log_w = np.broadcast_to(-np.log(np.where(some[:, None], mass, 1.0)), q.shape).copy()
        alike &= self._beyond_peak(np.exp(log_w[:, 0])) | (np.count_nonzero(good, axis=-1) == 1)
        rest = some & ~alike
        covered = alike | idle
        if np.any(rest):
            log_w[rest], covered[rest] = self._all_kept(q[rest], A[rest], good[rest])
        log_ratio = np.where(idle[:, None], 0.0, np.where(good, log_w, -np.inf))
        return separable.wrap(bandit, self, advantage, log_ratio, np.where(idle, 0.0, 1.0), covered=covered)

    def _all_kept(self, q: Array, A: Array, good: Array) -> tuple[Array, Array]:
        """Log-ratios at which all actions with A > 0 are kept, and the rows in which nothing else is stable."""
        return np.zeros_like(q), np.zeros(len(q), dtype=bool)

    def _beyond_peak(self, ratio: Array) -> Array:
        """Whether the weight per mass of actions with A > 0 falls at these ratios, all of which are 1 or more."""
        return np.ones(ratio.shape, dtype=bool)

    def _by_sign(self, advantage: Array, positive: float, negative: float) -> Array:
        """One hyper-parameter where A > 0 and another elsewhere."""
        xp = array_namespace(advantage)
        return xp.where(advantage > 0, xp.full_like(advantage, positive), xp.full_like(advantage, negative))


@dataclass(frozen=True)
class SAPO(Gated):
    r"""Soft adaptive policy optimization (SAPO): a sigmoid of the ratio in the place of PPO's clip.

    The loss of a token is ``-(4/t) sigmoid(t (w - 1)) A`` with t = tau_pos where A > 0 and tau_neg elsewhere, and
    GRPO's advantage. The gate :math:`4 \sigma (1 - \sigma) = \mathrm{sech}^2(t (w - 1)/2)` is 1 at w = 1. It induces
    :math:`A\, \mathrm{sech}^2(t (w - 1)/2) = \lambda`: actions with A <= 0 have no mass, and those that are left
    have w = 1 + (2/t) arcosh(sqrt(A/lam)), or at most one of them the other root.

    Parameters
    ----------
    tau_pos : float, default 1.0
        Temperature of the gate where A > 0, per unit of the ratio; > 0.
    tau_neg : float, default 1.05
        Temperature of the gate where A <= 0, per unit of the ratio; > 0.
    eps : float, default 1e-6
        Added to the standard deviation of the rewards before the advantage is divided by it; > 0. TRL has 1e-4.
    scale : {"group", "batch", "leave_one_out", "none"}, default "group"
        What the centered rewards are divided by, see :class:`pessimism.losses.standardized.Standardized`.

    Notes
    -----
    The gate is no wall: without a clip the surrogate of the best actions has no maximum at any ratio below 1/mu, and
    which of the actions with A > 0 survive is decided on the way. The pull on a ratio w fades like exp(-t w): where the
    better actions are rare, one in thirty or less, training gets there in no reasonable time. Where each of them gains
    at least lam even without mass, A sech^2(t/2) >= lam, all of them are left, in closed form. Here a token is a
    completion.

    References
    ----------
    .. [1] arXiv 2511.20347.

    Examples
    --------
    >>> import pessimism as ps
    >>> ps.induced_target([0.5, 0.3, 0.2], [0.0, 1.0, 1.0], "sapo").policy.round(4)
    array([0. , 0.6, 0.4])
    """

    name: ClassVar[str] = "sapo"
    title: ClassVar[str] = "Soft adaptive policy optimization"
    short: ClassVar[str] = "SAPO"
    paper: ClassVar[str] = "2511.20347"
    formula: ClassVar[str] = "-(4/t) sigmoid(t (w - 1)) A, t = tau_pos if A > 0 else tau_neg, A standardized"
    induces: ClassVar[str] = "A sech^2(t (w - 1)/2) = lam on actions with A > 0, as far as the flow keeps them"
    level: ClassVar[Literal["sequence", "token"]] = "token"

    tau_pos: float = 1.0
    tau_neg: float = 1.05
    eps: float = 1e-6
    scale: Scale = "group"

    def __post_init__(self) -> None:
        self.require_positive("tau_pos", "tau_neg", "eps")
        self.require_scale()

    def score_weight(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Score weight g = 4 s (1 - s) w A with s = sigmoid(t (w - 1))."""
        w = array_namespace(log_ratio).exp(log_ratio)
        x = self._by_sign(advantage, self.tau_pos, self.tau_neg) * (w - 1.0)
        return 4.0 * sigmoid(x) * sigmoid(-x) * w * advantage

    def loss(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Loss: -(4/t) sigmoid(t (w - 1)) A."""
        t = self._by_sign(advantage, self.tau_pos, self.tau_neg)
        return -4.0 / t * sigmoid(t * (array_namespace(log_ratio).exp(log_ratio) - 1.0)) * advantage

    def _all_kept(self, q: Array, A: Array, good: Array) -> tuple[Array, Array]:
        """All actions with A > 0 beyond the peak, w = 1 + (2/t) arcosh(sqrt(A/lam)), with the one lam that normalizes.

        If even without mass each of them gains at least lam, A sech^2(t/2) >= lam, nothing else is stable: fewer
        actions, or one below the peak, would need a smaller lam, at which those left out gain more.
        """
        mass = np.sum(np.where(good, q, 0.0), axis=-1)
        log_a = np.log(np.where(good, A, 1.0))
        least = np.min(np.where(good, log_a, np.inf), axis=-1)

        def ratio(log_lam: Array, row: Array) -> Array:
            y = np.maximum(np.where(good, log_a, least[:, None])[row] - log_lam[:, None], 0.0)
            return 1.0 + (y + 2.0 * np.log1p(np.sqrt(-np.expm1(-y)))) / self.tau_pos

        def total(log_lam: Array, row: Array) -> Array:
            return np.sum(np.where(good, q, 0.0)[row] * ratio(log_lam, row), axis=-1)

        rows = np.arange(len(q))
        exists = total(least, rows) < 1.0
        log_lam = least.copy()
        if np.any(exists):
            chosen = np.flatnonzero(exists)
            low = least[chosen] - self.tau_pos * (1.0 / mass[chosen] - 1.0)
            log_lam[chosen] = separable.normalizing_multiplier(lambda x, k: total(x, chosen[k]), low, least[chosen])
        alone = least - 2.0 * np.logaddexp(0.5 * self.tau_pos, -0.5 * self.tau_pos) + 2.0 * np.log(2.0)
        return np.log(ratio(log_lam, rows)), exists & (alone >= log_lam)


@dataclass(frozen=True)
class VESPO(Gated):
    r"""Variational sequence-level soft policy optimization (VESPO): REINFORCE with a gamma weight of the ratio.

    The loss of a completion is ``-sg[phi(w)] A log pi`` with :math:`\phi(w) = w^k e^{\lambda (1 - w)}`, w the ratio of
    the whole sequence, (k, lambda) by the sign of A, and GRPO's advantage. It induces :math:`A\, w^{k-1}
    e^{\lambda (1 - w)} = \lambda'`: actions with A < 0 have no mass, and those that are left have
    :math:`w = -\frac{k-1}{\lambda} W_{-1}(\cdot)`, on the branch of Lambert's function beyond the peak
    w = (k - 1)/lambda.

    Parameters
    ----------
    k_pos : float, default 2.0
        Exponent of the ratio where A >= 0; >= 1.
    lambda_pos : float, default 3.0
        Decay in the ratio where A >= 0; > 0.
    k_neg : float, default 3.0
        Exponent of the ratio where A < 0; >= 1.
    lambda_neg : float, default 2.0
        Decay in the ratio where A < 0; > 0.
    eps : float, default 1e-6
        Added to the standard deviation of the rewards before the advantage is divided by it; > 0. TRL has 1e-4.
    scale : {"group", "batch", "leave_one_out", "none"}, default "group"
        What the centered rewards are divided by, see :class:`pessimism.losses.standardized.Standardized`.

    Notes
    -----
    With k > 1 an action without mass gains nothing from a little of it, whatever its advantage: fixed points are as
    many as sets of actions with A > 0, and which of them survive is decided on the way. TRL's guards, token log-ratios
    within 20 and w >= 1e-8, are left out. Where the trainer's policy differs from the one that sampled, w is the ratio
    to the latter.

    References
    ----------
    .. [1] arXiv 2602.10693.

    Examples
    --------
    >>> import pessimism as ps
    >>> ps.induced_target([0.5, 0.3, 0.2], [0.0, 1.0, 1.0], "vespo").policy.round(4)
    array([0. , 0.6, 0.4])
    """

    name: ClassVar[str] = "vespo"
    title: ClassVar[str] = "Variational sequence-level soft policy optimization"
    short: ClassVar[str] = "VESPO"
    paper: ClassVar[str] = "2602.10693"
    formula: ClassVar[str] = "-sg[w^k exp(lambda (1 - w))] A log pi, (k, lambda) by the sign of A, A standardized"
    induces: ClassVar[str] = "Lambert's W_-1: A w^(k-1) exp(lambda (1 - w)) = lam on the A > 0 that the flow keeps"

    k_pos: float = 2.0
    lambda_pos: float = 3.0
    k_neg: float = 3.0
    lambda_neg: float = 2.0
    eps: float = 1e-6
    scale: Scale = "group"

    def __post_init__(self) -> None:
        self.require_positive("lambda_pos", "lambda_neg", "eps")
        self.require_at_least(1, "k_pos", "k_neg")
        for k, decay in (("k_pos", "lambda_pos"), ("k_neg", "lambda_neg")):
            power, rate = getattr(self, k), getattr(self, decay)
            if power * math.log(power / rate) - power + rate > _LARGEST:
                raise ValueError(
                    f"vespo: {k} and {decay} must leave the weight at its peak, w = {k}/{decay}, below e^{_LARGEST:g}"
                )
        self.require_scale()

    def score_weight(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Score weight g = w^k exp(lambda (1 - w)) A."""
        xp = array_namespace(log_ratio)
        k = self._by_sign(advantage, self.k_pos, self.k_neg)
        decay = self._by_sign(advantage, self.lambda_pos, self.lambda_neg)
        return xp.exp(k * log_ratio - decay * xp.expm1(log_ratio)) * advantage

    def _beyond_peak(self, ratio: Array) -> Array:
        """Whether the weight per mass of actions with A > 0 falls at these ratios: beyond w = (k - 1)/lambda."""
        return self.k_pos - 1.0 < self.lambda_pos * ratio

    def loss(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Loss: -sg[phi(w)] A log pi, up to a constant of the policy."""
        return -self.score_weight(stop_gradient(log_ratio), advantage, weights) * log_ratio
