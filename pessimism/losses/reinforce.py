"""REINFORCE and its baselines: -(r - V) log pi, on own samples as published, or on those of an older policy.

On-policy the baseline does not change the target, only the variance; once the data are those of a fixed behavior it
decides everything.
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, ClassVar, Literal

from array_api_compat import array_namespace

from pessimism import baselines
from pessimism.arrays import Array
from pessimism.closed_forms import tilts
from pessimism.closed_forms.regime import regime_of
from pessimism.closed_forms.tilts import greedy
from pessimism.core.objective import MeanBaseline, Objective, stop_gradient
from pessimism.core.solution import NOT_COVERED, Solution, Status
from pessimism.losses.centered import centered_gap
from pessimism.losses.likelihood import PolicyGradient

if TYPE_CHECKING:
    from pessimism.core.bandit import Bandit
    from pessimism.core.solution import Solution


Sampling = Literal["on_policy", "off_policy"]


@dataclass(frozen=True)
class Reinforce(PolicyGradient):
    """REINFORCE with a constant baseline.

    The loss of a sample is ``-(r - value) u``. On-policy, as published, it ascends E_pi[r] and induces the greedy
    policy, the behavior restricted to the best actions, whatever the baseline. On data of a fixed behavior
    (``sampling="off_policy"``) it induces the limit of AsymRE, (mu A - c)_+ / E_mu[A], which exists iff E[r] > value;
    actions with rewards below ``value`` may lose all their mass.

    Parameters
    ----------
    value : float or array_like, default 0.0
        Constant baseline, in units of the reward.
    sampling : {"on_policy", "off_policy"}, default "on_policy"
        Who samples: the policy in training (``"on_policy"``) or the behavior (``"off_policy"``).

    Notes
    -----
    Several best actions form a set of optima, of which the nearest to the behavior is returned. There is no ratio, no
    reference and no temperature; u is summed over tokens.

    References
    ----------
    .. [1] Williams, 1992.
    .. [2] arXiv 2402.14740, for language models.

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
    sweeps: ClassVar[tuple[str, ...]] = ("value",)

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
    """On-policy RL with optimal reward baseline (OPO): REINFORCE with the length-weighted mean as baseline.

    The loss of a sample is ``-(r - sum(len r)/sum(len)) u``. On-policy, as published, it induces the target of
    REINFORCE, the greedy policy. On stale data (``sampling="off_policy"``) the baseline decides: it induces (mu
    A - c)_+ / E_mu[A] iff E[r] > V, that is, iff rewards and lengths are negatively correlated. With equal lengths
    V = E[r], and there is no target.

    Parameters
    ----------
    length : float or array_like, shape (..., K), optional
        Tokens of each action, which weigh its reward in the baseline; >= 1. Without it all are equal.
    sampling : {"on_policy", "off_policy"}, default "on_policy"
        Who samples: the policy in training (``"on_policy"``) or the behavior (``"off_policy"``).

    Notes
    -----
    The baseline has the least variance if squared score norms grow like lengths. verl gives a group of one sample the
    baseline 0, which matters to its variance alone.

    References
    ----------
    .. [1] arXiv 2505.23585.

    Examples
    --------
    >>> import pessimism as ps
    >>> short_is_right = OPO(length=(300.0, 100.0), sampling="off_policy")
    >>> target = ps.induced_target([0.5, 0.5], [0.0, 1.0], short_is_right)
    >>> float(target.baseline), target.policy
    (0.25, array([0., 1.]))
    >>> str(ps.induced_target([0.5, 0.5], [0.0, 1.0], OPO(sampling="off_policy")).status)
    'no_target'
    """

    name: ClassVar[str] = "opo"
    title: ClassVar[str] = "On-policy RL with optimal reward baseline"
    short: ClassVar[str] = "OPO"
    paper: ClassVar[str] = "2505.23585"
    formula: ClassVar[str] = "-(r - sum(len r)/sum(len)) u"
    induces: ClassVar[str] = "on-policy: greedy; off-policy: (mu A - c)_+ / E_mu[A], exists iff cov(len, r) < 0"
    subtracts: ClassVar[str] = "sum(len r)/sum(len)"
    per_action: ClassVar[tuple[str, ...]] = ("length",)

    length: float | tuple[float, ...] | None = None
    sampling: Sampling = "on_policy"

    def __post_init__(self) -> None:
        self.require_choice("sampling", ("on_policy", "off_policy"))
        self.require_at_least(1, "length")

    def baseline_parts(self, reward: Array, weights: Array | None = None) -> tuple[Array, Array]:
        """Mean reward per token."""
        tokens = self.fact("length", reward)
        if tokens is None or isinstance(tokens, Real):
            return baselines.mean_parts(reward, weights)
        tokens = tokens + array_namespace(reward).zeros_like(reward) if weights is None else tokens * weights
        return baselines.mean_parts(reward, tokens / array_namespace(reward).sum(tokens, axis=-1, keepdims=True))


