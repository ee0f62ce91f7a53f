r"""Regressions of the log-ratio on the advantage: loss :math:`(\beta u - A)^2`, which induces the Lambert target.

They differ only in the baseline, hence in the regime (arXiv 2605.28150): with data that lag, kappa is
:math:`E_\mu[A]/\beta + KL(\mu \| \pi)`. Those on the optimal value are in ``optimal_value.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from pessimism import baselines
from pessimism.arrays import Array
from pessimism.closed_forms import tilts
from pessimism.core.objective import MeanBaseline, Objective
from pessimism.losses.standardized import Standardized

if TYPE_CHECKING:
    from pessimism.core.bandit import Bandit
    from pessimism.core.solution import Solution


LAMBERT = "log w + kappa w = A/beta, E_mu[w] = 1"


@dataclass(frozen=True)
class SquaredRegression(Objective):
    """Base of the family; a subclass gives the baseline."""

    takes_reference: ClassVar[bool] = True

    def score_weight(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """g = 2 beta (A - beta u)."""
        return 2.0 * self._beta * (advantage - self._beta * log_ratio)

    def loss(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """(beta u - A)^2."""
        return (self._beta * log_ratio - advantage) ** 2

    def closed_form(self, bandit: Bandit, advantage: Array, *, unseen: bool) -> Solution | None:
        """Lambert-tempered target, arXiv 2605.28150."""
        return tilts.lambert(bandit, advantage, self._beta, unseen=unseen)


@dataclass(frozen=True)
class Kimi(MeanBaseline, SquaredRegression):
    """Policy mirror descent of Kimi k1.5 and K2: the group mean as baseline, no std (arXiv 2501.12599, 2507.20534).

    ``beta`` is the reports' tau; both leave it unpublished, 0.01 is OpenKimi's (arXiv 2602.05933). The loss is K2's.

    Examples
    --------
    >>> import pessimism as ps
    >>> target = ps.induced_target([0.5, 0.5], [0.0, 1.0], Kimi(beta=0.5))
    >>> bool(target.kappa > 0)
    True
    """

    name: ClassVar[str] = "kimi"
    title: ClassVar[str] = "Kimi k1.5 / K2 policy mirror descent"
    paper: ClassVar[str] = "2501.12599"
    formula: ClassVar[str] = "(beta u - (r - mean r))^2"
    induces: ClassVar[str] = f"Lambert, {LAMBERT}; kappa = KL(mu||pi) >= 0"

    beta: float = 0.01

    def __post_init__(self) -> None:
        self.require_positive("beta")


@dataclass(frozen=True)
class ShiftedMean(SquaredRegression):
    """Mean baseline lowered by ``shift`` temperatures, V = E[r] - shift beta (arXiv 2605.28150, with shift = 1).

    kappa = shift + KL(mu||pi) >= shift: the positive regime without a second temperature. ``shift`` is the dial of
    conservatism; 0 is Kimi's loss, a negative one may reach the negative regime.

    Examples
    --------
    >>> import pessimism as ps
    >>> bool(ps.induced_target([0.5, 0.5], [0.0, 1.0], ShiftedMean(beta=0.5)).kappa > 1)
    True
    """

    name: ClassVar[str] = "shifted_mean"
    title: ClassVar[str] = "beta-shifted mean advantage"
    paper: ClassVar[str] = "2605.28150"
    formula: ClassVar[str] = "(beta u - (r - mean r + shift beta))^2"
    induces: ClassVar[str] = f"Lambert, {LAMBERT}; kappa = shift + KL(mu||pi)"
    subtracts: ClassVar[str] = "E[r] - shift beta"

    beta: float = 0.01
    shift: float = 1.0

    def __post_init__(self) -> None:
        self.require_positive("beta")
        self.require_number("shift")

    def baseline_parts(self, reward: Array, weights: Array | None = None) -> tuple[Array, Array]:
        """Mean reward minus shift * beta."""
        anchor, rest = baselines.mean_parts(reward, weights)
        return anchor, rest - self.shift * self.beta


@dataclass(frozen=True)
class ConstantBaseline(SquaredRegression):
    """A constant baseline: positive, boundary or negative as ``value`` is below, at or above V*_beta.

    Source: arXiv 2605.28150.

    Examples
    --------
    >>> import pessimism as ps
    >>> str(ps.induced_target([0.5, 0.5], [0.0, 1.0], ConstantBaseline(beta=0.5, value=0.9)).regime)
    'negative'
    """

    name: ClassVar[str] = "constant_baseline"
    title: ClassVar[str] = "Constant baseline"
    paper: ClassVar[str] = "2605.28150"
    formula: ClassVar[str] = "(beta u - (r - value))^2"
    induces: ClassVar[str] = f"Lambert, {LAMBERT}; kappa > 0 iff value < V*_beta"
    subtracts: ClassVar[str] = "value"

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
    """Advantages divided by the group's spread, (r - mean) / (std + eps), as in GRPO (arXiv 2402.03300).

    std is the population's under weights, unbiased (n - 1) in a sampled group, as in TRL and verl; eps = 1e-4 is TRL's
    (verl: 1e-6). In reward units the temperature is about beta std: bold where a prompt is nearly solved or unsolved.

    Examples
    --------
    >>> import numpy as np
    >>> StdNormalized(beta=1.0, eps=1e-4).advantage(np.array([0.0, 2.0]), np.array([0.5, 0.5])).round(3)
    array([-1.,  1.])
    """

    name: ClassVar[str] = "std_normalized"
    title: ClassVar[str] = "Std-normalized advantage"
    paper: ClassVar[str] = "2402.03300"
    formula: ClassVar[str] = "(beta u - (r - mean r)/(std r + eps))^2"
    induces: ClassVar[str] = "Lambert, log w + kappa w = A/beta with A standardized; kappa = KL(mu||pi)"

    beta: float = 0.01
    eps: float = 1e-4

    def __post_init__(self) -> None:
        self.require_positive("beta", "eps")


@dataclass(frozen=True)
class OptimalValue(SquaredRegression):
    """Optimal value at the regression's own temperature as baseline: exactly the boundary, the nominal target.

    A*-PO's and OAPL's loss with beta1 = beta2 (arXiv 2505.20686). The optimal value is that under the behavior, so with
    another reference in the log-ratio the target is Lambert again.

    Examples
    --------
    >>> import pessimism as ps
    >>> str(ps.induced_target([0.5, 0.5], [0.0, 1.0], OptimalValue(beta=0.5)).regime)
    'boundary'
    """

    name: ClassVar[str] = "optimal_value"
    title: ClassVar[str] = "Optimal value at the same temperature"
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
        """Nominal target, kappa = 0 by construction, not by rounding; Lambert around another reference."""
        if bandit.own_reference is not None:
            return super().closed_form(bandit, advantage, unseen=unseen)
        return tilts.nominal(bandit, advantage, self.beta)


@dataclass(frozen=True)
class _TwoTemperatures(SquaredRegression):
    """Optimal value at beta1, regression at beta2: fields of the objective."""

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
    """OAPL: optimal value at beta1, regression at beta2, reference the lagged inference policy (arXiv 2602.19362).

    beta1 > beta2, as published, puts the baseline below V*_beta2: the positive regime. beta1 < beta2 is negative.

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
    """A*-PO: optimal value at beta1 of the initial model, regression at beta2 against it (arXiv 2505.20686).

    The paper samples on-policy: then A - beta2 u is constant at the fixed point and the target is nominal whatever
    the baseline. Once the data lag (``sampling="off_policy"``) it is the Lambert target, as for OAPL. The baseline is
    an expectation under the reference policy (the initial model), which is the behavior unless ``reference`` is given.

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
