"""Labeled pairs under a link that grows faster than the logarithm, which penalizes chi^2 beside KL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from array_api_compat import array_namespace

from pessimism.closed_forms.separable import multiplier, solution
from pessimism.core.bandit import to_numpy
from pessimism.core.objective import MeanBaseline, stop_gradient
from pessimism.losses.pairwise import cross_entropy, gaps, mean_over_partners, sigmoid
from pessimism.special import log_wright_omega

if TYPE_CHECKING:
    from pessimism.closed_forms.tilts import Solution
    from pessimism.core.bandit import Bandit

Array = Any

_INSIDE = 1e-12  # how far inside a flat region of the loss, relative to the rewards, its nearest point is taken


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
        found = solution(bandit, self, advantage, u, np.zeros(len(u)), set_valued=to_numpy(several))
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
        return log_ratio(-multiplier(mass, low, high), np.arange(len(nu)))

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
