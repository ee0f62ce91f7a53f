"""Data that follow the policy: which policy drew those of an optimizer step, and the problem that they make."""

from __future__ import annotations

from collections import deque

import numpy as np

from pessimism.arrays import Array
from pessimism.core.validation import FAINTEST
from pessimism.dynamics.trajectory import FlowProblem, make_flow_problem


class MovingData:
    """The problem of each step: its behavior is the policy of step floor(t/k) k - lag, before step 1 the given one.

    Actions of the first problem that the data's policy can no longer produce are not ``seen``: nothing pulls them, and
    they have less mass than changes anything.

    Parameters
    ----------
    first : FlowProblem
        The problem with the given behavior.
    refresh_every : int
        Steps k between refreshes.
    lag : int
        Steps by which the data's policy is behind at a refresh.
    reference : ndarray, shape (K,), or None
        Policy in the log-ratio, None for the one that drew the data.
    """

    def __init__(self, first: FlowProblem, refresh_every: int, lag: int, reference: Array | None) -> None:
        self.first, self.every, self.lag, self.reference = first, refresh_every, lag, reference
        self.problem, self.moved = first, False
        self.seen = np.ones(len(first.log_start), dtype=bool)
        self.waiting: deque[Array] = deque()

    def at(self, step: int, log_policy: Array) -> bool:
        """Say that a step begins, and from which policy; return whether its problem is a new one."""
        if step > 0 and (step + self.lag) % self.every == 0:
            self.waiting.append(log_policy)
        if step % self.every or step <= self.lag:
            return False
        self.take(self.waiting.popleft())
        return True

    def take(self, log_policy: Array) -> None:
        """Take the data of a policy, log-probabilities ``(S,)`` of the first problem's support."""
        policy = np.exp(log_policy)
        self.moved, self.seen = True, policy >= FAINTEST
        inside = np.flatnonzero(self.first.seen)[self.seen]
        behavior = np.zeros(len(self.first.seen))
        behavior[inside] = policy[self.seen] / policy[self.seen].sum()
        reference = None
        if self.reference is not None:
            reference = np.where(behavior > 0, self.reference, 0.0)
            reference /= reference.sum()
        self.problem = make_flow_problem(behavior, self.first.reward, self.first.objective, reference, None)

    def everywhere(self, move: Array) -> Array:
        """A move of the logits of the actions seen, on the first problem's support."""
        if len(move) == len(self.seen):
            return move
        full = np.zeros(len(self.seen))
        full[self.seen] = move
        return full

    def field(self, log_policy: Array) -> float:
        """Euclidean norm of the expected gradient on the present data."""
        return float(np.linalg.norm(self.problem.pull.field(log_policy[self.seen])))
