"""REINFORCE and its baselines: -(r - V) log pi, on its own samples as published or on those of an older policy.

On-policy the baseline is no matter of the target, only of the variance; once the data are those of a fixed behavior it
decides everything.
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from array_api_compat import array_namespace, device

from pessimism import baselines
from pessimism.arrays import Array
from pessimism.closed_forms import tilts
from pessimism.closed_forms.tilts import greedy
from pessimism.core.objective import MeanBaseline, Objective, stop_gradient
from pessimism.core.solution import NOT_COVERED, STATUS, Solution
from pessimism.losses.centered import centered_gap
from pessimism.losses.likelihood import PolicyGradient

if TYPE_CHECKING:
    from pessimism.core.bandit import Bandit
    from pessimism.core.solution import Solution


Sampling = Literal["on_policy", "off_policy"]


@dataclass(frozen=True)
class Reinforce(PolicyGradient):
    """REINFORCE with a constant baseline, -(r - value) log pi (Williams, 1992; for language models arXiv 2402.14740).

    On-policy, as published, it ascends E_pi[r]: the limit is the behavior restricted to the best actions, whatever the
    baseline. Several best actions form a set of optima, of which the nearest to the behavior is returned. On data of a
    fixed behavior (``sampling="off_policy"``) the limit is that of AsymRE: it exists iff E[r] > value, and actions
    below it may lose all their mass. No ratio, no reference, no temperature; sum over tokens.

    Examples
    --------
    >>> import pessimism as ps
    >>> ps.induced_target([0.5, 0.3, 0.2], [0.0, 0.5, 1.0], Reinforce()).policy
    array([0., 0., 1.])
    >>> ps.induced_target([0.5, 0.3, 0.2], [0.0, 0.5, 1.0], Reinforce(sampling="off_policy")).policy.round(4)
    array([0.    , 0.4286, 0.5714])
    """

    name: ClassVar[str] = "reinforce"
    title: ClassVar[str] = "REINFORCE"
    paper: ClassVar[str] = "2402.14740"
    formula: ClassVar[str] = "-(r - value) u"
    induces: ClassVar[str] = "on-policy: greedy; off-policy: (mu A - c)_+ / E_mu[A], exists iff E[r] > value"
    subtracts: ClassVar[str] = "value"

    value: float = 0.0
    sampling: Sampling = "on_policy"

    def __post_init__(self) -> None:
        self.require_number("value")
        self.require_choice("sampling", ("on_policy", "off_policy"))

    def baseline_parts(self, reward: Array, weights: Array | None = None) -> tuple[Array, Array]:
        """The constant, for every group."""
        return baselines.constant_parts(reward, self.value)


@dataclass(frozen=True)
class OPO(PolicyGradient):
    """On-policy RL with the length-weighted mean as baseline, V = sum(len r)/sum(len) (arXiv 2505.23585).

    That baseline has the least variance if squared score norms grow like lengths. On-policy, as published, it leaves
    the target of REINFORCE: greedy. On stale data (``sampling="off_policy"``) it decides: there is a target iff
    E[r] > V, that is, iff rewards and lengths are negatively correlated; with equal lengths (``lengths=None``) V = E[r]
    and there is none. ``lengths`` holds one number per action. verl gives a group of one sample the baseline 0, which
    matters to its variance alone.

    Examples
    --------
    >>> import pessimism as ps
    >>> short_is_right = OPO(lengths=(300.0, 100.0), sampling="off_policy")
    >>> target = ps.induced_target([0.5, 0.5], [0.0, 1.0], short_is_right)
    >>> float(target.baseline), target.policy
    (0.25, array([0., 1.]))
    >>> str(ps.induced_target([0.5, 0.5], [0.0, 1.0], OPO(sampling="off_policy")).status)
    'no_target'
    """

    name: ClassVar[str] = "opo"
    title: ClassVar[str] = "On-policy RL with optimal reward baseline"
    paper: ClassVar[str] = "2505.23585"
    formula: ClassVar[str] = "-(r - sum(len r)/sum(len)) u"
    induces: ClassVar[str] = "on-policy: greedy; off-policy: (mu A - c)_+ / E_mu[A], exists iff cov(len, r) < 0"
    subtracts: ClassVar[str] = "sum(len r)/sum(len)"

    lengths: tuple[float, ...] | None = None
    sampling: Sampling = "on_policy"

    def __post_init__(self) -> None:
        self.require_choice("sampling", ("on_policy", "off_policy"))
        if self.lengths is None:
            return
        numbers = isinstance(self.lengths, tuple) and len(self.lengths) > 0
        if not numbers or not all(_is_length(value) for value in self.lengths):
            raise ValueError(f"opo: lengths must be a tuple of finite numbers > 0, got {self.lengths!r}")

    def baseline_parts(self, reward: Array, weights: Array | None = None) -> tuple[Array, Array]:
        """Mean reward per token."""
        if self.lengths is None:
            return baselines.mean_parts(reward, weights)
        xp = array_namespace(reward)
        if len(self.lengths) != reward.shape[-1]:
            counts = f"{len(self.lengths)} for {reward.shape[-1]} actions"
            raise ValueError(f"opo: lengths must hold one number per action, got {counts}")
        tokens = xp.asarray(self.lengths, dtype=reward.dtype, device=device(reward))
        tokens = tokens + xp.zeros_like(reward) if weights is None else tokens * weights
        return baselines.mean_parts(reward, tokens / xp.sum(tokens, axis=-1, keepdims=True))


@dataclass(frozen=True)
class RLOO(MeanBaseline):
    r"""REINFORCE leave-one-out with the sequence KL in the reward (arXiv 2402.14740).

    The reward is R = r - beta log(pi/nu), the baseline of a sample the mean R of the others: a centered R times
    G/(G - 1) in a group of G. On-policy, as published, R is constant at the fixed point: nominal. On stale data
    (``sampling="off_policy"``) it is nominal as well, for any behavior with full support, if the KL term follows the
    policy that is being trained, since the leave-one-out mean then centers u like r (lam = 0, as in TBA). Frameworks
    that freeze R at the rollout train on a fixed reward instead, whose centered mean is 0: no target (AsymRE at shift
    0). Neither R nor the baseline is differentiated. Reference: the initial policy, sum over tokens; beta = 0.03, and
    k = 2 or 4 samples.

    Examples
    --------
    >>> import pessimism as ps
    >>> ps.induced_target([0.5, 0.5], [0.0, 1.0], RLOO(beta=1.0)).policy.round(4)
    array([0.2689, 0.7311])
    """

    name: ClassVar[str] = "rloo"
    title: ClassVar[str] = "REINFORCE leave-one-out"
    paper: ClassVar[str] = "2402.14740"
    formula: ClassVar[str] = "-sg[R - mean of the others' R] u, R = r - beta u"
    induces: ClassVar[str] = "nominal, mu exp(r/beta)/Z, on-policy and (KL at the current policy) off-policy"
    subtracts: ClassVar[str] = "mean of the others' r - beta u"
    reference_policy: ClassVar[Literal["behavior", "initial", "none"]] = "initial"
    coupled: ClassVar[bool] = True
    takes_reference: ClassVar[bool] = True

    beta: float = 0.03
    sampling: Sampling = "on_policy"

    def __post_init__(self) -> None:
        self.require_positive("beta")
        self.require_choice("sampling", ("on_policy", "off_policy"))

    @property
    def on_policy(self) -> bool:
        """Whether the data follow the current policy."""
        return self.sampling == "on_policy"

    def score_weight(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """g = A - beta u - mean(A - beta u), times G/(G - 1) in a sampled group.

        The mean is that of the data; on-policy a constant in it changes nothing.
        """
        return centered_gap(self.beta * log_ratio, advantage, weights)

    def loss(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """-(R - mean of the others' R) log pi, up to a constant of the policy."""
        return -self.score_weight(stop_gradient(log_ratio), advantage, weights) * log_ratio

    def closed_form(self, bandit: Bandit, advantage: Array, *, unseen: bool) -> Solution | None:
        """Nominal target."""
        return tilts.nominal(bandit, advantage, self.beta)


def _is_length(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and 0 < float(value) < float("inf")


@dataclass(frozen=True)
class TOPR(Objective):
    r"""Tapered off-policy REINFORCE, -sg[alpha] R log pi (arXiv 2503.14286).

    alpha = 1 where R >= 0 and min(w, 1) where R < 0, w the sequence ratio to the behavior; R is the reward (+-1 in the
    paper) minus a constant ``value``, which re-weights positives against negatives. No KL, no reference.

    A negative action loses its weight together with its mass: where some R is positive the target is w = R_+/E[R_+].
    Negatives vanish altogether and without displacing anything, unlike the water filling of AsymRE, and so do actions
    with R = 0. Groups without a positive R: if the best R is 0, its actions share the mass, any way they like; if all R
    are equal, nothing moves; otherwise the pull has several one-action limits, and the one that gradient flow reaches
    from the behavior is returned (generic route): with failures alone the loss does not stay put.

    Examples
    --------
    >>> import pessimism as ps
    >>> ps.induced_target([0.5, 0.3, 0.2], [-1.0, 1.0, 1.0], TOPR()).policy
    array([0. , 0.6, 0.4])
    >>> ps.induced_target([0.5, 0.3, 0.2], [-1.0, -1.0, -1.0], TOPR()).policy
    array([0.5, 0.3, 0.2])
    """

    name: ClassVar[str] = "topr"
    title: ClassVar[str] = "Tapered off-policy REINFORCE"
    paper: ClassVar[str] = "2503.14286"
    formula: ClassVar[str] = "-sg[alpha] (r - value) u, alpha = 1 if r >= value else min(w, 1)"
    induces: ClassVar[str] = "mu A_+ / E_mu[A_+]: negatives vanish; without positives the limit of gradient flow"
    subtracts: ClassVar[str] = "value"
    reference_policy: ClassVar[Literal["behavior", "initial", "none"]] = "behavior"
    temperature_field: ClassVar[str | None] = None

    value: float = 0.0

    def __post_init__(self) -> None:
        self.require_number("value")

    @property
    def by_flow(self) -> bool:
        """Without positive advantages fixed points are several."""
        return True

    def baseline_parts(self, reward: Array, weights: Array | None = None) -> tuple[Array, Array]:
        """The constant, for every group."""
        return baselines.constant_parts(reward, self.value)

    def score_weight(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """g = A where A >= 0, min(w, 1) A where A < 0."""
        xp = array_namespace(log_ratio)
        taper = xp.exp(xp.clip(log_ratio, None, 0.0))
        return advantage * xp.where(advantage >= 0, xp.ones_like(taper), taper)

    def loss(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """-alpha A log pi, alpha not differentiated, up to a constant of the policy."""
        return -self.score_weight(stop_gradient(log_ratio), advantage, weights) * log_ratio

    def closed_form(self, bandit: Bandit, advantage: Array, *, unseen: bool) -> Solution | None:
        """Behavior weighted by the positive part; the best actions where that is zero; see the class for the rest."""
        xp = bandit.xp
        own = bandit.masked(advantage, -xp.inf)
        best, worst = xp.max(own, axis=-1), xp.min(bandit.masked(advantage, xp.inf), axis=-1)
        gains, flat = best > 0, (best < 0) & (best == worst)
        positive = own > 0
        safe = xp.where(positive, advantage, xp.ones_like(advantage))
        # In units of the best, so that no sum underflows.
        unit = xp.where(gains, best, xp.ones_like(best))[:, None]
        total = xp.sum(xp.where(positive, bandit.behavior * (safe / unit), xp.zeros_like(safe)), axis=-1, keepdims=True)
        weighted = xp.log(safe / unit) - xp.log(xp.where(gains[:, None], total, xp.ones_like(total)))
        weighted = xp.where(positive, weighted, xp.full_like(weighted, -xp.inf))
        limit = greedy(bandit, advantage)
        log_ratio = xp.where(gains[:, None], weighted, limit.log_ratio)
        vanishing = xp.any(bandit.support & ~positive, axis=-1)
        status = xp.where(gains, xp.astype(vanishing, xp.int8) * STATUS.index("vanishing_support"), limit.status)
        status = xp.where(flat, xp.zeros_like(status), status)
        status = xp.where((best < 0) & ~flat, xp.full_like(status, NOT_COVERED), status)
        return limit._replace(log_ratio=bandit.masked(log_ratio, 0.0), status=xp.astype(status, xp.int8))
