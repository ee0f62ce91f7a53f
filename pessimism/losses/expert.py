"""Mixed data: samples of the current policy beside those of an expert, who is the behavior here.

Samples of the policy itself carry the factor w = pi/q, since the data are those of the expert q.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from array_api_compat import array_namespace

from pessimism.arrays import Array, to_numpy
from pessimism.closed_forms import separable
from pessimism.core.bandit import Bandit
from pessimism.core.objective import MeanBaseline, propensities, stop_gradient
from pessimism.losses.kl_regularized import log_barrier
from pessimism.losses.standardized import Standardized

if TYPE_CHECKING:
    from pessimism.core.solution import Solution


@dataclass(frozen=True)
class LUFFY(MeanBaseline):
    """LUFFY: policy gradient on the policy's own samples, shaped likelihood on an expert's, in one group.

    The loss of an own sample is ``-w A``, not clipped; that of an expert sample is ``-A f(pi)`` with
    f(p) = p/(p + gamma), the ratio with its denominator set to one, then shaped. The expert is the behavior q. It
    induces A [(1 - expert_share) + expert_share gamma q/(pi + gamma)^2] = lam: greedy on its own samples, held back by
    the bonus that every expert action with A > 0 has while it is rare. Actions with A < 0 lose all mass.

    Parameters
    ----------
    gamma : float, default 0.1
        Scale of the shaping p/(p + gamma) of an expert's probability; > 0.
    expert_share : float, default 0.125
        Share of the group that is the expert's, in (0, 1). The default is 1 of 8.

    Notes
    -----
    Actions whose slope at zero stays below lam lose all mass, too. The surrogate is concave where A > 0: the fixed
    point is unique. A = r - mean r without division by the spread (the script's setting). The mean of the mixed group
    contains own samples and rises with it; here it is the expert's E_q[r]. On own samples a baseline does not matter in
    expectation, on expert samples it does. Completions of several tokens shape each token; here there is one action.
    The entropy bonus of 0.001 is not included.

    References
    ----------
    .. [1] arXiv 2504.14945.

    Examples
    --------
    >>> import pessimism as ps
    >>> ps.induced_target([0.2, 0.3, 0.5], [0.0, 0.9, 1.0], LUFFY(expert_share=0.5)).policy.round(4)
    array([0.    , 0.0873, 0.9127])
    """

    name: ClassVar[str] = "luffy"
    title: ClassVar[str] = "LUFFY (mixed policy with shaping)"
    short: ClassVar[str] = "LUFFY"
    paper: ClassVar[str] = "2504.14945"
    formula: ClassVar[str] = "-(1 - expert_share) w A - expert_share A pi/(pi + gamma), data of the expert"
    induces: ClassVar[str] = "A [(1 - expert_share) + expert_share gamma q/(pi + gamma)^2] = lam; A < 0 vanish"
    reference_policy: ClassVar[Literal["behavior", "initial", "none"]] = "none"
    level: ClassVar[Literal["sequence", "token"]] = "token"
    temperature_field: ClassVar[str | None] = None
    takes_propensity: ClassVar[bool] = True
    mixes_data: ClassVar[bool] = True

    gamma: float = 0.1
    expert_share: float = 0.125

    def __post_init__(self) -> None:
        self.require_positive("gamma", "expert_share")
        if self.expert_share >= 1:
            raise ValueError(f"luffy: expert_share must be < 1, got {self.expert_share!r}")

    def score_weight(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Score weight g = (1 - expert_share) w A + expert_share A gamma pi/(pi + gamma)^2."""
        w = array_namespace(log_ratio).exp(log_ratio)
        policy = propensities(log_ratio, weights) * w
        shaped = self.gamma * policy / (policy + self.gamma) ** 2
        return advantage * ((1.0 - self.expert_share) * w + self.expert_share * shaped)

    def loss(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Loss: -(1 - expert_share) w A - expert_share A pi/(pi + gamma)."""
        w = array_namespace(log_ratio).exp(log_ratio)
        policy = propensities(log_ratio, weights) * w
        return -advantage * ((1.0 - self.expert_share) * w + self.expert_share * policy / (policy + self.gamma))

    def closed_form(self, bandit: Bandit, advantage: Array, *, unseen: bool) -> Solution | None:
        """Policy sqrt(expert_share gamma q A/(lam - (1 - expert_share) A)) - gamma where that is positive, else 0."""
        q = to_numpy(bandit.behavior)
        A = np.where(q > 0, to_numpy(advantage), -np.inf)
        best = np.max(A, axis=-1, keepdims=True)
        flat = best[:, 0] <= 0
        gain = np.where((A > 0) & ~flat[:, None], A, 0.0)
        bonus = self.expert_share / self.gamma * q * gain  # what the expert adds to the slope at pi = 0
        behind = (1.0 - self.expert_share) * np.where(gain > 0, best - gain, np.inf)

        def policy(t: Array, row: Array) -> Array:
            below = behind[row] + np.exp(t)[:, None]  # lam - (1 - expert_share) A
            excess = np.maximum(bonus[row] - below, 0.0) / below
            return self.gamma * excess / (1.0 + np.sqrt(1.0 + excess))

        # At the lower end the best actions alone have all the mass; at the upper end nobody has any.
        top = np.max(np.where(best == A, bonus, 0.0), axis=-1)
        with np.errstate(divide="ignore"):
            low = np.log(np.where(flat, 1.0, top)) - 2.0 * np.log1p(1.0 / self.gamma) - 1e-9
            high = np.log(np.where(flat, 1.0, np.max(bonus - np.where(gain > 0, behind, 0.0), axis=-1)))
        t = np.zeros(len(q))
        if not np.all(flat):
            some = np.flatnonzero(~flat)
            t[some] = separable.normalizing_multiplier(
                lambda t, row: np.sum(policy(t, some[row]), axis=-1), low[some], high[some]
            )
        found = np.where(flat[:, None], q, policy(t, np.arange(len(q))))
        with np.errstate(divide="ignore", invalid="ignore"):
            log_ratio = np.log(found) - np.log(q)
        lam = np.where(flat, 0.0, (1.0 - self.expert_share) * best[:, 0] + np.exp(t))
        several = flat & (np.sum(q > 0, axis=-1) > 1)
        return separable.wrap(bandit, self, advantage, log_ratio, lam, set_valued=several)


@dataclass(frozen=True)
class CHORD(Standardized):
    """CHORD: GRPO on the policy's own samples, and the likelihood of an expert's samples weighted by p (1 - p).

    The loss is ``-(1 - mu) w A`` with GRPO's advantage on own samples, plus ``-mu phi log p`` on expert samples,
    phi = sg[p (1 - p)] (``phi=True``) or 1. The expert is the behavior q. It induces
    pi = (theta - lam)_+/(mu q) with theta = (1 - mu) A + mu q, where actions below the level vanish; with phi off,
    w = mu/(lam - (1 - mu) A).

    Parameters
    ----------
    mu : float, default 0.1
        Weight of the expert's likelihood, in (0, 1); the policy gradient has the rest. The default is the constant of
        CHORD-phi; CHORD-mu has phi off and a schedule from 0.9 to 0.05.
    phi : bool, default True
        Whether the likelihood of the expert's tokens is weighted by p (1 - p).
    eps : float, default 1e-6
        Added to the standard deviation of the rewards before the advantage is divided by it; > 0.

    Notes
    -----
    Divided by pi, the fixed point is (1 - mu) A + mu q (1 - pi) = lam, a quadratic penalty of strength mu q; with phi
    off it is (1 - mu) A + mu q/pi = lam, a log barrier. Both surrogates are concave: the fixed point is unique. Own
    samples follow the current policy, whose ratio is one, so that GRPO's clip never acts. The spread by which the
    advantage is divided is that of the group at hand, here of the expert's data (its mean does not matter). There is no
    KL and no cut-off probability.

    References
    ----------
    .. [1] arXiv 2508.11408.

    Examples
    --------
    >>> import pessimism as ps
    >>> ps.induced_target([0.7, 0.3], [0.0, 1.0], CHORD(mu=0.9)).policy.round(4)
    array([0.4575, 0.5425])
    >>> ps.induced_target([0.7, 0.3], [0.0, 1.0], CHORD(mu=0.9, phi=False)).policy.round(4)
    array([0.6444, 0.3556])
    """

    name: ClassVar[str] = "chord"
    title: ClassVar[str] = "CHORD (GRPO and weighted imitation of an expert)"
    short: ClassVar[str] = "CHORD"
    paper: ClassVar[str] = "2508.11408"
    formula: ClassVar[str] = "-(1 - mu) w A - mu sg[pi (1 - pi)] u, A = (r - mean r)/(std r + eps), data of the expert"
    induces: ClassVar[str] = "pi = ((1 - mu) A + mu q - lam)_+/(mu q); phi off: w = mu/(lam - (1 - mu) A)"
    reference_policy: ClassVar[Literal["behavior", "initial", "none"]] = "none"
    level: ClassVar[Literal["sequence", "token"]] = "token"
    temperature_field: ClassVar[str | None] = None
    takes_propensity: ClassVar[bool] = True
    mixes_data: ClassVar[bool] = True

    mu: float = 0.1
    phi: bool = True
    eps: float = 1e-6

    def __post_init__(self) -> None:
        self.require_positive("mu", "eps")
        if self.mu >= 1:
            raise ValueError(f"chord: mu must be < 1, got {self.mu!r}")
        if not isinstance(self.phi, bool | np.bool_):
            raise ValueError(f"chord: phi must be True or False, got {self.phi!r}")

    def _imitation(self, log_ratio: Array, weights: Array | None) -> Array:
        """Weight of the log-likelihood of an expert's sample."""
        xp = array_namespace(log_ratio)
        if not self.phi:
            return xp.ones_like(log_ratio)
        policy = propensities(log_ratio, weights) * xp.exp(log_ratio)
        return policy * (1.0 - policy)

    def score_weight(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Score weight g = (1 - mu) w A + mu phi(pi)."""
        w = array_namespace(log_ratio).exp(log_ratio)
        return (1.0 - self.mu) * w * advantage + self.mu * self._imitation(log_ratio, weights)

    def loss(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Loss: -(1 - mu) w A - mu sg[phi(pi)] log pi, up to a constant of the policy."""
        w = array_namespace(log_ratio).exp(log_ratio)
        imitation = self._imitation(stop_gradient(log_ratio), weights)
        return -(1.0 - self.mu) * w * advantage - self.mu * imitation * log_ratio

    def closed_form(self, bandit: Bandit, advantage: Array, *, unseen: bool) -> Solution | None:
        """Water filling in theta with phi on, a log barrier with phi off."""
        q, A = to_numpy(bandit.behavior), (1.0 - self.mu) * to_numpy(advantage)
        if not self.phi:
            log_ratio, _ = log_barrier(q, bandit, A / self.mu)
            return separable.wrap(bandit, self, advantage, log_ratio, np.ones(len(q)))
        seen = q > 0
        theta = np.where(seen, A + self.mu * q, -np.inf)
        order = np.argsort(-theta, axis=-1, kind="stable")
        behind, rate = (np.take_along_axis(a, order, axis=-1) for a in (theta, self.mu * q))
        behind = np.where(rate > 0, behind[:, :1] - behind, np.inf)
        inverse = np.where(rate > 0, 1.0 / np.where(rate > 0, rate, 1.0), 0.0)
        # lam = max theta - x: x with the k best actions kept, for each k; right is the last k that is positive.
        reach = np.cumsum(np.where(rate > 0, behind, 0.0) * inverse, axis=-1)
        x = (1.0 + reach) / np.cumsum(inverse, axis=-1)
        last = np.sum(x > behind, axis=-1, keepdims=True) - 1
        x = np.take_along_axis(x, last, axis=-1)
        top = np.max(theta, axis=-1, keepdims=True)
        policy = np.where(seen, np.maximum(x - (top - theta), 0.0), 0.0) / np.where(seen, self.mu * q, 1.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            log_ratio = np.log(policy / np.sum(policy, axis=-1, keepdims=True)) - np.log(q)
        return separable.wrap(bandit, self, advantage, log_ratio, (top - x)[:, 0])
