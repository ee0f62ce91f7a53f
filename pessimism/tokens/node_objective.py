r"""An objective per token, at one prefix, as an objective on a bandit: its score weight is the mean over what is below.

:math:`G_a(u) = E_q[m\, g(u, A) \mid s, a]` stands where the score weight of a bandit's action stands, so that every
route, certificate and flow of bandits serves prefixes too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from pessimism.arrays import Array, Floats
from pessimism.core.bandit import Bandit
from pessimism.core.objective import Objective
from pessimism.core.solution import Solution


@dataclass(frozen=True, eq=False)
class NodeObjective(Objective):
    """The objective of a token after some prefixes: its weight and its loss averaged over the law below each token.

    Attributes
    ----------
    own : Objective
        Objective of a completion of one token.
    weight, offset : ndarray, shape (n, J)
        Atoms of the law below each of n edges: weight E[m 1(atom)], and advantage less the mean advantage of the edge.
    edge : ndarray, shape (..., K)
        Row of these that belongs to each action.
    beyond : ndarray, shape (..., K), or float
        Log-ratio of the prefix, which is added to that of the token where the loss sees the ratio of the prefix.
    """

    own: Objective
    weight: Floats
    offset: Floats
    edge: Any
    beyond: Any = 0.0

    per_action: ClassVar[tuple[str, ...]] = ("edge", "beyond")
    temperature_field: ClassVar[str | None] = None

    def __post_init__(self) -> None:
        for name in ("name", "title", "paper", "formula", "induces", "takes_reference", "takes_share"):
            object.__setattr__(self, name, getattr(self.own, name))
        for name in ("takes_propensity", "kinks_at_reference", "no_target_because"):
            object.__setattr__(self, name, getattr(self.own, name))

    @property
    def temperature(self) -> Any:
        """Temperature of the objective."""
        return self.own.temperature

    @property
    def by_flow(self) -> bool:
        """Whether the flow decides between several fixed points."""
        return self.own.by_flow

    @property
    def kinks(self) -> tuple[float, ...]:
        """Jumps of the objective's weight, in the log-ratio that it sees."""
        return self.own.kinks

    def kinks_at(self, propensity: Array) -> tuple[Array | float, ...]:
        """The same for tokens of these probabilities, in the log-ratio of the token."""
        kinks = self.own.kinks_at(propensity)
        return kinks if isinstance(self.beyond, float) else tuple(kink - self.beyond for kink in kinks)

    def advantage(self, reward: Array, weights: Array | None = None) -> Array:
        """Advantages of the objective, which say what its temperature weighs."""
        return self.own.advantage(reward, weights)

    def closed_form(self, bandit: Bandit, advantage: Array, *, unseen: bool) -> Solution | None:
        """None: prefixes with a formula do not come here."""
        return None

    def score_weight(
        self, log_ratio: Array, advantage: Array, weights: Array | None = None, **share: Array | None
    ) -> Array:
        """Score weight E[m g(u, A)] below each action, whose mean advantage is ``advantage``."""
        return self._mean(self.own.score_weight, log_ratio, advantage, weights, share)

    def loss(self, log_ratio: Array, advantage: Array, weights: Array | None = None, **share: Array | None) -> Array:
        """Loss E[m l(u, A)] below each action, whose mean advantage is ``advantage``."""
        return self._mean(self.own.loss, log_ratio, advantage, weights, share)

    def _mean(
        self,
        method: Callable[..., Array],
        log_ratio: Array,
        advantage: Array,
        weights: Array | None,
        share: dict[str, Array | None],
    ) -> Array:
        edge, log_ratio, advantage = np.broadcast_arrays(np.asarray(self.edge), log_ratio, advantage)
        row = edge.astype(np.intp)
        atoms = advantage[..., None] + self.offset[row]
        u = np.broadcast_to((log_ratio + self.beyond)[..., None], atoms.shape)
        given = {name: None if a is None else np.asarray(a)[..., None] for name, a in share.items()}
        own = None if weights is None else np.broadcast_to(np.asarray(weights)[..., None], atoms.shape)
        g = method(u.copy(), atoms, own, **given)
        weight = self.weight[row]
        return np.sum(np.where(weight > 0, weight * g, 0.0), axis=-1)
