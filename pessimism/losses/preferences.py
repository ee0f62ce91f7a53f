"""Pairs of samples with a logistic loss on labels: -log sigmoid of what the policy makes of the winner and the loser.

The population is that of two independent samples of the behavior and of the label that a model of preferences gives
them. Differences alone enter, so that lam = 0 whatever the behavior.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from array_api_compat import array_namespace

from pessimism.arrays import Array, to_numpy
from pessimism.closed_forms import tilts
from pessimism.closed_forms.separable import normalizing_multiplier, wrap
from pessimism.closed_forms.tilts import greedy
from pessimism.core.objective import MeanBaseline, stop_gradient
from pessimism.losses.centered import (
    PREFERENCES,
    Preference,
    cross_entropy,
    gaps,
    mean_over_partners,
    preferred,
    sigmoid,
)
from pessimism.special import log_wright_omega

if TYPE_CHECKING:
    from pessimism.core.bandit import Bandit
    from pessimism.core.solution import Solution


_INSIDE = 1e-12  # how far inside a flat region of the loss, relative to the rewards, its nearest point is taken


@dataclass(frozen=True)
class DPO(MeanBaseline):
    r"""Direct preference optimization, -log sigmoid(beta (u_w - u_l)) (arXiv 2305.18290).

    Labels follow Bradley-Terry on the reward, P(i beats j) = sigmoid(r_i - r_j), by default: then beta (u_i - u_j) =
    r_i - r_j is the optimum of every pair at once, so that the target is nominal for any behavior with full support.
    ``preference="deterministic"`` lets the larger reward always win (ties one half): no policy is optimal, all
    differences of u grow without bound, and the limit is the reference restricted to the best actions; beta only sets
    the pace. Reference: the initial policy, sum over tokens; beta = 0.1 is the repository's default.

    Examples
    --------
    >>> import pessimism as ps
    >>> ps.induced_target([0.5, 0.5], [0.0, 1.0], DPO(beta=1.0)).policy.round(4)
    array([0.2689, 0.7311])
    >>> ps.induced_target([0.5, 0.5], [0.0, 1.0], DPO(preference="deterministic")).policy
    array([0., 1.])
    """

    name: ClassVar[str] = "dpo"
    title: ClassVar[str] = "Direct preference optimization"
    paper: ClassVar[str] = "2305.18290"
    formula: ClassVar[str] = "mean over labeled pairs -log sigmoid(beta (u_w - u_l))"
    induces: ClassVar[str] = "Bradley-Terry labels: nominal, mu exp(r/beta)/Z; deterministic labels: greedy"
    reference_policy: ClassVar[Literal["behavior", "initial", "none"]] = "initial"
    coupled: ClassVar[bool] = True
    takes_reference: ClassVar[bool] = True
    drops_ties: ClassVar[bool] = False  # pairs of equal deterministic rewards pull nowhere

    beta: float = 0.1
    preference: Preference = "bradley_terry"

    def __post_init__(self) -> None:
        self.require_positive("beta")
        self.require_choice("preference", PREFERENCES)

    def _counts(self, gap: Array) -> Array | float:
        """Which pairs ``(..., K, K)`` are trained on."""
        if self.preference == "bradley_terry" or not self.drops_ties:
            return 1.0
        xp = array_namespace(gap)
        return xp.abs(xp.sign(gap))

    def score_weight(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """g = 2 beta mean over partners of P(i beats j) - sigmoid(beta (u_i - u_j))."""
        gap = gaps(advantage)
        excess = preferred(gap, self.preference) - sigmoid(self.beta * gaps(log_ratio))
        return 2.0 * self.beta * mean_over_partners(self._counts(gap) * excess, weights)

    def loss(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Mean over partners and labels of -log sigmoid(beta (u_w - u_l))."""
        gap = gaps(advantage)
        loss = cross_entropy(preferred(gap, self.preference), self.beta * gaps(log_ratio))
        return mean_over_partners(self._counts(gap) * loss, weights)

    def at_infinity(self, log_ratio: Array, advantage: Array) -> Array | None:
        """Finite log-ratios that stand for those of the limit: deterministic labels drive every gap beyond bounds.

        Actions without mass lie one behind the other in the order of their rewards, each so far that a sigmoid is 0.
        """
        xp = array_namespace(log_ratio)
        better = xp.astype(advantage[..., None, :] > advantage[..., :, None], log_ratio.dtype)
        behind = (700.0 + 50.0 / self.beta) * xp.sum(better, axis=-1)
        return xp.where(xp.isfinite(log_ratio), log_ratio, -behind)

    def closed_form(self, bandit: Bandit, advantage: Array, *, unseen: bool) -> Solution | None:
        """Nominal target for Bradley-Terry labels, the best actions for deterministic ones."""
        if self.preference == "bradley_terry":
            return tilts.nominal(bandit, advantage, self.beta)
        limit = greedy(bandit, advantage, unique=not self.drops_ties)
        # Bolder than the nominal target at any temperature, unless all rewards are equal.
        shrinks = bandit.xp.any(bandit.xp.isinf(limit.log_ratio), axis=-1)
        return limit._replace(regime=-bandit.xp.astype(shrinks, bandit.xp.int8))


