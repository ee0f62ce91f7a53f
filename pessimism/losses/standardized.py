"""The advantage of GRPO: rewards centered and divided by the spread of their group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pessimism import baselines
from pessimism.core.objective import MeanBaseline

Array = Any


@dataclass(frozen=True)
class Standardized(MeanBaseline):
    """A = (r - mean r) / (std r + eps) (GRPO, arXiv 2402.03300), eps a field of the objective, in reward units.

    std is the population's under weights, unbiased (n - 1) in a sampled group, as in verl (eps 1e-6) and TRL (1e-4).
    """

    if TYPE_CHECKING:
        eps: float

    def advantage(self, reward: Array, weights: Array | None = None) -> Array:
        """(r - mean) / (std + eps)."""
        spread = baselines.standard_deviation(reward, weights)
        return super().advantage(reward, weights) / (spread[..., None] + self.eps)
