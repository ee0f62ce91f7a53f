r"""The expected gradient of an objective: the weight on each action, and the field on softmax logits that it makes.

Gradient ascent moves along :math:`E_q[g\, \nabla \log \pi]`, on logits :math:`q_a g_a - \pi_a \sum_b q_b g_b`
(arXiv 2605.28150; docs/theory.md). Every route, certificate and flow takes its weight g from here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

import numpy as np
from array_api_compat import array_namespace

from pessimism.arrays import Array
from pessimism.core.bandit import Bandit
from pessimism.core.objective import Objective, log_behavior_ratio

BESIDE = 1e-9  # how far on either side of a jump of the weight it is read
_MOST_WORK = 5 * 10**7  # weights of single actions that are evaluated before a search is left: some ten seconds
BAND = 1e-6  # half the width over which a jump of the weight is bridged


def data_weight(
    objective: Objective, log_ratio: Array, advantage: Array, weights: Array | None, log_share: Array | None
) -> Array:
    """Score weight against data of the behavior, elementwise in all arguments unless the objective is coupled.

    ``log_share`` is log(reference / behavior), None where they are one policy. On-policy sampling is weighting by
    pi/q = exp(log_ratio + log_share).
    """
    if objective.takes_share:
        g = objective.score_weight(log_ratio, advantage, weights, log_share=log_share)  # type: ignore[call-arg]
    else:
        g = objective.score_weight(log_ratio, advantage, weights)
    if not objective.on_policy:
        return g
    return g * array_namespace(g).exp(log_behavior_ratio(log_ratio, log_share))


def group_weights(bandit: Bandit, objective: Objective) -> Array | None:
    """Weights that the score weight is called with: those of the data, or probabilities if it asks for them."""
    return bandit.behavior if objective.takes_propensity else bandit.weights


def weight_on(bandit: Bandit, objective: Objective, log_ratio: Array, advantage: Array) -> Array:
    """Score weight ``(N, K)`` of a bandit's problems, against data of the behavior; log-ratios must be finite."""
    seen = bandit.masked(advantage, 0.0)  # what is never taken could overflow a sum over all actions
    return data_weight(objective, log_ratio, seen, group_weights(bandit, objective), bandit.log_reference_ratio)


Kinks = tuple[Array | float, ...]  # what `Objective.kinks_at` gives: log(policy / behavior) where the weight jumps


def kinks_of(objective: Objective, propensity: Array, log_share: Array | None) -> Kinks:
    """Jumps of an objective's weight in log(policy / behavior), for actions of these probabilities ``(..., K)``."""
    kinks = objective.kinks_at(propensity)
    if log_share is None or not objective.kinks_at_reference:
        return kinks
    return tuple(kink + log_share for kink in kinks)


def sides(kinks: Kinks, log_ratio: Array, log_share: Array | None) -> tuple[Array, Array]:
    """Log-ratios just below and above each one that sits on a jump of the weight; the same twice elsewhere."""
    below, above = log_ratio, log_ratio
    xp = array_namespace(log_ratio)
    for kink in kinks:
        at = kink if log_share is None else kink - log_share
        here = xp.abs(log_ratio - at) <= BESIDE
        below = xp.where(here, at - 2.0 * BESIDE, below)
        above = xp.where(here, at + 2.0 * BESIDE, above)
    return below, above


def beside(
    pull: Callable[[Array], Array], kinks: Kinks, log_ratio: Array, log_share: Array | None
) -> tuple[Array, Array]:
    """A pull just below and just above each log-ratio on a jump of the weight; without jumps it is taken once."""
    below, above = sides(kinks, log_ratio, log_share)
    low = pull(below)
    return low, low if above is below else pull(above)


class Stationarity(NamedTuple):
    """Pulls q g ``(N, K)`` just below and above each log-ratio, and the multiplier lam ``(N,)`` that they agree on."""

    below: Array
    above: Array
    multiplier: Array

    def drift(self, policy: Array) -> tuple[Array, Array]:
        """Least and largest q g - lam pi ``(N, K)`` that the weights on the two sides of a jump allow."""
        xp, needed = array_namespace(self.below), self.multiplier[:, None] * policy
        return xp.minimum(self.below, self.above) - needed, xp.maximum(self.below, self.above) - needed


