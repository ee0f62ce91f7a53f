r"""What the completions below each edge pull with: the law of (m, A) given prefix and token, as few atoms.

At a prefix s the fixed point is :math:`q(a|s)\, E_q[m\, g(u, A) \mid s, a] = \lambda \pi(a|s)`. Where g is affine in A,
two expectations below the edge are enough, E[m] and E[m A]; where it is affine on each side of 0, as a clipped ratio
is, four are; else every distinct advantage is an atom. docs/theory.md derives it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pessimism.arrays import Floats
from pessimism.core.objective import Objective
from pessimism.groups.target import is_affine
from pessimism.tokens.tree import TokenTree

Ints = NDArray[np.intp]


@dataclass(frozen=True)
class Law:
    """Atoms of the edges, those of an edge together: weight E[m 1(atom)] and advantage.

    Attributes
    ----------
    start : ndarray of int, shape (E + 1,)
        The atoms of edge e are ``start[e]:start[e + 1]``.
    weight, advantage : ndarray, shape (P,)
        Weight >= 0 of each atom, and its advantage.
    """

    start: Ints
    weight: Floats
    advantage: Floats

    @cached_property
    def moments(self) -> tuple[Floats, Floats]:
        """Expected weight E[m] and mean advantage E[m A]/E[m] of each edge, 0 where the weight is 0."""
        if len(self.weight) == len(self.start) - 1:  # one atom for each edge
            return self.weight, self.advantage
        weight, pull = (np.add.reduceat(a, self.start[:-1]) for a in (self.weight, self.weight * self.advantage))
        with np.errstate(invalid="ignore", divide="ignore"):
            return weight, np.where(weight > 0, pull / weight, 0.0)

    @cached_property
    def single(self) -> NDArray[np.bool_]:
        """Whether all that is below an edge is one atom, ``(E,)``."""
        return np.add.reduceat(self.weight > 0, self.start[:-1], dtype=np.intp) <= 1

    @cached_property
    def by_sign(self) -> tuple[Floats, Floats]:
        """E[m A; A > 0] and E[-m A; A < 0] of each edge."""
        pull = self.weight * self.advantage
        up, down = (np.add.reduceat(np.maximum(part, 0.0), self.start[:-1]) for part in (pull, -pull))
        return up, down

    def table(self, edges: Ints) -> tuple[Floats, Floats]:
        """Weights and advantages ``(len(edges), J)`` of the atoms of some edges, filled up with weights of 0."""
        first, count = self.start[edges], self.start[edges + 1] - self.start[edges]
        place = np.arange(int(count.max()))
        inside = place < count[:, None]
        at = first[:, None] + np.minimum(place, count[:, None] - 1)
        return np.where(inside, self.weight[at], 0.0), self.advantage[at]


def law_of_completions(tree: TokenTree, objective: Objective, weight: Floats, advantage: Floats) -> Law:
    """Law below each edge where the advantage of a completion is the same at all its tokens.

    Parameters
    ----------
    tree : TokenTree
        The tree.
    objective : Objective
        Whose score weight decides how many atoms are enough.
    weight, advantage : ndarray, shape (L,) or (L, J)
        Weight m of each leaf and its advantage, or those of several cases, as groups make them.

    Returns
    -------
    Law
        The atoms.
    """
    weight, advantage = (a.reshape(len(tree.leaf), -1) for a in (weight, advantage))
    parts = _enough(objective, advantage[weight > 0])
    if parts is None:
        leaves, ends = tree.leaves_below(np.arange(len(tree.node)))
        p = np.exp(tree.leaf_log_prob[leaves] - np.repeat(tree.along(tree.log_behavior), np.diff(ends)))
        width = weight.shape[1]
        return _merged(ends * width, (p[:, None] * weight[leaves]).ravel(), advantage[leaves].ravel())
    return _of_sums(parts, weight, advantage, lambda values: tree.below(values.sum(axis=-1))[0])


def law_of_prefixes(
    tree: TokenTree, objective: Objective, weight: Floats, advantage_below: Callable[[Ints, Ints], Floats]
) -> Law:
    """Law below each edge where the advantage of a completion depends on the prefix, as under a critic.

    Parameters
    ----------
    tree : TokenTree
        The tree.
    objective : Objective
        Whose score weight decides how many atoms are enough.
    weight : ndarray, shape (L,)
        Weight m of each leaf.
    advantage_below : callable
        From leaves, one node after the other, and where those of each node begin ``(N + 1,)``, to their advantages.

    Returns
    -------
    Law
        The atoms.
    """
    leaves, ends = tree.leaves_below(np.arange(len(tree.node)))
    p = np.exp(tree.leaf_log_prob[leaves] - np.repeat(tree.along(tree.log_behavior), np.diff(ends)))
    advantage = advantage_below(leaves, ends[tree.start])
    parts = _enough(objective, advantage)
    if parts is None:
        return _merged(ends, p * weight[leaves], advantage)
    each = (p * weight[leaves])[:, None], advantage[:, None]
    return _of_sums(parts, *each, lambda values: np.add.reduceat(values[:, 0], ends[:-1]))


Part = Callable[[Floats], Any]
_ALL: list[Part] = [lambda a: np.ones_like(a)]
_SIDES: list[Part] = [lambda a: a > 0, lambda a: a <= 0]


def _enough(objective: Objective, advantage: Floats) -> list[Part] | None:
    """Sets of advantages that may be one atom each; None where none may."""
    low, high = (float(f(advantage, initial=0.0)) for f in (np.min, np.max))
    if is_affine(objective, low, high):
        return _ALL
    return _SIDES if is_affine(objective, low, 0.0) and is_affine(objective, 0.0, high) else None


def _of_sums(parts: list[Part], weight: Floats, advantage: Floats, total: Callable[[Floats], Floats]) -> Law:
    """Atoms of which each is one set of advantages, at their mean."""
    weights, means = [], []
    for part in parts:
        own = weight * part(advantage)
        weights.append(total(own))
        with np.errstate(invalid="ignore", divide="ignore"):
            means.append(np.where(weights[-1] > 0, total(own * advantage) / weights[-1], 0.0))
    start = np.arange(len(weights[0]) + 1, dtype=np.intp) * len(parts)
    if len(parts) == 1:
        return Law(start, weights[0], means[0])
    return Law(start, np.stack(weights, axis=-1).ravel(), np.stack(means, axis=-1).ravel())


def _merged(ends: Ints, weight: Floats, advantage: Floats) -> Law:
    """Atoms in which equal advantages of an edge are one."""
    edge = np.repeat(np.arange(len(ends) - 1), np.diff(ends))
    order = np.lexsort((advantage, edge))
    edge, weight, advantage = edge[order], weight[order], advantage[order]
    new = np.concatenate([[True], (np.diff(edge) != 0) | (np.diff(advantage) != 0)])
    first = np.flatnonzero(new)
    start = np.searchsorted(edge[first], np.arange(len(ends)))
    return Law(start.astype(np.intp), np.add.reduceat(weight, first), advantage[first])
