r"""CISPO: the importance weight is capped and not differentiated, so that no action is cut off from the gradient."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from array_api_compat import array_namespace, device

from pessimism.arrays import Array, to_numpy
from pessimism.closed_forms import separable
from pessimism.core.bandit import Bandit
from pessimism.core.objective import stop_gradient
from pessimism.losses.standardized import Scale, Standardized

if TYPE_CHECKING:
    from pessimism.core.solution import Solution


@dataclass(frozen=True)
class CISPO(Standardized):
    r"""CISPO, the loss of MiniMax-M1: a capped importance weight that is not differentiated.

    The loss of a sample is :math:`-\mathrm{sg}[\mathrm{clip}(w, floor, cap)] A \log \pi` with GRPO's advantage
    ``A = (r - mean r)/(std r + eps)``; as published the ratio has no lower bound, and there is no KL. It induces
    w = cap A/lam where A exceeds the level lam; the action at the level takes the rest (w <= cap), and all others
    vanish, in any case those with A < 0.

    Parameters
    ----------
    cap : float, default 5.0
        Cap of the ratio of policy to behavior; > 0. The paper's eps_high is unpublished; the default is TRL's
        (ScaleRL's recipe), open-instruct caps at 1.272, verl at 1.2, its own example at 11.
    floor : float, default 0.0
        Lower bound of the ratio; >= 0 and at most the cap. verl has 1 - 0.2 unless it is told otherwise.
    eps : float, default 1e-6
        Added to the standard deviation of the rewards before the advantage is divided by it; > 0.
    scale : {"group", "batch", "leave_one_out", "none"}, default "group"
        What the centered rewards are divided by, see :class:`pessimism.losses.standardized.Standardized`.

    Notes
    -----
    The fixed point maximizes the concave surrogate whose slope is A min(1, cap/w). As cap tends to 0 the target tends
    to A_+/E[A_+], Kimi's limit at beta = 0; as cap tends to infinity, to the greedy policy. Ties at the level leave a
    choice (status ``"set_valued"``). One action is one token here; the mean over tokens of the batch does not matter.

    With a floor there is no closed form. An action with A < 0 is pulled down for ever, with weight floor A even where
    it has no mass left, as in off-policy REINFORCE, and what it loses in logits the others gain. Against that common
    drift an action has two answers, one below the floor and one above the cap, and gradient flow from the behavior
    tells which it takes.

    verl's ``bypass_mode`` with ``loss_type="reinforce"`` and truncated importance weights is this loss: its
    ``rollout_is_threshold`` is the cap, 2 by default, with verl's advantage. The off-policy sequence mask (see
    :class:`~pessimism.losses.clipped.PPO`) changes nothing here: actions with A < 0 vanish with it or without.

    References
    ----------
    .. [1] arXiv 2506.13585, eqs. 4-7.

    Examples
    --------
    >>> import pessimism as ps
    >>> target = ps.induced_target([0.4, 0.3, 0.2, 0.1], [0.2, 0.4, 0.6, 0.8], "cispo", cap=2.0)
    >>> target.policy.round(4), str(target.status)
    (array([0. , 0. , 0.6, 0.4]), 'vanishing_support')
    """

    name: ClassVar[str] = "cispo"
    title: ClassVar[str] = "CISPO (MiniMax-M1)"
    short: ClassVar[str] = "CISPO"
    paper: ClassVar[str] = "2506.13585"
    formula: ClassVar[str] = "-sg[clip(w, floor, cap)] A u, A = (r - mean r)/(std r + eps)"
    induces: ClassVar[str] = "w = cap A/lam where A > lam, the rest at the level A = lam; others vanish; or a flow"
    level: ClassVar[Literal["sequence", "token"]] = "token"
    temperature_field: ClassVar[str | None] = None

    cap: float = 5.0
    floor: float = 0.0
    eps: float = 1e-6
    scale: Scale = "group"

    def __post_init__(self) -> None:
        self.require_positive("cap", "eps")
        self.require_scale()
        self.require_number("floor")
        if not 0 <= self.floor <= self.cap:
            raise ValueError(f"cispo: floor must be >= 0 and at most cap, got {self.floor!r}")

    @property
    def by_flow(self) -> bool:
        """Whether there is a floor, with which there may be several fixed points."""
        return self.floor > 0

    def _weight(self, log_ratio: Array) -> Array:
        xp = array_namespace(log_ratio)
        return xp.exp(xp.clip(log_ratio, math.log(self.floor) if self.floor else None, math.log(self.cap)))

    def score_weight(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Score weight g = clip(w, floor, cap) A."""
        return self._weight(log_ratio) * advantage

    def loss(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """Loss: -sg[clip(w, floor, cap)] A log pi, up to a constant of the policy."""
        return -self._weight(stop_gradient(log_ratio)) * advantage * log_ratio

    def closed_form(self, bandit: Bandit, advantage: Array, *, unseen: bool) -> Solution | None:
        """Level lam = max over k of min(A_k, cap E[A; the k best]), and the ratios that follow; None with a floor.

        Rows without a positive advantage but with negative ones, as a baseline from elsewhere makes them, are
        NOT_COVERED.
        """
        if self.floor:
            return None
        q, A = to_numpy(bandit.behavior), to_numpy(advantage)
        gain = np.where((q > 0) & (A > 0), A, 0.0)
        order = np.argsort(-gain, axis=-1, kind="stable")
        ranked, mass = (np.take_along_axis(a, order, axis=-1) for a in (gain, q))
        lam = np.max(np.minimum(ranked, self.cap * np.cumsum(mass * ranked, axis=-1)), axis=-1, keepdims=True)
        above = gain > lam
        flat = lam[:, 0] <= 0  # no advantage: every policy is optimal
        at = (gain == lam) & (q > 0) & ~flat[:, None]
        log_w = self._log_ratios(bandit, advantage, above, at)
        several = np.where(flat, np.sum(q > 0, axis=-1), np.sum(at, axis=-1)) > 1
        found = separable.wrap(
            bandit,
            self,
            advantage,
            to_numpy(log_w),
            lam[:, 0],
            set_valued=several,
            covered=~flat | ~np.any((q > 0) & (A < 0), axis=-1),
        )
        return found._replace(log_ratio=bandit.masked(log_w, 0.0), differentiable=True)

    def _log_ratios(self, bandit: Bandit, advantage: Array, above: Array, at: Array) -> Array:
        """Ratios of the actions above the level and at it, written so that autograd sees the advantage."""
        xp, q, place = bandit.xp, bandit.behavior, device(bandit.reward)
        over, level = xp.asarray(above, device=place), xp.asarray(at, device=place)
        zeros, ones = xp.zeros_like(advantage), xp.ones_like(advantage)

        def total(chosen: Array, values: Array) -> Array:
            return xp.sum(xp.where(chosen, q * values, zeros), axis=-1, keepdims=True)

        some_over, some_at = (xp.any(mask, axis=-1, keepdims=True) for mask in (over, level))
        mass_at = xp.where(some_at, total(level, ones), ones[:, :1])
        gained = xp.where(some_over, total(over, advantage), ones[:, :1])
        lam = xp.where(some_at, total(level, advantage) / mass_at, self.cap * gained)
        held = total(over, advantage) * self.cap / lam
        left = xp.where(some_at, (1.0 - held) / mass_at, ones[:, :1])
        left = xp.where(left > 0, left, zeros[:, :1])
        reached = xp.where(over, advantage, ones)
        with np.errstate(divide="ignore"):
            log_left = xp.log(left) + zeros
        gone = zeros - xp.inf
        some = some_over | some_at
        log_w = xp.where(over, math.log(self.cap) + xp.log(reached) - xp.log(lam), xp.where(level, log_left, gone))
        return xp.where(some, log_w, 0.0 * advantage)
