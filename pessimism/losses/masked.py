r"""Masked importance weights: a sample counts while its probability, or its ratio, is near that of the sampler.

The mask is not differentiated, so that the weight jumps at its edge. Where it looks at the difference of probabilities
the edge lies at another ratio for each action. In a bandit one action is one token.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal, Self

import numpy as np
from array_api_compat import array_namespace, device

from pessimism.arrays import Array, to_numpy
from pessimism.closed_forms.clipping import optimal_box
from pessimism.closed_forms.kl_estimators import K2, stable_branch
from pessimism.core.objective import MeanBaseline, propensities, stop_gradient

if TYPE_CHECKING:
    from pessimism.core.bandit import Bandit
    from pessimism.core.solution import Solution


def change(log_ratio: Array, propensity: Array) -> Array:
    """Difference pi - q of the probabilities."""
    return propensity * array_namespace(log_ratio).expm1(log_ratio)


def binary_kl(log_ratio: Array, propensity: Array) -> Array:
    """Divergence KL(q || pi) of the two events, this action or another; infinite where pi is one or more."""
    xp = array_namespace(log_ratio)
    others = 1.0 - propensity
    left = others - propensity * xp.expm1(log_ratio)
    ones = xp.ones_like(left)
    of_others = xp.where(others > 0, others, ones) / xp.where(left > 0, left, ones)
    divergence = xp.where(others > 0, others * xp.log(of_others), 0.0 * others) - propensity * log_ratio
    return xp.where((left > 0) | (others <= 0), divergence, xp.inf * ones)


def change_edges(low: float, high: float, propensity: Array) -> tuple[Array, Array]:
    """Log-ratios at which pi - q is -low and high; infinite where there is none."""
    xp = array_namespace(propensity)
    seen, ones = propensity > 0, xp.ones_like(propensity)
    q = xp.where(seen, propensity, ones)
    falls = seen & (q > low)
    with np.errstate(over="ignore"):  # an edge out of reach of any float is none
        below = xp.where(falls, xp.log1p(-xp.where(falls, low / q, 0.0 * ones)), -xp.inf * ones)
        return below, xp.where(seen, xp.log1p(high / q), xp.inf * ones)


def binary_kl_edges(low: float, high: float, propensity: Array) -> tuple[Array, Array]:
    """Log-ratios below and above 0 at which the binary KL is ``low`` and ``high``; infinite where there is none."""
    from scipy.optimize import elementwise

    q = to_numpy(propensity)
    inside = (q > 0) & (q < 1)
    p = np.where(inside, q, 0.5)

    def excess_below(u: Array, p: Array) -> Array:
        return np.minimum(binary_kl(u, p), 1e300) - low

    # Above, the mass of the others falls to e^-s of itself, so that no digits of it are lost where it is next to none.
    def log_ratio(s: Array, p: Array) -> Array:
        return np.log1p((1.0 - p) / p * -np.expm1(-s))

    def excess_above(s: Array, p: Array) -> Array:
        return (1.0 - p) * s - p * log_ratio(s, p) - high

    with np.errstate(over="ignore"):  # an edge out of reach of any float is none
        # The divergence is at least p (-u - 1) below, and (1 - p) (s - 1) above.
        below = elementwise.find_root(excess_below, (-2.0 * (low / p + 1.0), np.zeros_like(p)), args=(p,)).x
        s = elementwise.find_root(excess_above, (np.zeros_like(p), 2.0 * (high / (1.0 - p) + 1.0)), args=(p,)).x
    found = [np.where(inside, below, -np.inf), np.where(inside, log_ratio(s, p), np.inf)]
    xp, place = array_namespace(propensity), device(propensity)
    return tuple(xp.asarray(a, dtype=propensity.dtype, device=place) for a in found)


@dataclass(frozen=True)
class SquaredPenalty(MeanBaseline):
    """Base of the losses that add tau u^2 to a masked importance weight: near the behavior a KL of weight 2 tau."""

    reference_policy: ClassVar[Literal["behavior", "initial", "none"]] = "behavior"
    level: ClassVar[Literal["sequence", "token"]] = "token"
    temperature_field: ClassVar[str | None] = "tau"

    if TYPE_CHECKING:
        tau: float

    @property
    def temperature(self) -> float:
        """Temperature 2 tau."""
        return 2.0 * float(self.tau)

    def at_temperature(self, beta: float) -> Self:
        """The same objective with tau = beta/2."""
        return replace(self, tau=0.5 * beta)

    @property
    def by_flow(self) -> bool:
        """Whether fixed points are several: tau u^2 on old data is not convex in the ratio, nor are all masks."""
        return True

    def _keeps(self, log_ratio: Array, advantage: Array, weights: Array | None) -> Array:
        """Mask of the samples that count."""
        raise NotImplementedError

    def _gain(self, log_ratio: Array, advantage: Array, weights: Array | None) -> Array:
        """Importance weight times advantage of the samples that count."""
        pull = array_namespace(log_ratio).exp(log_ratio) * advantage
        return array_namespace(pull).where(self._keeps(log_ratio, advantage, weights), pull, 0.0 * advantage)

    def score_weight(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Score weight g = w A where the sample is kept, 0 elsewhere, minus 2 tau u."""
        return self._gain(log_ratio, advantage, weights) - 2.0 * self.tau * log_ratio

    def loss(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Loss: -w A where the sample is kept, 0 elsewhere, plus tau u^2; the mask is not differentiated."""
        return self.tau * log_ratio * log_ratio - self._gain(log_ratio, advantage, weights)


@dataclass(frozen=True)
class KimiK25(SquaredPenalty):
    """The loss of Kimi K2.5: a ratio clipped whatever the sign of the advantage, and a squared log-ratio.

    The loss of a token is ``-clip(w, low, high) A + tau u^2`` with ``A = r - mean r``. Other than PPO it has no minimum
    beside the clip: a token outside has no gradient from A, whether it went there with A or against it. Clip and mask
    are one here, since the clip's gradient is that of w A inside and zero outside. It induces the limit of gradient
    flow from the behavior, A - 2 tau u e^-u = lam for actions inside, -2 tau u e^-u = lam outside, at an edge
    otherwise.

    Parameters
    ----------
    low : float, default 0.125
        Ratio below which a sample does not count; in (0, 1). The paper's is unpublished; the default was prime-rl's.
    high : float, default 8.0
        Ratio above which a sample does not count; > 1. As above.
    tau : float, default 0.001
        Weight of u^2, in units of the advantage; > 0. The paper's is unpublished; the default is prime-rl's. It acts as
        a temperature of 2 tau.

    Notes
    -----
    There is no closed form: an action that has left the band on the wrong side, a better one below it or a worse one
    above, is in balance there as well as inside, and only its way tells. The loss of Kimi k1.5 and K2 is another, the
    regression :class:`~pessimism.losses.regression.Kimi`.

    The paper's text calls alpha and beta bounds of the log-ratio, its equation clips the ratio: ``low`` and ``high``
    are the exponentials of the former. Tokens are summed and divided by their number in the batch.

    References
    ----------
    .. [1] arXiv 2602.02276, eq. 1.

    Examples
    --------
    >>> import pessimism as ps
    >>> ps.induced_target([0.75, 0.25], [0.0, 1.0], "kimi_k25", low=0.8, high=1.2, tau=0.05).policy.round(4)
    array([0.6, 0.4])
    """

    name: ClassVar[str] = "kimi_k25"
    title: ClassVar[str] = "Kimi K2.5"
    paper: ClassVar[str] = "2602.02276"
    formula: ClassVar[str] = "-clip(w, low, high) A + tau u^2, A = r - mean r"
    induces: ClassVar[str] = (
        "limit of gradient flow: A - 2 tau u/w = lam inside, -2 tau u/w = lam outside, or at an edge"
    )

    low: float = 0.125
    high: float = 8.0
    tau: float = 1e-3

    def __post_init__(self) -> None:
        self.require_positive("low", "high", "tau")
        if not self.low < 1 < self.high:
            raise ValueError(f"kimi_k25: low must be < 1 and high > 1, got {self.low!r} and {self.high!r}")

    @property
    def kinks(self) -> tuple[float, ...]:
        """Log-ratios at the edges of the band."""
        return (math.log(self.low), math.log(self.high))

    def _keeps(self, log_ratio: Array, advantage: Array, weights: Array | None) -> Array:
        low, high = self.kinks
        return (log_ratio >= low) & (log_ratio <= high)

    def loss(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Loss: -clip(w, low, high) A + tau u^2."""
        xp, (low, high) = array_namespace(log_ratio), self.kinks
        return self.tau * log_ratio * log_ratio - xp.exp(xp.clip(log_ratio, low, high)) * advantage


@dataclass(frozen=True)
class DPPOTV(SquaredPenalty):
    """The default loss of prime-rl: DPPO's mask on the change of a probability, and the squared log-ratio of Kimi K2.5.

    The loss of a token is ``-keep w A + tau u^2`` with ``A = r - mean r``; keep is 0 where A > 0 and pi - q > high, or
    A < 0 and pi - q < -low, q the probability when it was sampled, else 1. It induces A - 2 tau u e^-u = lam inside the
    mask, -2 tau u e^-u = lam beyond it, at its edge otherwise. As in GRPO the penalty is averaged over old samples
    without a ratio.

    Parameters
    ----------
    low : float, default 0.2
        Fall of a probability from which a worse action does not count; > 0.
    high : float, default 0.2
        Rise of a probability from which a better action does not count; > 0.
    tau : float, default 0.001
        Weight of u^2, in units of the advantage; > 0. It acts as a temperature of 2 tau. prime-rl's ``adv_tau`` divides
        it.

    Notes
    -----
    Actions of probability below ``low`` are never masked on their way down: with A < 0 they fall until the penalty
    stops them. Where every action is on the branch on which the penalty is convex in the ratio, u <= 1, the fixed point
    is a closed form; elsewhere it is the limit of gradient flow from the behavior. The mask is not part of what is
    differentiated: the loss jumps at its edge, and the least loss is not the target.

    References
    ----------
    .. [1] arXiv 2602.04879, eq. 13 (the mask); 2602.02276, eq. 1 (the penalty).
    .. [2] ``default_loss_fn`` of prime-rl.

    Examples
    --------
    >>> import pessimism as ps
    >>> ps.induced_target([0.75, 0.25], [0.0, 1.0], "dppo_tv", high=0.1).policy.round(4)
    array([0.55, 0.45])
    """

    name: ClassVar[str] = "dppo_tv"
    title: ClassVar[str] = "DPPO with a squared log-ratio (prime-rl)"
    short: ClassVar[str] = "DPPO-TV (prime-rl)"
    paper: ClassVar[str] = "2602.04879"
    formula: ClassVar[str] = (
        "-keep w A + tau u^2, keep = not (pi - q > high, A > 0 or pi - q < -low, A < 0), A = r - mean r"
    )
    induces: ClassVar[str] = "A - 2 tau u/w = lam inside the mask, -2 tau u/w = lam beyond, or at its edge; or a flow"
    takes_propensity: ClassVar[bool] = True

    low: float = 0.2
    high: float = 0.2
    tau: float = 1e-3

    def __post_init__(self) -> None:
        self.require_positive("low", "high", "tau")

    def kinks_at(self, propensity: Array) -> tuple[Array | float, ...]:
        """Log-ratios at which pi - q is -low or high."""
        return change_edges(self.low, self.high, propensity)

    def _keeps(self, log_ratio: Array, advantage: Array, weights: Array | None) -> Array:
        moved = change(log_ratio, propensities(log_ratio, weights))
        return ~(((advantage > 0) & (moved > self.high)) | ((advantage < 0) & (moved < -self.low)))

    def closed_form(self, bandit: Bandit, advantage: Array, *, unseen: bool) -> Solution | None:
        """Stable branch of the penalty."""
        edges = change_edges(self.low, self.high, to_numpy(bandit.behavior))
        return stable_branch(bandit, self, advantage, 2.0 * self.tau, K2, edges, unseen)


@dataclass(frozen=True)
class PrimeIPO(SquaredPenalty):
    """The loss ``ipo`` of prime-rl: a mask on the change of a probability whatever the sign of the advantage.

    The loss of a token is ``-keep w A + tau u^2`` with ``A = r - mean r`` and keep = 1 where abs(pi - q) <= threshold,
    else 0. It induces the limit of gradient flow from the behavior: A - 2 tau u e^-u = lam for actions inside,
    -2 tau u e^-u = lam for those outside, or at an edge. It has nothing to do with the IPO of preferences,
    :class:`~pessimism.losses.centered.IPO`.

    Parameters
    ----------
    threshold : float, default 0.1
        Change of a probability from which an action does not count; > 0.
    tau : float, default 0.001
        Weight of u^2, in units of the advantage; > 0. It acts as a temperature of 2 tau. prime-rl's ``adv_tau`` divides
        it.

    Notes
    -----
    There is no closed form: an action that has left the band against its advantage is in balance there as well as
    inside, and only its way tells.

    References
    ----------
    .. [1] ``ipo_loss_fn`` of prime-rl; its penalty is that of arXiv 2602.02276, eq. 1.

    Examples
    --------
    >>> import pessimism as ps
    >>> ps.induced_target([0.75, 0.25], [0.0, 1.0], "prime_ipo").policy.round(4)
    array([0.65, 0.35])
    """

    name: ClassVar[str] = "prime_ipo"
    title: ClassVar[str] = "ipo of prime-rl"
    paper: ClassVar[str] = "2602.02276"
    formula: ClassVar[str] = "-keep w A + tau u^2, keep = (abs(pi - q) <= threshold), A = r - mean r"
    induces: ClassVar[str] = (
        "limit of gradient flow: A - 2 tau u/w = lam inside, -2 tau u/w = lam outside, or at an edge"
    )
    takes_propensity: ClassVar[bool] = True

    threshold: float = 0.1
    tau: float = 1e-3

    def __post_init__(self) -> None:
        self.require_positive("threshold", "tau")

    def kinks_at(self, propensity: Array) -> tuple[Array | float, ...]:
        """Log-ratios at which abs(pi - q) is the threshold."""
        return change_edges(self.threshold, self.threshold, propensity)

    def _keeps(self, log_ratio: Array, advantage: Array, weights: Array | None) -> Array:
        return abs(change(log_ratio, propensities(log_ratio, weights))) <= self.threshold


@dataclass(frozen=True)
class DPPO(MeanBaseline):
    """DPPO, divergence-based PPO, as verl trains it: a capped weight where a divergence of probabilities is small.

    The loss of a token is ``-keep sg[min(w, cap)] A log pi`` with ``A = r - mean r``. keep is 0 where A > 0 and the
    probability has risen, or A < 0 and it has fallen, by more than a threshold: of pi - q (``divergence="tv"``), or of
    the KL(q || pi) between this action and all others (``"kl"``). It induces a set of policies: every action with
    A > 0 at its upper edge or above, every one with A < 0 at its lower edge or below. Of them the nearest to the
    behavior is returned.

    Parameters
    ----------
    divergence : {"tv", "kl"}, default "tv"
        What is compared with the thresholds: the change of the probability, or the binary KL.
    low : float, default 0.2
        Threshold where A < 0; > 0. verl's ``clip_ratio_low``.
    high : float, default 0.2
        Threshold where A > 0; > 0. verl's ``clip_ratio_high``.
    cap : float, default 20.0
        Cap of the ratio of policy to behavior; >= 1. verl's function has 20, yet reads ``clip_ratio_c`` of its
        configuration, which is 3 unless it is set.

    Notes
    -----
    A worse action of probability below ``low`` is never masked by its change, and vanishes. Where the better actions
    have no room to reach their edges, the others have no mass, and they fill in the order of their advantages: an
    action above the level lam has w = cap A/lam, at most its edge, where that exceeds the cap; the level takes the
    rest.

    References
    ----------
    .. [1] arXiv 2602.04879, eqs. 13-14.

    Examples
    --------
    >>> import pessimism as ps
    >>> for divergence in ("tv", "kl"):
    ...     print(ps.induced_target([0.75, 0.25], [0.0, 1.0], "dppo", divergence=divergence).policy.round(4))
    [0.55 0.45]
    [0.4387 0.5613]
    """

    name: ClassVar[str] = "dppo"
    title: ClassVar[str] = "DPPO"
    paper: ClassVar[str] = "2602.04879"
    formula: ClassVar[str] = "-keep sg[min(w, cap)] A u, keep by pi - q (tv) or a binary KL (kl), A = r - mean r"
    induces: ClassVar[str] = (
        "a set, for tv: pi >= q + high where A > 0, pi <= max(q - low, 0) where A < 0, if there is room"
    )
    level: ClassVar[Literal["sequence", "token"]] = "token"
    temperature_field: ClassVar[str | None] = None
    takes_propensity: ClassVar[bool] = True

    divergence: Literal["tv", "kl"] = "tv"
    low: float = 0.2
    high: float = 0.2
    cap: float = 20.0

    def __post_init__(self) -> None:
        self.require_choice("divergence", ("tv", "kl"))
        self.require_positive("low", "high")
        self.require_at_least(1, "cap")

    def kinks_at(self, propensity: Array) -> tuple[Array | float, ...]:
        """Log-ratios at which the divergence reaches its threshold."""
        edges = change_edges if self.divergence == "tv" else binary_kl_edges
        return edges(self.low, self.high, propensity)

    def linear_bounds(self, propensity: Array) -> tuple[Array | float, Array | float] | None:
        """Log-ratios at which the mask begins; the upper one is nan where the cap of the weight comes first."""
        low, high = self.kinks_at(propensity)
        return low, array_namespace(high).where(high <= math.log(self.cap), high, math.nan)

    def _keeps(self, log_ratio: Array, advantage: Array, weights: Array | None) -> Array:
        q = propensities(log_ratio, weights)
        if self.divergence == "tv":
            moved = change(log_ratio, q)
            far_up, far_down = moved > self.high, moved < -self.low
        else:
            apart = binary_kl(log_ratio, q)
            far_up, far_down = (apart > self.high) & (log_ratio > 0), (apart > self.low) & (log_ratio < 0)
        return ~(((advantage > 0) & far_up) | ((advantage < 0) & far_down))

    def score_weight(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Score weight g = min(w, cap) A where the sample is kept, 0 elsewhere."""
        xp = array_namespace(log_ratio)
        pull = xp.exp(xp.clip(log_ratio, None, math.log(self.cap))) * advantage
        return xp.where(self._keeps(log_ratio, advantage, weights), pull, 0.0 * advantage)

    def loss(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Loss: -keep sg[min(w, cap)] A log pi, up to a constant of the policy."""
        return -self.score_weight(stop_gradient(log_ratio), advantage, weights) * log_ratio

    def closed_form(self, bandit: Bandit, advantage: Array, *, unseen: bool) -> Solution | None:
        """The element of the set nearest to the behavior, or the best actions as far as there is room."""
        low, high = (to_numpy(a) for a in self.kinks_at(bandit.behavior))
        return optimal_box(bandit, self, advantage, low, high, self.cap)
