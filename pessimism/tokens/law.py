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
from pessimism.equality import ByValue
from pessimism.groups.target import is_affine
from pessimism.tokens.tree import Ints, TokenTree


@dataclass(frozen=True, eq=False)
class Law(ByValue):
    """Atoms of the edges, those of an edge together: weight E[m 1(atom)] and advantage.

    Attributes
    ----------
    weight, advantage : ndarray, shape (P,)
        Weight >= 0 of each atom, and its advantage.
    atoms : int or ndarray of int, shape (E + 1,)
        Number of atoms of every edge; or those of edge e are ``atoms[e]:atoms[e + 1]``.
    """

    weight: Floats
    advantage: Floats
    atoms: int | Ints

    @property
    def _alone(self) -> bool:
        """Whether every edge has one atom."""
        return isinstance(self.atoms, int) and self.atoms == 1

    def _total(self, values: Any) -> Any:
        """Sum of values of the atoms of each edge."""
        if isinstance(self.atoms, int):
            return values if self.atoms == 1 else values.reshape(-1, self.atoms).sum(axis=-1)
        return np.add.reduceat(values, self.atoms[:-1])

    @cached_property
    def moments(self) -> tuple[Floats, Floats]:
        """Expected weight E[m] and mean advantage E[m A]/E[m] of each edge, 0 where the weight is 0."""
        if self._alone:
            return self.weight, self.advantage
        weight, pull = self._total(self.weight), self._total(self.weight * self.advantage)
        return weight, _mean(pull, weight)

    @cached_property
    def single(self) -> NDArray[np.bool_]:
        """Whether all that is below an edge is one atom, ``(E,)``."""
        if self._alone:
            return np.broadcast_to(np.True_, self.weight.shape)
        return np.asarray(self._total((self.weight > 0).astype(np.intp)) <= 1)

    @cached_property
    def by_sign(self) -> tuple[Floats, Floats]:
        """E[m A; A > 0] and E[-m A; A < 0] of each edge."""
        pull = self.weight * self.advantage
        return self._total(np.maximum(pull, 0.0)), self._total(np.maximum(-pull, 0.0))

    def table(self, edges: Ints) -> tuple[Floats, Floats]:
        """Weights and advantages ``(len(edges), J)`` of the atoms of some edges, filled up with weights of 0."""
        if isinstance(self.atoms, int):
            at = edges[:, None].astype(np.intp) * self.atoms + np.arange(self.atoms)
            return self.weight[at], self.advantage[at]
        first, count = self.atoms[edges], self.atoms[edges + 1] - self.atoms[edges]
        place = np.arange(int(count.max()))
        at = first[:, None] + np.minimum(place, count[:, None] - 1)
        return np.where(place < count[:, None], self.weight[at], 0.0), self.advantage[at]


def _mean(pull: Floats, weight: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(weight > 0, pull / weight, 0.0)


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
    if len(parts) == 1 and np.all(weight == 1.0) and weight.shape[1] == 1:  # of which the mean is 1
        mean = total(advantage)
        return Law(np.broadcast_to(1.0, mean.shape), mean, 1)
    own = [weight * part(advantage) for part in parts]
    weights, pulls = ([total(a) for a in of] for of in (own, [a * advantage for a in own]))
    means = [_mean(pull, w) for pull, w in zip(pulls, weights, strict=True)]
    return Law(np.stack(weights, axis=-1).ravel(), np.stack(means, axis=-1).ravel(), len(parts))


def _merged(ends: Ints, weight: Floats, advantage: Floats) -> Law:
    """Atoms in which equal advantages of an edge are one."""
    edge = np.repeat(np.arange(len(ends) - 1), np.diff(ends))
    order = np.lexsort((advantage, edge))
    edge, weight, advantage = edge[order], weight[order], advantage[order]
    first = np.flatnonzero(np.concatenate([[True], (np.diff(edge) != 0) | (np.diff(advantage) != 0)]))
    start = np.searchsorted(edge[first], np.arange(len(ends)))
    return Law(np.add.reduceat(weight, first), advantage[first], start)
