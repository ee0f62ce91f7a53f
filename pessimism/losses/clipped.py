r"""Clipped importance weights without a KL penalty: PPO and its descendants, whose population optimum is a set.

:math:`E_q[\min(s A, \mathrm{clip}(s) A)]` pays nothing beyond the clip: every policy with ratios above it where A > 0,
below it where A < 0 is optimal. In a bandit a completion is one action, so that token and sequence ratios coincide.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from array_api_compat import array_namespace

from pessimism.arrays import Array
from pessimism.closed_forms.clipping import clip_edges, clipped_surrogate, is_clipped, optimal_set
from pessimism.core.objective import MeanBaseline
from pessimism.losses.standardized import Standardized

if TYPE_CHECKING:
    from pessimism.core.bandit import Bandit
    from pessimism.core.solution import Solution


_SET = "a set: w >= 1 + eps_high where A > 0, w <= 1 - eps_low where A < 0, if P(A > 0) (1 + eps_high) <= 1"


@dataclass(frozen=True)
class Clipped(MeanBaseline):
    """Base of the family: the clipped surrogate of the ratio to the behavior, under whichever advantage."""

    reference_policy: ClassVar[Literal["behavior", "initial", "none"]] = "behavior"
    level: ClassVar[Literal["sequence", "token"]] = "token"
    temperature_field: ClassVar[str | None] = None

    eps_low: float = 0.2
    eps_high: float = 0.2

    def __post_init__(self) -> None:
        self.require_positive("eps_low", "eps_high")

    @property
    def _length(self) -> float:
        """Tokens over which the log-ratio is averaged before it is clipped."""
        return 1.0

    @property
    def kinks(self) -> tuple[float, ...]:
        """Log-ratios at which the clip begins; none below if 1 - eps_low is not positive."""
        return tuple(edge for edge in self._edges if math.isfinite(edge))

    @property
    def _edges(self) -> tuple[float, float]:
        low, high = clip_edges(self.eps_low, self.eps_high)
        return self._length * low, self._length * high

    def score_weight(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """g = s A / length where the ratio is not clipped, 0 where it is."""
        xp = array_namespace(log_ratio)
        pull = xp.exp(log_ratio / self._length) * advantage / self._length
        return xp.where(is_clipped(log_ratio, advantage, self._edges), xp.zeros_like(pull), pull)

    def loss(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """-min(s A, clip(s, 1 - eps_low, 1 + eps_high) A)."""
        low, high = (edge / self._length for edge in self._edges)
        return -clipped_surrogate(log_ratio / self._length, advantage, (low, high))

    def closed_form(self, bandit: Bandit, advantage: Array, *, unseen: bool) -> Solution | None:
        """The optimal policy nearest to the behavior in KL(pi || mu)."""
        return optimal_set(bandit, self, advantage, *self._edges, self._length)


@dataclass(frozen=True)
class PPO(Clipped):
    r"""PPO-clip: maximize :math:`E_q[\min(w A, \mathrm{clip}(w, 1-\epsilon, 1+\epsilon) A)]` (arXiv 1707.06347, eq. 7).

    The loss is -min(w_t A_t, clip(w_t) A_t) per token, the ratio to the policy that sampled, A from GAE: in a bandit
    one action is one token and A = r - E[r]. The surrogate is flat beyond the clip, so the optimum is a set (status
    "set_valued"); returned is its element nearest to the behavior: w = max(1 + eps_high, t) where A > 0,
    min(1 - eps_low, t) where A < 0, t where A = 0, with one t that normalizes. Gradient flow stops where it enters the
    set, which is elsewhere in it. If P(A > 0) (1 + eps_high) > 1 the best actions have the mass, each up to the clip.

    Traps: eps is a clip of the ratio, not a temperature; dual clipping (verl) and the value loss are not part of it.

    Examples
    --------
    >>> import pessimism as ps
    >>> target = ps.induced_target([0.75, 0.25], [0.0, 1.0], "ppo")
    >>> target.policy.round(4), str(target.status)
    (array([0.6, 0.4]), 'set_valued')
    """

    name: ClassVar[str] = "ppo"
    title: ClassVar[str] = "PPO-clip"
    paper: ClassVar[str] = "1707.06347"
    formula: ClassVar[str] = "-min(w A, clip(w, 1 - eps_low, 1 + eps_high) A), A = r - mean r"
    induces: ClassVar[str] = _SET


@dataclass(frozen=True)
class DrGRPO(Clipped):
    """Dr. GRPO: the clipped loss with A = r - mean r, neither std nor length normalization (arXiv 2503.20783).

    Tokens are summed and divided by a constant, beta is 0. In a bandit that is PPO's loss with the group mean as
    baseline, and its set of optima; see :class:`PPO`.

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
class DAPO(Standardized, Clipped):
    """DAPO: the clipped loss with a higher upper clip, GRPO's advantage, no KL penalty (arXiv 2503.14476).

    The mean runs over all tokens of the batch. Dynamic sampling drops groups with equal rewards: in the population of
    one context these never matter, since their advantages are zero. The optimum is PPO's set, see :class:`PPO`, with
    more room above. Not the DAPO of 2019 (divergence-augmented policy optimization). eps is verl's.

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

    def __post_init__(self) -> None:
        self.require_positive("eps_low", "eps_high", "eps")


@dataclass(frozen=True)
class GSPO(Standardized, Clipped):
    r"""GSPO: one clipped ratio per sequence, :math:`s = w^{1/|y|}`, the geometric mean over tokens (arXiv 2507.18071).

    Loss -min(s A, clip(s) A) with GRPO's advantage and no KL. The clip of s is one of w at (1 + eps_high)^length, the
    optimum is PPO's set with these bounds, see :class:`PPO`. If P(A > 0) (1 + eps_high)^length > 1, s^length being
    concave no positive action vanishes: w = min((1 + eps_high)^length, c A^(length/(length - 1))).

    ``length`` is the number of tokens, the same for every action of the bandit. Trap: the gradient is divided by it.

    Examples
    --------
    >>> import pessimism as ps
    >>> ps.induced_target([0.5, 0.5], [0.0, 1.0], "gspo", length=1000.0).policy.round(4)
    array([0.2541, 0.7459])
    """

    name: ClassVar[str] = "gspo"
    title: ClassVar[str] = "GSPO"
    paper: ClassVar[str] = "2507.18071"
    formula: ClassVar[str] = "-min(s A, clip(s, 1 - eps_low, 1 + eps_high) A), s = w^(1/length), A standardized"
    induces: ClassVar[str] = "a set: w >= (1 + eps_high)^length where A > 0, w <= (1 - eps_low)^length where A < 0"
    level: ClassVar[Literal["sequence", "token"]] = "sequence"

    eps_low: float = 3e-4
    eps_high: float = 4e-4
    length: float = 1.0
    eps: float = 1e-6

    def __post_init__(self) -> None:
        self.require_positive("eps_low", "eps_high", "eps")
        self.require_number("length")
        if self.length < 1:
            raise ValueError(f"gspo: length must be >= 1, got {self.length!r}")

    @property
    def _length(self) -> float:
        return float(self.length)
