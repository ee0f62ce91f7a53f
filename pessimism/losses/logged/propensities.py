r"""Importance-weighted learning from logged bandit data: what shrinks the weight shrinks the reward that is maximized.

Without a temperature of their own these systems carry an explicit :math:`\beta\, KL(\pi \| \mu)` to the behavior, so
that targets can be compared; beta is by default the 1 / (lam n) of PAC-Bayesian learning, lam = 1/sqrt(n), n = 100.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from array_api_compat import array_namespace

from pessimism.arrays import Array, to_numpy
from pessimism.closed_forms import separable
from pessimism.losses.logged.base import LoggedObjective, ShrunkReward, count_seen
from pessimism.losses.logged.water_filling import log_of
from pessimism.special import log_sum_exp

if TYPE_CHECKING:
    from pessimism.core.bandit import Bandit
    from pessimism.core.solution import Solution


_FORMULA = "-w s r + beta (w log w - w + 1), s = "
_INDUCES = "nominal in a shrunk reward: mu exp(s r/beta)/Z, s = "


@dataclass(frozen=True)
class IPS(ShrunkReward):
    """Inverse propensity scores (IPS), the unregularized estimator E_mu[w r], with a KL penalty.

    The loss of a sample is ``-w r + beta (w log w - w + 1)``. By itself the estimator is greedy; with the explicit KL
    it induces the nominal target, mu exp(r/beta)/Z.

    Parameters
    ----------
    beta : float or array_like, default 0.1
        Weight of the explicit KL to the behavior, in units of the reward; > 0.

    References
    ----------
    .. [1] As in arXiv 2405.14335.

    Examples
    --------
    >>> import pessimism as ps
    >>> ps.induced_target([0.5, 0.5], [0.0, 1.0], IPS(beta=1.0)).policy.round(4)
    array([0.2689, 0.7311])
    """

    name: ClassVar[str] = "ips"
    title: ClassVar[str] = "Inverse propensity scores"
    short: ClassVar[str] = "IPS"
    paper: ClassVar[str] = "2405.14335"
    formula: ClassVar[str] = "-w r + beta (w log w - w + 1)"
    induces: ClassVar[str] = "nominal, mu exp(r/beta)/Z"

    beta: float = 0.1

    def __post_init__(self) -> None:
        self.require_positive("beta")

    def shrunk(self, reward: Array, propensity: Array) -> Array:
        """The reward itself."""
        return reward


@dataclass(frozen=True)
class WeightClipping(LoggedObjective):
    """Importance weights clipped at ``cap`` and differentiated, with a KL penalty.

    It maximizes E_mu[min(w, cap) r] - beta KL(pi || mu); the loss of a sample is
    ``-min(w, cap) r + beta (w log w - w + 1)``. Nothing calls for more mass where w > cap: it induces
    w = min(c exp(r/beta), max(cap, c)), c normalizing, which is nominal up to a ceiling, the excess spread over the
    rest.

    Parameters
    ----------
    cap : float, default 10.0
        Cap of the ratio of policy to behavior; > 0. The published one is sqrt(n), and the default that of n = 100;
        a cap <= 1 gives the behavior.
    beta : float, default 0.1
        Weight of the explicit KL to the behavior, in units of the reward; > 0.

    Notes
    -----
    Rewards must be >= 0, else the objective is not concave. Unlike
    :class:`~pessimism.losses.importance_weighted.TruncatedIS` it differentiates the clipped weights.

    References
    ----------
    .. [1] arXiv 2405.14335.

    Examples
    --------
    >>> import pessimism as ps
    >>> ps.induced_target([0.5, 0.5], [0.0, 1.0], WeightClipping(cap=1.2, beta=0.1)).policy.round(4)
    array([0.4, 0.6])
    """

    name: ClassVar[str] = "weight_clipping"
    title: ClassVar[str] = "IPS with clipped weights"
    short: ClassVar[str] = "weight clipping"
    paper: ClassVar[str] = "2405.14335"
    formula: ClassVar[str] = "-min(w, cap) r + beta (w log w - w + 1)"
    induces: ClassVar[str] = "w = min(c exp(r/beta), max(cap, c)), c normalizing: nominal up to a ceiling"

    cap: float = 10.0
    beta: float = 0.1

    def __post_init__(self) -> None:
        self.require_positive("cap", "beta")

    @property
    def kinks(self) -> tuple[float, ...]:
        """Log-ratio at which the clip begins."""
        return (math.log(self.cap),)

    def advantage(self, reward: Array, weights: Array | None = None) -> Array:
        """The reward itself, which must be >= 0."""
        return self.within(reward, weights)

    def score_weight(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Score weight g = w (1{w < cap} r - beta u)."""
        xp = array_namespace(log_ratio)
        below = xp.astype(log_ratio < math.log(self.cap), log_ratio.dtype)
        return xp.exp(log_ratio) * (below * advantage - self.beta * log_ratio)

    def loss(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Loss: -min(w, cap) r + beta (w log w - w + 1)."""
        xp = array_namespace(log_ratio)
        clipped = xp.exp(xp.clip(log_ratio, None, math.log(self.cap)))
        return self.beta * (1.0 - xp.exp(log_ratio) * (1.0 - log_ratio)) - clipped * advantage

    def closed_form(self, bandit: Bandit, advantage: Array, *, unseen: bool) -> Solution | None:
        """Nominal ratios, with the best actions at the cap: as many as leave the next one below it."""
        q, log_q, reward = (to_numpy(a) for a in (bandit.behavior, bandit.log_behavior, advantage))
        if self.cap <= 1:
            return separable.wrap(bandit, self, advantage, np.zeros_like(q), np.zeros(len(q)))
        order = np.argsort(-np.where(q > 0, reward, -np.inf), axis=-1, kind="stable")
        ranked, log_mass = (np.take_along_axis(a, order, axis=-1) for a in (reward, log_q))
        pull = (ranked - ranked[:, :1]) / self.beta
        terms = log_mass + pull
        worse = np.logaddexp.accumulate(terms[:, ::-1], axis=-1)[:, ::-1]  # this action and those below it
        better = np.cumsum(np.exp(log_mass), axis=-1) - np.exp(log_mass)
        log_left = log_of(np.maximum(1.0 - self.cap * better, 0.0))  # mass left by the better ones at the cap
        fits = (log_left + pull <= math.log(self.cap) + worse) & np.isfinite(log_left + terms)
        first = np.argmax(fits, axis=-1)[:, None]
        # Measured from the best action below the cap, which needs its digits.
        anchor, log_left = (np.take_along_axis(a, first, axis=-1) for a in (ranked, log_left))
        z = (reward - anchor) / self.beta
        rest = np.where((q > 0) & (z <= 0), log_q + z, -np.inf)
        log_ratio = log_left - log_sum_exp(rest)[:, None] + z
        lam = (anchor - self.beta * (log_ratio - z))[:, 0]
        return separable.wrap(bandit, self, advantage, np.minimum(log_ratio, math.log(self.cap)), lam)


@dataclass(frozen=True)
class PropensityClipping(ShrunkReward):
    """Inverse propensity scores with propensities clipped from below, with a KL penalty.

    It maximizes E_mu[pi / max(mu, tau) r] - beta KL(pi || mu), which is linear in pi but for the KL: it induces the
    target that is nominal in the reward s r, s = mu / max(mu, tau). Actions rarer than tau count for less, all others
    in full.

    Parameters
    ----------
    tau : float, optional
        Propensities below this are raised to it; > 0. Without it, it is the 1/K of the authors' code, K the number of
        actions with positive probability.
    beta : float or array_like, default 0.1
        Weight of the explicit KL to the behavior, in units of the reward; > 0.

    References
    ----------
    .. [1] arXiv 2405.14335.

    Examples
    --------
    >>> import pessimism as ps
    >>> target = ps.induced_target([0.8, 0.2], [0.0, 1.0], PropensityClipping(beta=0.5))
    >>> target.policy.round(4), target.nominal.round(4)
    (array([0.6424, 0.3576]), array([0.3512, 0.6488]))
    """

    name: ClassVar[str] = "propensity_clipping"
    title: ClassVar[str] = "IPS with clipped propensities"
    short: ClassVar[str] = "propensity clipping"
    paper: ClassVar[str] = "2405.14335"
    formula: ClassVar[str] = _FORMULA + "mu/max(mu, tau)"
    induces: ClassVar[str] = _INDUCES + "mu/max(mu, tau)"

    tau: float | None = None
    beta: float = 0.1

    def __post_init__(self) -> None:
        if self.tau is not None:
            self.require_positive("tau")
        self.require_positive("beta")

    def shrunk(self, reward: Array, propensity: Array) -> Array:
        """Reward mu / max(mu, tau) r."""
        xp = array_namespace(reward)
        floor = 1.0 / count_seen(propensity) if self.tau is None else xp.full_like(propensity, self.tau)
        return propensity / xp.maximum(propensity, floor) * reward


@dataclass(frozen=True)
class ImplicitExploration(ShrunkReward):
    """Implicit exploration (IX): a constant added to each propensity, with a KL penalty.

    It maximizes E_mu[pi / (mu + gamma) r] - beta KL(pi || mu), which is linear in pi but for the KL: it induces the
    target that is nominal in the reward s r, s = mu / (mu + gamma), which is smallest at rare actions.

    Parameters
    ----------
    gamma : float, default 0.05
        Added to each propensity; > 0. The published bounds use lam/2; the default is that of lam = 1/sqrt(n) at
        n = 100.
    beta : float or array_like, default 0.1
        Weight of the explicit KL to the behavior, in units of the reward; > 0.

    References
    ----------
    .. [1] arXiv 2405.14335.

    Examples
    --------
    >>> import pessimism as ps
    >>> target = ps.induced_target([0.8, 0.2], [0.0, 1.0], ImplicitExploration(gamma=0.2, beta=0.5))
    >>> target.policy.round(4), target.nominal.round(4)
    (array([0.5954, 0.4046]), array([0.3512, 0.6488]))
    """

    name: ClassVar[str] = "implicit_exploration"
    title: ClassVar[str] = "Implicit exploration"
    short: ClassVar[str] = "implicit exploration"
    paper: ClassVar[str] = "2405.14335"
    formula: ClassVar[str] = _FORMULA + "mu/(mu + gamma)"
    induces: ClassVar[str] = _INDUCES + "mu/(mu + gamma)"

    gamma: float = 0.05
    beta: float = 0.1

    def __post_init__(self) -> None:
        self.require_positive("gamma", "beta")

    def shrunk(self, reward: Array, propensity: Array) -> Array:
        """Reward mu / (mu + gamma) r."""
        return propensity / (propensity + self.gamma) * reward


@dataclass(frozen=True)
class ExponentialSmoothing(ShrunkReward):
    """Exponential smoothing: a power of each propensity, with a KL penalty.

    It maximizes E_mu[pi / mu^alpha r] - beta KL(pi || mu), which is linear in pi but for the KL: it induces the target
    that is nominal in the reward s r, s = mu^(1 - alpha).

    Parameters
    ----------
    alpha : float, optional
        Exponent of the propensity, in [0, 1]; 1 is IPS. Without it, it is 1 - 1/K, as in the code of arXiv 2405.14335,
        K the number of actions with positive probability.
    beta : float or array_like, default 0.1
        Weight of the explicit KL to the behavior, in units of the reward; > 0.

    Notes
    -----
    Another smoothing of the field, (pi/mu)^alpha, is not this one.

    References
    ----------
    .. [1] arXiv 2305.15877.

    Examples
    --------
    >>> import pessimism as ps
    >>> target = ps.induced_target([0.8, 0.2], [0.0, 1.0], ExponentialSmoothing(alpha=0.5, beta=0.5))
    >>> target.policy.round(4), target.nominal.round(4)
    (array([0.6205, 0.3795]), array([0.3512, 0.6488]))
    """

    name: ClassVar[str] = "exponential_smoothing"
    title: ClassVar[str] = "Exponential smoothing"
    short: ClassVar[str] = "exponential smoothing"
    paper: ClassVar[str] = "2305.15877"
    formula: ClassVar[str] = _FORMULA + "mu^(1 - alpha)"
    induces: ClassVar[str] = _INDUCES + "mu^(1 - alpha)"

    alpha: float | None = None
    beta: float = 0.1

    def __post_init__(self) -> None:
        if self.alpha is not None:
            self.require_number("alpha")
            if not 0 <= self.alpha <= 1:
                raise ValueError(f"{self.name}: alpha must be in [0, 1], got {self.alpha!r}")
        self.require_positive("beta")

    def shrunk(self, reward: Array, propensity: Array) -> Array:
        """Reward mu^(1 - alpha) r."""
        power = 1.0 / count_seen(propensity) if self.alpha is None else 1.0 - self.alpha
        return propensity**power * reward
