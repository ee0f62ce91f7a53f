"""Weighted log-likelihoods: the score weight depends on the reward alone, and the log-ratio never enters."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from array_api_compat import array_namespace

from pessimism import baselines
from pessimism.arrays import Array, per_row
from pessimism.closed_forms import tilts
from pessimism.closed_forms.tilts import greedy
from pessimism.core.objective import MeanBaseline, Objective

if TYPE_CHECKING:
    from pessimism.core.bandit import Bandit
    from pessimism.core.solution import Solution


@dataclass(frozen=True)
class AWR(MeanBaseline):
    """Advantage-weighted regression (AWR): maximum likelihood weighted by the capped exponential of the advantage.

    The loss of a sample is ``-min(exp((r - mean r)/beta), w_max) u``: the baseline is the value of the behavior. It
    induces mu min(exp(A/beta), w_max)/Z: nominal where no weight is capped (then the baseline only rescales), flatter
    where some are.

    Parameters
    ----------
    beta : float or array_like, default 1.0
        Temperature, or weight of the penalty, in units of the advantage; > 0.
    w_max : float, default 20.0
        Cap of the weight exp(A/beta); > 0, and inf for none.

    Notes
    -----
    The standardization over the replay buffer in the authors' code is not part of it.

    References
    ----------
    .. [1] arXiv 1910.00177.

    Examples
    --------
    >>> import pessimism as ps
    >>> ps.induced_target([0.5, 0.5], [0.0, 1.0], AWR(beta=1.0)).policy.round(4)
    array([0.2689, 0.7311])
    """

    name: ClassVar[str] = "awr"
    title: ClassVar[str] = "Advantage-weighted regression"
    short: ClassVar[str] = "AWR"
    paper: ClassVar[str] = "1910.00177"
    formula: ClassVar[str] = "-min(exp((r - mean r)/beta), w_max) u"
    induces: ClassVar[str] = "mu min(exp(A/beta), w_max)/Z: nominal unless capped"
    reference_policy: ClassVar[Literal["behavior", "initial", "none"]] = "none"
    sweeps: ClassVar[tuple[str, ...]] = ("beta",)

    beta: float = 1.0
    w_max: float = 20.0

    def __post_init__(self) -> None:
        self.require_positive("beta")
        self.require_positive("w_max", allow_infinite=True)

    @property
    def shift_rescales(self) -> bool:
        """Whether no weight is capped."""
        return math.isinf(self.w_max)

    def score_weight(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Score weight g = min(exp(A/beta), w_max)."""
        xp = array_namespace(advantage)
        capped = advantage / self.beta
        if math.isfinite(self.w_max):
            capped = xp.clip(capped, None, math.log(self.w_max))
        return xp.exp(capped) + xp.zeros_like(log_ratio)

    def loss(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Loss: -min(exp(A/beta), w_max) log pi, up to a constant of the policy."""
        return -self.score_weight(log_ratio, advantage, weights) * log_ratio

    def closed_form(self, bandit: Bandit, advantage: Array, *, unseen: bool) -> Solution | None:
        """Behavior weighted by the capped exponential."""
        return tilts.capped_exponential(bandit, advantage, self.beta, self.w_max)


@dataclass(frozen=True)
class PolicyGradient(Objective):
    """Base whose score weight is the advantage; a subclass gives the baseline, and ``sampling`` where it varies."""

    reference_policy: ClassVar[Literal["behavior", "initial", "none"]] = "none"
    temperature_field: ClassVar[str | None] = None

    @property
    def on_policy(self) -> bool:
        """Whether the data follow the current policy."""
        return self.settings.get("sampling") == "on_policy"

    def score_weight(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Score weight g = A."""
        return advantage + array_namespace(advantage).zeros_like(log_ratio)

    def loss(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Loss: -A log pi, up to a constant of the policy."""
        return -advantage * log_ratio

    def closed_form(self, bandit: Bandit, advantage: Array, *, unseen: bool) -> Solution | None:
        """Best actions on-policy, the water-filling limit of the gradient flow off-policy."""
        return greedy(bandit, advantage) if self.on_policy else tilts.water_filling(bandit, advantage)


@dataclass(frozen=True)
class AsymRE(PolicyGradient):
    """Asymmetric REINFORCE: off-policy REINFORCE without ratios, with the baseline mean r + shift.

    The loss of a sample is ``-(r - mean r - shift) u``. It induces (mu A - c)_+ / E_mu[A], c normalizing, if shift < 0;
    actions with a negative advantage lose all their mass where theorem 4.2 says so. With shift >= 0 there is no target.

    Parameters
    ----------
    shift : float or array_like, default -0.1
        How far the baseline lies above the mean reward, in units of the reward. The default is published.

    Notes
    -----
    There is no temperature: ``nominal`` and the pessimism factor are undefined.

    References
    ----------
    .. [1] arXiv 2506.20520.

    Examples
    --------
    >>> import pessimism as ps
    >>> ps.induced_target([0.5, 0.5], [0.0, 1.0], AsymRE(shift=-0.5)).policy
    array([0., 1.])
    >>> str(ps.induced_target([0.5, 0.5], [0.0, 1.0], AsymRE(shift=0.1)).status)
    'no_target'
    """

    name: ClassVar[str] = "asym_re"
    title: ClassVar[str] = "Asymmetric REINFORCE"
    short: ClassVar[str] = "AsymRE"
    paper: ClassVar[str] = "2506.20520"
    formula: ClassVar[str] = "-(r - mean r - shift) u"
    induces: ClassVar[str] = "(mu A - c)_+ / E_mu[A], c normalizing; exists iff shift < 0"
    subtracts: ClassVar[str] = "E[r] + shift"
    no_target_because: ClassVar[str] = "shift must be below 0, the loss is unbounded"
    sweeps: ClassVar[tuple[str, ...]] = ("shift",)

    shift: float = -0.1

    def __post_init__(self) -> None:
        self.require_number("shift")

    def baseline_parts(self, reward: Array, weights: Array | None = None) -> tuple[Array, Array]:
        """Mean reward plus shift."""
        anchor, rest = baselines.mean_parts(reward, weights)
        return anchor, rest + per_row(self.shift)


@dataclass(frozen=True)
class RoiRL(Objective):
    """Offline iterative RL (RoiRL) by weighted likelihood, on samples of the last round.

    The loss of a sample is ``-g(r) u``, with g(r) = r or exp(r/beta). With the identity it is fine-tuning on the
    majority's answers (r is 0 or 1 in the paper) and induces mu r/E[r], where actions with r = 0 vanish; with the
    exponential it induces the nominal target, mu exp(r/beta)/Z, and only then is there a temperature.

    Parameters
    ----------
    weight : {"identity", "exponential"}, default "identity"
        Weight of the likelihood: the reward (``"identity"``) or exp(r/beta) (``"exponential"``). The identity did best
        in the paper.
    beta : float, default 0.1
        Temperature, or weight of the penalty, in units of the advantage; > 0. It is the paper's b, used by the
        exponential alone.

    Notes
    -----
    With negative rewards the identity is off-policy REINFORCE without a baseline: water filling, if E[r] > 0. There is
    no baseline, no ratio and no reference. Where r/beta exceeds 709 the exponential overflows: the multiplier is
    infinite, which target and certificate do not need.

    References
    ----------
    .. [1] arXiv 2510.02892.

    Examples
    --------
    >>> import pessimism as ps
    >>> ps.induced_target([0.5, 0.3, 0.2], [0.0, 1.0, 1.0], RoiRL()).policy
    array([0. , 0.6, 0.4])
    >>> ps.induced_target([0.5, 0.5], [0.0, 0.1], RoiRL(weight="exponential")).policy.round(4)
    array([0.2689, 0.7311])
    """

    name: ClassVar[str] = "roirl"
    title: ClassVar[str] = "Offline iterative RL by weighted likelihood"
    short: ClassVar[str] = "RoiRL"
    paper: ClassVar[str] = "2510.02892"
    formula: ClassVar[str] = "-g(r) u, g(r) = r or exp(r/beta)"
    induces: ClassVar[str] = "identity: mu r/E_mu[r] (r < 0: water filling); exponential: nominal, mu exp(r/beta)/Z"
    reference_policy: ClassVar[Literal["behavior", "initial", "none"]] = "none"
    no_advantage_because: ClassVar[str] = "it weighs by the rewards themselves"

    weight: Literal["identity", "exponential"] = "identity"
    beta: float = 0.1

    def __post_init__(self) -> None:
        self.require_positive("beta")
        self.require_choice("weight", ("identity", "exponential"))

    @property
    def temperature(self) -> float | None:
        """Temperature of the exponential weight; None for the identity."""
        return float(self.beta) if self.weight == "exponential" else None

    @property
    def shift_rescales(self) -> bool:
        """Whether the weight is the exponential."""
        return self.weight == "exponential"

    def baseline_parts(self, reward: Array, weights: Array | None = None) -> tuple[Array, Array]:
        """Zero: there is no baseline."""
        return baselines.constant_parts(reward)

    def score_weight(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Score weight g = r or exp(r/beta)."""
        xp = array_namespace(advantage)
        g = advantage if self.weight == "identity" else xp.exp(advantage / self.beta)
        return g + xp.zeros_like(log_ratio)

    def loss(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Loss: -g(r) log pi, up to a constant of the policy."""
        return -self.score_weight(log_ratio, advantage, weights) * log_ratio

    def closed_form(self, bandit: Bandit, advantage: Array, *, unseen: bool) -> Solution | None:
        """Water filling with r itself, or the nominal target."""
        if self.weight == "identity":
            return tilts.water_filling(bandit, advantage)
        return tilts.nominal(bandit, advantage, self.beta)