@dataclass(frozen=True)
class AsyncDPO(DPO):
    r"""Online DPO on stale pairs: best against worst of two own samples by a reward model (arXiv 2410.18252).

    The pairs come from an older policy (the behavior), the log-ratio refers to the SFT policy (``reference``). Labels
    are deterministic: training on a fixed batch of them has no optimum and tends to the reference restricted to the
    best actions, whatever beta; what holds the published runs back is the length of training, not the loss. In the
    published code a tie compares a completion with itself: it pulls nowhere, so that the best actions may share the
    mass in any way ("set_valued"). beta = 0.1; u is summed over tokens. ``preference="bradley_terry"`` draws the label
    from the rewards instead: nominal.

    Examples
    --------
    >>> import pessimism as ps
    >>> target = ps.induced_target([0.5, 0.3, 0.2], [0.0, 1.0, 1.0], AsyncDPO())
    >>> target.policy, str(target.status)
    (array([0. , 0.6, 0.4]), 'set_valued')
    """

    name: ClassVar[str] = "async_dpo"
    title: ClassVar[str] = "Asynchronous online DPO"
    paper: ClassVar[str] = "2410.18252"
    formula: ClassVar[str] = "-log sigmoid(beta (u_best - u_worst)) of two stale samples"
    induces: ClassVar[str] = "greedy: the reference restricted to the best actions"
    drops_ties: ClassVar[bool] = True

    preference: Preference = "deterministic"


