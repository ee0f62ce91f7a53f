"""Mixed data: samples of the current policy beside those of an expert, who is the behavior here.

Samples of the policy itself carry the factor w = pi/q, since the data are those of the expert q.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from array_api_compat import array_namespace

from pessimism import baselines
from pessimism.arrays import Array, to_numpy
from pessimism.closed_forms import separable
from pessimism.core.bandit import Bandit
from pessimism.core.objective import MeanBaseline, propensities, stop_gradient
from pessimism.core.solution import Solution
from pessimism.losses.kl_regularized import log_barrier


@dataclass(frozen=True)
class LUFFY(MeanBaseline):
    """LUFFY: policy gradient on the policy's own samples, shaped likelihood on an expert's, in one group.

    The loss of an own sample is ``-w A``, not clipped; that of an expert sample is ``-A f(pi)`` with
    f(p) = p/(p + gamma), the ratio with its denominator set to one, then shaped. The expert is the behavior q. The mean
    that A subtracts is that of the mixed group, V = (1 - expert_share) E_pi[r] + expert_share E_q[r], which rises with
    the policy. It induces A [(1 - expert_share) + expert_share gamma q/(pi + gamma)^2] = lam: greedy on its own
    samples, held back by the bonus that every expert action with A > 0 has while it is rare. Actions below V lose all
    mass.

    Parameters
    ----------
    gamma : float, default 0.1
        Scale of the shaping p/(p + gamma) of an expert's probability; > 0.
    expert_share : float, default 0.125
        Share of the group that is the expert's, in (0, 1). The default is 1 of 8.

    Notes
    -----
    Actions whose slope at zero stays below lam lose all mass, too. Given V, the surrogate is concave where A > 0, and
    the V of its maximizer rises with V by less than half: the fixed point is unique. The paper divides A by the
    standard deviation of the mixed group, the script does not; a factor on all advantages of a group moves no target.
    The ``advantage`` of a target is that of the start, r - E_q[r]; ``own_advantage`` is the one at a policy.
    Completions of several tokens shape each token; here there is one action. The entropy bonus of 0.001 is not
    included.

    References
    ----------
    .. [1] arXiv 2504.14945.

    Examples
    --------
    >>> import pessimism as ps
    >>> ps.induced_target([0.2, 0.3, 0.5], [0.0, 0.9, 1.0], LUFFY(expert_share=0.5)).policy
    array([0., 0., 1.])
    >>> ps.induced_target([0.2, 0.3, 0.5], [0.0, 0.9, 1.0], LUFFY(expert_share=0.9)).policy.round(4)
    array([0.    , 0.2566, 0.7434])
    """

    name: ClassVar[str] = "luffy"
    title: ClassVar[str] = "LUFFY (mixed policy with shaping)"
    short: ClassVar[str] = "LUFFY"
    paper: ClassVar[str] = "2504.14945"
    formula: ClassVar[str] = "-(1 - expert_share) w A - expert_share A pi/(pi + gamma), A = r - V, data of the expert"
    induces: ClassVar[str] = "A [(1 - expert_share) + expert_share gamma q/(pi + gamma)^2] = lam; A < 0 vanish"
    subtracts: ClassVar[str] = "V = (1 - expert_share) E_pi[r] + expert_share E_q[r]"
    coupled: ClassVar[bool] = True
    reference_policy: ClassVar[Literal["behavior", "initial", "none"]] = "none"
    level: ClassVar[Literal["sequence", "token"]] = "token"
    temperature_field: ClassVar[str | None] = None
    takes_propensity: ClassVar[bool] = True
    mixes_data: ClassVar[bool] = True
    no_advantage_because: ClassVar[str] = "its baseline follows the policy"

    gamma: float = 0.1
    expert_share: float = 0.125

    def __post_init__(self) -> None:
        self.require_positive("gamma", "expert_share")
        if self.expert_share >= 1:
            raise ValueError(f"luffy: expert_share must be < 1, got {self.expert_share!r}")

    def own_advantage(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Advantages r - V at a policy, from those at the start: V is the mean of the mixed group."""
        policy = propensities(log_ratio, weights) * array_namespace(log_ratio).exp(log_ratio)
        return advantage - (1.0 - self.expert_share) * baselines.expectation(advantage, policy)[..., None]

    def score_weight(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Score weight g = (1 - expert_share) w A + expert_share A gamma pi/(pi + gamma)^2."""
        w = array_namespace(log_ratio).exp(log_ratio)
        policy = propensities(log_ratio, weights) * w
        shaped = self.gamma * policy / (policy + self.gamma) ** 2
        own = self.own_advantage(log_ratio, advantage, weights)
        return own * ((1.0 - self.expert_share) * w + self.expert_share * shaped)

    def loss(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Loss: -(1 - expert_share) w A - expert_share A pi/(pi + gamma), A not differentiated."""
        w = array_namespace(log_ratio).exp(log_ratio)
        policy = propensities(log_ratio, weights) * w
        own = self.own_advantage(stop_gradient(log_ratio), advantage, weights)
        return -own * ((1.0 - self.expert_share) * w + self.expert_share * policy / (policy + self.gamma))

    def closed_form(self, bandit: Bandit, advantage: Array, *, unseen: bool) -> Solution | None:
        """Policy sqrt(expert_share gamma q A/(lam - (1 - expert_share) A)) - gamma where that is positive, else 0.

        The one unknown beside lam is V, here the gap from V to the best reward: a contraction by one half.
        """
        q, A = to_numpy(bandit.behavior), to_numpy(advantage)
        below = _below_best(q, A)
        expert_gap = np.sum(q * below, axis=-1)
        flat = expert_gap <= 0
        gap, rows = expert_gap.copy(), np.flatnonzero(~flat)
        for _ in range(60):  # each halves the error at least
            if not len(rows):
                break
            policy, _ = self._maximizer(q[rows], gap[rows, None] - below[rows])
            own_gap = np.sum(policy * below[rows], axis=-1)
            moved = self.expert_share * expert_gap[rows] + (1.0 - self.expert_share) * own_gap
            done = np.abs(moved - gap[rows]) <= 4.0 * np.finfo(float).eps * gap[rows]
            gap[rows] = moved
            rows = rows[~done]
        found, lam = q.copy(), np.zeros(len(q))
        found[~flat], lam[~flat] = self._maximizer(q[~flat], gap[~flat, None] - below[~flat])
        with np.errstate(divide="ignore", invalid="ignore"):
            log_ratio = np.log(found) - np.log(q)
        several = flat & (np.sum(q > 0, axis=-1) > 1)
        return separable.wrap(bandit, self, advantage, log_ratio, lam, set_valued=several)

    def _maximizer(self, q: Array, A: Array) -> tuple[Array, Array]:
        """Policies ``(N, K)`` of the surrogate at fixed advantages, the best of each row > 0, and lam ``(N,)``."""
        best = np.max(np.where(q > 0, A, -np.inf), axis=-1, keepdims=True)
        gain = np.where((A > 0) & (q > 0), A, 0.0)
        bonus = self.expert_share / self.gamma * q * gain  # what the expert adds to the slope at pi = 0
        behind = (1.0 - self.expert_share) * np.where(gain > 0, best - gain, np.inf)

        def policy(t: Array, row: Array) -> Array:
            below = behind[row] + np.exp(t)[:, None]  # lam - (1 - expert_share) A
            excess = np.maximum(bonus[row] - below, 0.0) / below
            return self.gamma * excess / (1.0 + np.sqrt(1.0 + excess))

        # At the lower end the best actions alone have all the mass; at the upper end nobody has any.
        low = np.log(np.max(np.where(best == gain, bonus, 0.0), axis=-1)) - 2.0 * np.log1p(1.0 / self.gamma) - 1e-9
        high = np.log(np.max(bonus - np.where(gain > 0, behind, 0.0), axis=-1))
        t = separable.normalizing_multiplier(lambda t, row: np.sum(policy(t, row), axis=-1), low, high)
        return policy(t, np.arange(len(q))), (1.0 - self.expert_share) * best[:, 0] + np.exp(t)


@dataclass(frozen=True)
class CHORD(MeanBaseline):
    """CHORD: GRPO on the policy's own samples, and the likelihood of an expert's samples weighted by p (1 - p).

    The loss is ``-(1 - mu) w A`` with GRPO's advantage of the *own* samples, A = (r - E_pi[r])/(std_pi(r) + eps), plus
    ``-mu phi log p`` on expert samples, phi = sg[p (1 - p)] (``phi=True``) or 1. The expert is the behavior q. With phi
    off it induces w = mu/(lam - (1 - mu) A), where the advantages grow as the policy comes to rest. With phi on it
    induces pi = (theta - lam)_+/(mu q) with theta = (1 - mu) A + mu q, where actions below the level vanish; up to
    mu = 2/3 that is the best action alone.

    Parameters
    ----------
    mu : float, default 0.1
        Weight of the expert's likelihood, in (0, 1); the policy gradient has the rest. The default is the constant of
        CHORD-phi; CHORD-mu has phi off and a schedule from 0.9 to 0.05.
    phi : bool, default True
        Whether the likelihood of the expert's tokens is weighted by p (1 - p).
    eps : float, default 1e-6
        Added to the standard deviation of the own samples' rewards before the advantage is divided by it; > 0.

    Notes
    -----
    Divided by pi, the fixed point is (1 - mu) A + mu q (1 - pi) = lam, a quadratic penalty of strength mu q; with phi
    off it is (1 - mu) A + mu q/pi = lam, a log barrier. Given the standard deviation, both surrogates are concave. With
    phi off the fixed point is unique: the spread of the maximizer grows less than in proportion to the spread that it
    is given. With phi on a policy that is nearly greedy has a spread of nearly 0, which makes it greedier: the best
    action alone is a fixed point, too, and for mu > 2/3 there may be others, of which the one that gradient flow
    reaches from the expert is returned.

    The ``advantage`` of a target is r - E_q[r], not divided; ``own_advantage`` is the one at a policy. Own samples
    follow the current policy, whose ratio is one, so that GRPO's clip never acts. There is no KL and no cut-off
    probability. The mean of the own samples does not matter.

    References
    ----------
    .. [1] arXiv 2508.11408.

    Examples
    --------
    >>> import pessimism as ps
    >>> ps.induced_target([0.99, 0.01], [0.0, 1.0], CHORD(mu=0.5, phi=False)).policy.round(4)
    array([0.4901, 0.5099])
    >>> ps.induced_target([0.99, 0.01], [0.0, 1.0], CHORD()).policy
    array([0., 1.])
    """

    name: ClassVar[str] = "chord"
    title: ClassVar[str] = "CHORD (GRPO and weighted imitation of an expert)"
    short: ClassVar[str] = "CHORD"
    paper: ClassVar[str] = "2508.11408"
    formula: ClassVar[str] = (
        "-(1 - mu) w A - mu sg[pi (1 - pi)] u, A = (r - E_pi[r])/(std_pi(r) + eps), data of the expert"
    )
    induces: ClassVar[str] = (
        "pi = ((1 - mu) A + mu q - lam)_+/(mu q), greedy for mu <= 2/3; phi off: w = mu/(lam - (1 - mu) A)"
    )
    subtracts: ClassVar[str] = "E_pi[r]"
    coupled: ClassVar[bool] = True
    reference_policy: ClassVar[Literal["behavior", "initial", "none"]] = "none"
    level: ClassVar[Literal["sequence", "token"]] = "token"
    temperature_field: ClassVar[str | None] = None
    takes_propensity: ClassVar[bool] = True
    mixes_data: ClassVar[bool] = True
    no_advantage_because: ClassVar[str] = "its baseline follows the policy"

    mu: float = 0.1
    phi: bool = True
    eps: float = 1e-6

    def __post_init__(self) -> None:
        self.require_positive("mu", "eps")
        if self.mu >= 1:
            raise ValueError(f"chord: mu must be < 1, got {self.mu!r}")
        if not isinstance(self.phi, bool | np.bool_):
            raise ValueError(f"chord: phi must be True or False, got {self.phi!r}")

    @property
    def by_flow(self) -> bool:
        """Whether the likelihood is weighted, with which there may be several fixed points."""
        return self.phi

    def _imitation(self, log_ratio: Array, weights: Array | None) -> Array:
        """Weight of the log-likelihood of an expert's sample."""
        xp = array_namespace(log_ratio)
        if not self.phi:
            return xp.ones_like(log_ratio)
        policy = propensities(log_ratio, weights) * xp.exp(log_ratio)
        return policy * (1.0 - policy)

    def own_advantage(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Advantages (r - E_pi[r])/(std_pi(r) + eps) at a policy, from those at the start."""
        policy = propensities(log_ratio, weights) * array_namespace(log_ratio).exp(log_ratio)
        own = advantage - baselines.expectation(advantage, policy)[..., None]
        return own / (baselines.root_mean_square(own, policy)[..., None] + self.eps)

    def score_weight(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Score weight g = (1 - mu) w A + mu phi(pi)."""
        w = array_namespace(log_ratio).exp(log_ratio)
        own = self.own_advantage(log_ratio, advantage, weights)
        return (1.0 - self.mu) * w * own + self.mu * self._imitation(log_ratio, weights)

    def loss(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Loss: -(1 - mu) w A - mu sg[phi(pi)] log pi, up to a constant of the policy; A is not differentiated."""
        w, held = array_namespace(log_ratio).exp(log_ratio), stop_gradient(log_ratio)
        own = self.own_advantage(held, advantage, weights)
        return -(1.0 - self.mu) * w * own - self.mu * self._imitation(held, weights) * log_ratio

    def closed_form(self, bandit: Bandit, advantage: Array, *, unseen: bool) -> Solution | None:
        """A log barrier and the standard deviation of its maximizer (phi off); what is surely greedy (phi on)."""
        return self._greedy(bandit, advantage) if self.phi else self._barrier(bandit, advantage)

    def _barrier(self, bandit: Bandit, advantage: Array) -> Solution:
        """Fixed point of the log barrier: std_pi(r) is the one unknown beside lam, the multiplier is mu."""
        from scipy.optimize import elementwise

        q, A = to_numpy(bandit.behavior), to_numpy(advantage)
        below = _below_best(q, A)
        scale = np.max(np.where(q > 0, below, 0.0), axis=-1)
        mixed = np.flatnonzero(scale > 0)
        log_ratio = np.zeros_like(q)

        def barrier(log_std: Array, row: Array) -> Array:
            strength = (1.0 - self.mu) / self.mu / (np.exp(log_std) + self.eps)
            return log_barrier(q[row], -strength[:, None] * below[row])[0]

        def excess(log_std: Array, row: Array) -> Array:
            row = row.astype(int)
            policy = np.where(q[row] > 0, q[row] * np.exp(barrier(log_std, row)), 0.0)
            own = below[row] - np.sum(policy * below[row], axis=-1, keepdims=True)
            return np.log(baselines.root_mean_square(own, policy)) - log_std

        if len(mixed):
            # A spread of nothing makes a larger one, and none is above half the range.
            high = np.log(scale[mixed] / 2.0) + 1e-9
            bracket = (high - _WIDTH, high)
            log_std = elementwise.find_root(excess, bracket, args=(mixed.astype(float),)).x
            log_ratio[mixed] = barrier(log_std, mixed)
        return separable.wrap(bandit, self, advantage, log_ratio, np.full(len(q), self.mu))

    def _greedy(self, bandit: Bandit, advantage: Array) -> Solution:
        """The best actions, equal ones balanced by their penalty; rows with other fixed points are not covered.

        Actions a, b with mass satisfy (1 - mu) (r_a - r_b)/(std + eps) = mu [q_b (1 - pi_b) - q_a (1 - pi_a)] <= mu,
        while std is at most half the range of their rewards: unless (1 - mu)/mu <= 1/2 + eps/range they have one
        reward, which is the best unless the others are within eps mu/(1 - mu) of it.
        """
        q, A = to_numpy(bandit.behavior), to_numpy(advantage)
        seen, below = q > 0, _below_best(q, A)
        odds = (1.0 - self.mu) / self.mu
        least = np.min(np.where(seen & (below > 0), below, np.inf), axis=-1)  # no two rewards are nearer
        gaps = np.diff(np.sort(np.where(seen, below, 0.0), axis=-1), axis=-1)
        least = np.minimum(least, np.min(np.where(gaps > 0, gaps, np.inf), axis=-1, initial=np.inf))
        sure = (np.isinf(least)) | (odds > 0.5 + self.eps / least) & (odds * least > self.eps)
        best = np.where(seen & (below == 0), q, 0.0)
        policy = _water_filled(best)
        with np.errstate(divide="ignore", invalid="ignore"):
            log_ratio = np.log(policy) - np.log(q)
        lam = self.mu * np.sum(np.where(seen, q * policy * (1.0 - policy), 0.0), axis=-1)
        return separable.wrap(bandit, self, advantage, log_ratio, lam, covered=sure)


_WIDTH = 400.0  # of a bracket of log-spreads, from the range of the rewards to what cannot be told from nothing


def _below_best(q: Array, advantage: Array) -> Array:
    """Gaps ``(N, K)`` of the rewards below the best that the behavior can produce, 0 for what it cannot."""
    best = np.max(np.where(q > 0, advantage, -np.inf), axis=-1, keepdims=True)
    return np.where(q > 0, best - advantage, 0.0)


def _water_filled(q: Array) -> Array:
    """Policies ``(N, K)`` with q (1 - pi) = lam where pi > 0 and q <= lam elsewhere, on the actions with q > 0."""
    order = np.argsort(-q, axis=-1, kind="stable")
    rate = np.take_along_axis(q, order, axis=-1)
    inverse = np.where(rate > 0, 1.0 / np.where(rate > 0, rate, 1.0), 0.0)
    # With the k largest kept pi = 1 - lam/q = (x - (k - 2))/(1 + x), x = q times the sum of 1/q of the others kept: a
    # difference of two numbers near one would lose the faint ones. Right is the last k that leaves its smallest some.
    place = np.arange(q.shape[-1])
    upto = np.cumsum(inverse, axis=-1)
    before = np.concatenate([np.zeros_like(upto[:, :1]), upto[:, :-1]], axis=-1)
    last = np.sum((place - 1.0 < rate * before) & (rate > 0), axis=-1, keepdims=True) - 1
    others = np.where(place == last, before, np.take_along_axis(upto, last, axis=-1) - inverse)
    x = rate * others
    ranked = np.where(place <= last, (x - (last - 1.0)) / (1.0 + np.maximum(x, 0.0)), 0.0)
    policy = np.zeros_like(q)
    np.put_along_axis(policy, order, np.where(rate > 0, ranked, 0.0), axis=-1)
    total: Array = policy / np.sum(policy, axis=-1, keepdims=True)
    return total
