"""Objectives of one's own: nothing but the three methods."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.helpers import (
    Array,
)


class Uncoupled:
    """A cubic pull on the mean-centered reward; nothing but the three methods."""

    beta = 0.5

    def advantage(self, reward: Any, weights: Any = None) -> Any:
        mean = reward.mean(-1) if weights is None else (weights * reward).sum(-1)
        return reward - mean[..., None]

    def score_weight(self, log_ratio: Any, advantage: Any, weights: Any = None) -> Any:
        gap = advantage - self.beta * log_ratio
        return gap + gap**3

    def loss(self, log_ratio: Any, advantage: Any, weights: Any = None) -> Any:
        gap = advantage - self.beta * log_ratio
        return (gap**2 / 2 + gap**4 / 4) / self.beta


class Coupled(Uncoupled):
    """The same, with log-ratios centered by half their mean over the group."""

    def score_weight(self, log_ratio: Any, advantage: Any, weights: Any = None) -> Any:
        mean = log_ratio.mean(-1) if weights is None else (weights * log_ratio).sum(-1)
        return advantage - self.beta * (log_ratio - 0.5 * mean[..., None])

    def loss(self, log_ratio: Any, advantage: Any, weights: Any = None) -> Any:
        mean = log_ratio.mean(-1) if weights is None else (weights * log_ratio).sum(-1)
        return log_ratio * (self.beta / 2 * log_ratio - self.beta / 4 * mean[..., None] - advantage)


class ScaledByTheGroup:
    """A weight that uses the largest advantage of the group, which no change of a log-ratio reveals."""

    def advantage(self, reward: Array, weights: Array | None = None) -> Array:
        mean = reward.mean(axis=-1) if weights is None else np.vecdot(weights, reward)
        return reward - mean[..., None]

    def score_weight(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        return advantage / np.abs(advantage).max(axis=-1, keepdims=True) - 0.5 * log_ratio

    def loss(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        constant = self.score_weight(0.0 * log_ratio, advantage, weights)
        return log_ratio * (0.25 * log_ratio - constant)


class ScaledByTheWeights(ScaledByTheGroup):
    """A weight that uses the probabilities of the group."""

    def score_weight(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
        weights = np.full(advantage.shape, 1 / advantage.shape[-1]) if weights is None else weights
        spread = np.sum(weights * advantage**2, axis=-1, keepdims=True)
        return advantage - 0.3 * spread - 0.5 * log_ratio
