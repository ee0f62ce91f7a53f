r"""Regressions of the log-ratio on the advantage: loss :math:`(\beta u - A)^2`, which induces the Lambert target.

They differ only in the baseline, hence in the regime (arXiv 2605.28150): with data that lag, kappa is
:math:`E_\mu[A]/\beta + KL(\mu \| \pi)`. Those on the optimal value are in ``optimal_value.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pessimism import baselines
from pessimism.closed_forms import tilts as targets
from pessimism.core.objective import MeanBaseline, Objective
from pessimism.losses.standardized import Standardized

if TYPE_CHECKING:
    from pessimism.closed_forms.tilts import Solution
    from pessimism.core.bandit import Bandit

Array = Any

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
        return targets.lambert(bandit, advantage, self._beta, unseen=unseen)


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