def stationarity(
    pull: Callable[[Array], Array],
    kinks: Kinks,
    log_ratio: Array,
    log_share: Array | None,
    policy: Array,
    kept: Array,
) -> Stationarity:
    """How q g = lam pi stands at log-ratios ``(N, K)``, all of them finite.

    lam is E_q[g] where no weight is on a jump; else what the actions off the jumps agree on; where all are on jumps,
    the middle of what every one of them allows. ``pull`` maps log-ratios to q g; ``kinks`` are the objective's at the
    behavior's probabilities; ``kept`` are the actions with mass.
    """
    below, above = beside(pull, kinks, log_ratio, log_share)
    xp = array_namespace(below)
    total = xp.sum(below, axis=-1)
    if above is below or not bool(xp.any(kept & (below != above))):
        return Stationarity(below, above, total)
    jumps = kept & (below != above)
    smooth, nothing, infinity = kept & ~jumps, xp.zeros_like(below), xp.full_like(below, xp.inf)
    mass = xp.sum(xp.where(smooth, policy, nothing), axis=-1)
    safe = xp.where(kept & (policy > 0), policy, xp.ones_like(below))
    least = xp.max(xp.where(kept, xp.minimum(below, above) / safe, -infinity), axis=-1)
    most = xp.min(xp.where(kept, xp.maximum(below, above) / safe, infinity), axis=-1)
    agreed = xp.sum(xp.where(smooth, below, nothing), axis=-1) / xp.where(mass > 0, mass, xp.ones_like(mass))
    with np.errstate(invalid="ignore"):  # of a row without a target, where nothing is kept
        agreed = xp.where(mass > 0, agreed, 0.5 * (least + most))
    return Stationarity(below, above, xp.where(xp.any(jumps, axis=-1), agreed, total))


class LogitField:
    """Expected gradient at the actions of one problem, all arrays ``(K,)`` on the behavior's support.

    A jump of the weight is bridged linearly, so that a policy held on it by opposite pulls stays there (Filippov).
    """

    def __init__(self, objective: Objective, q: Array, nu: Array, advantage: Array, weights: Array | None) -> None:
        self.objective, self.q, self.advantage, self.weights = objective, q, advantage, weights
        self.nu, self.log_nu = nu, np.log(nu)
        self.log_share = self.log_nu - np.log(q)
        self.kinks = kinks_of(objective, q, self.log_share)
        self.facts = [np.asarray(getattr(objective, name), dtype=np.float64) for name in objective.facts]
        self.work = 0

    @property
    def exhausted(self) -> bool:
        """Whether so many weights have been evaluated that searches are to end, found or not.

        The cost of a search grows with the square of the number of actions; a count, unlike a clock, ends it at the
        same place on every machine.
        """
        return self.work > _MOST_WORK

    def plain(self, u: Array) -> Array:
        """Score weight against data of the behavior at log-ratios ``(..., K)`` to the reference."""
        self.work += u.size
        advantage, share = np.broadcast_to(self.advantage, u.shape), np.broadcast_to(self.log_share, u.shape)
        weights = None if self.weights is None else np.broadcast_to(self.weights, u.shape)
        with np.errstate(over="ignore", invalid="ignore"):
            return data_weight(self.objective, u, advantage, weights, share)

    def weight(self, u: Array) -> Array:
        """Score weight as :meth:`plain`, with its jumps bridged."""
        g = self.plain(u)
        for kink in self.kinks:
            at = kink - self.log_share
            inside = np.abs(u - at) < BAND
            if np.any(inside):
                below, above = (self.plain(np.where(inside, at + side, u)) for side in (-BAND, BAND))
                beyond = np.where(inside, u - at, 0.0)  # finite where an action has no such jump, too
                g = np.where(inside, below + (above - below) * (beyond + BAND) / (2.0 * BAND), g)
        return g

    def on_kink(self, u: Array) -> tuple[Array, Array]:
        """Mask of the actions that sit on a jump, and u with those set to it exactly."""
        on = np.zeros(u.shape, dtype=bool)
        for kink in self.kinks:
            at = kink - self.log_share
            here = np.abs(u - at) <= BAND
            on, u = on | here, np.where(here, at, u)
        return on, u

    def field(self, log_policy: Array) -> Array:
        """Expected gradient on the logits, ``(..., K)``."""
        pull = self.q * self.weight(log_policy - self.log_nu)
        return pull - np.exp(log_policy) * np.sum(pull, axis=-1, keepdims=True)

    def drift(self, log_policy: Array) -> Array:
        """Velocity of the log-probabilities ``(..., K)``, which are normalized first."""
        log_policy = log_policy - np.logaddexp.reduce(log_policy, axis=-1, keepdims=True)
        field = self.field(log_policy)
        return field - np.sum(np.exp(log_policy) * field, axis=-1, keepdims=True)

    @cached_property
    def scale(self) -> float:
        """Size of the pulls at the reference."""
        return float(np.sum(self.q * np.abs(self.plain(np.zeros_like(self.q)))))
