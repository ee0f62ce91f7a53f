"""GRPO: the clipped surrogate with standardized advantages and a KL penalty inside the loss."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from array_api_compat import array_namespace

from pessimism.arrays import Array
from pessimism.closed_forms.clipping import clip_edges, clipped_surrogate, is_clipped, optimal_set
from pessimism.closed_forms.kl_estimators import K3, stable_branch
from pessimism.core.objective import log_behavior_ratio
from pessimism.losses.standardized import Standardized

if TYPE_CHECKING:
    from pessimism.core.bandit import Bandit
    from pessimism.core.solution import Solution


@dataclass(frozen=True)
class GRPO(Standardized):
    """GRPO: the clipped ratio to the behavior with standardized advantages, and a KL penalty to the initial policy.

    The loss of a token is ``-min(w A, clip(w) A) + beta (exp(-u) - 1 + u)`` with two ratios, w = pi/behavior and
    u = log(pi/reference), and ``A = (r - mean r)/(std r + eps)``. It induces A - beta (1 - e^-u)/w = lam inside the
    clip and -beta (1 - e^-u)/w = lam beyond it. beta = 0 leaves PPO's set of optima.

    Parameters
    ----------
    beta : float, default 0.04
        Weight of the penalty, in units of the advantage; >= 0, and 0 removes it. The default is the paper's;
        DeepSeek-R1 has 0.001 with a clip of 10, ``eps_low=eps_high=10``.
    eps_low : float, default 0.2
        The ratio is clipped from below at 1 - eps_low; > 0.
    eps_high : float, default 0.2
        The ratio is clipped from above at 1 + eps_high; > 0.
    eps : float, default 1e-6
        Added to the standard deviation of the rewards before the advantage is divided by it; > 0. The default is
        verl's; TRL has 1e-4.

    Notes
    -----
    The penalty is the estimator k3, averaged over the samples of the old policy without an importance weight; its
    gradient beta (1 - e^-u) is not that of KL(pi || reference). It is convex in the ratio only below twice the
    reference. Where every action is on that branch and lam >= 0 (as many better actions as worse, roughly) the fixed
    point is unique and the best policy. With lam < 0 it is stable, the one that gradient flow from the reference
    reaches, though to dump mass on some rare action costs next to nothing under a k3 taken on old samples. Where there
    is none (better actions are few), the target is the limit of the flow: one action takes what the clip frees, among
    equal ones any (status ``"local_minimum"``). With ``unseen`` that mass leaks, wherever lam would be negative.

    The standard deviation is unbiased in a sampled group. The mean over tokens comes before that over the group.

    References
    ----------
    .. [1] arXiv 2402.03300, eqs. 3-4.

    Examples
    --------
    >>> import pessimism as ps
    >>> ps.induced_target([0.5, 0.5], [0.0, 1.0], "grpo", beta=10.0).policy.round(4)
    array([0.4514, 0.5486])
    >>> str(ps.induced_target([0.5, 0.5], [0.0, 1.0], "grpo", beta=0.0).status)
    'set_valued'
    """

    name: ClassVar[str] = "grpo"
    title: ClassVar[str] = "GRPO"
    paper: ClassVar[str] = "2402.03300"
    formula: ClassVar[str] = "-min(w A, clip(w) A) + beta (exp(-u) - 1 + u), A = (r - mean r)/(std r + eps)"
    induces: ClassVar[str] = "A - beta (1 - exp(-u))/w = lam inside the clip, at its edge or beyond it otherwise"
    reference_policy: ClassVar[Literal["behavior", "initial", "none"]] = "initial"
    level: ClassVar[Literal["sequence", "token"]] = "token"
    takes_reference: ClassVar[bool] = True
    takes_share: ClassVar[bool] = True

    beta: float = 0.04
    eps_low: float = 0.2
    eps_high: float = 0.2
    eps: float = 1e-6

    def __post_init__(self) -> None:
        self.require_positive("eps_low", "eps_high", "eps")
        self.require_number("beta")
        if self.beta < 0:
            raise ValueError(f"grpo: beta must be >= 0, got {self.beta!r}")

    @property
    def temperature(self) -> float | None:
        """Weight of the penalty; None without a penalty."""
        return float(self.beta) if self.beta > 0 else None

    @property
    def kinks(self) -> tuple[float, ...]:
        """Log-ratios to the behavior at which the clip begins."""
        return tuple(edge for edge in self._edges if math.isfinite(edge))

    @property
    def by_flow(self) -> bool:
        """Whether there is a penalty, with which there may be several fixed points."""
        return self.beta > 0

    @property
    def _edges(self) -> tuple[float, float]:
        return clip_edges(self.eps_low, self.eps_high)

    def score_weight(
        self, log_ratio: Array, advantage: Array, weights: Array | None = None, *, log_share: Array | None = None
    ) -> Array:
        """Score weight g = w A inside the clip, 0 beyond, minus beta (1 - e^-u)."""
        xp = array_namespace(log_ratio)
        log_w = log_behavior_ratio(log_ratio, log_share)
        pull = xp.exp(log_w) * advantage
        pull = xp.where(is_clipped(log_w, advantage, self._edges), xp.zeros_like(pull), pull)
        return pull + self.beta * xp.expm1(-log_ratio) if self.beta else pull

    def loss(
        self, log_ratio: Array, advantage: Array, weights: Array | None = None, *, log_share: Array | None = None
    ) -> Array:
        """Loss: -min(w A, clip(w) A) + beta (e^-u - 1 + u)."""
        xp = array_namespace(log_ratio)
        log_w = log_behavior_ratio(log_ratio, log_share)
        surrogate = clipped_surrogate(log_w, advantage, self._edges)
        return self.beta * (xp.expm1(-log_ratio) + log_ratio) - surrogate

    def closed_form(self, bandit: Bandit, advantage: Array, *, unseen: bool) -> Solution | None:
        """Stable branch of the penalty; without a penalty the element of PPO's set nearest to the behavior."""
        if self.beta == 0:
            return optimal_set(bandit, self, advantage, *self._edges)
        return stable_branch(bandit, self, advantage, self.beta, K3, self._edges, unseen)
