r"""Conservative Q-learning in a bandit: regress Q on the reward, and lower it at what the policy prefers to the data.

The policy is the softmax of Q, so :math:`Q_a = t\,u_a + c` with u its log-ratio to the base of the softmax, and the
penalty logsumexp Q - Q(a) of a sample is -t u itself, behavior cloning. The level c, which no policy shows, is where
the regression puts it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from array_api_compat import array_namespace

from pessimism.arrays import Array, to_numpy
from pessimism.closed_forms import separable, tilts
from pessimism.closed_forms.regime import regime_of
from pessimism.core.objective import MeanBaseline, centered, propensities
from pessimism.special import log_wright_omega

if TYPE_CHECKING:
    from pessimism.core.bandit import Bandit
    from pessimism.core.solution import Solution


def _log_policy(log_ratio: Array, weights: Array | None) -> Array:
    """Logarithm of the policy, u + log mu; actions without probability, which no sum counts, keep their u."""
    xp = array_namespace(log_ratio)
    mu = propensities(log_ratio, weights)
    return log_ratio + xp.log(xp.where(mu > 0, mu, xp.ones_like(mu)))


@dataclass(frozen=True)
class _SoftmaxOfQ(MeanBaseline):
    """Base of CQL(H) with either error: the policy is softmax(Q), without a temperature of its own.

    Parameters
    ----------
    alpha : float, default 1.0
        Weight of the conservative term; > 0.
    """

    reference_policy: ClassVar[Literal["behavior", "initial", "none"]] = "none"
    temperature_field: ClassVar[str | None] = None
    coupled: ClassVar[bool] = True
    takes_propensity: ClassVar[bool] = True

    alpha: float = 1.0

    def __post_init__(self) -> None:
        self.require_positive("alpha")


@dataclass(frozen=True)
class CQL(_SoftmaxOfQ):
    r"""Discrete conservative Q-learning, CQL(H), with squared errors.

    The loss is E_mu[(Q - r)^2]/2 + alpha E_mu[logsumexp Q - Q(a)], and the policy is softmax(Q). Stationary in Q:
    :math:`Q - r + \alpha (\pi/\mu - 1) = 0`. It induces :math:`\log w + \alpha w = (r - \log \mu) - s`: a Lambert tilt
    of r - log mu, not of r, since the softmax starts from the uniform policy.

    Parameters
    ----------
    alpha : float, default 1.0
        Weight of the conservative term; > 0. The default is d3rlpy's (whose regression is Huber's, see
        :class:`CQLHuber`). An error without the factor 1/2, as in the authors' continuous code, is alpha/2 here.

    Notes
    -----
    As alpha tends to 0 the target tends to softmax(r) on the actions seen; as alpha tends to infinity, to the behavior.
    There is no temperature: that of the softmax is 1 whatever the unit of the reward, and no nominal target
    mu exp(r/beta) is claimed. At actions without data Q tends to minus infinity: the data define the support.

    References
    ----------
    .. [1] arXiv 2006.04779, eq. 4.

    Examples
    --------
    >>> import pessimism as ps
    >>> target = ps.induced_target([0.9, 0.1], [0.0, 0.0], CQL(alpha=1.0))
    >>> target.policy.round(4)  # equal rewards: still towards uniform
    array([0.784, 0.216])
    """

    name: ClassVar[str] = "cql"
    title: ClassVar[str] = "Conservative Q-learning, softmax policy"
    short: ClassVar[str] = "CQL"
    paper: ClassVar[str] = "2006.04779"
    formula: ClassVar[str] = "(Q - r)^2/2 + alpha (logsumexp Q - Q), pi = softmax(Q)"
    induces: ClassVar[str] = "log w + alpha w = (r - log mu) - s: a Lambert tilt that starts from the uniform policy"
    no_advantage_because: ClassVar[str] = "it fits the rewards themselves"

    def score_weight(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Score weight g = r - Q + alpha, with Q = log pi + c and E_mu[Q - r] = 0."""
        return self.alpha - centered(_log_policy(log_ratio, weights) - advantage, weights)

    def loss(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Loss: (Q - r)^2/2 + alpha (logsumexp Q - Q), the second term being -alpha log pi."""
        log_policy = _log_policy(log_ratio, weights)
        return 0.5 * centered(log_policy - advantage, weights) ** 2 - self.alpha * log_policy

    def closed_form(self, bandit: Bandit, advantage: Array, *, unseen: bool) -> Solution | None:
        """Lambert target of r - log mu with kappa = alpha; it has no kappa in the reward."""
        found = tilts.chi_square_kl(bandit, advantage - bandit.masked(bandit.log_behavior, 0.0), 1.0, self.alpha)
        nan, lam = bandit.xp.full_like(found.kappa, bandit.xp.nan), bandit.xp.full_like(found.kappa, self.alpha)
        return found._replace(kappa=nan, regime=regime_of(bandit, found.log_ratio, lam))


@dataclass(frozen=True)
class CQLReference(MeanBaseline):
    r"""Conservative Q-learning, CQL(rho): the logsumexp is weighted by a reference rho, at temperature beta.

    The loss is :math:`E_\mu[(Q - r)^2]/2 + \alpha E_\mu[\beta \log \sum_a \rho_a e^{Q_a/\beta} - Q(a)]`, and the policy
    is :math:`\pi \propto \rho\, e^{Q/\beta}`. It induces :math:`\beta \log(\pi/\rho) + \alpha \pi/\mu = r - s`. With
    rho = mu, the default, that is the nominal target with a chi^2 penalty: Lambert with kappa = alpha/beta.

    Parameters
    ----------
    alpha : float, default 1.0
        Weight of the conservative term; > 0. It is ``min_q_weight`` of the authors' code, with its default.
    beta : float, default 1.0
        Temperature, or weight of the penalty, in units of the advantage; > 0. It is ``temp`` of the authors' code,
        with its default.

    Notes
    -----
    As alpha tends to 0 the target tends to the nominal one around rho; as alpha tends to infinity, to the behavior. rho
    uniform and beta = 1 is :class:`CQL`; the paper takes the policy of the step before for rho.

    References
    ----------
    .. [1] arXiv 2006.04779, section 3.2.

    Examples
    --------
    >>> import pessimism as ps
    >>> target = ps.induced_target([0.9, 0.1], [0.0, 1.0], CQLReference(alpha=0.5, beta=0.25))
    >>> target.policy.round(4), float(target.kappa)
    (array([0.7656, 0.2344]), 2.0)
    """

    name: ClassVar[str] = "cql_reference"
    title: ClassVar[str] = "Conservative Q-learning, reference-weighted"
    short: ClassVar[str] = "reference CQL"
    paper: ClassVar[str] = "2006.04779"
    formula: ClassVar[str] = "(Q - r)^2/2 + alpha (beta log sum rho exp(Q/beta) - Q), pi = rho exp(Q/beta)/Z"
    induces: ClassVar[str] = "log w + (alpha/beta) w = (r - s)/beta: Lambert with kappa = alpha/beta"
    coupled: ClassVar[bool] = True
    takes_reference: ClassVar[bool] = True
    no_advantage_because: ClassVar[str] = "it fits the rewards themselves"

    alpha: float = 1.0
    beta: float = 1.0

    def __post_init__(self) -> None:
        self.require_positive("alpha", "beta")

    def score_weight(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Score weight g = beta (r - Q + alpha), with Q = beta u + c and E_mu[Q - r] = 0."""
        return self.beta * (self.alpha - centered(self.beta * log_ratio - advantage, weights))

    def loss(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Loss: (Q - r)^2/2 + alpha (beta log sum rho exp(Q/beta) - Q), the second term being -alpha beta u."""
        error = centered(self.beta * log_ratio - advantage, weights)
        return 0.5 * error**2 - self.alpha * self.beta * log_ratio

    def closed_form(self, bandit: Bandit, advantage: Array, *, unseen: bool) -> Solution | None:
        """Lambert target with kappa = alpha/beta."""
        gamma, share = self.alpha / self.beta, bandit.log_reference_ratio
        if share is None:
            return tilts.chi_square_kl(bandit, advantage, self.beta, gamma)
        # pi/rho is made of pi/mu: the same problem around mu, in the reward r + beta log(rho/mu).
        found = tilts.chi_square_kl(bandit, advantage + self.beta * share, self.beta, gamma)
        return found._replace(log_ratio=found.log_ratio - share)


@dataclass(frozen=True)
class CQLHuber(_SoftmaxOfQ):
    r"""Discrete conservative Q-learning, CQL(H), with Huber's loss in place of the square.

    Huber's loss has delta = 1, as in d3rlpy's code. Stationary in Q: :math:`clip(Q - r, -1, 1) = \alpha (1 - \pi/\mu)`.
    It induces :class:`CQL`'s equation, log w + alpha w = (r - log mu) - s, with w clipped to [1 - 1/alpha, 1 + 1/alpha]
    whatever the rewards: a hard trust region that no formula of the paper shows.

    Parameters
    ----------
    alpha : float, default 1.0
        Weight of the conservative term; > 0.

    Notes
    -----
    Between the caps the equation has a level c of its own, Huber's location of r - log pi. At a cap the policy stands
    still while Q keeps the rest: it is more than 1 above r at the lower cap, and more than 1 below it at the upper.
    With alpha <= 1, the default among them, there is no lower cap. Rewards that differ by much more than 1 put all
    actions but one on the caps.

    References
    ----------
    .. [1] arXiv 2006.04779, and the code of d3rlpy.

    Examples
    --------
    >>> import pessimism as ps
    >>> target = ps.induced_target([0.5, 0.3, 0.2], [0.0, 5.0, -5.0], CQLHuber(alpha=4.0))
    >>> (target.policy / target.behavior).round(4)  # two of three on the caps
    array([0.95, 1.25, 0.75])
    """

    name: ClassVar[str] = "cql_huber"
    title: ClassVar[str] = "Conservative Q-learning, Huber regression"
    short: ClassVar[str] = "Huber CQL"
    paper: ClassVar[str] = "2006.04779"
    formula: ClassVar[str] = "huber(Q - r) + alpha (logsumexp Q - Q), pi = softmax(Q)"
    induces: ClassVar[str] = "log w + alpha w = (r - log mu) - s, w clipped to [1 - 1/alpha, 1 + 1/alpha]"
    no_advantage_because: ClassVar[str] = "it fits the rewards themselves"

    def score_weight(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Score weight g = clip(r - Q, -1, 1) + alpha, with Q = log pi + c and E_mu[clip(r - Q, -1, 1)] = 0."""
        xp = array_namespace(log_ratio)
        error = _huber_centered(advantage - _log_policy(log_ratio, weights), weights)
        return self.alpha + xp.clip(error, -1.0, 1.0)

    def loss(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Loss: huber(Q - r) + alpha (logsumexp Q - Q), the second term being -alpha log pi."""
        xp = array_namespace(log_ratio)
        log_policy = _log_policy(log_ratio, weights)
        error = _huber_centered(advantage - log_policy, weights)
        clipped = xp.clip(error, -1.0, 1.0)
        return clipped * (error - 0.5 * clipped) - self.alpha * log_policy

    def closed_form(self, bandit: Bandit, advantage: Array, *, unseen: bool) -> Solution | None:
        """Policy of CQL's equation clipped at the caps, with one level c for E_mu[w] = 1."""
        q = to_numpy(bandit.behavior)
        level = to_numpy(advantage - bandit.masked(bandit.log_behavior, 0.0))

        def log_ratio(c: Array, row: Array) -> Array:
            return self._capped(level[row] - c[:, None])

        def mass(c: Array, row: Array) -> Array:
            return 1.0 + np.sum(q[row] * np.expm1(log_ratio(c, row)), axis=-1)

        # One unit beyond the range of r - log mu every ratio is on the same side of 1.
        low = np.min(np.where(q > 0, level, np.inf), axis=-1) - 1.0
        high = np.max(np.where(q > 0, level, -np.inf), axis=-1) + 1.0
        u, done = self._by_newton(q, np.where(q > 0, level, 0.0), low, high)
        if not np.all(done):
            q, level = q[~done], level[~done]
            c = separable.normalizing_multiplier(mass, low[~done], high[~done])
            u[~done] = log_ratio(c, np.arange(len(q)))
        lam = np.full(len(u), float(self.alpha))
        return separable.wrap(bandit, self, advantage, u, lam)

    def _by_newton(self, q: Array, level: Array, low: Array, high: Array) -> tuple[Array, Array]:
        """Log-ratios ``(N, K)`` and level at once by Newton's method, and which rows are done (numpy)."""
        alpha, (least, most) = float(self.alpha), self._caps()
        c = np.vecdot(q, level)
        u = np.clip((level - c[:, None]) / (1.0 + alpha), least, most)
        found, solved, left = np.empty_like(u), np.zeros(len(q), dtype=bool), np.arange(len(q))
        with np.errstate(all="ignore"):  # a row that overflows is not done
            for _ in range(20):
                growth = np.expm1(u)
                w = 1.0 + growth
                slope = 1.0 + alpha * w
                nearer = np.clip(u - (u + alpha * growth - (level - c[:, None])) / slope, least, most)
                w *= q
                tilt = np.where((nearer > least) & (nearer < most), 1.0 / slope, 0.0)
                excess = np.vecdot(q, growth) + np.vecdot(w, nearer - u)
                change = np.where(excess == 0, 0.0, excess / np.vecdot(w, tilt))
                c = np.clip(c + change, low, high)
                stepped = np.clip(nearer - tilt * change[:, None], least, most)
                done = np.max(np.abs(stepped - u), axis=-1) <= 1e-9
                u = stepped
                found[left], solved[left] = u, done & (np.abs(np.vecdot(q, np.expm1(u))) <= 1e-14)
                if np.all(done):
                    break
                if np.any(done):  # each row goes on by itself
                    left, q, level, low, high, c, u = (a[~done] for a in (left, q, level, low, high, c, u))
            return found, solved

    def _caps(self) -> tuple[float, float]:
        """Log-ratios at the caps 1 - 1/alpha, where there is one, and 1 + 1/alpha."""
        alpha = float(self.alpha)
        return float(np.log1p(-1.0 / alpha)) if alpha > 1.0 else -np.inf, float(np.log1p(1.0 / alpha))

    def _capped(self, y: Array) -> Array:
        """Solution u of u + alpha (exp(u) - 1) = y, clipped where exp(u) is off 1 by more than 1/alpha (numpy)."""
        alpha, (low, high) = float(self.alpha), self._caps()
        u = np.clip(log_wright_omega(y + alpha + np.log(alpha)) - np.log(alpha), low, high)
        for _ in range(2):  # the digits of small u that the sum above lost
            u = np.clip(u - (u + alpha * np.expm1(u) - y) / (1.0 + alpha * np.exp(u)), low, high)
        return u


def _huber_centered(x: Array, weights: Array | None) -> Array:
    """Values x minus their Huber location on the group, the c with E_mu[clip(x - c, -1, 1)] = 0."""
    xp = array_namespace(x)
    p = propensities(x, weights) + xp.zeros_like(x)
    # The sum falls from 1 to -1, in straight pieces between the points x - 1 and x + 1.
    ends = xp.concat([x - 1.0, x + 1.0], axis=-1)
    order = xp.argsort(ends, axis=-1)
    ends = xp.take_along_axis(ends, order, axis=-1)
    slope = xp.cumulative_sum(xp.take_along_axis(xp.concat([-p, p], axis=-1), order, axis=-1), axis=-1)
    total = xp.sum(p, axis=-1, keepdims=True) + xp.cumulative_sum(
        slope[..., :-1] * (ends[..., 1:] - ends[..., :-1]), axis=-1
    )
    piece = xp.sum(xp.astype(total > 0, xp.int64), axis=-1, keepdims=True)
    piece = xp.clip(piece, 0, total.shape[-1] - 1)
    middle = 0.5 * (xp.take_along_axis(ends, piece, axis=-1) + xp.take_along_axis(ends, piece + 1, axis=-1))
    inside = xp.astype(xp.abs(x - middle) < 1.0, x.dtype) * p
    outside = xp.where(xp.abs(x - middle) < 1.0, xp.zeros_like(x), xp.sign(x - middle)) * p
    held = xp.sum(inside, axis=-1, keepdims=True)
    location = xp.sum(inside * x + outside, axis=-1, keepdims=True) / xp.where(held > 0, held, xp.ones_like(held))
    return x - xp.where(held > 0, location, middle)
