r"""Mixed data: samples of the current policy beside those of an expert, which is the behavior here.

Samples of the policy itself carry the factor w = pi/q against data of the expert q.
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
    r"""LUFFY: policy gradient on own samples, shaped likelihood on an expert's, one group (arXiv 2504.14945).

    Own samples: -w A, not clipped; expert samples: -A f(pi), f(p) = p/(p + gamma), the ratio with its denominator
    set to one, then shaped. The expert is the behavior q, with ``expert_share`` of the group (1 of 8). Divided by pi:
    A [(1 - expert_share) + expert_share gamma q/(pi + gamma)^2] = lam: greedy on its own samples, held back by the
    bonus that every expert action with A > 0 has while it is rare. A < 0 loses all mass, and so do actions whose slope
    at zero stays below lam. The surrogate is concave where A > 0: the fixed point is unique.

    Traps: A = r - mean without std (the script's setting). The mean of the mixed group contains own samples and
    rises with it; here it is the expert's E_q[r]. On own samples a baseline does not matter in expectation, on expert
    samples it does. Multi-token completions shape each token; here one action. Entropy bonus 0.001 not included.

    Examples
    --------
    >>> import pessimism as ps
    >>> ps.induced_target([0.2, 0.3, 0.5], [0.0, 0.9, 1.0], LUFFY(expert_share=0.5)).policy.round(4)
    array([0.    , 0.0873, 0.9127])
    """

    name: ClassVar[str] = "luffy"
    title: ClassVar[str] = "LUFFY (mixed policy with shaping)"
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
        """g = (1 - expert_share) w A + expert_share A gamma pi/(pi + gamma)^2."""
        w = array_namespace(log_ratio).exp(log_ratio)
        policy = propensities(log_ratio, weights) * w
        shaped = self.gamma * policy / (policy + self.gamma) ** 2
        return advantage * ((1.0 - self.expert_share) * w + self.expert_share * shaped)

    def loss(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """-(1 - expert_share) w A - expert_share A pi/(pi + gamma)."""
        w = array_namespace(log_ratio).exp(log_ratio)
        policy = propensities(log_ratio, weights) * w
        return -advantage * ((1.0 - self.expert_share) * w + self.expert_share * policy / (policy + self.gamma))

    def closed_form(self, bandit: Bandit, advantage: Array, *, unseen: bool) -> Solution | None:
        """pi = sqrt(expert_share gamma q A/(lam - (1 - expert_share) A)) - gamma where that is positive."""
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
    r"""CHORD: (1 - mu) GRPO on own samples + mu likelihood of an expert's, weighted by p(1 - p) (arXiv 2508.11408).

    Expert tokens: -phi log p, phi = sg[p (1 - p)] (``phi=True``) or 1. The expert is the behavior q. Divided by pi, the
    fixed point is (1 - mu) A + mu q (1 - pi) = lam: a quadratic penalty of strength mu q, pi = (theta - lam)_+/(mu q)
    with theta = (1 - mu) A + mu q, and actions below the level vanish. With phi off it is (1 - mu) A + mu q/pi = lam, a
    log barrier: w = mu/(lam - (1 - mu) A). Both surrogates are concave: the fixed point is unique.

    Traps: own samples follow the current policy, whose ratio is one, so that GRPO's clip never acts; the std of the
    advantage is that of the group at hand, here of the expert's data (its mean does not matter). ``mu`` = 0.1 is the
    constant of CHORD-phi; CHORD-mu has phi off and a schedule 0.9 -> 0.05. No KL, no cut-off probability.

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
        """What weighs an expert sample's log-likelihood."""
        xp = array_namespace(log_ratio)
        if not self.phi:
            return xp.ones_like(log_ratio)
        policy = propensities(log_ratio, weights) * xp.exp(log_ratio)
        return policy * (1.0 - policy)

    def score_weight(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """g = (1 - mu) w A + mu phi(pi)."""
        w = array_namespace(log_ratio).exp(log_ratio)
        return (1.0 - self.mu) * w * advantage + self.mu * self._imitation(log_ratio, weights)

    def loss(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """-(1 - mu) w A - mu sg[phi(pi)] log pi, up to a constant of the policy."""
        w = array_namespace(log_ratio).exp(log_ratio)
        imitation = self._imitation(stop_gradient(log_ratio), weights)
        return -(1.0 - self.mu) * w * advantage - self.mu * imitation * log_ratio

    def closed_form(self, bandit: Bandit, advantage: Array, *, unseen: bool) -> Solution | None:
        """Water-filling in theta (phi on), log barrier (phi off)."""
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
