"""The prefixes of a tree as problems of the kind that the package solves in batches, and what they induce."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pessimism.arrays import Floats
from pessimism.closed_forms import separable
from pessimism.core.bandit import Bandit, make_bandit
from pessimism.core.objective import Objective
from pessimism.core.solution import Solution, Status
from pessimism.equality import ByValue
from pessimism.groups.target import is_linear, is_squared, reads_log_ratio, solve_bandit
from pessimism.losses.importance_weighted import KLPenalized
from pessimism.special import log_sum_exp
from pessimism.target.acceptance import accepted
from pessimism.target.induced import solve_rows
from pessimism.target.result import InducedTarget
from pessimism.tokens.clipping import nearest_of_both_signs
from pessimism.tokens.law import Law
from pessimism.tokens.node_objective import NodeObjective
from pessimism.tokens.tree import Ints, TokenTree
from pessimism.tokens.weighted import tilt_of_weights

_EVEN = 1e-12  # relative difference of the mean weights of a node's tokens that counts as none
_CHUNK = 1 << 18  # edges that are worked on together


Mask = NDArray[np.bool_]
Known = tuple[Mask, Solution]  # which prefixes a formula knows, and their targets


class Solved(NamedTuple):
    """Targets of all prefixes: log-ratios ``(E,)``, and kappa, regime, leak and status ``(N,)``."""

    log_ratio: Floats
    kappa: Floats
    regime: NDArray[np.int8]
    leak: Floats
    status: NDArray[np.int8]


@dataclass(frozen=True, eq=False)
class Prefixes(ByValue):
    """The problems at the prefixes of a tree under one objective.

    Attributes
    ----------
    tree : TokenTree
        The tree.
    objective : Objective
        The objective of a token.
    law : Law
        What the completions below each edge pull with.
    by_prefix : bool
        Whether the loss sees the ratio of the prefix, not that of the token alone.
    """

    tree: TokenTree
    objective: Objective
    law: Law
    by_prefix: bool = False

    def solve(self, method: str | None = None) -> Solved:
        """Solve every prefix; from the root down where the loss sees the ratio of the prefix."""
        tree, count = self.tree, len(self.tree.start) - 1
        found = Solved(
            np.zeros(len(tree.node)),
            np.full(count, np.nan),
            np.zeros(count, dtype=np.int8),
            np.zeros(count),
            np.full(count, Status.CONVERGED, dtype=np.int8),
        )
        whole = np.zeros(len(tree.start) - 1)  # log-ratio of each prefix
        for nodes in self._by_level() if self.by_prefix else [np.arange(count)]:
            for some, edges in self.batches(nodes):
                solution = self._solved(some, edges, whole, method)
                found.log_ratio[edges] = solution.log_ratio
                found.kappa[some], found.regime[some] = solution.kappa, solution.regime
                found.leak[some], found.status[some] = solution.leak, solution.status
                if self.by_prefix:
                    inner = np.nonzero(tree.child[edges] >= 0)
                    whole[tree.child[edges][inner]] = (whole[some, None] + solution.log_ratio)[inner]
        return found

    def _by_level(self) -> list[Ints]:
        return [np.arange(low, high) for low, high in pairwise(self.tree.level)]

    def batches(self, nodes: Ints) -> Iterator[tuple[Ints, Ints]]:
        """Nodes ``(n,)`` of one number of tokens each, at which the policy chooses, and their edges ``(n, K)``."""
        nodes = nodes[self.tree.chosen[nodes]]
        sizes = np.diff(self.tree.start)[nodes]
        for width in np.unique(sizes):
            same = nodes[sizes == width]
            size = max(1, _CHUNK // int(width))
            for first in range(0, len(same), size):
                some = same[first : first + size]
                yield some, self.tree.start[some, None] + np.arange(width)

    def bandit(self, edges: Ints, data: Floats | None = None) -> Bandit:
        """Bandits of the behavior, or of other data, at some prefixes; rewards are the behavior's values."""
        tree = self.tree
        behavior = np.exp(tree.log_behavior[edges])
        own = tree.log_reference
        reference = np.exp(own[edges]) if own is not None else behavior if data is not None else None
        return make_bandit(behavior if data is None else data, tree.q_value[edges], reference)

    def node_objective(self, edges: Ints, whole: Floats | float = 0.0) -> tuple[NodeObjective, Floats]:
        """The objective at some prefixes, with mean advantages ``(n, K)``."""
        flat = edges.ravel()
        weight, advantage = self.law.table(flat)
        total = weight.sum(axis=-1)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.where(total > 0, np.sum(weight * advantage, axis=-1) / total, 0.0)
        numbers = np.arange(len(flat), dtype=np.float64).reshape(edges.shape)
        beyond = np.broadcast_to(whole, edges.shape) if self.by_prefix else 0.0
        own = NodeObjective(self.objective, weight, advantage - mean[:, None], numbers, beyond)
        return own, mean.reshape(edges.shape)

    def _solved(self, nodes: Ints, edges: Ints, whole: Floats, method: str | None) -> Solution:
        """Targets of some prefixes, of each by the first route that knows it."""
        left, parts, places = np.arange(len(nodes)), [], []
        formulas = () if method == "fixed_point" or self.by_prefix else (self._cut_off, self._by_mean, self._by_pull)
        for formula in formulas:
            known = formula(edges[left])
            if known is None:
                continue
            mask, solution = known
            parts.append(solution)
            places.append(left[mask])
            left = left[~mask]
            if not left.size:
                break
        if left.size:
            if method == "closed_form":
                raise ValueError(f"method: objective {self.objective} has no closed form at some prefix")
            objective, advantage = self.node_objective(edges[left], whole[nodes[left], None])
            parts.append(solve_rows(self.bandit(edges[left]), objective, advantage, False, None))
            places.append(left)
        if len(parts) == 1:
            return parts[0]
        order = np.argsort(np.concatenate(places))
        columns = zip(*(part.rows for part in parts), strict=True)
        return Solution(*(np.concatenate(column)[order] for column in columns))

    def _cut_off(self, edges: Ints) -> Known | None:
        """A surrogate that is linear between bounds: a linear program at each prefix."""
        if self.objective.linear_bounds(np.ones(1)) is None:  # before anything is computed for all tokens
            return None
        behavior = np.exp(self.tree.log_behavior[edges])
        bounds = self.objective.linear_bounds(behavior)
        assert bounds is not None
        low, high = (np.broadcast_to(bound, edges.shape) for bound in bounds)
        mask: Mask = ~np.isnan(high).any(axis=-1)
        if not mask.any():
            return None
        edges = edges[mask]
        up, down = (side[edges] for side in self.law.by_sign)
        log_w, level, several = nearest_of_both_signs(behavior[mask], up, down, (low[mask], high[mask]))
        return mask, self._wrapped(edges, log_w, level, several)

    def _by_mean(self, edges: Ints) -> Known | None:
        """One number for each token says all of the law below it: the bandit's own routes serve."""
        mask: Mask = np.all(self.law.single[edges], axis=-1, out=np.empty(len(edges), dtype=bool))
        if not mask.any():
            return None
        edges = edges[mask]
        weight, advantage = (moment[edges] for moment in self.law.moments)
        objective, tree = self.objective, self.tree
        if np.all(np.ptp(weight, axis=-1) <= _EVEN * np.max(weight, axis=-1)):
            return mask, solve_bandit(objective, self.bandit(edges), advantage)
        if is_linear(objective, advantage):
            return mask, solve_bandit(objective, self.bandit(edges), weight * advantage)
        if np.any(weight <= 0):
            return None
        if is_squared(objective):
            data = np.exp(tree.log_behavior[edges]) * weight
            data /= data.sum(axis=-1, keepdims=True)
            return mask, solve_bandit(objective, self.bandit(edges, data), advantage)
        if type(objective).score_weight is KLPenalized.score_weight:  # not of those that add another penalty
            nu = np.exp((tree.log_behavior if tree.log_reference is None else tree.log_reference)[edges])
            log_ratio, lam = tilt_of_weights(nu, weight, advantage, objective.temperature)
            return mask, self._wrapped(edges, log_ratio, lam, False)
        return None

    def _by_pull(self, edges: Ints) -> Known | None:
        """Weights that are positive whatever the log-ratio: the policy is the behavior times the mean weight below."""
        if reads_log_ratio(self.objective, self.law.advantage):
            return None
        node, mean = self.node_objective(edges)
        pull = node.score_weight(np.zeros(edges.shape), mean)
        mask = (pull > 0).all(axis=-1) & np.isfinite(pull).all(axis=-1)
        if not mask.any():
            return None
        tree, edges = self.tree, edges[mask]
        log_pull = np.log(pull[mask]) + tree.log_behavior[edges]
        log_lam = log_sum_exp(log_pull)
        nu = tree.log_behavior if tree.log_reference is None else tree.log_reference
        return mask, self._wrapped(edges, log_pull - log_lam[:, None] - nu[edges], np.exp(log_lam), False)

    def _wrapped(self, edges: Ints, log_ratio: Floats, level: Floats, several: Any) -> Solution:
        """Log-ratios and multipliers that a formula gave as a solution, if they hold to what they claim."""
        bandit, (node, mean) = self.bandit(edges), self.node_objective(edges)
        found = separable.wrap(bandit, node, mean, log_ratio, level, set_valued=several)
        return accepted(bandit, node, mean, found, np.zeros(len(edges), dtype=bool))

    def targets(self, solved: Solved, nodes: Ints) -> Iterator[tuple[Ints, InducedTarget]]:
        """Yield nodes ``(n,)`` and what was found there as a target on the full law, with its certificate."""
        whole = np.zeros(len(self.tree.start) - 1)
        inner = self.tree.child >= 0
        if self.by_prefix:
            whole[self.tree.child[inner]] = self.tree.along(solved.log_ratio)[inner]
        for some, edges in self.batches(nodes):
            objective, advantage = self.node_objective(edges, whole[some, None])
            solution = Solution(
                *(
                    solved.log_ratio[edges],
                    solved.kappa[some],
                    solved.regime[some],
                    solved.leak[some],
                    solved.status[some],
                )
            )
            yield some, InducedTarget(objective, self.bandit(edges), solution, advantage)
