"""The pulls q g of many problems at once, of objectives whose weight does not couple the actions."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pessimism.arrays import Array, to_numpy
from pessimism.core.bandit import Bandit
from pessimism.core.objective import Objective
from pessimism.fixed_point.score import BESIDE, data_weight, group_weights, kinks_of

_STEP = 1e-6  # of a log-ratio, for the slope of a weight


class Jump(NamedTuple):
    """A jump of the weight: the log-ratios ``(N, K)`` where it is, and the pulls just below and above it."""

    at: Array
    below: Array
    above: Array


class RowField:
    """Pulls q g of the problems of a batch, arrays ``(N, K)``; an action that the behavior never takes has none."""

    def __init__(
        self,
        objective: Objective,
        q: Array,
        nu: Array,
        advantage: Array,
        weights: Array | None,
    ) -> None:
        self.objective, self.q, self.nu, self.weights = objective, q, nu, weights
        self.seen = q > 0
        with np.errstate(divide="ignore"):
            self.log_nu = np.where(self.seen, np.log(np.where(self.seen, nu, 1.0)), -np.inf)
        self.advantage = np.where(self.seen, advantage, 0.0)
        self.log_share = np.where(self.seen, self.log_nu - np.log(np.where(self.seen, q, 1.0)), 0.0)
        self.jumps = [self._jump(kink) for kink in kinks_of(objective, q, self.log_share)]
        self.scale = np.sum(np.abs(self.plain(np.zeros_like(q))), axis=-1)

    @classmethod
    def of_bandit(cls, bandit: Bandit, objective: Objective, advantage: Array) -> RowField:
        """Field of the problems of a bandit, on the host."""
        weights = group_weights(bandit, objective)
        q, nu = to_numpy(bandit.behavior), to_numpy(bandit.reference)
        own = None if weights is None else to_numpy(weights)
        return cls(objective.each_swept(to_numpy), q, nu, to_numpy(advantage), own)

    def rows(self, chosen: Array) -> RowField:
        """Field of some of the problems, by their indices."""
        part = object.__new__(RowField)
        part.objective = self.objective.each_swept(lambda column: column[chosen])
        for name in ("q", "nu", "seen", "log_nu", "advantage", "log_share", "scale"):
            setattr(part, name, getattr(self, name)[chosen])
        part.weights = None if self.weights is None else self.weights[chosen]
        part.jumps = [Jump(*(a[chosen] for a in jump)) for jump in self.jumps]
        return part

    @property
    def facts(self) -> list[Array]:
        """Facts of the completions ``(N, K)`` that the weight depends on."""
        return [getattr(self.objective, name) for name in self.objective.facts]

    def _jump(self, kink: Array | float) -> Jump:
        at = kink - self.log_share
        return Jump(at, self.plain(at - 2.0 * BESIDE), self.plain(at + 2.0 * BESIDE))

    def plain(self, u: Array) -> Array:
        """Pulls q g ``(N, K)`` at log-ratios to the reference, with their jumps."""
        with np.errstate(over="ignore", invalid="ignore"):
            g = data_weight(self.objective, u, self.advantage, self.weights, self.log_share)
            return np.where(self.seen, self.q * g, 0.0)

    def linearized(self, u: Array) -> tuple[Array, Array]:
        """Pulls and their slopes dp/du, on the side of each jump that u is on."""
        p, h = self.plain(u), _STEP * np.maximum(1.0, np.abs(u))
        for jump in self.jumps:
            h = np.where((u <= jump.at) & (u + 2.0 * h >= jump.at), -h, h)
        return p, (self.plain(u + h) - p) / h

    @property
    def at_reference(self) -> Array:
        """Log-ratios ``(N, K)`` of the reference on the support of the behavior, normalized there."""
        total = np.sum(np.where(self.seen, self.nu, 0.0), axis=-1, keepdims=True)
        return np.where(self.seen, -np.log(total), 0.0)
