"""Regressions of the log-ratio on r - V*, the optimal value as baseline: at one temperature, or at two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pessimism import baselines
from pessimism.closed_forms import tilts as targets
from pessimism.losses.regression import LAMBERT, SquaredRegression

if TYPE_CHECKING:
    from pessimism.closed_forms.tilts import Solution
    from pessimism.core.bandit import Bandit

Array = Any


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
        return targets.nominal(bandit, advantage, self.beta)


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
            return targets.nominal(bandit, advantage, self.beta2)
        return super().closed_form(bandit, advantage, unseen=unseen)
