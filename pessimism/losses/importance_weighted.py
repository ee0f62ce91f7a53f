"""Importance-weighted objectives: the ratio w = exp(u) before the score, in full, truncated or penalized."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from array_api_compat import array_namespace

from pessimism.arrays import Array
from pessimism.closed_forms import tilts
from pessimism.core.objective import MeanBaseline, Objective, stop_gradient

if TYPE_CHECKING:
    from pessimism.core.bandit import Bandit
    from pessimism.core.solution import Solution


@dataclass(frozen=True)
class KLPenalized(Objective):
    """Base of importance-weighted advantages minus beta KL(pi || mu), whose target is nominal in the advantage."""

    sweeps: ClassVar[tuple[str, ...]] = ("beta",)

    def score_weight(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Score weight g = w (A - beta u)."""
        xp = array_namespace(log_ratio)
        return xp.exp(log_ratio) * (advantage - self._beta * log_ratio)

    def loss(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Loss: -w A + beta (w log w - w + 1)."""
        xp = array_namespace(log_ratio)
        return self._beta - xp.exp(log_ratio) * (advantage + self._beta * (1.0 - log_ratio))

    def closed_form(self, bandit: Bandit, advantage: Array, *, unseen: bool) -> Solution | None:
        """Nominal target."""
        return tilts.nominal(bandit, advantage, self._beta)


@dataclass(frozen=True)
class Nominal(MeanBaseline, KLPenalized):
    r"""KL-regularized policy gradient with importance weights, the problem that ratio-free losses claim to solve.

    It maximizes E_pi[r] - beta KL(pi || mu); the loss of a sample is ``-w A + beta (w log w - w + 1)``. The penalty is
    written as :math:`\beta (w \log w - w + 1)`, so that the per-sample gradient is that of the fixed point
    A - beta u = const; its expectation is beta KL(pi || mu). It induces the nominal target, mu exp(r/beta)/Z. The
    baseline, the mean reward, changes the variance, not the target.

    Parameters
    ----------
    beta : float or array_like, default 0.01
        Temperature, or weight of the penalty, in units of the advantage; > 0.

    References
    ----------
    .. [1] arXiv 2605.28150.

    Examples
    --------
    >>> import pessimism as ps
    >>> ps.induced_target([0.5, 0.5], [0.0, 1.0], Nominal(beta=1.0)).policy.round(4)
    array([0.2689, 0.7311])
    """

    name: ClassVar[str] = "nominal"
    title: ClassVar[str] = "KL-regularized importance-weighted policy gradient"
    short: ClassVar[str] = "nominal"
    paper: ClassVar[str] = "2605.28150"
    formula: ClassVar[str] = "-w A + beta (w log w - w + 1)"
    induces: ClassVar[str] = "nominal, mu exp(r/beta)/Z"

    beta: float = 0.01

    def __post_init__(self) -> None:
        self.require_positive("beta")


@dataclass(frozen=True)
class TruncatedIS(MeanBaseline):
    """Squared regression under truncated importance weights, which are not differentiated.

    The loss of a sample is ``sg[min(w, cap)] (beta u - (r - mean r))^2``. It induces
    log w + kappa max(w, cap) = A/beta: nominal where w < cap, Lambert where w > cap. A cap that tends to infinity
    restores the nominal target, one that tends to 0 the Lambert target.

    Parameters
    ----------
    beta : float or array_like, default 0.01
        Temperature, or weight of the penalty, in units of the advantage; > 0.
    cap : float, default 1.0
        Cap of the ratio of policy to behavior; > 0.

    Notes
    -----
    kappa is the curvature of the actions with w > cap, and 0 where there are none.

    References
    ----------
    .. [1] arXiv 2605.28150.

    Examples
    --------
    >>> import pessimism as ps
    >>> nearly_nominal = ps.induced_target([0.5, 0.5], [0.0, 1.0], TruncatedIS(beta=0.5, cap=100.0))
    >>> bool(abs(nearly_nominal.policy - nearly_nominal.nominal).max() < 1e-12)
    True
    """

    name: ClassVar[str] = "truncated_is"
    title: ClassVar[str] = "Truncated importance sampling"
    short: ClassVar[str] = "truncated IS"
    paper: ClassVar[str] = "2605.28150"
    formula: ClassVar[str] = "sg[min(w, cap)] (beta u - (r - mean r))^2"
    induces: ClassVar[str] = "log w + kappa max(w, cap) = A/beta: nominal where w < cap, Lambert where w > cap"
    sweeps: ClassVar[tuple[str, ...]] = ("beta",)

    beta: float = 0.01
    cap: float = 1.0

    def __post_init__(self) -> None:
        self.require_positive("beta", "cap")

    def _truncated(self, log_ratio: Array) -> Array:
        xp = array_namespace(log_ratio)
        return xp.exp(xp.clip(log_ratio, None, math.log(self.cap)))

    def score_weight(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Score weight g = 2 beta min(w, cap) (A - beta u)."""
        return 2.0 * self.beta * self._truncated(log_ratio) * (advantage - self.beta * log_ratio)

    def loss(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Loss: min(w, cap) (beta u - A)^2, the weight not differentiated."""
        return self._truncated(stop_gradient(log_ratio)) * (self.beta * log_ratio - advantage) ** 2

    def closed_form(self, bandit: Bandit, advantage: Array, *, unseen: bool) -> Solution | None:
        """Lambert target with the pull of small ratios held at the cap; nominal where no ratio reaches it."""
        return tilts.truncated(bandit, advantage, self.beta, self.cap)


@dataclass(frozen=True)
class MixedChi2KL(MeanBaseline, KLPenalized):
    r"""Importance-weighted objective with an explicit penalty, a KL and a chi^2 divergence.

    The penalty is beta (KL + gamma/2 chi^2); the loss of a sample is
    ``-w A + beta (w log w - w + 1) + beta gamma/2 (w - 1)^2``. It induces :math:`\log w + \gamma w = (A - s)/\beta`:
    the Lambert shape with kappa = gamma, whatever the baseline. It reaches by design what ratio-free losses do
    implicitly.

    Parameters
    ----------
    beta : float or array_like, default 0.01
        Temperature, or weight of the penalty, in units of the advantage; > 0.
    gamma : float, default 1.0
        Weight of chi^2/2 beside the KL; > 0. The default is the link of chi^2-PO.

    References
    ----------
    .. [1] arXiv 2407.13399.

    Examples
    --------
    >>> import pessimism as ps
    >>> float(ps.induced_target([0.5, 0.5], [0.0, 1.0], MixedChi2KL(beta=0.5, gamma=2.0)).kappa)
    2.0
    """

    name: ClassVar[str] = "mixed_chi2_kl"
    title: ClassVar[str] = "Mixed chi^2-KL penalty"
    short: ClassVar[str] = "mixed χ²-KL"
    paper: ClassVar[str] = "2407.13399"
    formula: ClassVar[str] = "-w A + beta (w log w - w + 1) + beta gamma/2 (w - 1)^2"
    induces: ClassVar[str] = "log w + gamma w = (r - s)/beta, s normalizing: Lambert with kappa = gamma"

    beta: float = 0.01
    gamma: float = 1.0

    def __post_init__(self) -> None:
        self.require_positive("beta", "gamma")

    def score_weight(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Score weight g = w (A - beta u - beta gamma (w - 1))."""
        xp = array_namespace(log_ratio)
        return super().score_weight(log_ratio, advantage - self.beta * self.gamma * xp.expm1(log_ratio), weights)

    def loss(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Loss: -w A + beta (w log w - w + 1) + beta gamma/2 (w - 1)^2."""
        xp = array_namespace(log_ratio)
        chi_square = xp.expm1(log_ratio) ** 2
        return super().loss(log_ratio, advantage, weights) + 0.5 * self.beta * self.gamma * chi_square

    def closed_form(self, bandit: Bandit, advantage: Array, *, unseen: bool) -> Solution | None:
        """Lambert target with kappa = gamma."""
        return tilts.chi_square_kl(bandit, advantage, self.beta, self.gamma)
