r"""Regressions of the log-ratio on the advantage: loss :math:`(\beta u - A)^2`, which induces the Lambert target.

They differ only in the baseline, hence in the regime (arXiv 2605.28150): with data that lag, kappa is
:math:`E_\mu[A]/\beta + KL(\mu \| \pi)`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pessimism import baselines
from pessimism.arrays import Array, per_row
from pessimism.closed_forms import tilts
from pessimism.core.objective import MeanBaseline, Objective
from pessimism.losses.standardized import Standardized

if TYPE_CHECKING:
    from pessimism.core.bandit import Bandit
    from pessimism.core.solution import Solution


LAMBERT = "log w + kappa w = A/beta, E_mu[w] = 1"


@dataclass(frozen=True)
class SquaredRegression(Objective):
    """Base of the family, whose subclasses give the baseline."""

    sweeps: ClassVar[tuple[str, ...]] = ("beta",)
    takes_reference: ClassVar[bool] = True

    def score_weight(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Score weight g = 2 beta (A - beta u)."""
        return 2.0 * self._beta * (advantage - self._beta * log_ratio)

    def loss(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Loss: (beta u - A)^2."""
        return (self._beta * log_ratio - advantage) ** 2

    def closed_form(self, bandit: Bandit, advantage: Array, *, unseen: bool) -> Solution | None:
        """Lambert-tempered target, arXiv 2605.28150."""
        return tilts.lambert(bandit, advantage, self._beta, unseen=unseen)


@dataclass(frozen=True)
class Kimi(MeanBaseline, SquaredRegression):
    """Policy mirror descent of Kimi k1.5 and K2 (2025): regression with the group mean as baseline, not standardized.

    The loss of a sample is ``(beta u - (r - mean r))^2``, that of K2. It induces the Lambert target,
    log w + kappa w = A/beta with E_mu[w] = 1, where kappa = KL(mu || pi) >= 0.

    Parameters
    ----------
    beta : float or array_like, default 0.01
        Temperature, or weight of the penalty, in units of the advantage; > 0. It is the reports' tau, which both
        leave unpublished; the default is OpenKimi's (arXiv 2602.05933).

    Notes
    -----
    K2.5 (2026, arXiv 2602.02276) is trained with another loss, a masked ratio of each token and a square beside it.

    References
    ----------
    .. [1] arXiv 2501.12599 (Kimi k1.5).
    .. [2] arXiv 2507.20534 (Kimi K2).

    Examples
    --------
    >>> import pessimism as ps
    >>> target = ps.induced_target([0.5, 0.5], [0.0, 1.0], Kimi(beta=0.5))
    >>> bool(target.kappa > 0)
    True
    """

    name: ClassVar[str] = "kimi"
    title: ClassVar[str] = "Kimi k1.5 / K2 policy mirror descent"
    short: ClassVar[str] = "Kimi"
    paper: ClassVar[str] = "2501.12599"
    formula: ClassVar[str] = "(beta u - (r - mean r))^2"
    induces: ClassVar[str] = f"Lambert, {LAMBERT}; kappa = KL(mu||pi) >= 0"

    beta: float = 0.01

    def __post_init__(self) -> None:
        self.require_positive("beta")


@dataclass(frozen=True)
class ShiftedMean(SquaredRegression):
    """Regression with the mean reward, lowered by ``shift`` temperatures, as baseline.

    The loss of a sample is ``(beta u - (r - mean r + shift beta))^2``: the baseline is V = E[r] - shift beta. It
    induces the Lambert target, log w + kappa w = A/beta with E_mu[w] = 1, where kappa = shift + KL(mu || pi) >= shift:
    the positive regime without a second temperature.

    Parameters
    ----------
    beta : float or array_like, default 0.01
        Temperature, or weight of the penalty, in units of the advantage; > 0.
    shift : float or array_like, default 1.0
        How far the baseline lies below the mean reward, in temperatures. It is the dial of conservatism: 0 is Kimi's
        loss, and a negative one may reach the negative regime. The paper has 1.

    References
    ----------
    .. [1] arXiv 2605.28150.

    Examples
    --------
    >>> import pessimism as ps
    >>> bool(ps.induced_target([0.5, 0.5], [0.0, 1.0], ShiftedMean(beta=0.5)).kappa > 1)
    True
    """

    name: ClassVar[str] = "shifted_mean"
    title: ClassVar[str] = "beta-shifted mean advantage"
    short: ClassVar[str] = "shifted mean"
    paper: ClassVar[str] = "2605.28150"
    formula: ClassVar[str] = "(beta u - (r - mean r + shift beta))^2"
    induces: ClassVar[str] = f"Lambert, {LAMBERT}; kappa = shift + KL(mu||pi)"
    subtracts: ClassVar[str] = "E[r] - shift beta"
    sweeps: ClassVar[tuple[str, ...]] = ("beta", "shift")

    beta: float = 0.01
    shift: float = 1.0

    def __post_init__(self) -> None:
        self.require_positive("beta")
        self.require_number("shift")

    def baseline_parts(self, reward: Array, weights: Array | None = None) -> tuple[Array, Array]:
        """Mean reward minus shift * beta."""
        anchor, rest = baselines.mean_parts(reward, weights)
        return anchor, rest - per_row(self.shift * self.beta)


@dataclass(frozen=True)
class ConstantBaseline(SquaredRegression):
    """Regression with a constant baseline.

    The loss of a sample is ``(beta u - (r - value))^2``. It induces the Lambert target, log w + kappa w = A/beta with
    E_mu[w] = 1: in the positive regime if ``value`` is below V*_beta, at the boundary if equal, negative if above.

    Parameters
    ----------
    beta : float or array_like, default 0.01
        Temperature, or weight of the penalty, in units of the advantage; > 0.
    value : float or array_like, default 0.0
        Constant baseline, in units of the reward.

    References
    ----------
    .. [1] arXiv 2605.28150.

    Examples
    --------
    >>> import pessimism as ps
    >>> str(ps.induced_target([0.5, 0.5], [0.0, 1.0], ConstantBaseline(beta=0.5, value=0.9)).regime)
    'negative'
    """

    name: ClassVar[str] = "constant_baseline"
    title: ClassVar[str] = "Constant baseline"
    short: ClassVar[str] = "constant baseline"
    paper: ClassVar[str] = "2605.28150"
    formula: ClassVar[str] = "(beta u - (r - value))^2"
    induces: ClassVar[str] = f"Lambert, {LAMBERT}; kappa > 0 iff value < V*_beta"
    subtracts: ClassVar[str] = "value"
    sweeps: ClassVar[tuple[str, ...]] = ("beta", "value")

    beta: float = 0.01
    value: float = 0.0

    def __post_init__(self) -> None:
        self.require_positive("beta")
        self.require_number("value")

    def baseline_parts(self, reward: Array, weights: Array | None = None) -> tuple[Array, Array]:
        """The constant, for every group."""
        return baselines.constant_parts(reward, self.value)


@dataclass(frozen=True)
class StdNormalized(Standardized, SquaredRegression):
    """Regression on advantages divided by the spread of their group, as in GRPO.

    The loss of a sample is ``(beta u - (r - mean r)/(std r + eps))^2``. It induces the Lambert target,
    log w + kappa w = A/beta with A standardized, where kappa = KL(mu || pi).

    Parameters
    ----------
    beta : float or array_like, default 0.01
        Temperature, or weight of the penalty, in units of the advantage; > 0.
    eps : float, default 1e-4
        Added to the standard deviation of the rewards before the advantage is divided by it; > 0. The default is
        TRL's; verl has 1e-6.

    Notes
    -----
    The standard deviation is the population's under weights and unbiased (n - 1) in a sampled group, as in TRL and
    verl. In units of the reward the temperature is about beta std: bold where a prompt is nearly solved or unsolved.

    References
    ----------
    .. [1] arXiv 2402.03300.

    Examples
    --------
    >>> import numpy as np
    >>> StdNormalized(beta=1.0, eps=1e-4).advantage(np.array([0.0, 2.0]), np.array([0.5, 0.5])).round(3)
    array([-1.,  1.])
    """

    name: ClassVar[str] = "std_normalized"
    title: ClassVar[str] = "Std-normalized advantage"
    short: ClassVar[str] = "std-normalized"
    paper: ClassVar[str] = "2402.03300"
    formula: ClassVar[str] = "(beta u - (r - mean r)/(std r + eps))^2"
    induces: ClassVar[str] = "Lambert, log w + kappa w = A/beta with A standardized; kappa = KL(mu||pi)"

    beta: float = 0.01
    eps: float = 1e-4

    def __post_init__(self) -> None:
        self.require_positive("beta", "eps")


@dataclass(frozen=True)
class OptimalValue(SquaredRegression):
    """Regression with the optimal value at its own temperature as baseline.

    The loss of a sample is ``(beta u - (r - V*_beta))^2``, A*-PO's and OAPL's with beta1 = beta2. It induces exactly
    the boundary, the nominal target mu exp(r/beta)/Z with kappa = 0. The optimal value is that under the behavior, so
    that with another reference in the log-ratio the target is Lambert again.

    Parameters
    ----------
    beta : float or array_like, default 0.01
        Temperature, or weight of the penalty, in units of the advantage; > 0.

    References
    ----------
    .. [1] arXiv 2505.20686.

    Examples
    --------
    >>> import pessimism as ps
    >>> str(ps.induced_target([0.5, 0.5], [0.0, 1.0], OptimalValue(beta=0.5)).regime)
    'boundary'
    """

    name: ClassVar[str] = "optimal_value"
    title: ClassVar[str] = "Optimal value at the same temperature"
    short: ClassVar[str] = "optimal value"
    paper: ClassVar[str] = "2505.20686"
    formula: ClassVar[str] = "(beta u - (r - V*_beta))^2"
    induces: ClassVar[str] = "nominal, mu exp(r/beta)/Z; kappa = 0"
    subtracts: ClassVar[str] = "V*_beta"

    beta: float = 0.01

    def __post_init__(self) -> None:
        self.require_positive("beta")

    def baseline_parts(self, reward: Array, weights: Array | None = None) -> tuple[Array, Array]:
        """Optimal value V*_beta."""
        return baselines.optimal_value_parts(reward, self.beta, weights)

    def closed_form(self, bandit: Bandit, advantage: Array, *, unseen: bool) -> Solution | None:
        """Nominal target, whose kappa is exactly 0; the Lambert target around another reference."""
        if bandit.own_reference is not None:
            return super().closed_form(bandit, advantage, unseen=unseen)
        return tilts.nominal(bandit, advantage, self.beta)


@dataclass(frozen=True)
class _TwoTemperatures(SquaredRegression):
    """Base of regressions at beta2 with the optimal value at beta1 as baseline."""

    sweeps: ClassVar[tuple[str, ...]] = ("beta1", "beta2")

    formula: ClassVar[str] = "(beta2 u - (r - V*_beta1))^2"
    temperature_field: ClassVar[str | None] = "beta2"

    if TYPE_CHECKING:
        beta1: float

    def __post_init__(self) -> None:
        self.require_positive("beta1", "beta2")

    def baseline_parts(self, reward: Array, weights: Array | None = None) -> tuple[Array, Array]:
        """Optimal value V*_beta1, under the weights that the advantage is taken with."""
        return baselines.optimal_value_parts(reward, self.beta1, weights)


@dataclass(frozen=True)
class OAPL(_TwoTemperatures):
    """OAPL: regression at beta2 with the optimal value at beta1 as baseline, against the lagged inference policy.

    The loss of a sample is ``(beta2 u - (r - V*_beta1))^2``. It induces the Lambert target at beta2. beta1 > beta2, as
    published, puts the baseline below V*_beta2: the positive regime. beta1 < beta2 is negative.

    Parameters
    ----------
    beta1 : float or array_like, default 1.0
        Temperature of the optimal value that serves as the baseline, in units of the reward; > 0.
    beta2 : float or array_like, default 0.001
        Temperature of the regression, in units of the reward; > 0.

    References
    ----------
    .. [1] arXiv 2602.19362.

    Examples
    --------
    >>> import pessimism as ps
    >>> str(ps.induced_target([0.5, 0.5], [0.0, 1.0], OAPL()).regime)
    'positive'
    """

    name: ClassVar[str] = "oapl"
    title: ClassVar[str] = "OAPL"
    paper: ClassVar[str] = "2602.19362"
    induces: ClassVar[str] = f"Lambert, {LAMBERT} at beta2; kappa > 0 iff beta1 > beta2"
    subtracts: ClassVar[str] = "V*_beta1"

    beta1: float = 1.0
    beta2: float = 1e-3


@dataclass(frozen=True)
class AStarPO(_TwoTemperatures):
    """A*-PO: regression at beta2 against the initial model, whose optimal value at beta1 is the baseline.

    The loss of a sample is ``(beta2 u - (r - V*_beta1))^2``. The paper samples on-policy: then A - beta2 u is constant
    at the fixed point, and it induces the nominal target at beta2 whatever the baseline. Once the data lag
    (``sampling="off_policy"``) it induces the Lambert target, as :class:`OAPL`.

    Parameters
    ----------
    beta1 : float or array_like, default 0.5
        Temperature of the optimal value that serves as the baseline, in units of the reward; > 0.
    beta2 : float or array_like, default 0.001
        Temperature of the regression, in units of the reward; > 0.
    sampling : {"on_policy", "off_policy"}, default "on_policy"
        Who samples: the policy in training (``"on_policy"``) or the behavior (``"off_policy"``).

    Notes
    -----
    The baseline is an expectation under the reference policy (the initial model), which is the behavior unless
    ``reference`` is given.

    References
    ----------
    .. [1] arXiv 2505.20686.

    Examples
    --------
    >>> import pessimism as ps
    >>> str(ps.induced_target([0.5, 0.5], [0.0, 1.0], AStarPO()).regime)
    'boundary'
    >>> str(ps.induced_target([0.5, 0.5], [0.0, 1.0], AStarPO(sampling="off_policy")).regime)
    'positive'
    """

    name: ClassVar[str] = "a_star_po"
    title: ClassVar[str] = "A*-PO"
    paper: ClassVar[str] = "2505.20686"
    induces: ClassVar[str] = f"on-policy: nominal at beta2; off-policy: Lambert, {LAMBERT} at beta2"
    subtracts: ClassVar[str] = "V*_beta1 under the reference"
    reference_policy: ClassVar[Literal["behavior", "initial", "none"]] = "initial"
    baseline_under_reference: ClassVar[bool] = True

    beta1: float = 0.5
    beta2: float = 1e-3
    sampling: Literal["on_policy", "off_policy"] = "on_policy"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_choice("sampling", ("on_policy", "off_policy"))

    @property
    def on_policy(self) -> bool:
        """Whether the data follow the current policy."""
        return self.sampling == "on_policy"

    def closed_form(self, bandit: Bandit, advantage: Array, *, unseen: bool) -> Solution | None:
        """Nominal on-policy, Lambert off-policy."""
        if self.on_policy:
            return tilts.nominal(bandit, advantage, self.beta2)
        return super().closed_form(bandit, advantage, unseen=unseen)


@dataclass(frozen=True)
class DRO(MeanBaseline, SquaredRegression):
    """Direct reward optimization (DRO) as Tinker and verl ship it: the advantage less a square of the log-ratio.

    The loss of a token is ``-A u + beta/2 u^2`` with ``A = r - mean r``: Kimi's regression, divided by 2 beta. It
    induces the Lambert target, log w + kappa w = A/beta with E_mu[w] = 1, where kappa = KL(mu || pi) >= 0.

    Parameters
    ----------
    beta : float or array_like, default 0.05
        Temperature, or weight of the penalty, in units of the advantage; > 0. The default is that of Tinker's example;
        verl has none.

    Notes
    -----
    Both frameworks take the advantage from outside; r - mean r is the group's. The paper's DRO-V fits the baseline V by
    the same loss, which makes lam = 0: that target is nominal, as TBA's. The reference is the policy that sampled; the
    paper's is the initial one. Each token has its own ratio, and the frameworks differ in the mean over tokens; here a
    completion is one action.

    References
    ----------
    .. [1] arXiv 2405.19107.
    .. [2] The loss ``dro`` of Tinker and of verl 0.9.

    Examples
    --------
    >>> import pessimism as ps
    >>> bandit = [0.5, 0.5], [0.0, 1.0]
    >>> same = ps.induced_target(*bandit, DRO(beta=0.5)).policy == ps.induced_target(*bandit, Kimi(beta=0.5)).policy
    >>> bool(same.all())
    True
    """

    name: ClassVar[str] = "dro"
    title: ClassVar[str] = "Direct reward optimization"
    short: ClassVar[str] = "DRO"
    paper: ClassVar[str] = "2405.19107"
    formula: ClassVar[str] = "-A u + beta/2 u^2, A = r - mean r"
    induces: ClassVar[str] = f"Lambert, {LAMBERT}; kappa = KL(mu||pi) >= 0"
    level: ClassVar[Literal["sequence", "token"]] = "token"

    beta: float = 0.05

    def __post_init__(self) -> None:
        self.require_positive("beta")

    def score_weight(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Score weight g = A - beta u."""
        return advantage - self.beta * log_ratio

    def loss(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Loss: -A u + beta/2 u^2."""
        return 0.5 * self.beta * log_ratio**2 - advantage * log_ratio


@dataclass(frozen=True)
class OPMD(SquaredRegression):
    """OPMD of Trinity-RFT, online policy mirror descent: the likelihood weighted by the advantage, and a k2 penalty.

    The loss of a token is ``-A u/(1 + tau) + kl_coef/2 u^2``, on data of an older policy without a ratio. That is a
    regression at beta = kl_coef (1 + tau), and it induces the Lambert target, log w + kappa w = A/beta: with the mean
    as baseline that of Kimi, with ``"logavgexp"`` that of OAPL at beta1 = tau, beta2 = beta. Without the penalty there
    is no target.

    Parameters
    ----------
    opmd_baseline : {"mean", "logavgexp"}, default "mean"
        What the advantage subtracts: the mean reward, or the optimal value V*_tau (``"logavgexp"``).
    tau : float, default 1.0
        Temperature of the optimal value, in units of the reward, which also divides the loss by 1 + tau; > 0.
    kl_coef : float, default 0.001
        Weight of the penalty u^2/2, in units of the advantage; >= 0, and 0 removes it. It is the default of the
        framework's algorithm ``opmd``.

    Notes
    -----
    Without the penalty the mean advantage is zero (mean) or negative (logavgexp), so that the loss is unbounded on data
    that lag: then everything depends on when one stops. The penalty is to the initial policy (``reference=``), and
    averaged over old samples without a ratio. A group of one has the baseline 0 in the framework.

    References
    ----------
    .. [1] arXiv 2505.17826 (Trinity-RFT 0.6, its algorithm ``opmd``).
    .. [2] arXiv 2509.24203 on the relatives of off-policy REINFORCE.

    Examples
    --------
    >>> import pessimism as ps
    >>> float(OPMD().temperature)
    0.002
    >>> bandit = [0.5, 0.3, 0.2], [0.0, 0.5, 1.0]
    >>> ps.induced_target(*bandit, OPMD(kl_coef=0.1)).policy.round(4)
    array([0.078 , 0.3097, 0.6124])
    >>> ps.induced_target(*bandit, "kimi", beta=0.2).policy.round(4)
    array([0.078 , 0.3097, 0.6124])
    >>> str(ps.induced_target(*bandit, OPMD(kl_coef=0.0)).status)
    'no_target'
    """

    name: ClassVar[str] = "opmd"
    title: ClassVar[str] = "Online policy mirror descent"
    short: ClassVar[str] = "OPMD"
    paper: ClassVar[str] = "2505.17826"
    formula: ClassVar[str] = "-A u/(1 + tau) + kl_coef/2 u^2, A = r - mean r or r - V*_tau"
    induces: ClassVar[str] = f"Lambert, {LAMBERT}, beta = kl_coef (1 + tau); none without the penalty"
    subtracts: ClassVar[str] = "E[r] or V*_tau"
    reference_policy: ClassVar[Literal["behavior", "initial", "none"]] = "initial"
    level: ClassVar[Literal["sequence", "token"]] = "token"
    temperature_field: ClassVar[str | None] = "kl_coef"
    sweeps: ClassVar[tuple[str, ...]] = ()
    no_target_because: ClassVar[str] = (
        "the mean advantage is not positive and there is no penalty, the loss is unbounded"
    )

    opmd_baseline: Literal["mean", "logavgexp"] = "mean"
    tau: float = 1.0
    kl_coef: float = 0.001

    def __post_init__(self) -> None:
        self.require_choice("opmd_baseline", ("mean", "logavgexp"))
        self.require_positive("tau")
        self.require_number("kl_coef")
        if self.kl_coef < 0:
            raise ValueError(f"opmd: kl_coef must be >= 0, got {self.kl_coef!r}")

    @property
    def temperature(self) -> float | None:
        """Temperature kl_coef (1 + tau) of the regression; None without a penalty."""
        return float(self.kl_coef * (1.0 + self.tau)) if self.kl_coef > 0 else None

    def at_temperature(self, beta: float) -> Self:
        """The same objective with the penalty that makes the temperature beta; itself without a penalty."""
        return replace(self, kl_coef=beta / (1.0 + self.tau)) if self.kl_coef > 0 else self

    def baseline_parts(self, reward: Array, weights: Array | None = None) -> tuple[Array, Array]:
        """Mean reward, or optimal value V*_tau."""
        if self.opmd_baseline == "mean":
            return baselines.mean_parts(reward, weights)
        return baselines.optimal_value_parts(reward, self.tau, weights)

    def score_weight(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Score weight g = A/(1 + tau) - kl_coef u."""
        return advantage / (1.0 + self.tau) - self.kl_coef * log_ratio

    def loss(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Loss: -A u/(1 + tau) + kl_coef/2 u^2."""
        return 0.5 * self.kl_coef * log_ratio**2 - advantage * log_ratio / (1.0 + self.tau)

    def closed_form(self, bandit: Bandit, advantage: Array, *, unseen: bool) -> Solution | None:
        """Lambert-tempered target at kl_coef (1 + tau); without a penalty the water filling of a likelihood."""
        if self.temperature is None:
            return tilts.water_filling(bandit, advantage)
        return tilts.lambert(bandit, advantage, self.temperature, unseen=unseen)
