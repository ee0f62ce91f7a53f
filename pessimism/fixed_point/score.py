r"""The expected gradient of an objective: the weight on each action, and the field on softmax logits that it makes.

Gradient ascent moves along :math:`E_q[g\, \nabla \log \pi]`, on logits :math:`q_a g_a - \pi_a \sum_b q_b g_b`
(arXiv 2605.28150; docs/theory.md). Every route, certificate and flow takes its weight g from here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
from array_api_compat import array_namespace

from pessimism.arrays import Array
from pessimism.core.bandit import Bandit
from pessimism.core.objective import ObjectiveLike, log_behavior_ratio

BESIDE = 1e-9  # how far on either side of a jump of the weight it is read
BAND = 1e-6  # half the width over which a jump of the weight is bridged


def data_weight(
    objective: ObjectiveLike, log_ratio: Array, advantage: Array, weights: Array | None, log_share: Array | None
) -> Array:
    """Score weight against data of the behavior, elementwise in all arguments unless the objective is coupled.

    ``log_share`` is log(reference / behavior), None where they are one policy. On-policy sampling is weighting by
    pi/q = exp(log_ratio + log_share).
    """
    if getattr(objective, "takes_share", False):
        g = objective.score_weight(log_ratio, advantage, weights, log_share=log_share)  # type: ignore[call-arg]
    else:
        g = objective.score_weight(log_ratio, advantage, weights)
    if not getattr(objective, "on_policy", False):
        return g
    return g * array_namespace(g).exp(log_behavior_ratio(log_ratio, log_share))


def group_weights(bandit: Bandit, objective: ObjectiveLike) -> Array | None:
    """Weights that the score weight is called with: those of the data, or probabilities if it asks for them."""
    return bandit.behavior if getattr(objective, "takes_propensity", False) else bandit.weights


def weight_on(bandit: Bandit, objective: ObjectiveLike, log_ratio: Array, advantage: Array) -> Array:
    """Score weight ``(N, K)`` of a bandit's problems, against data of the behavior; log-ratios must be finite."""
    return data_weight(objective, log_ratio, advantage, group_weights(bandit, objective), bandit.log_reference_ratio)


def sides(objective: ObjectiveLike, log_ratio: Array, log_share: Array | None) -> tuple[Array, Array]:
    """Log-ratios just below and above each one that sits on a jump of the weight; the same twice elsewhere."""
    below, above = log_ratio, log_ratio
    xp = array_namespace(log_ratio)
    for kink in getattr(objective, "kinks", ()):
        at = kink if log_share is None else kink - log_share
        here = xp.abs(log_ratio - at) <= BESIDE
        below = xp.where(here, at - 2.0 * BESIDE, below)
        above = xp.where(here, at + 2.0 * BESIDE, above)
    return below, above


def beside(
    pull: Callable[[Array], Array], objective: ObjectiveLike, log_ratio: Array, log_share: Array | None
) -> tuple[Array, Array]:
    """A pull just below and just above each log-ratio on a jump of the weight; without jumps it is taken once."""
    below, above = sides(objective, log_ratio, log_share)
    low = pull(below)
    return low, low if above is below else pull(above)


def agreed_multiplier(below: Array, above: Array, pi: Array, kept: Array) -> Array:
    """Multiplier lam ``(N,)`` of a fixed point, from q g ``(N, K)`` just below and above each log-ratio (numpy).

    It is E_q[g] where no weight is on a jump, else what the actions off the jumps agree on. ``kept`` are the actions
    with mass.
    """
    jumps = kept & (below != above)
    total = np.sum(below, axis=-1)
    if not jumps.any():
        return total
    smooth = kept & ~jumps
    mass = np.sum(np.where(smooth, pi, 0.0), axis=-1)
    # All on jumps: any multiplier that every one of them allows.
    safe = np.where(kept & (pi > 0), pi, 1.0)
    least = np.max(np.where(kept, np.minimum(below, above) / safe, -np.inf), axis=-1)
    most = np.min(np.where(kept, np.maximum(below, above) / safe, np.inf), axis=-1)
    agreed = np.sum(np.where(smooth, below, 0.0), axis=-1) / np.where(mass > 0, mass, 1.0)
    return np.where(jumps.any(axis=-1), np.where(mass > 0, agreed, 0.5 * (least + most)), total)


class LogitField:
    """Expected gradient at the actions of one problem, all arrays ``(K,)`` on the behavior's support.

    A jump of the weight is bridged linearly, so that a policy held on it by opposite pulls stays there (Filippov).
    """

    def __init__(self, objective: ObjectiveLike, q: Array, nu: Array, advantage: Array, weights: Array | None) -> None:
        self.objective, self.q, self.advantage, self.weights = objective, q, advantage, weights
        self.log_nu = np.log(nu)
        self.log_share = self.log_nu - np.log(q)
        self.kinks = tuple(getattr(objective, "kinks", ()))

    def plain(self, u: Array) -> Array:
        """Score weight against data of the behavior at log-ratios ``(..., K)`` to the reference."""
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
                g = np.where(inside, below + (above - below) * (u - at + BAND) / (2.0 * BAND), g)
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
