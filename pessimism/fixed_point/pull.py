"""One problem as its dynamics see it: what pulls at the softmax logits of the actions that can be produced."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from pessimism.core import problem as posed
from pessimism.core.bandit import make_bandit, to_numpy
from pessimism.core.objective import ObjectiveLike
from pessimism.dynamics.trajectory import Trajectory
from pessimism.fixed_point.score import data_weight, group_weights

Array = Any

BAND = 1e-6  # half the width over which a jump of the weight is bridged


class Pull:
    """What pulls at the actions of one problem, all arrays ``(K,)`` on the behavior's support.

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
        """The same with its jumps bridged."""
        g = self.plain(u)
        for kink in self.kinks:
            at = kink - self.log_share
            inside = np.abs(u - at) < BAND
            if np.any(inside):
                below, above = (self.plain(np.where(inside, at + side, u)) for side in (-BAND, BAND))
                g = np.where(inside, below + (above - below) * (u - at + BAND) / (2.0 * BAND), g)
        return g

    def on_kink(self, u: Array) -> tuple[Array, Array]:
        """Which actions sit on a jump, and u with those set to it exactly."""
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
        """Velocity of the log-probabilities ``(..., K)``; normalizes what it is given."""
        log_policy = log_policy - np.logaddexp.reduce(log_policy, axis=-1, keepdims=True)
        field = self.field(log_policy)
        return field - np.sum(np.exp(log_policy) * field, axis=-1, keepdims=True)

    @cached_property
    def scale(self) -> float:
        """Size of the pulls at the reference."""
        return float(np.sum(self.q * np.abs(self.plain(np.zeros_like(self.q)))))


@dataclass(frozen=True)
class Problem:
    """One problem as the dynamics see it: its pull on the behavior's support ``seen`` and the start there."""

    objective: ObjectiveLike
    behavior: Array
    reward: Array
    seen: Array
    pull: Pull
    log_start: Array

    def trajectory(self, times: Array, log_policies: Array, log_policy: Array, status: str, message: str) -> Trajectory:
        """Wrap log-policies ``(T, S)`` of the S actions in the support."""
        field = np.linalg.norm(self.pull.field(log_policies), axis=-1)
        rows = [self._everywhere(a) for a in (log_policies, log_policy)]
        return Trajectory(self.objective, self.behavior, self.reward, times, rows[0], field, rows[1], status, message)

    def _everywhere(self, log_policies: Array) -> Array:
        full = np.full((*log_policies.shape[:-1], len(self.seen)), -np.inf)
        full[..., self.seen] = log_policies
        return full


def pose(behavior: Any, reward: Any, objective: ObjectiveLike, reference: Any, start: Any) -> Problem:
    """Validate one problem ``(K,)`` and a start, by default the reference."""
    bandit, rows = posed.pose(behavior, reward, objective, reference)
    if bandit.shape:
        raise ValueError(f"behavior and reward must be one problem (K,), got a batch of shape {bandit.shape}")
    q, rewards, nu = (to_numpy(a)[0] for a in (bandit.behavior, bandit.reward, bandit.reference))
    advantage = to_numpy(rows)[0]
    given, seen = group_weights(bandit, objective), q > 0
    weights = None if given is None else to_numpy(given)[0][seen]
    first = nu
    if start is not None:
        try:
            first = to_numpy(make_bandit(q, rewards, start).reference)[0]
        except ValueError as error:
            raise ValueError(str(error).replace("reference", "start")) from None
    first = np.log(first[seen])
    pull = Pull(objective, q[seen], nu[seen], advantage[seen], weights)
    log_start = first - np.logaddexp.reduce(first)
    return Problem(objective, q, rewards, seen, pull, log_start)
