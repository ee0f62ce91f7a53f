"""GRPO: the clipped surrogate with standardized advantages and a KL penalty inside the loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from array_api_compat import array_namespace

from pessimism.arrays import Array
from pessimism.closed_forms.clipping import (
    clip_edges,
    clip_kinks,
    clipped_surrogate,
    clipped_tilt,
    is_clipped,
    optimal_set,
)
from pessimism.closed_forms.kl_estimators import K3, stable_branch
from pessimism.core.objective import log_behavior_ratio
from pessimism.losses.clipped import require_dual_clip
from pessimism.losses.standardized import Scale, Standardized

if TYPE_CHECKING:
    from pessimism.core.bandit import Bandit
    from pessimism.core.solution import Solution


@dataclass(frozen=True)
class GRPO(Standardized):
    """GRPO: the clipped ratio to the behavior with standardized advantages, and a KL penalty to the initial policy.

    The loss of a token is ``-min(w A, clip(w) A) + beta (exp(-u) - 1 + u)`` with two ratios, w = pi/behavior and
    u = log(pi/reference), and ``A = (r - mean r)/(std r + eps)``. It induces A - beta (1 - e^-u)/w = lam inside the
    clip and -beta (1 - e^-u)/w = lam beyond it; with ``unbiased_kl`` A - beta u = lam and -beta u = lam. beta = 0
    leaves PPO's set of optima.

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
    unbiased_kl : bool, default False
        Whether the penalty carries the ratio w, as in DeepSeek-V3.2 and, unless it is told otherwise, TRL (its
        ``use_bias_correction_kl``).
    dual_clip : float, optional
        Ratio above which an action with A < 0 is not pushed down any more; > 1. Without it all are, as published;
        verl's default is 3.
    scale : {"group", "batch", "leave_one_out", "none"}, default "group"
        What the centered rewards are divided by, see :class:`pessimism.losses.standardized.Standardized`.

    Notes
    -----
    With ``unbiased_kl`` the penalty is beta w (exp(-u) - 1 + u), whose gradient is beta w u, that of beta
    KL(pi || reference): the objective is concave, its best policy is the only fixed point, nominal but for the clip.

    Otherwise the penalty is the estimator k3, averaged over the samples of the old policy without an importance weight;
    its gradient beta (1 - e^-u) is not that of KL(pi || reference). It is convex in the ratio only below twice the
    reference. Where every action is on that branch and lam >= 0 (as many better actions as worse, roughly) the fixed
    point is unique and the best policy. With lam < 0 it is stable, the one that gradient flow from the reference
    reaches, though to dump mass on some rare action costs next to nothing under a k3 taken on old samples. Where there
    is none (better actions are few), the target is the limit of the flow: one action takes what the clip frees, among
    equal ones any (status ``"local_minimum"``). With ``unseen`` that mass leaks, wherever lam would be negative.

    With a dual clip a loss with a penalty has no closed form: an action with A < 0 has two answers, one of them above
    the clip, and gradient flow tells which. Without a penalty see :class:`~pessimism.losses.clipped.PPO`, also for the
    off-policy sequence mask.

    The standard deviation is unbiased in a sampled group. The mean over tokens comes before that over the group.

    References
    ----------
    .. [1] arXiv 2402.03300, eqs. 3-4.
    .. [2] arXiv 2512.02556, eq. 7, for the unbiased estimate of the KL.

    Examples
    --------
    >>> import pessimism as ps
    >>> ps.induced_target([0.5, 0.5], [0.0, 1.0], "grpo", beta=10.0).policy.round(4)
    array([0.4514, 0.5486])
    >>> ps.induced_target([0.5, 0.5], [0.0, 1.0], "grpo", beta=10.0, unbiased_kl=True).policy.round(4)
    array([0.4502, 0.5498])
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
    unbiased_kl: bool = False
    dual_clip: float | None = None
    scale: Scale = "group"

    def __post_init__(self) -> None:
        self.require_positive("eps_low", "eps_high", "eps")
        require_dual_clip(self)
        if not isinstance(self.unbiased_kl, bool | np.bool_):
            raise ValueError(f"grpo: unbiased_kl must be True or False, got {self.unbiased_kl!r}")
        self.require_number("beta")
        if self.beta < 0:
            raise ValueError(f"grpo: beta must be >= 0, got {self.beta!r}")
        self.require_scale()

    @property
    def temperature(self) -> float | None:
        """Weight of the penalty; None without a penalty."""
        return float(self.beta) if self.beta > 0 else None

    @property
    def kinks(self) -> tuple[float, ...]:
        """Log-ratios to the behavior at which the clip begins."""
        return clip_kinks(self._edges, self.dual_clip)

    @property
    def by_flow(self) -> bool:
        """Whether there is a penalty with which there may be several fixed points."""
        return self.beta > 0 and not (self.unbiased_kl and self.dual_clip is None)

    @property
    def _edges(self) -> tuple[float, float]:
        return clip_edges(self.eps_low, self.eps_high)

    def linear_bounds(self, propensity: Array) -> tuple[Array | float, Array | float] | None:
        """Edges of the clip where there is neither a penalty nor a dual clip."""
        return self._edges if self.beta == 0 and self.dual_clip is None else None

    def score_weight(
        self, log_ratio: Array, advantage: Array, weights: Array | None = None, *, log_share: Array | None = None
    ) -> Array:
        """Score weight g = w A inside the clip, 0 beyond, minus beta (1 - e^-u), or beta w u if unbiased."""
        xp = array_namespace(log_ratio)
        log_w = log_behavior_ratio(log_ratio, log_share)
        w = xp.exp(log_w)
        clipped = is_clipped(log_w, advantage, self._edges, self.dual_clip)
        pull = xp.where(clipped, xp.zeros_like(w), w * advantage)
        if not self.beta:
            return pull
        return pull - self.beta * w * log_ratio if self.unbiased_kl else pull + self.beta * xp.expm1(-log_ratio)

    def loss(
        self, log_ratio: Array, advantage: Array, weights: Array | None = None, *, log_share: Array | None = None
    ) -> Array:
        """Loss: -min(w A, clip(w) A) + beta (e^-u - 1 + u), the latter times w if unbiased."""
        xp = array_namespace(log_ratio)
        log_w = log_behavior_ratio(log_ratio, log_share)
        surrogate = clipped_surrogate(log_w, advantage, self._edges, self.dual_clip)
        estimate = xp.expm1(-log_ratio) + log_ratio
        return self.beta * (xp.exp(log_w) * estimate if self.unbiased_kl else estimate) - surrogate

    def closed_form(self, bandit: Bandit, advantage: Array, *, unseen: bool) -> Solution | None:
        """Clipped tilt, stable branch of k3, or without a penalty the element of PPO's set nearest to the behavior."""
        if self.beta == 0:
            return optimal_set(bandit, self, advantage, *self._edges)
        if self.dual_clip is not None:
            return None
        if self.unbiased_kl:
            return clipped_tilt(bandit, self, advantage, self.beta, self._edges, unseen)
        return stable_branch(bandit, self, advantage, self.beta, K3, self._edges, unseen)
