"""Lower confidence bounds from n logged samples, maximized: pessimism that fades as the log grows.

Two subtract a width from each action's reward (PEVI); one bounds the value of the whole policy (empirical likelihood).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from array_api_compat import array_namespace

from pessimism.arrays import Array, to_numpy
from pessimism.closed_forms import separable
from pessimism.closed_forms.tilts import greedy
from pessimism.core.objective import propensities
from pessimism.losses.logged.base import LoggedObjective, MomentObjective, ShrunkReward, count_seen

if TYPE_CHECKING:
    from pessimism.core.bandit import Bandit
    from pessimism.core.solution import Solution


def hoeffding_width(propensity: Array, n: float, delta: float) -> Array:
    r"""Width :math:`\sqrt{\log(2K/\delta) / (2 n \mu)}` of a union of Hoeffding bounds, 0 where mu is 0, ``(..., K)``.

    K counts the actions with positive probability, n mu stands for the samples of an action, and rewards have range 1.
    """
    xp = array_namespace(propensity)
    seen = propensity > 0
    rate = xp.log(2.0 * count_seen(propensity) / delta) / (2.0 * n)
    width = xp.sqrt(rate / xp.where(seen, propensity, xp.ones_like(propensity)))
    return xp.where(seen, width, xp.zeros_like(width))


@dataclass(frozen=True)
class PEVI(LoggedObjective):
    """Pessimistic value iteration (PEVI) in a bandit: the greedy policy of a lower bound.

    The loss of a sample is ``-w (r - Gamma)`` with Gamma = sqrt(log(2K/delta) / (2 n mu)), Hoeffding's width at the
    expected counts n mu, K the number of actions with positive probability; rewards have range 1. It induces the action
    with the best lower bound r - Gamma, or the behavior on several equally good ones.

    Parameters
    ----------
    n : float, default 100.0
        Number of samples in the log; > 0. The bound leaves it to the user.
    delta : float, default 0.05
        Chance that the lower bound fails, in (0, 1). The bound leaves it to the user.

    Notes
    -----
    There is no temperature.

    References
    ----------
    .. [1] arXiv 2012.15085.

    Examples
    --------
    >>> import pessimism as ps
    >>> ps.induced_target([0.9, 0.1], [0.5, 0.6], PEVI(n=50)).policy
    array([1., 0.])
    >>> ps.induced_target([0.9, 0.1], [0.5, 0.6], PEVI(n=5000)).policy
    array([0., 1.])
    """

    name: ClassVar[str] = "pevi"
    title: ClassVar[str] = "Pessimistic value iteration, greedy"
    short: ClassVar[str] = "PEVI"
    paper: ClassVar[str] = "2012.15085"
    formula: ClassVar[str] = "-w (r - Gamma), Gamma = sqrt(log(2K/delta)/(2 n mu))"
    induces: ClassVar[str] = "greedy in the lower bound: mu on argmax r - Gamma"
    temperature_field: ClassVar[str | None] = None

    n: float = 100.0
    delta: float = 0.05

    def __post_init__(self) -> None:
        self.require_positive("n")
        self.require_open_unit("delta")

    def advantage(self, reward: Array, weights: Array | None = None) -> Array:
        """Lower bound r - Gamma of the reward."""
        return reward - hoeffding_width(propensities(reward, weights), self.n, self.delta)

    def score_weight(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Score weight g = w (r - Gamma)."""
        return array_namespace(log_ratio).exp(log_ratio) * advantage

    def loss(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Loss: -w (r - Gamma)."""
        return -array_namespace(log_ratio).exp(log_ratio) * advantage

    def closed_form(self, bandit: Bandit, advantage: Array, *, unseen: bool) -> Solution | None:
        """Behavior restricted to the best lower bounds."""
        return greedy(bandit, advantage)


@dataclass(frozen=True)
class PEVIWithKL(ShrunkReward):
    """Pessimistic value iteration with a KL penalty, the regularized twin of :class:`PEVI`.

    It maximizes E_pi[r - Gamma] - beta KL(pi || mu); the loss of a sample is
    ``-w (r - Gamma) + beta (w log w - w + 1)`` with Gamma = sqrt(log(2K/delta) / (2 n mu)) as in ``pevi``. It induces
    the target that is nominal in the lower bound, mu exp((r - Gamma)/beta)/Z. The published system is greedy
    (``pevi``).

    Parameters
    ----------
    n : float, default 100.0
        Number of samples in the log; > 0.
    delta : float, default 0.05
        Chance that the lower bound fails, in (0, 1).
    beta : float or array_like, default 0.1
        Weight of the explicit KL to the behavior, in units of the reward; > 0.

    References
    ----------
    .. [1] Compare arXiv 2012.15085.

    Examples
    --------
    >>> import pessimism as ps
    >>> target = ps.induced_target([0.4, 0.3, 0.2, 0.1], [0.2, 0.4, 0.6, 0.8], PEVIWithKL(n=200, beta=0.25))
    >>> round(float(target.conservatism()["pessimism_factor"].iloc[0]), 2)
    1.41
    """

    name: ClassVar[str] = "pevi_kl"
    title: ClassVar[str] = "Pessimistic value iteration with a KL penalty"
    short: ClassVar[str] = "PEVI-KL"
    paper: ClassVar[str] = "2012.15085"
    formula: ClassVar[str] = "-w (r - Gamma) + beta (w log w - w + 1), Gamma = sqrt(log(2K/delta)/(2 n mu))"
    induces: ClassVar[str] = "nominal in the lower bound: mu exp((r - Gamma)/beta)/Z"

    n: float = 100.0
    delta: float = 0.05
    beta: float = 0.1

    def __post_init__(self) -> None:
        self.require_positive("n", "beta")
        self.require_open_unit("delta")

    def shrunk(self, reward: Array, propensity: Array) -> Array:
        """Lower bound r - Gamma of the reward."""
        return reward - hoeffding_width(propensity, self.n, self.delta)


@dataclass(frozen=True)
class EmpiricalLikelihoodLCB(MomentObjective):
    """Empirical-likelihood lower bound (ELFCB) of a policy's value, to first order.

    It maximizes v - z S / sqrt(n), with the value v = E_pi[r] and the variance S^2 = E_mu[(w R)^2] - v^2 of the
    weighted reward. It induces w proportional to (r - eta)_+ / m, m = E[R^2], eta from a quadratic equation: S ties the
    actions together, yet the target is in closed form. It gives up actions of low reward as n grows and is greedy in
    the limit; a tiny n leads to the policy of least variance, not to the behavior.

    Parameters
    ----------
    n : float, default 100.0
        Number of samples in the log; > 0. The default is this package's.
    z : float, default 1.96
        Width of the lower bound, in standard errors; > 0. The default is the two-sided 95% of the published
        alpha = .05.
    second_moment : float or array_like, shape (..., K), optional
        E[R^2] of each action, one number for each. Without it the rewards are means of 0 or 1 (Bernoulli).

    Notes
    -----
    To first order in 1/sqrt(n) this is the published bound; its second condition, E[w] = 1, makes the exact one
    somewhat bolder. There is no temperature. Rewards are Bernoulli's, in [0, 1], unless ``second_moment`` is given.
    Where the best policy has no variance at all (only with certain rewards) the objective has a kink that no
    certificate sees.

    References
    ----------
    .. [1] arXiv 1906.03323.

    Examples
    --------
    >>> import pessimism as ps
    >>> behavior, reward = [0.4, 0.3, 0.2, 0.1], [0.2, 0.4, 0.6, 0.8]
    >>> ps.induced_target(behavior, reward, EmpiricalLikelihoodLCB(n=5)).policy.round(3)
    array([0.412, 0.297, 0.195, 0.097])
    >>> ps.induced_target(behavior, reward, EmpiricalLikelihoodLCB(n=50)).policy.round(3)
    array([0. , 0.343, 0.408, 0.249])
    """

    name: ClassVar[str] = "empirical_likelihood_lcb"
    title: ClassVar[str] = "Empirical-likelihood lower bound, first order"
    short: ClassVar[str] = "EL lower bound"
    paper: ClassVar[str] = "1906.03323"
    formula: ClassVar[str] = "-w r + z/sqrt(n) S, S^2 = E_mu[(w R)^2] - E_pi[r]^2"
    induces: ClassVar[str] = "w proportional to (r - eta)_+ / E[R^2], eta by a quadratic equation: linear and sparse"
    temperature_field: ClassVar[str | None] = None
    coupled: ClassVar[bool] = True

    n: float = 100.0
    z: float = 1.96
    second_moment: float | tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        self.require_positive("n", "z")
        self.require_at_least(0, "second_moment")

    def advantage(self, reward: Array, weights: Array | None = None) -> Array:
        """The mean reward itself."""
        return self.means(reward, weights)

    def _spread(self, w: Array, mean: Array, weights: Array | None) -> tuple[Array, Array, Array]:
        """Value v ``(..., 1)``, each action's part of S^2 ``(..., K)``, and S (one where it is zero)."""
        xp = array_namespace(w)
        share = propensities(w + 0.0 * mean, weights)
        v = xp.sum(share * w * mean, axis=-1, keepdims=True)
        second = w * w * self.moment(mean)
        part = (second - (w * mean) ** 2) + (w * mean - v) ** 2
        square = xp.sum(share * part, axis=-1, keepdims=True)
        varies = square > 1e-24 * xp.sum(share * second, axis=-1, keepdims=True)
        part = xp.where(varies, part, xp.zeros_like(part))
        return v, part, xp.sqrt(xp.where(varies, square, xp.ones_like(square)))

    def score_weight(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Score weight g = w (r - z/sqrt(n) (w m - v r)/S)."""
        xp = array_namespace(log_ratio)
        w = xp.exp(log_ratio)
        v, part, spread = self._spread(w, advantage, weights)
        varies = xp.astype(xp.any(part != 0, axis=-1, keepdims=True), w.dtype)
        slope = varies * (w * self.moment(advantage) - v * advantage) / spread
        return w * (advantage - self.z / math.sqrt(self.n) * slope)

    def loss(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Loss -w r + z/sqrt(n) E[(w R - v)^2 | a] / S, whose mean is -(v - z S/sqrt(n))."""
        w = array_namespace(log_ratio).exp(log_ratio)
        _, part, spread = self._spread(w, advantage, weights)
        return -w * advantage + self.z / math.sqrt(self.n) * part / spread

    def closed_form(self, bandit: Bandit, advantage: Array, *, unseen: bool) -> Solution | None:
        """Policy with w proportional to (r - eta)_+ / m, eta from a quadratic equation.

        With k^2 = z^2/n and sums over the active actions, B = sum q (p - eta) p/m and N = sum q (p - eta)/m, the
        conditions of optimality reduce to f(eta) = B (1 - B) - k^2 (1 - B)^2 - eta N = 0, which falls through zero
        once; between two rewards f is quadratic. The multiplier is the bound itself, since it is homogeneous in pi.
        """
        q, p = to_numpy(bandit.behavior), to_numpy(advantage)
        m, pays = self.moment(p), (q > 0) & (p > 0)
        k2 = self.z**2 / self.n
        order = np.argsort(-np.where(pays, p, -1.0), axis=-1, kind="stable")
        safe = np.where(pays, m, 1.0)
        parts = (np.where(pays, a, 0.0) for a in (p, q * (p / safe), q / safe, q * (1.0 - p * (p / safe))))
        top, *rates = (np.take_along_axis(a, order, axis=-1) for a in parts)
        b, c, loses = (np.cumsum(a, axis=-1) for a in rates)
        a = np.cumsum(rates[0] * top, axis=-1)
        mass = np.take_along_axis(q, order, axis=-1)
        d = np.maximum(loses + np.sum(mass, axis=-1, keepdims=True) - np.cumsum(mass, axis=-1), 0.0)  # 1 - a
        captured = a - top * b
        f = captured * (1.0 - captured) - k2 * (1.0 - captured) ** 2 - top * (b - top * c)
        active = np.logical_and.accumulate((f < 0) & (top > 0), axis=-1)
        last = np.maximum(np.sum(active, axis=-1, keepdims=True) - 1, 0)
        a, b, c, d = (np.take_along_axis(x, last, axis=-1) for x in (a, b, c, d))
        root = np.sqrt(np.maximum(k2 * (b * b + c * d) - (a * c - b * b), 0.0))
        none = ~np.any(pays, axis=-1, keepdims=True)
        divisor = np.where(none, 1.0, (1.0 + k2) * b * np.sqrt(d) + root)
        eta = np.sqrt(d) * (1.0 - (1.0 + k2) * d) / divisor
        # A certain nothing beats a negative bound.
        idle = (q > 0) & (p == 0)
        retreats = np.any(idle, axis=-1, keepdims=True) & ((eta <= 0) | none)
        height = np.where(pays, np.maximum(p - eta, 0.0) / safe, 0.0)
        height = np.where(retreats, idle.astype(float), height)
        total = np.sum(q * height, axis=-1, keepdims=True)
        w = height / total
        log_ratio = np.log(w, out=np.full_like(w, -np.inf), where=w > 0)
        gained = np.sum(q * w * p, axis=-1) - k2 * (d + b * eta)[:, 0] / total[:, 0]
        lam = np.where(retreats[:, 0], 0.0, gained)
        several = retreats[:, 0] & (np.sum(idle, axis=-1) > 1)
        return separable.wrap(bandit, self, advantage, log_ratio, lam, set_valued=several)
