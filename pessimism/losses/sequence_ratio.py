"""Ratios of a whole completion that is clipped, beside GSPO's: weighted by its length, or clipped token by token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from array_api_compat import array_namespace

from pessimism.arrays import Array
from pessimism.closed_forms.clipping import clipped_surrogate, is_clipped, optimal_set, optimal_set_of_lengths
from pessimism.losses.clipped import GSPO
from pessimism.losses.standardized import Scale, Standardized

if TYPE_CHECKING:
    from pessimism.core.bandit import Bandit
    from pessimism.core.solution import Solution


@dataclass(frozen=True)
class LUSPO(GSPO):
    """Length-unbiased sequence policy optimization (LUSPO): GSPO with the loss of a completion times its length.

    The loss of a sample is ``-length min(s A, clip(s, 1 - eps_low, 1 + eps_high) A)`` with :math:`s = w^{1/|y|}`, so
    that its gradient is s A, whatever the length. The clip is GSPO's, and so is the set of policies that it induces;
    where the better completions cannot all reach their clip, w = (A/lam)^(length/(length - 1)) below it. With one
    length for all it is GSPO.

    Parameters
    ----------
    eps_low : float, default 0.0003
        The ratio is clipped from below at 1 - eps_low; > 0.
    eps_high : float, default 0.0004
        The ratio is clipped from above at 1 + eps_high; > 0.
    dual_clip : float, optional
        Ratio above which an action with A < 0 is not pushed down any more; > 1. See
        :class:`pessimism.losses.clipped.PPO`.
    length : float or array_like, shape (..., K), optional
        Tokens of each completion, one number for all or one for each action; >= 1, without it 1.
    eps : float, default 1e-6
        Added to the standard deviation of the rewards before the advantage is divided by it; > 0.
    scale : {"group", "batch", "leave_one_out", "none"}, default "group"
        What the centered rewards are divided by, see :class:`pessimism.losses.standardized.Standardized`.

    Notes
    -----
    TRL sums the clipped ratio over the tokens of a completion and takes the mean over completions.

    References
    ----------
    .. [1] arXiv 2602.05261.

    Examples
    --------
    >>> import pessimism as ps
    >>> ps.induced_target([0.4, 0.3, 0.3], [0.0, 1.0, 1.0], "luspo", length=[1, 2, 9], eps_high=1.0).policy.round(4)
    array([0.    , 0.5697, 0.4303])
    """

    name: ClassVar[str] = "luspo"
    title: ClassVar[str] = "Length-unbiased sequence policy optimization"
    short: ClassVar[str] = "LUSPO"
    paper: ClassVar[str] = "2602.05261"
    formula: ClassVar[str] = "-length min(s A, clip(s, 1 - eps_low, 1 + eps_high) A), s = w^(1/length), A standardized"

    def score_weight(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Score weight g = s A where the ratio is not clipped, 0 where it is."""
        return self._tokens(log_ratio) * super().score_weight(log_ratio, advantage, weights)

    def loss(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Loss: -length min(s A, clip(s, 1 - eps_low, 1 + eps_high) A)."""
        return self._tokens(log_ratio) * super().loss(log_ratio, advantage, weights)

    def closed_form(self, bandit: Bandit, advantage: Array, *, unseen: bool) -> Solution | None:
        """The optimal policy nearest to the behavior in KL(pi || mu)."""
        tokens = self._tokens(bandit.behavior)
        return optimal_set_of_lengths(bandit, self, advantage, self._edges, tokens, by_length=True)


@dataclass(frozen=True)
class GMPO(Standardized):
    """Geometric-mean policy optimization (GMPO): a geometric mean of ratios, each token clipped before the mean.

    The loss of a completion is ``-A exp(mean over tokens of v)`` with v = min(u, clip_high) where A > 0 and v = max(u,
    -clip_low) where A < 0, u the log-ratio of a token. Of several tokens the log-ratio of the whole does not say how
    many are clipped, so that this is no loss of it. On completions of one token, which is what it means here, it is
    PPO's with a clip at exp(-clip_low) and exp(clip_high), and induces PPO's set of policies.

    Parameters
    ----------
    clip_low : float, default 0.4
        Log-ratios of tokens are clipped from below at -clip_low; > 0.
    clip_high : float, default 0.4
        Log-ratios of tokens are clipped from above at clip_high; > 0.
    length : float, default 1.0
        Tokens of a completion, which must be 1: others have no target without their tokens.
    eps : float, default 1e-6
        Added to the standard deviation of the rewards before the advantage is divided by it; > 0.
    scale : {"group", "batch", "leave_one_out", "none"}, default "group"
        What the centered rewards are divided by, see :class:`pessimism.losses.standardized.Standardized`.

    References
    ----------
    .. [1] arXiv 2507.20673.

    Examples
    --------
    >>> import pessimism as ps
    >>> ps.induced_target([0.75, 0.25], [0.0, 1.0], "gmpo").policy.round(4)
    array([0.5027, 0.4973])
    >>> ps.induced_target([0.75, 0.25], [0.0, 1.0], "gmpo", length=3)
    Traceback (most recent call last):
    ...
    ValueError: gmpo: length must be 1: it clips every token inside one ratio, which the whole completion does not show
    """

    name: ClassVar[str] = "gmpo"
    title: ClassVar[str] = "Geometric-mean policy optimization"
    short: ClassVar[str] = "GMPO"
    paper: ClassVar[str] = "2507.20673"
    formula: ClassVar[str] = "-A exp(mean over tokens of u clipped at clip_high (A > 0) or -clip_low (A < 0))"
    induces: ClassVar[str] = "of one token, a set: u >= clip_high where A > 0, u <= -clip_low where A < 0"
    level: ClassVar[Literal["sequence", "token"]] = "token"
    needs_tokens: ClassVar[bool] = True

    temperature_field: ClassVar[str | None] = None

    clip_low: float = 0.4
    clip_high: float = 0.4
    length: float = 1.0
    eps: float = 1e-6
    scale: Scale = "group"

    def __post_init__(self) -> None:
        self.require_positive("clip_low", "clip_high", "eps")
        self.require_scale()
        self.require_number("length")
        if self.length != 1:
            why = "it clips every token inside one ratio, which the whole completion does not show"
            raise ValueError(f"gmpo: length must be 1: {why}")

    @property
    def kinks(self) -> tuple[float, ...]:
        """Log-ratios of a completion of one token at which the clip begins."""
        return (-self.clip_low, self.clip_high)

    def score_weight(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Score weight g = w A where the one token is not clipped, 0 where it is."""
        pull = array_namespace(log_ratio).exp(log_ratio) * advantage
        return array_namespace(pull).where(is_clipped(log_ratio, advantage, self._edges), 0.0 * pull, pull)

    def loss(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Loss: -A exp(u clipped from above where A > 0, from below where A < 0)."""
        return -clipped_surrogate(log_ratio, advantage, self._edges)

    @property
    def _edges(self) -> tuple[float, float]:
        return (-float(self.clip_low), float(self.clip_high))

    def closed_form(self, bandit: Bandit, advantage: Array, *, unseen: bool) -> Solution | None:
        """The optimal policy nearest to the behavior in KL(pi || mu)."""
        return optimal_set(bandit, self, advantage, *self._edges)