@dataclass(frozen=True)
class GPG(MeanBaseline, PolicyGradient):
    """Group policy gradient (GPG): REINFORCE with the group mean as baseline, without ratio, clip or penalty.

    The loss of a token is ``-(r - mean r) u``. On-policy, as published, it induces the target of REINFORCE, the greedy
    policy. On stale data (``sampling="off_policy"``) the mean advantage is zero and the loss unbounded: there is no
    target, as with AsymRE at shift 0.

    Parameters
    ----------
    sampling : {"on_policy", "off_policy"}, default "on_policy"
        Who samples: the policy in training (``"on_policy"``) or the behavior (``"off_policy"``).

    Notes
    -----
    The paper multiplies the advantages of a batch by the inverse of its share of groups with a signal, and may divide
    them by the standard deviation of the group (F_norm): both are positive factors on a group, which move no target.
    verl gives a group of one sample the baseline 0.

    References
    ----------
    .. [1] arXiv 2504.02546.

    Examples
    --------
    >>> import pessimism as ps
    >>> ps.induced_target([0.5, 0.3, 0.2], [0.0, 0.5, 1.0], GPG()).policy
    array([0., 0., 1.])
    >>> str(ps.induced_target([0.5, 0.3, 0.2], [0.0, 0.5, 1.0], GPG(sampling="off_policy")).status)
    'no_target'
    """

    name: ClassVar[str] = "gpg"
    title: ClassVar[str] = "Group policy gradient"
    short: ClassVar[str] = "GPG"
    paper: ClassVar[str] = "2504.02546"
    formula: ClassVar[str] = "-(r - mean r) u"
    induces: ClassVar[str] = "on-policy: greedy; off-policy: none, since E_mu[A] = 0"
    level: ClassVar[Literal["sequence", "token"]] = "token"
    no_target_because: ClassVar[str] = "the mean advantage of stale data is 0, the loss is unbounded"

    sampling: Sampling = "on_policy"

    def __post_init__(self) -> None:
        self.require_choice("sampling", ("on_policy", "off_policy"))


