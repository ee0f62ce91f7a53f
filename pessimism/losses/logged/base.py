"""Base classes of objectives on logged bandit data: no baseline, rewards within a range, and their second moments.

A reward enters by its mean p and, where the objective is not linear in it, by its second moment m. It then is the
two-point reward of that mean and second moment: c = m/p with probability p/c, else 0. m = p is Bernoulli (c = 1) and
m = p^2 a deterministic reward (c = p), the two cases that the literature works out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from array_api_compat import array_namespace

from pessimism import baselines
from pessimism.arrays import Array
from pessimism.core.objective import Objective, propensities
from pessimism.losses.importance_weighted import KLPenalized

_ROUNDING = 1e-6  # relative, by which a second moment may fall below the square of a float32 mean


def count_seen(propensity: Array) -> Array:
    """Number of actions with positive probability, ``(..., 1)``."""
    xp = array_namespace(propensity)
    return xp.sum(xp.astype(propensity > 0, propensity.dtype), axis=-1, keepdims=True)


@dataclass(frozen=True)
class LoggedObjective(Objective):
    """Base of objectives that subtract nothing from the reward."""

    prices_propensity: ClassVar[bool] = True
    no_advantage_because: ClassVar[str] = "it weighs the rewards themselves"

    def baseline_parts(self, reward: Array, weights: Array | None = None) -> tuple[Array, Array]:
        """Zero: there is no baseline."""
        return baselines.constant_parts(reward)

    def advantage(self, reward: Array, weights: Array | None = None) -> Array:
        """The reward itself."""
        return reward

    def require_open_unit(self, name: str) -> None:
        """Raise ``ValueError`` unless the field is a number strictly between 0 and 1."""
        self.require_number(name)
        if not 0 < getattr(self, name) < 1:
            raise ValueError(f"{self.name}: {name} must be between 0 and 1, got {getattr(self, name)!r}")

    def within(self, reward: Array, weights: Array | None, most: float = math.inf) -> Array:
        """Check rewards against their range, and set them to 0 where the behavior has no probability.

        Parameters
        ----------
        reward : Array
            Rewards ``(..., K)``.
        weights : Array or None
            Probabilities of the behavior, or None for a sampled group.
        most : float
            Largest reward that is allowed.

        Returns
        -------
        Array
            The rewards ``(..., K)``.

        Raises
        ------
        ValueError
            If a reward that has probability is negative or above ``most``.
        """
        xp = array_namespace(reward)
        if weights is not None:
            reward = xp.where(weights > 0, reward, xp.zeros_like(reward))
        bad = (reward < 0) | (reward > most)
        if bool(xp.any(bad)):
            flat = xp.reshape(bad, (-1, bad.shape[-1]))
            row, action = divmod(int(xp.argmax(xp.astype(xp.reshape(flat, (-1,)), xp.int8))), flat.shape[-1])
            value = float(xp.reshape(reward, flat.shape)[row, action])
            rule = ">= 0" if math.isinf(most) else f"in [0, {most:g}], the mean of a Bernoulli reward"
            place = f"action {action}" if flat.shape[0] == 1 else f"action {action} of problem {row}"
            raise ValueError(f"{self.name}: reward must be {rule}, got {value:.9g} at {place}")
        return reward


@dataclass(frozen=True)
class ShrunkReward(LoggedObjective, KLPenalized):
    """Base of estimators linear in the policy: the target is nominal in the reward that their expectation sees."""

    def shrunk(self, reward: Array, propensity: Array) -> Array:
        """Reward that the estimator sees, ``(..., K)``; ``propensity`` is the behavior's probability."""
        raise NotImplementedError

    def advantage(self, reward: Array, weights: Array | None = None) -> Array:
        """The shrunk reward; nothing is subtracted."""
        return self.shrunk(reward, propensities(reward, weights))


@dataclass(frozen=True)
class MomentObjective(LoggedObjective):
    """Base of objectives that are not linear in the reward; a subclass has the field ``second_moment``."""

    per_action: ClassVar[tuple[str, ...]] = ("second_moment",)

    if TYPE_CHECKING:
        second_moment: Any

    def moment(self, mean: Array) -> Array:
        """Second moments of the rewards: those given, else the means themselves (Bernoulli).

        Parameters
        ----------
        mean : Array
            Mean rewards ``(..., K)``.

        Returns
        -------
        Array
            Second moments in the shape of the means.

        Raises
        ------
        ValueError
            If there is not one number for each action.
        """
        own = self.fact("second_moment", mean)
        return mean if own is None else own + array_namespace(mean).zeros_like(mean)

    def two_points(self, mean: Array) -> tuple[Array, Array]:
        """Probability and size ``(..., K)`` of the value of the reward that is not 0."""
        xp = array_namespace(mean)
        if self.second_moment is None:
            return mean, xp.ones_like(mean)
        pays = mean > 0
        size = xp.where(pays, self.moment(mean) / xp.where(pays, mean, xp.ones_like(mean)), xp.ones_like(mean))
        chance = mean / xp.where(size > 0, size, xp.ones_like(size))
        return chance, size

    def means(self, reward: Array, weights: Array | None) -> Array:
        """Check mean rewards against their range and the second moments.

        Parameters
        ----------
        reward : Array
            Mean rewards ``(..., K)``.
        weights : Array or None
            Probabilities of the behavior, or None for a sampled group.

        Returns
        -------
        Array
            The mean rewards, 0 where the behavior has no probability.

        Raises
        ------
        ValueError
            If a mean is negative, above 1 where it is Bernoulli's, or no reward >= 0 has its two moments.
        """
        if self.second_moment is None:
            return self.within(reward, weights, most=1.0)
        mean = self.within(reward, weights)
        xp = array_namespace(mean)
        second = self.moment(mean)
        bad = second < mean * mean * (1.0 - _ROUNDING)
        free = (mean == 0) & (second > 0)
        bad = bad | (free if weights is None else free & (weights > 0))
        if bool(xp.any(bad)):
            rule = "at least the square of the mean, and 0 where that is 0"
            first = int(xp.argmax(xp.astype(xp.reshape(bad, (-1,)), xp.int8)))
            action, value = first % bad.shape[-1], float(xp.reshape(second, (-1,))[first])
            raise ValueError(f"{self.name}: second_moment[{action}] must be {rule}, got {value!r}")
        return mean
