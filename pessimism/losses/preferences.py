"""Logistic losses on labeled pairs of samples: -log sigmoid of the winner's score minus the loser's.

The population is that of two independent samples of the behavior and of the label that a model of preferences gives
them. Only differences enter, so that lam = 0 whatever the behavior.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from array_api_compat import array_namespace, device

from pessimism.arrays import Array, to_numpy
from pessimism.closed_forms import tilts
from pessimism.closed_forms.separable import normalizing_multiplier
from pessimism.closed_forms.tilts import greedy
from pessimism.core.objective import MeanBaseline, stop_gradient
from pessimism.core.solution import Status
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
    """Direct preference optimization (DPO): a logistic loss on labeled pairs.

    The loss of a pair of winner and loser is ``-log sigmoid(beta (u_w - u_l))``. With Bradley-Terry labels on the
    reward, P(i beats j) = sigmoid(r_i - r_j), beta (u_i - u_j) = r_i - r_j is the optimum of every pair at once: it
    induces the nominal target, mu exp(r/beta)/Z, for any behavior with full support. With deterministic labels no
    policy is optimal, all differences of u grow without bound, and the limit is the reference restricted to the best
    actions.

    Parameters
    ----------
    beta : float, default 0.1
        Temperature, or weight of the penalty, in units of the advantage; > 0. With deterministic labels it only
        sets the pace. The default is the repository's.
    preference : {"bradley_terry", "deterministic"}, default "bradley_terry"
        Labels of pairs: drawn by the difference of rewards (``"bradley_terry"``), or the better one always wins
        (``"deterministic"``).

    Notes
    -----
    The published reference is the initial policy, and u is summed over tokens. Ties count one half.

    References
    ----------
    .. [1] arXiv 2305.18290.

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
    short: ClassVar[str] = "DPO"
    paper: ClassVar[str] = "2305.18290"
    formula: ClassVar[str] = "mean over labeled pairs -log sigmoid(beta (u_w - u_l))"
    induces: ClassVar[str] = "Bradley-Terry labels: nominal, mu exp(r/beta)/Z; deterministic labels: greedy"
    reference_policy: ClassVar[Literal["behavior", "initial", "none"]] = "initial"
    coupled: ClassVar[bool] = True
    takes_reference: ClassVar[bool] = True
    drops_ties: ClassVar[bool] = False  # pairs of equal deterministic rewards pull nowhere
    no_advantage_because: ClassVar[str] = "it compares the rewards of pairs"

    beta: float = 0.1
    preference: Preference = "bradley_terry"

    def __post_init__(self) -> None:
        self.require_positive("beta")
        self.require_choice("preference", PREFERENCES)

    def _counts(self, gap: Array) -> Array | float:
        """Weights ``(..., K, K)`` of the pairs: 1 for those that are trained on, 0 for ties that are dropped."""
        if self.preference == "bradley_terry" or not self.drops_ties:
            return 1.0
        xp = array_namespace(gap)
        return xp.abs(xp.sign(gap))

    def score_weight(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Score weight g = 2 beta mean over partners of P(i beats j) - sigmoid(beta (u_i - u_j))."""
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
        return greedy(bandit, advantage, unique=not self.drops_ties)


@dataclass(frozen=True)
class AsyncDPO(DPO):
    """Asynchronous online DPO: the better against the worse of two stale samples, by a reward model.

    The loss of a pair is ``-log sigmoid(beta (u_best - u_worst))``. The pairs come from an older policy (the behavior),
    while the log-ratio refers to the SFT policy (``reference``). Labels are deterministic: training on a fixed batch of
    them has no optimum, and it induces the limit, the reference restricted to the best actions, whatever beta. Several
    best actions may share the mass in any way (status ``"set_valued"``).

    Parameters
    ----------
    beta : float, default 0.1
        Temperature, or weight of the penalty, in units of the advantage; > 0. With deterministic labels it only
        sets the pace.
    preference : {"bradley_terry", "deterministic"}, default "deterministic"
        Labels of pairs: drawn by the difference of rewards (``"bradley_terry"``), or the better one always wins
        (``"deterministic"``).

    Notes
    -----
    What holds the published runs back is the length of training, not the loss. In the published code a tie compares a
    completion with itself, which pulls nowhere. u is summed over tokens. With ``preference="bradley_terry"`` the target
    is nominal.

    References
    ----------
    .. [1] arXiv 2410.18252.

    Examples
    --------
    >>> import pessimism as ps
    >>> target = ps.induced_target([0.5, 0.3, 0.2], [0.0, 1.0, 1.0], AsyncDPO())
    >>> target.policy, str(target.status)
    (array([0. , 0.6, 0.4]), 'set_valued')
    """

    name: ClassVar[str] = "async_dpo"
    title: ClassVar[str] = "Asynchronous online DPO"
    short: ClassVar[str] = "async DPO"
    paper: ClassVar[str] = "2410.18252"
    formula: ClassVar[str] = "-log sigmoid(beta (u_best - u_worst)) of two stale samples"
    induces: ClassVar[str] = "greedy: the reference restricted to the best actions"
    drops_ties: ClassVar[bool] = True

    preference: Preference = "deterministic"


@dataclass(frozen=True)
class ChiPO(MeanBaseline):
    r"""Chi^2-preference optimization (chi^2-PO): DPO with the link w + log w in place of log w.

    The loss of a pair of winner and loser is ``-log sigmoid(clip(beta (phi_w - phi_l), -2 r_max, 2 r_max))`` with
    phi = w + log w; labels follow Bradley-Terry on the reward. The optimum of every pair at once is
    :math:`\log w + w = (r - s)/\beta`, s normalizing: it induces the target of the mixed penalty beta (KL + chi^2/2),
    the Lambert shape with kappa = 1, for any behavior with full support.

    Parameters
    ----------
    beta : float, default 0.05
        Temperature, or weight of the penalty, in units of the advantage; > 0. The default is the larger one of the
        paper's two.
    r_max : float, default 1.0
        The difference of the links, times beta, is clipped to [-2 r_max, 2 r_max]; > 0, in units of the reward. The
        default suits rewards in [0, 1].

    Notes
    -----
    The gradient vanishes where the difference is clipped. Rewards in [0, r_max] never get there. Otherwise, where two
    neighboring rewards are 2 r_max apart or more, every larger difference costs the same: the target is a set, and its
    nearest element shrinks that gap to 2 r_max. Policies that clip every pair are stationary as well, far away from the
    reference. The published reference is the initial policy, and u is summed over tokens.

    References
    ----------
    .. [1] arXiv 2407.13399.

    Examples
    --------
    >>> import pessimism as ps
    >>> found = ps.induced_target([0.5, 0.5], [0.0, 1.0], ChiPO(beta=0.5)).policy
    >>> found.round(4), ps.induced_target([0.5, 0.5], [0.0, 1.0], "mixed_chi2_kl", beta=0.5).policy.round(4)
    (array([0.2606, 0.7394]), array([0.2606, 0.7394]))
    """

    name: ClassVar[str] = "chi_po"
    title: ClassVar[str] = "Chi^2-preference optimization"
    short: ClassVar[str] = "χPO"
    paper: ClassVar[str] = "2407.13399"
    formula: ClassVar[str] = (
        "mean over labeled pairs -log sigmoid(clip(beta (phi_w - phi_l), +-2 r_max)), phi = w + log w"
    )
    induces: ClassVar[str] = "log w + w = (r - s)/beta, s normalizing: Lambert with kappa = 1"
    reference_policy: ClassVar[Literal["behavior", "initial", "none"]] = "initial"
    coupled: ClassVar[bool] = True
    takes_reference: ClassVar[bool] = True
    no_advantage_because: ClassVar[str] = "it compares the rewards of pairs"

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
        """Score weight g = 2 beta (1 + w_i) mean over free partners of P(i beats j) - sigmoid(beta (phi_i - phi_j))."""
        xp = array_namespace(log_ratio)
        logit, free = self._logit(log_ratio)
        excess = sigmoid(gaps(advantage)) - sigmoid(logit)
        pull = mean_over_partners(xp.where(free, excess, xp.zeros_like(excess)), weights)
        return 2.0 * self.beta * (1.0 + xp.exp(log_ratio)) * pull

    def loss(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Mean over partners and labels of -log sigmoid of the clipped difference of links."""
        return mean_over_partners(cross_entropy(sigmoid(gaps(advantage)), self._logit(log_ratio)[0]), weights)

    def closed_form(self, bandit: Bandit, advantage: Array, *, unseen: bool) -> Solution | None:
        """Policy with log w + w = (r - s)/beta, gaps between neighboring rewards cut to 2 r_max."""
        xp = bandit.xp
        best = xp.max(bandit.masked(advantage, -xp.inf), axis=-1, keepdims=True)
        reward, several = self._within_reach(xp, xp.where(bandit.support, advantage, best))
        below = reward / self.beta
        found = tilts.chi_square_kl(bandit, stop_gradient(reward), self.beta, 1.0)
        if bandit.own_reference is not None:
            u = self._solved(*(to_numpy(a) for a in (bandit.support, bandit.reference, stop_gradient(below))))
            found = found._replace(log_ratio=xp.asarray(u, device=device(bandit.reward)))
        # Of value zero, with the derivative du = (dr - ds)/(beta (1 + w)), s such that the mass stays.
        w = xp.exp(found.log_ratio)
        share = bandit.masked(bandit.reference * w / (1.0 + w), 0.0)
        change = below - stop_gradient(below)
        common = xp.sum(share * change, axis=-1, keepdims=True) / xp.sum(share, axis=-1, keepdims=True)
        return found._replace(
            log_ratio=found.log_ratio + (change - common) / (1.0 + w),
            status=xp.where(several, xp.full_like(found.status, Status.SET_VALUED.value), found.status),
            differentiable=True,
        )

    def _solved(self, seen: Array, nu: Array, below: Array) -> Array:
        """Log-ratios with log w + w = below + const and unit mass; ``below`` is 0 at the best action (numpy).

        For a reference that need not have all its mass on the actions of the behavior.
        """
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
        """Rewards below the best whose sorted neighbors differ by 2 r_max at most, and which rows ``(N,)`` it concerns.

        They are summed from the best down: the digits of cut gaps must not depend on what was cut.
        """
        order = xp.argsort(stop_gradient(reward), axis=-1)
        ordered = xp.take_along_axis(reward, order, axis=-1)
        steps = ordered[:, 1:] - ordered[:, :-1]
        wide = steps >= 2.0 * self.r_max
        # Where the loss is flat to the last digit: just inside.
        flat = xp.minimum(2.0 * self.r_max * (1.0 + 2.0 * _INSIDE), steps)
        cut = xp.where(wide, flat + 0.0 * steps, steps)
        none, several = xp.zeros_like(ordered[:, :1]), xp.any(wide, axis=-1)
        down = xp.concat([xp.flip(xp.cumulative_sum(xp.flip(cut, axis=-1), axis=-1), axis=-1), none], axis=-1)
        summed = -xp.take_along_axis(down, xp.argsort(order, axis=-1), axis=-1)
        return xp.where(several[:, None], summed, reward - ordered[:, -1:]), several