@dataclass(frozen=True)
class RLOO(MeanBaseline):
    """REINFORCE leave-one-out (RLOO) with the KL of the sequence in the reward.

    The loss of a sample is ``-sg[R - mean of the others' R] u`` with the reward R = r - beta log(pi/nu); the baseline
    of a sample is the mean R of the others. On-policy, as published, R is constant at the fixed point: it induces the
    nominal target, mu exp(r/beta)/Z. On stale data (``sampling="off_policy"``) it does as well, for any behavior with
    full support, if the KL term follows the policy that is being trained.

    Parameters
    ----------
    beta : float or array_like, default 0.03
        Temperature, or weight of the penalty, in units of the advantage; > 0. The default is published, with k = 2
        or 4 samples.
    sampling : {"on_policy", "off_policy"}, default "on_policy"
        Who samples: the policy in training (``"on_policy"``) or the behavior (``"off_policy"``).

    Notes
    -----
    A minus its leave-one-out mean is a centered R times G/(G - 1) in a group of G. On stale data it centers u like r,
    so that lam = 0, as in TBA. Frameworks that freeze R at the rollout train on a fixed reward instead, whose centered
    mean is 0: no target (AsymRE at shift 0). Neither R nor the baseline is differentiated. The published reference is
    the initial policy, and u is summed over tokens.

    References
    ----------
    .. [1] arXiv 2402.14740.

    Examples
    --------
    >>> import pessimism as ps
    >>> ps.induced_target([0.5, 0.5], [0.0, 1.0], RLOO(beta=1.0)).policy.round(4)
    array([0.2689, 0.7311])
    """

    name: ClassVar[str] = "rloo"
    title: ClassVar[str] = "REINFORCE leave-one-out"
    short: ClassVar[str] = "RLOO"
    paper: ClassVar[str] = "2402.14740"
    formula: ClassVar[str] = "-sg[R - mean of the others' R] u, R = r - beta u"
    induces: ClassVar[str] = "nominal, mu exp(r/beta)/Z, on-policy and (KL at the current policy) off-policy"
    subtracts: ClassVar[str] = "mean of the others' r - beta u"
    reference_policy: ClassVar[Literal["behavior", "initial", "none"]] = "initial"
    coupled: ClassVar[bool] = True
    takes_reference: ClassVar[bool] = True
    sweeps: ClassVar[tuple[str, ...]] = ("beta",)

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
        """Score weight g = A - beta u - mean(A - beta u), times G/(G - 1) in a sampled group.

        The mean is that of the data; on-policy a constant in it changes nothing.
        """
        return centered_gap(self.beta * log_ratio, advantage, weights)

    def loss(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Loss: -(R - mean of the others' R) log pi, up to a constant of the policy."""
        return -self.score_weight(stop_gradient(log_ratio), advantage, weights) * log_ratio

    def closed_form(self, bandit: Bandit, advantage: Array, *, unseen: bool) -> Solution | None:
        """Nominal target."""
        return tilts.nominal(bandit, advantage, self.beta)


@dataclass(frozen=True)
class TOPR(Objective):
    """Tapered off-policy REINFORCE (TOPR): truncated importance weights on the negative advantages alone.

    The loss of a sample is ``-sg[alpha] A u`` with A = r - value, alpha = 1 where A >= 0 and alpha = min(w, 1) where
    A < 0, w the ratio of the sequence to the behavior. A negative action loses its weight together with its mass: where
    some A is positive it induces mu A_+/E_mu[A_+]. Negatives vanish altogether and without displacing anything, unlike
    the water filling of AsymRE, and so do actions with A = 0.

    Parameters
    ----------
    value : float or array_like, default 0.0
        Constant baseline, in units of the reward. It re-weights positives against negatives.

    Notes
    -----
    Rewards are +-1 in the paper. There is no KL and no reference. Groups without a positive A: if the best A is 0, its
    actions share the mass in any way; otherwise the gradient has several limits of one action each, and the one that
    gradient flow reaches from the behavior is returned. If all A are equal, the flow does not move, but any tilt grows
    until one action is left: the status is ``"unstable"``. With ``unseen=True`` all the mass of such a group leaks.

    References
    ----------
    .. [1] arXiv 2503.14286.

    Examples
    --------
    >>> import pessimism as ps
    >>> ps.induced_target([0.5, 0.3, 0.2], [-1.0, 1.0, 1.0], TOPR()).policy
    array([0. , 0.6, 0.4])
    >>> target = ps.induced_target([0.5, 0.3, 0.2], [-1.0, -1.0, -1.0], TOPR())
    >>> target.policy, str(target.status)
    (array([0.5, 0.3, 0.2]), 'unstable')
    """

    name: ClassVar[str] = "topr"
    title: ClassVar[str] = "Tapered off-policy REINFORCE"
    short: ClassVar[str] = "TOPR"
    paper: ClassVar[str] = "2503.14286"
    formula: ClassVar[str] = "-sg[alpha] (r - value) u, alpha = 1 if r >= value else min(w, 1)"
    induces: ClassVar[str] = "mu A_+ / E_mu[A_+]: negatives vanish; without positives the limit of gradient flow"
    subtracts: ClassVar[str] = "value"
    reference_policy: ClassVar[Literal["behavior", "initial", "none"]] = "behavior"
    temperature_field: ClassVar[str | None] = None
    sweeps: ClassVar[tuple[str, ...]] = ("value",)

    value: float = 0.0

    def __post_init__(self) -> None:
        self.require_number("value")

    @property
    def by_flow(self) -> bool:
        """Whether fixed points are several: without positive advantages they are."""
        return True

    def baseline_parts(self, reward: Array, weights: Array | None = None) -> tuple[Array, Array]:
        """The constant, for every group."""
        return baselines.constant_parts(reward, self.value)

    def score_weight(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Score weight g = A where A >= 0, min(w, 1) A where A < 0."""
        xp = array_namespace(log_ratio)
        taper = xp.exp(xp.clip(log_ratio, None, 0.0))
        return advantage * xp.where(advantage >= 0, xp.ones_like(taper), taper)

    def loss(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Loss: -alpha A log pi, alpha not differentiated, up to a constant of the policy."""
        return -self.score_weight(stop_gradient(log_ratio), advantage, weights) * log_ratio

    def closed_form(self, bandit: Bandit, advantage: Array, *, unseen: bool) -> Solution | None:
        """Behavior weighted by the positive part; the best actions where that is zero; see the class for the rest."""
        xp = bandit.xp
        own = bandit.masked(advantage, -xp.inf)
        best = xp.max(own, axis=-1)
        gains = best > 0
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
        status = xp.where(gains, xp.astype(vanishing, xp.int8) * Status.VANISHING_SUPPORT.value, limit.status)
        failing, leak = best < 0, limit.leak
        if unseen:  # no weight has a zero at any mass
            log_ratio = xp.where(failing[:, None], xp.full_like(log_ratio, -xp.inf), log_ratio)
            leak = xp.where(failing, xp.ones_like(leak), leak)
        ended = Status.VANISHING_SUPPORT.value if unseen else NOT_COVERED
        status = xp.astype(xp.where(failing, xp.full_like(status, ended), status), xp.int8)
        regime = regime_of(bandit, stop_gradient(log_ratio), xp.where(gains, xp.ones_like(best), stop_gradient(best)))
        regime = xp.where(leak > 0, xp.full_like(regime, -1), regime)
        return limit._replace(log_ratio=bandit.masked(log_ratio, 0.0), regime=regime, status=status, leak=leak)
