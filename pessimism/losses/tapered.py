"""Off-policy REINFORCE whose negative samples fade with the ratio of the policy to the behavior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from array_api_compat import array_namespace

from pessimism import baselines
from pessimism.closed_forms.greedy import greedy
from pessimism.closed_forms.tilts import NOT_COVERED, STATUS, Solution
from pessimism.core.objective import Objective, stop_gradient

if TYPE_CHECKING:
    from pessimism.core.bandit import Bandit

Array = Any


@dataclass(frozen=True)
class TOPR(Objective):
    r"""Tapered off-policy REINFORCE, -sg[alpha] R log pi (arXiv 2503.14286).

    alpha = 1 where R >= 0 and min(w, 1) where R < 0, w the sequence ratio to the behavior; R is the reward (+-1 in the
    paper) minus a constant ``value``, which re-weights positives against negatives. No KL, no reference.

    A negative action loses its weight together with its mass: where some R is positive the target is w = R_+/E[R_+].
    Negatives vanish altogether and without displacing anything, unlike the water filling of AsymRE, and so do actions
    with R = 0. Groups without a positive R: if the best R is 0, its actions share the mass, any way they like; if all R
    are equal, nothing moves; otherwise the pull has several one-action limits, and the one that gradient flow reaches
    from the behavior is returned (generic route): with failures alone the loss does not stay put.

    Examples
    --------
    >>> import pessimism as ps
    >>> ps.induced_target([0.5, 0.3, 0.2], [-1.0, 1.0, 1.0], TOPR()).policy
    array([0. , 0.6, 0.4])
    >>> ps.induced_target([0.5, 0.3, 0.2], [-1.0, -1.0, -1.0], TOPR()).policy
    array([0.5, 0.3, 0.2])
    """

    name: ClassVar[str] = "topr"
    title: ClassVar[str] = "Tapered off-policy REINFORCE"
    paper: ClassVar[str] = "2503.14286"
    formula: ClassVar[str] = "-sg[alpha] (r - value) u, alpha = 1 if r >= value else min(w, 1)"
    induces: ClassVar[str] = "mu A_+ / E_mu[A_+]: negatives vanish; without positives the limit of gradient flow"
    subtracts: ClassVar[str] = "value"
    reference_policy: ClassVar[Literal["behavior", "initial", "none"]] = "behavior"
    temperature_field: ClassVar[str | None] = None

    value: float = 0.0

    def __post_init__(self) -> None:
        self.require_number("value")

    @property
    def by_flow(self) -> bool:
        """Without positive advantages fixed points are several."""
        return True

    def baseline_parts(self, reward: Array, weights: Array | None = None) -> tuple[Array, Array]:
        """The constant, for every group."""
        return baselines.constant_parts(reward, self.value)

    def score_weight(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """g = A where A >= 0, min(w, 1) A where A < 0."""
        xp = array_namespace(log_ratio)
        taper = xp.exp(xp.clip(log_ratio, None, 0.0))
        return advantage * xp.where(advantage >= 0, xp.ones_like(taper), taper)

    def loss(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        """-alpha A log pi, alpha not differentiated, up to a constant of the policy."""
        return -self.score_weight(stop_gradient(log_ratio), advantage, weights) * log_ratio

    def closed_form(self, bandit: Bandit, advantage: Array, *, unseen: bool) -> Solution | None:
        """Behavior weighted by the positive part; the best actions where that is zero; see the class for the rest."""
        xp = bandit.xp
        own = bandit.masked(advantage, -xp.inf)
        best, worst = xp.max(own, axis=-1), xp.min(bandit.masked(advantage, xp.inf), axis=-1)
        gains, flat = best > 0, (best < 0) & (best == worst)
        positive = own > 0
        safe = xp.where(positive, advantage, xp.ones_like(advantage))
        # In units of the best, so that no sum underflows.
        unit = xp.where(gains, best, xp.ones_like(best))[:, None]
        total = xp.sum(xp.where(positive, bandit.behavior * (safe / unit), xp.zeros_like(safe)), axis=-1, keepdims=True)
        weighted = xp.log(safe / unit) - xp.log(xp.where(gains[:, None], total, xp.ones_like(total)))
        weighted = xp.where(positive, weighted, xp.full_like(weighted, -xp.inf))
        limit = greedy(bandit, advantage)
        log_ratio = xp.where(gains[:, None], weighted, limit.log_ratio)
        vanishing = xp.any(bandit.support & ~positive, axis=-1)
        status = xp.where(gains, xp.astype(vanishing, xp.int8) * STATUS.index("vanishing_support"), limit.status)
        status = xp.where(flat, xp.zeros_like(status), status)
        status = xp.where((best < 0) & ~flat, xp.full_like(status, NOT_COVERED), status)
        return limit._replace(log_ratio=bandit.masked(log_ratio, 0.0), status=xp.astype(status, xp.int8))