@dataclass(frozen=True)
class ChiPO(MeanBaseline):
    r"""Chi^2-preference optimization: DPO with the link w + log w in place of log w (arXiv 2407.13399).

    Labels follow Bradley-Terry on the reward. The optimum of every pair at once is :math:`\log w + w = (r - s)/\beta`,
    s normalizing, the target of the mixed penalty beta (KL + chi^2/2): the Lambert shape with kappa = 1, for any
    behavior with full support. The difference of links, times beta, is clipped to [-2 r_max, 2 r_max], where the
    gradient vanishes. Rewards in [0, r_max] never get there. Otherwise, where two neighboring rewards are 2 r_max apart
    or more, every larger difference costs the same: the target is a set, and its nearest element shrinks that gap to
    2 r_max. Policies that clip every pair are stationary as well, far away from the reference.

    ``r_max = 1`` suits rewards in [0, 1]; beta = 0.05 is the larger one of the paper's two. Reference: the initial
    policy, sum over tokens.

    Examples
    --------
    >>> import pessimism as ps
    >>> found = ps.induced_target([0.5, 0.5], [0.0, 1.0], ChiPO(beta=0.5)).policy
    >>> found.round(4), ps.induced_target([0.5, 0.5], [0.0, 1.0], "mixed_chi2_kl", beta=0.5).policy.round(4)
    (array([0.2606, 0.7394]), array([0.2606, 0.7394]))
    """

    name: ClassVar[str] = "chi_po"
    title: ClassVar[str] = "Chi^2-preference optimization"
    paper: ClassVar[str] = "2407.13399"
    formula: ClassVar[str] = (
        "mean over labeled pairs -log sigmoid(clip(beta (phi_w - phi_l), +-2 r_max)), phi = w + log w"
    )
    induces: ClassVar[str] = "log w + w = (r - s)/beta, s normalizing: Lambert with kappa = 1"
    reference_policy: ClassVar[Literal["behavior", "initial", "none"]] = "initial"
    coupled: ClassVar[bool] = True
    takes_reference: ClassVar[bool] = True

    beta: float = 0.05
    r_max: float = 1.0

    def __post_init__(self) -> None:
        self.require_positive("beta", "r_max")

    def _logit(self, log_ratio: Array) -> tuple[Array, Array]:
        """The clipped logits ``(..., K, K)`` of all pairs, and where they are not clipped."""
        xp = array_namespace(log_ratio)
        logit = self.beta * gaps(log_ratio + xp.exp(log_ratio))
        return xp.clip(logit, -2.0 * self.r_max, 2.0 * self.r_max), xp.abs(logit) < 2.0 * self.r_max

    def score_weight(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """g = 2 beta (1 + w_i) mean over unclipped partners of P(i beats j) - sigmoid(beta (phi_i - phi_j))."""
        xp = array_namespace(log_ratio)
        logit, free = self._logit(log_ratio)
        excess = sigmoid(gaps(advantage)) - sigmoid(logit)
        pull = mean_over_partners(xp.where(free, excess, xp.zeros_like(excess)), weights)
        return 2.0 * self.beta * (1.0 + xp.exp(log_ratio)) * pull

    def loss(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Mean over partners and labels of -log sigmoid of the clipped difference of links."""
        return mean_over_partners(cross_entropy(sigmoid(gaps(advantage)), self._logit(log_ratio)[0]), weights)

    def closed_form(self, bandit: Bandit, advantage: Array, *, unseen: bool) -> Solution | None:
        """Log w + w = (r - s)/beta with gaps between neighboring rewards of 2 r_max at most."""
        xp = bandit.xp
        best = xp.max(bandit.masked(advantage, -xp.inf), axis=-1, keepdims=True)
        reward, several = self._within_reach(xp, xp.where(bandit.support, advantage, best))
        below = (reward - xp.max(reward, axis=-1, keepdims=True)) / self.beta
        u = self._solved(to_numpy(bandit.support), to_numpy(bandit.reference), to_numpy(below))
        found = wrap(bandit, self, advantage, u, np.zeros(len(u)), set_valued=to_numpy(several))
        # Of value zero, with the derivative du = (dr - ds)/(beta (1 + w)), s such that the mass stays.
        w = xp.exp(found.log_ratio)
        share = bandit.masked(bandit.reference * w / (1.0 + w), 0.0)
        change = below - stop_gradient(below)
        common = xp.sum(share * change, axis=-1, keepdims=True) / xp.sum(share, axis=-1, keepdims=True)
        return found._replace(
            log_ratio=found.log_ratio + (change - common) / (1.0 + w),
            kappa=xp.ones_like(found.kappa),
            differentiable=True,
        )

    def _solved(self, seen: Array, nu: Array, below: Array) -> Array:
        """Log-ratios with log w + w = below + const and unit mass; ``below`` is 0 at the best action (numpy)."""
        below = np.where(seen, below, 0.0)

        def log_ratio(top: Array, row: Array) -> Array:
            return log_wright_omega(below[row] + top[:, None])

        def mass(lam: Array, row: Array) -> Array:
            return np.sum(np.where(seen[row], nu[row] * np.exp(log_ratio(-lam, row)), 0.0), axis=-1)

        # The best ratio is at least 1, and at most what it is without the others.
        share = np.sum(np.where(seen & (below == 0.0), nu, 0.0), axis=-1)
        highest = 1.0 / share - np.log(share)
        low, high = -(highest + 1e-9 * (1.0 + highest)), np.full(len(nu), -1.0 + 1e-9)
        return log_ratio(-normalizing_multiplier(mass, low, high), np.arange(len(nu)))

    def _within_reach(self, xp: Any, reward: Array) -> tuple[Array, Array]:
        """Rewards whose sorted neighbors differ by 2 r_max at most, and which rows ``(N,)`` that concerns."""
        order = xp.argsort(stop_gradient(reward), axis=-1)
        ordered = xp.take_along_axis(reward, order, axis=-1)
        steps = ordered[:, 1:] - ordered[:, :-1]
        wide = steps >= 2.0 * self.r_max
        surplus = xp.where(wide, steps - 2.0 * self.r_max, xp.zeros_like(steps))
        # Where the loss is flat to the last digit: just inside.
        inside = xp.where(wide, _INSIDE * (steps + 2.0 * self.r_max), xp.zeros_like(steps))
        surplus = xp.concat([xp.zeros_like(ordered[:, :1]), surplus - xp.minimum(inside, surplus)], axis=-1)
        shrunk = xp.take_along_axis(xp.cumulative_sum(surplus, axis=-1), xp.argsort(order, axis=-1), axis=-1)
        return reward - shrunk, xp.any(wide, axis=-1)
