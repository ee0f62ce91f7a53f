r"""Clipped importance weights without a KL penalty: PPO and its descendants, whose population optimum is a set.

:math:`E_q[\min(s A, \mathrm{clip}(s) A)]` pays nothing beyond the clip: every policy with ratios above it where A > 0,
below it where A < 0 is optimal. In a bandit a completion is one action, so that token and sequence ratios coincide.
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from array_api_compat import array_namespace

from pessimism.arrays import LOG_OF_NO_MASS, Array
from pessimism.closed_forms.clipping import (
    clip_edges,
    clip_kinks,
    clipped_surrogate,
    is_clipped,
    optimal_set,
    optimal_set_of_lengths,
)
from pessimism.core.objective import MeanBaseline, Objective, partners
from pessimism.losses.standardized import Scale, Standardized

if TYPE_CHECKING:
    from pessimism.core.bandit import Bandit
    from pessimism.core.solution import Solution


_SET = "a set: w >= 1 + eps_high where A > 0, w <= 1 - eps_low where A < 0, if P(A > 0) (1 + eps_high) <= 1"


@dataclass(frozen=True)
class Clipped(MeanBaseline):
    """Base of the family: the clipped surrogate of the ratio to the behavior, with the advantage of the subclass."""

    level: ClassVar[Literal["sequence", "token"]] = "token"
    temperature_field: ClassVar[str | None] = None

    eps_low: float = 0.2
    eps_high: float = 0.2
    dual_clip: float | None = None

    def __post_init__(self) -> None:
        self.require_positive("eps_low", "eps_high")
        require_dual_clip(self)

    @property
    def kinks(self) -> tuple[float, ...]:
        """Log-ratios at which the clip begins; there is none below if 1 - eps_low is not positive."""
        return clip_kinks(self._edges, self.dual_clip)

    @property
    def _edges(self) -> tuple[float, float]:
        return clip_edges(self.eps_low, self.eps_high)

    def linear_bounds(self, propensity: Array) -> tuple[Array | float, Array | float] | None:
        """Edges of the clip; None with a dual clip, which is no concave surrogate."""
        return self._edges if self.dual_clip is None else None

    def score_weight(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Score weight g = w A where the ratio is not clipped, 0 where it is."""
        xp = array_namespace(log_ratio)
        pull = xp.exp(log_ratio) * advantage
        return xp.where(is_clipped(log_ratio, advantage, self._edges, self.dual_clip), xp.zeros_like(pull), pull)

    def loss(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Loss: -min(w A, clip(w, 1 - eps_low, 1 + eps_high) A), where A < 0 at most -dual_clip A."""
        return -clipped_surrogate(log_ratio, advantage, self._edges, self.dual_clip)

    def closed_form(self, bandit: Bandit, advantage: Array, *, unseen: bool) -> Solution | None:
        """The optimal policy nearest to the behavior in KL(pi || mu)."""
        return optimal_set(bandit, self, advantage, *self._edges)


def require_dual_clip(objective: Objective) -> None:
    """Raise ``ValueError`` unless the objective's ``dual_clip`` is None or a number > 1."""
    value = objective.settings["dual_clip"]
    if value is not None:
        objective.require_number("dual_clip")
        if value <= 1:
            raise ValueError(f"{objective.name}: dual_clip must be > 1, got {value!r}")


@dataclass(frozen=True)
class PPO(Clipped):
    r"""PPO with a clipped ratio and no KL penalty.

    It maximizes :math:`E_q[\min(w A, \mathrm{clip}(w, 1-\epsilon, 1+\epsilon) A)]`; the loss of a sample is
    ``-min(w A, clip(w, 1 - eps_low, 1 + eps_high) A)`` with ``A = r - mean r``. The surrogate is flat beyond the clip,
    so that it induces a set of policies (status ``"set_valued"``). The element nearest to the behavior is returned:
    w = max(1 + eps_high, t) where A > 0, min(1 - eps_low, t) where A < 0 and t where A = 0, with one t that normalizes.

    Parameters
    ----------
    eps_low : float, default 0.2
        The ratio is clipped from below at 1 - eps_low; > 0. It is no temperature.
    eps_high : float, default 0.2
        The ratio is clipped from above at 1 + eps_high; > 0. It is no temperature.
    dual_clip : float, optional
        Ratio above which an action with A < 0 is not pushed down any more; > 1. Without it all are, as
        published; verl's default is 3.

    Notes
    -----
    The paper's loss is one per token, with the ratio to the policy that sampled and A from GAE: in a bandit one action
    is one token and A = r - E[r]. Gradient flow stops where it enters the set, which is elsewhere in it. If P(A > 0)
    (1 + eps_high) > 1 the best actions have the mass, each up to the clip. The value loss is not part of it.

    A dual clip (arXiv 1912.09729; ``delta`` of TRL, where it exceeds 1 + eps_high) lets go of actions with A < 0 at
    ratios above it. A policy gains nothing by holding such an action there, so that the optima are the same. But the
    loss is no longer convex: a flow that has driven one so far up, which takes a worse action that frees more mass than
    the better ones take, leaves it there.

    The off-policy sequence mask of DeepSeek-V3.2 (arXiv 2512.02556, eq. 9; TRL's ``off_policy_mask_threshold``) drops
    the surrogate, not the KL, of completions with A < 0 whose mean log-ratio is below -delta. Where that mean is what
    is clipped, as in a completion of one token, it is a lower clip at ``eps_low = 1 - exp(-delta)``, if that is
    tighter.

    References
    ----------
    .. [1] arXiv 1707.06347, eq. 7.

    Examples
    --------
    >>> import pessimism as ps
    >>> target = ps.induced_target([0.75, 0.25], [0.0, 1.0], "ppo")
    >>> target.policy.round(4), str(target.status)
    (array([0.6, 0.4]), 'set_valued')
    """

    name: ClassVar[str] = "ppo"
    title: ClassVar[str] = "PPO-clip"
    short: ClassVar[str] = "PPO"
    paper: ClassVar[str] = "1707.06347"
    formula: ClassVar[str] = "-min(w A, clip(w, 1 - eps_low, 1 + eps_high) A), A = r - mean r"
    induces: ClassVar[str] = _SET


@dataclass(frozen=True)
class DrGRPO(Clipped):
    """Dr. GRPO: the clipped loss with A = r - mean r, without division by the spread or by lengths.

    The loss of a sample is ``-min(w A, clip(w, 1 - eps_low, 1 + eps_high) A)``. Tokens are summed and divided by a
    constant, and there is no KL penalty. In a bandit that is PPO's loss with the group mean as baseline, and it induces
    the same set of policies; see :class:`PPO`.

    Parameters
    ----------
    eps_low : float, default 0.2
        The ratio is clipped from below at 1 - eps_low; > 0.
    eps_high : float, default 0.2
        The ratio is clipped from above at 1 + eps_high; > 0.
    dual_clip : float, optional
        Ratio above which an action with A < 0 is not pushed down any more; > 1. See :class:`PPO`.

    References
    ----------
    .. [1] arXiv 2503.20783.

    Examples
    --------
    >>> import pessimism as ps
    >>> ps.induced_target([0.75, 0.25], [0.0, 1.0], "dr_grpo", eps_high=0.4).policy.round(4)
    array([0.6, 0.4])
    """

    name: ClassVar[str] = "dr_grpo"
    title: ClassVar[str] = "Dr. GRPO"
    paper: ClassVar[str] = "2503.20783"
    formula: ClassVar[str] = "-min(w A, clip(w, 1 - eps_low, 1 + eps_high) A), A = r - mean r"
    induces: ClassVar[str] = _SET


@dataclass(frozen=True)
class RLOOClipped(Clipped):
    """RLOO as TRL trains it: the clipped ratio of the sequence with the leave-one-out advantage.

    The loss of a sample is ``-min(w A, clip(w, 1 - eps_low, 1 + eps_high) A)`` with ``A = r - mean of the others' r``.
    In the population that is r - mean r, so that it induces PPO's set of policies; see :class:`PPO`. The loss of the
    paper, whose target is nominal, is :class:`~pessimism.losses.reinforce.RLOO`.

    Parameters
    ----------
    eps_low : float, default 0.2
        The ratio is clipped from below at 1 - eps_low; > 0.
    eps_high : float, default 0.2
        The ratio is clipped from above at 1 + eps_high; > 0.
    dual_clip : float, optional
        Ratio above which an action with A < 0 is not pushed down any more; > 1. See :class:`PPO`.

    Notes
    -----
    TRL adds a KL, beta 0.05, to the reward when it samples: r - beta log(old/initial), summed over tokens. It is a
    number for each completion from then on, that follows no gradient: pass rewards that contain it. Other than a KL of
    the policy in training it stops nothing, and where old is the initial policy it is zero. A is r less the mean of the
    G - 1 others in a sampled group, G/(G - 1) times the centered reward.

    References
    ----------
    .. [1] arXiv 2402.14740; `RLOOTrainer` of TRL 1.16.

    Examples
    --------
    >>> import pessimism as ps
    >>> ps.induced_target([0.75, 0.25], [0.0, 1.0], "rloo_clipped").policy.round(4)
    array([0.6, 0.4])
    """

    name: ClassVar[str] = "rloo_clipped"
    title: ClassVar[str] = "RLOO with a clipped ratio (TRL)"
    short: ClassVar[str] = "RLOO clipped"
    paper: ClassVar[str] = "2402.14740"
    formula: ClassVar[str] = "-min(w A, clip(w, 1 - eps_low, 1 + eps_high) A), A = r - mean of the others' r"
    induces: ClassVar[str] = _SET
    subtracts: ClassVar[str] = "mean of the others' r"
    level: ClassVar[Literal["sequence", "token"]] = "sequence"

    def advantage(self, reward: Array, weights: Array | None = None) -> Array:
        """Advantages G/(G - 1) (r - mean) in a sampled group, r - mean in a population."""
        return partners(reward.shape[-1], weights) * super().advantage(reward, weights)


@dataclass(frozen=True)
class DAPO(Standardized, Clipped):
    """DAPO: the clipped loss with a higher upper clip, GRPO's advantage and no KL penalty.

    The loss of a sample is ``-min(w A, clip(w, 1 - eps_low, 1 + eps_high) A)`` with
    ``A = (r - mean r)/(std r + eps)``. It induces PPO's set of policies, with more room above; see :class:`PPO`.

    Parameters
    ----------
    eps_low : float, default 0.2
        The ratio is clipped from below at 1 - eps_low; > 0.
    eps_high : float, default 0.28
        The ratio is clipped from above at 1 + eps_high; > 0.
    dual_clip : float, optional
        Ratio above which an action with A < 0 is not pushed down any more; > 1. See :class:`PPO`.
    eps : float, default 1e-6
        Added to the standard deviation of the rewards before the advantage is divided by it; > 0. The default is
        verl's.
    scale : {"group", "batch", "leave_one_out", "none"}, default "group"
        What the centered rewards are divided by, see :class:`pessimism.losses.standardized.Standardized`.

    Notes
    -----
    The mean runs over all tokens of the batch. Dynamic sampling drops groups with equal rewards: in the population of
    one context these never matter, since their advantages are zero. This is not the DAPO of 2019, divergence-augmented
    policy optimization.

    References
    ----------
    .. [1] arXiv 2503.14476.

    Examples
    --------
    >>> import pessimism as ps
    >>> ps.induced_target([0.4, 0.6], [0.0, 1.0], "dapo").policy.round(4)
    array([0.232, 0.768])
    """

    name: ClassVar[str] = "dapo"
    title: ClassVar[str] = "DAPO"
    paper: ClassVar[str] = "2503.14476"
    formula: ClassVar[str] = "-min(w A, clip(w, 1 - eps_low, 1 + eps_high) A), A = (r - mean r)/(std r + eps)"
    induces: ClassVar[str] = _SET

    eps_low: float = 0.2
    eps_high: float = 0.28
    eps: float = 1e-6
    scale: Scale = "group"

    def __post_init__(self) -> None:
        self.require_positive("eps_low", "eps_high", "eps")
        require_dual_clip(self)
        self.require_scale()


@dataclass(frozen=True)
class GSPO(Standardized, Clipped):
    """GSPO: the clipped loss with one ratio per sequence, the geometric mean over tokens.

    The loss of a sample is ``-min(s A, clip(s, 1 - eps_low, 1 + eps_high) A)`` with :math:`s = w^{1/|y|}`, the exponent
    one over the number of tokens, and GRPO's advantage; there is no KL. A clip of s at 1 + eps_high is one of w at
    (1 + eps_high)^length, so that it induces PPO's set of policies with these bounds; see :class:`PPO`.

    Parameters
    ----------
    eps_low : float, default 0.0003
        The ratio is clipped from below at 1 - eps_low; > 0.
    eps_high : float, default 0.0004
        The ratio is clipped from above at 1 + eps_high; > 0.
    dual_clip : float, optional
        Ratio s above which an action with A < 0 is not pushed down any more; > 1. See :class:`PPO`.
    length : float or array_like, shape (..., K), optional
        Tokens of each completion, one number for all or one for each action; >= 1, without it 1. The gradient of a
        completion is divided by it.
    eps : float, default 1e-6
        Added to the standard deviation of the rewards before the advantage is divided by it; > 0.
    scale : {"group", "batch", "leave_one_out", "none"}, default "group"
        What the centered rewards are divided by, see :class:`pessimism.losses.standardized.Standardized`.

    Notes
    -----
    If the positive actions cannot all reach their clip, E[(1 + eps_high)^length, A > 0] > 1, none of them vanishes,
    since s is concave in w: w = min((1 + eps_high)^length, (A/(length lam))^(length/(length - 1))), lam normalizing.
    Completions of one token are full or empty there. Where lengths differ, a longer completion has a wider clip on w
    and a weaker pull.

    References
    ----------
    .. [1] arXiv 2507.18071.

    Examples
    --------
    >>> import pessimism as ps
    >>> ps.induced_target([0.5, 0.5], [0.0, 1.0], "gspo", length=1000.0).policy.round(4)
    array([0.2541, 0.7459])
    >>> ps.induced_target([0.4, 0.3, 0.3], [0.0, 1.0, 1.0], "gspo", length=[100, 100, 900]).policy.round(4)
    array([0.2578, 0.3122, 0.43  ])
    """

    name: ClassVar[str] = "gspo"
    title: ClassVar[str] = "GSPO"
    paper: ClassVar[str] = "2507.18071"
    formula: ClassVar[str] = "-min(s A, clip(s, 1 - eps_low, 1 + eps_high) A), s = w^(1/length), A standardized"
    induces: ClassVar[str] = "a set: w >= (1 + eps_high)^length where A > 0, w <= (1 - eps_low)^length where A < 0"
    level: ClassVar[Literal["sequence", "token"]] = "sequence"
    per_action: ClassVar[tuple[str, ...]] = ("length",)

    eps_low: float = 3e-4
    eps_high: float = 4e-4
    length: float | tuple[float, ...] | None = None
    eps: float = 1e-6
    scale: Scale = "group"

    def __post_init__(self) -> None:
        self.require_positive("eps_low", "eps_high", "eps")
        require_dual_clip(self)
        self.require_at_least(1, "length")
        self.require_scale()

    def _tokens(self, like: Array) -> Any:
        tokens = self.fact("length", like)
        return 1.0 if tokens is None else tokens

    @property
    def kinks(self) -> tuple[float, ...]:
        """Log-ratios of whole completions at which the clip begins; of one token where lengths differ."""
        tokens = float(self.length) if isinstance(self.length, Real) else 1.0
        return tuple(tokens * edge for edge in super().kinks)

    def kinks_at(self, propensity: Array) -> tuple[Any, ...]:
        """Log-ratios of the whole completions at which the clip begins."""
        tokens = self._tokens(propensity)
        return tuple(tokens * edge for edge in super().kinks)

    def score_weight(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Score weight g = s A / length where the ratio is not clipped, 0 where it is."""
        tokens = self._tokens(log_ratio)
        return super().score_weight(log_ratio / tokens, advantage, weights) / tokens

    def loss(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Loss: -min(s A, clip(s, 1 - eps_low, 1 + eps_high) A)."""
        return super().loss(log_ratio / self._tokens(log_ratio), advantage, weights)

    def at_infinity(self, log_ratio: Array, advantage: Array) -> Array | None:
        """Log-ratios of which even w^(1/length) is nothing, for actions without mass."""
        xp = array_namespace(log_ratio)
        return xp.where(log_ratio == -xp.inf, LOG_OF_NO_MASS * self._tokens(log_ratio), log_ratio)

    def closed_form(self, bandit: Bandit, advantage: Array, *, unseen: bool) -> Solution | None:
        """The optimal policy nearest to the behavior in KL(pi || mu)."""
        return optimal_set_of_lengths(bandit, self, advantage, self._edges, self._tokens(bandit.behavior))


@dataclass(frozen=True)
class MaxRL(Clipped):
    """Maximum-likelihood RL (MaxRL): the clipped loss with advantages divided by the mean reward of the group.

    The loss of a token is ``-min(w A, clip(w, 1 - eps_low, 1 + eps_high) A)`` with ``A = (r - mean r)/(mean r + eps)``.
    The division weighs prompts by one over their pass rate; within one it is a positive factor, so that it induces
    PPO's set of policies; see :class:`PPO`. A group whose mean is not positive has no signal: A = 0.

    Parameters
    ----------
    eps_low : float, default 0.2
        The ratio is clipped from below at 1 - eps_low; > 0.
    eps_high : float, default 0.2
        The ratio is clipped from above at 1 + eps_high; > 0.
    dual_clip : float, optional
        Ratio above which an action with A < 0 is not pushed down any more; > 1. See :class:`PPO`.
    eps : float, default 1e-6
        Added to the mean of the rewards before the advantage is divided by it; > 0.

    Notes
    -----
    Made for rewards of 0 and 1, in expectation over groups it ascends the likelihood of a success, truncated at the
    order of the group. Loss, clip and eps are those of the authors' code (verl) and of SkyRL; prime-rl gives its own
    loss the same advantages and has no eps. That a mean below zero counts as no signal is prime-rl's rule: elsewhere
    such a mean turns every advantage around. On-policy and unclipped it is greedy, as REINFORCE.

    References
    ----------
    .. [1] arXiv 2602.02710.

    Examples
    --------
    >>> import pessimism as ps
    >>> ps.induced_target([0.75, 0.25], [0.0, 1.0], "max_rl").policy.round(4)
    array([0.6, 0.4])
    >>> ps.induced_target([0.75, 0.25], [0.0, 1.0], "max_rl").advantage.round(4)
    array([-1.,  3.])
    """

    name: ClassVar[str] = "max_rl"
    title: ClassVar[str] = "Maximum-likelihood RL"
    short: ClassVar[str] = "MaxRL"
    paper: ClassVar[str] = "2602.02710"
    formula: ClassVar[str] = "-min(w A, clip(w, 1 - eps_low, 1 + eps_high) A), A = (r - mean r)/(mean r + eps)"
    induces: ClassVar[str] = _SET

    eps: float = 1e-6

    def __post_init__(self) -> None:
        self.require_positive("eps_low", "eps_high", "eps")
        require_dual_clip(self)

    def advantage(self, reward: Array, weights: Array | None = None) -> Array:
        """Advantages (r - mean) / (mean + eps), 0 where the mean is not positive."""
        mean = self.baseline(reward, weights)[..., None]
        xp, paid = array_namespace(reward), mean > 0
        gap = super().advantage(reward, weights)
        return xp.where(paid, gap / xp.where(paid, mean + self.eps, xp.ones_like(mean)), xp.zeros_like(gap))
