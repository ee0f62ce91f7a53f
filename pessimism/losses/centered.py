"""Objectives that center the log-ratio like the reward: lam = 0 by construction, so they induce the nominal target."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pessimism.closed_forms import tilts as targets
from pessimism.core.objective import MeanBaseline, centered, partners, stop_gradient

if TYPE_CHECKING:
    from pessimism.closed_forms.tilts import Solution
    from pessimism.core.bandit import Bandit

Array = Any


@dataclass(frozen=True)
class TBA(MeanBaseline):
    """Trajectory balance with the VarGrad estimate of log Z (TBA, arXiv 2503.18929).

    log Z is the group mean of r/beta - u, not differentiated; the published reference is the initial policy. The
    default beta is TBA's (PRIME-RL) on MATH.

    Examples
    --------
    >>> import pessimism as ps
    >>> ps.induced_target([0.5, 0.5], [0.0, 1.0], TBA(beta=1.0)).policy.round(4)
    array([0.2689, 0.7311])
    """

    name: ClassVar[str] = "tba"
    title: ClassVar[str] = "Trajectory Balance with Asynchrony (VarGrad)"
    paper: ClassVar[str] = "2503.18929"
    formula: ClassVar[str] = "(u - r/beta + sg[mean(r/beta - u)])^2"
    induces: ClassVar[str] = "nominal, mu exp(r/beta)/Z, for any behavior with full support"
    reference_policy: ClassVar[Literal["behavior", "initial", "none"]] = "initial"
    coupled: ClassVar[bool] = True
    takes_reference: ClassVar[bool] = True

    beta: float = 0.005

    def __post_init__(self) -> None:
        self.require_positive("beta")

    def score_weight(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """g = 2 (A/beta - u - mean(A/beta - u))."""
        return 2.0 * centered(advantage / self.beta - log_ratio, weights)

    def loss(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """(u - A/beta + log Z)^2 with log Z the group's mean of A/beta - u, not differentiated."""
        residual = log_ratio - advantage / self.beta
        log_z = residual - centered(residual, weights)
        return (residual - stop_gradient(log_z)) ** 2

    def closed_form(self, bandit: Bandit, advantage: Array, *, unseen: bool) -> Solution | None:
        """Nominal target."""
        return targets.nominal(bandit, advantage, self.beta)


@dataclass(frozen=True)
class REBEL(MeanBaseline):
    """Regression of differences of log-ratios on differences of rewards (REBEL, arXiv 2404.16767).

    The loss of one member of a group is the mean over its partners of the paper's pair loss; pairs of one sample with
    itself, which a population counts and a sampled group does not, add nothing.

    Examples
    --------
    >>> import pessimism as ps
    >>> ps.induced_target([0.5, 0.5], [0.0, 1.0], REBEL(eta=1.0)).policy.round(4)
    array([0.2689, 0.7311])
    """

    name: ClassVar[str] = "rebel"
    title: ClassVar[str] = "REBEL"
    paper: ClassVar[str] = "2404.16767"
    formula: ClassVar[str] = "mean over pairs ((u_i - u_j)/eta - (r_i - r_j))^2"
    induces: ClassVar[str] = "nominal at beta = 1/eta, mu exp(eta r)/Z"
    temperature_field: ClassVar[str | None] = None  # 1/eta, see temperature
    coupled: ClassVar[bool] = True
    takes_reference: ClassVar[bool] = True

    eta: float = 1.0

    def __post_init__(self) -> None:
        self.require_positive("eta")

    @property
    def temperature(self) -> float:
        """1 / eta."""
        return 1.0 / self.eta

    def at_temperature(self, beta: float) -> Self:
        """Eta = 1 / beta."""
        return replace(self, eta=1.0 / beta)

    def score_weight(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """g = -4/eta (d - mean d) with d = u/eta - A, times G/(G - 1) in a sampled group."""
        gap = centered(log_ratio / self.eta - advantage, weights)
        return -4.0 / self.eta * partners(log_ratio.shape[-1], weights) * gap

    def loss(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Mean over partners j of (d_i - d_j)^2 = (d_i - mean d)^2 + var d, times G/(G - 1) in a sampled group."""
        gap = centered(log_ratio / self.eta - advantage, weights)
        spread = gap * gap - centered(gap * gap, weights)  # the variance, once per member
        return partners(log_ratio.shape[-1], weights) * (gap * gap + spread)

    def closed_form(self, bandit: Bandit, advantage: Array, *, unseen: bool) -> Solution | None:
        """Nominal target at 1/eta."""
        return targets.nominal(bandit, advantage, self.temperature)
