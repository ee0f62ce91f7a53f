"""The tree of the completions of one prompt: prefixes, next tokens, the behavior on them and the rewards at the leaves.

Everything is a flat array. Nodes are the prefixes, by depth; an edge is a token after a prefix, and the edges of a
node stand together. A pass over the tree is a loop over its depth, never over its nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pessimism.arrays import Floats
from pessimism.core.validation import LARGEST, SUM_TOLERANCE
from pessimism.equality import ByValue
from pessimism.tokens.build import Edges, edges_of_completions, edges_of_table

Ints = NDArray[Any]  # of 32 bits where that is enough
REST = -1  # token of an edge that stands for all tokens that are not listed after its prefix


@dataclass(frozen=True, eq=False, repr=False)
class TokenTree(ByValue):
    r"""Completions of one prompt as a tree: what the behavior does after every prefix, and what a completion earns.

    Build it with :meth:`from_completions`, :meth:`from_table` or :meth:`from_arrays`. There are N nodes (prefixes, the
    empty one first, by depth), E edges (a node and a token after it, those of a node together), C completions in the
    order given, and L leaves: the completions, then one for each node whose listed tokens leave mass over.

    Attributes
    ----------
    node, token, child : ndarray of int, shape (E,)
        Node that an edge leaves, its token (-1 for the rest that is not listed), and the node that it leads to, -1 at a
        leaf.
    log_behavior : ndarray, shape (E,)
        Log-probability of the token after its prefix, normalized at every node.
    log_reference : ndarray, shape (E,), or None
        The same of the reference policy, None where it is the behavior.
    start : ndarray of int, shape (N + 1,)
        The edges of node n are ``start[n]:start[n + 1]``.
    level : ndarray of int, shape (D + 1,)
        The nodes of depth d are ``level[d]:level[d + 1]``.
    leaf : ndarray of int, shape (L,)
        Last edge of each completion, then the edges of the rest.
    leaf_reward : ndarray, shape (L,)
        Reward of each leaf.
    counted : ndarray, shape (C,), or None
        Tokens of each completion that count in its length, None where all do.
    rest_reward : tuple of float
        Least and largest reward of what is not listed; ``leaf_reward`` has the least.
    rest_length : float or None
        Length of what is not listed.
    truncated : ndarray of bool, shape (C,)
        Completions that were cut off rather than ended.
    chosen : ndarray of bool, shape (N,)
        Whether the policy chooses the token after the prefix; elsewhere a tool or the environment does, or one token is
        certain.

    Examples
    --------
    >>> import pessimism as ps
    >>> tree = ps.TokenTree.from_table({(): {0: 0.5, 1: 0.5}, (1,): {0: 0.2, 1: 0.8}}, lambda y: float(y == (1, 0)))
    >>> tree
    TokenTree(3 completions, 2 prefixes)
    >>> tree.completions, tree.value.tolist()
    ([(0,), (1, 0), (1, 1)], [0.1, 0.2])
    """

    node: Ints
    token: Ints
    child: Ints
    log_behavior: Floats
    log_reference: Floats | None
    start: Ints
    level: Ints
    leaf: Ints
    leaf_reward: Floats
    counted: Floats | None
    rest_reward: tuple[float, float]
    rest_length: float | None
    truncated: NDArray[np.bool_]
    chosen: NDArray[np.bool_]

    @classmethod
    def from_completions(
        cls,
        completions: Sequence[Sequence[int]],
        log_probs: Sequence[Sequence[float]],
        reward: Any,
        *,
        reference_log_probs: Sequence[Sequence[float]] | None = None,
        mask: Sequence[Sequence[bool]] | None = None,
        truncated: Any = None,
        count_masked: bool = False,
        rest_reward: float | tuple[float, float] = 0.0,
        rest_length: float | None = None,
    ) -> Self:
        """Tree of completions that are given as token ids with their log-probabilities.

        Parameters
        ----------
        completions : sequence of C sequences of int
            Token ids. No completion may be the beginning of another: an end-of-sequence token is a token.
        log_probs : sequence of C sequences of float
            Log-probability of each token under the behavior, given what stands before it.
        reward : array_like, shape (C,)
            Reward of each completion.
        reference_log_probs : sequence of C sequences of float, optional
            The same under the reference policy, where that is not the behavior.
        mask : sequence of C sequences of bool, optional
            False at tokens that the policy did not choose (a tool's answer, the environment's). These are no decision:
            where several of them follow one prefix, their ``log_probs`` are the probabilities of the environment; where
            there is one, it is certain and its log-probability is not read.
        truncated : array_like of bool, shape (C,), optional
            Completions that were cut off. They are leaves as they are.
        count_masked : bool, default False
            Whether masked tokens count in the length of a completion.
        rest_reward : float or (float, float), default 0.0
            Reward of completions that are not listed, at every prefix whose listed tokens leave mass over; or a least
            and a largest one.
        rest_length : float, optional
            Their length, which ``aggregation="sequence_mean"`` needs.

        Returns
        -------
        TokenTree
            The tree.

        Raises
        ------
        ValueError
            Names the completion and the token: lengths that differ, a completion twice or at the beginning of another,
            a log-probability above 0 or that is no number, different ones for one token after one prefix, and listed
            tokens whose probabilities add up to more than one.

        Examples
        --------
        >>> import numpy as np
        >>> import pessimism as ps
        >>> tree = ps.TokenTree.from_completions(
        ...     [[5, 1], [5, 2], [7]], [np.log([0.6, 0.5]), np.log([0.6, 0.5]), np.log([0.4])], [1.0, 0.0, 0.0])
        >>> tree.prefixes, tree.value
        ([(), (5,)], array([0.3, 0.5]))
        """
        found = edges_of_completions(
            completions, log_probs, reward, reference_log_probs, mask, truncated, count_masked=count_masked
        )
        return cls._assembled(found, rest_reward, rest_length)

    @classmethod
    def from_table(
        cls,
        policy: Mapping[tuple[int, ...], Mapping[int, float]],
        reward: Mapping[tuple[int, ...], float] | Callable[[tuple[int, ...]], float],
        *,
        reference: Mapping[tuple[int, ...], Mapping[int, float]] | None = None,
        rest_reward: float | tuple[float, float] = 0.0,
        rest_length: float | None = None,
    ) -> Self:
        """Tree of a policy that is given as a table: for every prefix, the probabilities of the tokens after it.

        Parameters
        ----------
        policy : mapping of tuple to mapping of int to float
            Probabilities of the next token after each prefix, the empty tuple included. A prefix that is no key is a
            completion.
        reward : mapping of tuple to float, or callable
            Reward of each completion.
        reference : mapping of tuple to mapping of int to float, optional
            Probabilities of the reference policy, where it is not the behavior.
        rest_reward, rest_length : float
            As in :meth:`from_completions`.

        Returns
        -------
        TokenTree
            The tree; completions are in the order in which a walk by depth meets them.

        Raises
        ------
        ValueError
            As :meth:`from_completions`; also for a completion without a reward and a prefix that no token leads to.

        Examples
        --------
        >>> import pessimism as ps
        >>> tree = ps.TokenTree.from_table({(): {0: 0.5, 1: 0.5}, (1,): {0: 0.2, 1: 0.8}}, lambda y: float(sum(y) == 1))
        >>> tree.completions, tree.q_value
        ([(0,), (1, 0), (1, 1)], array([0. , 0.2, 1. , 0. ]))
        """
        return cls._assembled(edges_of_table(policy, reward, reference), rest_reward, rest_length)

    @classmethod
    def from_arrays(
        cls,
        node: Any,
        token: Any,
        child: Any,
        log_behavior: Any,
        reward: Any,
        *,
        log_reference: Any = None,
        rest_reward: float | tuple[float, float] = 0.0,
        rest_length: float | None = None,
    ) -> Self:
        """Tree of flat arrays, for trees too large for lists.

        Parameters
        ----------
        node, token, child : array_like of int, shape (E,)
            Node that each edge leaves, in order; its token; the node it leads to, -1 at a leaf. Nodes are numbered as
            the edges that lead to them: those that are no leaf lead to 1, 2, ... in order.
        log_behavior : array_like, shape (E,)
            Log-probability of each edge's token after its prefix.
        reward : array_like, shape (C,)
            Reward of each leaf, in the order of the edges.
        log_reference : array_like, shape (E,), optional
            Log-probability under the reference policy.
        rest_reward, rest_length : float
            As in :meth:`from_completions`.

        Returns
        -------
        TokenTree
            The tree; its completions are its leaves, in the order of the edges.

        Raises
        ------
        ValueError
            Names the array and the place that breaks a rule.

        Examples
        --------
        >>> import numpy as np
        >>> import pessimism as ps
        >>> ps.TokenTree.from_arrays([0, 0, 1, 1], [0, 1, 0, 1], [-1, 1, -1, -1], np.log([0.5] * 4), [0, 1, 0]).value
        array([0.25, 0.5 ])
        """
        child = np.asarray(child, dtype=np.intp)
        leaf = np.flatnonzero(child < 0)
        found = Edges(
            node=np.asarray(node, dtype=np.intp),
            token=np.asarray(token, dtype=np.intp),
            child=child,
            log_behavior=np.asarray(log_behavior, dtype=np.float64),
            log_reference=None if log_reference is None else np.asarray(log_reference, dtype=np.float64),
            leaf=leaf,
            reward=np.asarray(reward, dtype=np.float64),
            length=None,
            truncated=np.zeros(len(leaf), dtype=bool),
            chosen=None,
        )
        return cls._assembled(found, rest_reward, rest_length)

    @classmethod
    def _assembled(cls, edges: Edges, rest_reward: Any, rest_length: float | None) -> Self:
        """Check the edges, give every node whose tokens leave mass over an edge for the rest, and normalize."""
        edges = edges.checked()
        count, bounds = len(edges.nodes), _bounds(rest_reward)
        if rest_length is not None and not rest_length >= 1:
            raise ValueError(f"rest_length must be >= 1, got {rest_length!r}")
        start = np.searchsorted(edges.node, np.arange(count + 1))
        missing = -np.expm1(_log_total(edges.log_behavior, start))
        edges.require_room(missing)
        rest = missing > SUM_TOLERANCE
        leaf, reward = edges.leaf, edges.reward
        if rest.any():
            edges, leaf = _with_rest(edges, rest, missing, start)
            start = np.searchsorted(edges.node, np.arange(count + 1))
            reward = np.concatenate([reward, np.full(np.count_nonzero(rest), bounds[0])])
        chosen = np.diff(start) > 1  # where one token is certain there is nothing to choose
        if edges.chosen is not None:
            chosen &= edges.chosen
        log_behavior = _normalized(edges.log_behavior, start)
        log_reference = None if edges.log_reference is None else _normalized(edges.log_reference, start)
        if log_reference is not None and not chosen.all():  # the environment has one law under all policies
            log_reference = np.where(np.repeat(chosen, np.diff(start)), log_reference, log_behavior)
        kind: Any = np.int32 if len(edges.node) < np.iinfo(np.int32).max else np.intp
        node, token, child, last = (a.astype(kind, copy=False) for a in (edges.node, edges.token, edges.child, leaf))
        return cls(
            node=node,
            token=token,
            child=child,
            log_behavior=log_behavior,
            log_reference=log_reference,
            start=start,
            level=_levels(child, start),
            leaf=last,
            leaf_reward=reward,
            counted=edges.length,
            rest_reward=bounds,
            rest_length=rest_length,
            truncated=edges.truncated,
            chosen=chosen,
        )

    def with_rest_reward(self, reward: float) -> Self:
        """The same tree with another reward of what is not listed.

        Parameters
        ----------
        reward : float
            The reward.

        Returns
        -------
        TokenTree
            The tree.
        """
        bounds = _bounds(reward)
        values = self.leaf_reward.copy()
        values[len(self.truncated) :] = bounds[0]
        return replace(self, leaf_reward=values, rest_reward=bounds)

    def __repr__(self) -> str:
        rest = len(self.leaf) - len(self.truncated)
        beside = f", {rest} of them with a rest" if rest else ""
        return f"TokenTree({len(self.truncated)} completions, {len(self.start) - 1} prefixes{beside})"

    @property
    def reward(self) -> Floats:
        """Reward of each completion, ``(C,)``."""
        return self.leaf_reward[: len(self.truncated)]

    @cached_property
    def leaf_length(self) -> Floats:
        """Counted tokens of each leaf, ``(L,)``; nan for what is not listed, unless its length was given."""
        found = np.full(len(self.leaf), np.nan if self.rest_length is None else float(self.rest_length))
        count = len(self.truncated)
        depth = np.repeat(np.arange(len(self.level) - 1), np.diff(self.level))
        found[:count] = depth[self.node[self.leaf[:count]]] + 1.0 if self.counted is None else self.counted
        return found

    @property
    def length(self) -> Floats:
        """Counted tokens of each completion, ``(C,)``."""
        return self.leaf_length[: len(self.truncated)]

    @cached_property
    def prefixes(self) -> list[tuple[int, ...]]:
        """Token ids of each node, ``N`` tuples."""
        found: list[tuple[int, ...]] = [()] * (len(self.start) - 1)
        for edge in np.flatnonzero(self.child >= 0):
            found[self.child[edge]] = (*found[self.node[edge]], int(self.token[edge]))
        return found

    @cached_property
    def completions(self) -> list[tuple[int, ...]]:
        """Token ids of each completion, ``C`` tuples."""
        of = self.prefixes
        return [(*of[self.node[edge]], int(self.token[edge])) for edge in self.leaf[: len(self.truncated)]]

    @cached_property
    def leaf_log_prob(self) -> Floats:
        """Log-probability of each leaf under the behavior, ``(L,)``."""
        return self.along(self.log_behavior)[self.leaf]

    @property
    def log_prob(self) -> Floats:
        """Log-probability of each completion under the behavior, ``(C,)``."""
        return self.leaf_log_prob[: len(self.truncated)]

    @cached_property
    def node_log_prob(self) -> Floats:
        """Log-probability of reaching each node under the behavior, ``(N,)``."""
        found = np.zeros(len(self.start) - 1)
        inner = self.child >= 0
        found[self.child[inner]] = self.along(self.log_behavior)[inner]
        return found

    @cached_property
    def _values(self) -> tuple[Floats, Floats]:
        return self.below(self.leaf_reward)

    @property
    def q_value(self) -> Floats:
        """Expected reward after each edge while the behavior goes on, ``(E,)``."""
        return self._values[0]

    @property
    def value(self) -> Floats:
        """Expected reward after each prefix while the behavior goes on, ``(N,)``."""
        return self._values[1]

    def below(self, leaf_values: Floats) -> tuple[Floats, Floats]:
        """Expectations under the behavior of values ``(L, ...)`` of the leaves: below each edge and below each node.

        Parameters
        ----------
        leaf_values : ndarray, shape (L, ...)
            One value, or several, for each leaf.

        Returns
        -------
        below_edge : ndarray, shape (E, ...)
            Expectation given that the edge is taken.
        below_node : ndarray, shape (N, ...)
            Expectation given that the node is reached.
        """
        more = leaf_values.shape[1:]
        edge, node = np.empty((len(self.node), *more)), np.empty((len(self.start) - 1, *more))
        edge[self.leaf] = leaf_values
        for nodes, edges in self._by_depth(deepest_first=True):
            inner = np.flatnonzero(self.child[edges] >= 0)
            edge[edges][inner] = node[self.child[edges][inner]]
            p = np.exp(self.log_behavior[edges]).reshape(-1, *(1 for _ in more))
            node[nodes] = np.add.reduceat(p * edge[edges], self.start[nodes] - edges.start, axis=0)
        return edge, node

    def along(self, edge_values: Floats) -> Floats:
        """Sum of values ``(E,)`` of edges along the way from the root to each edge, that one included."""
        found, node = edge_values.astype(np.float64), np.zeros(len(self.start) - 1)
        for _, edges in self._by_depth():
            found[edges] += node[self.node[edges]]
            inner = np.flatnonzero(self.child[edges] >= 0)
            node[self.child[edges][inner]] = found[edges][inner]
        return found

    def log_mass(self, leaf_log_mass: Floats) -> tuple[Floats, Floats]:
        """Logarithms of masses of leaves ``(L,)``, added up below each edge ``(E,)`` and below each node ``(N,)``."""
        edge, node = np.empty(len(self.node)), np.empty(len(self.start) - 1)
        edge[self.leaf] = leaf_log_mass
        for nodes, edges in self._by_depth(deepest_first=True):
            inner = np.flatnonzero(self.child[edges] >= 0)
            edge[edges][inner] = node[self.child[edges][inner]]
            start = np.append(self.start[nodes], edges.stop) - edges.start
            node[nodes] = _log_total(edge[edges], start)
        return edge, node

    def log_total(self, edge_values: Floats) -> Floats:
        """Logarithm of the sum of exponentials of values ``(E,)`` over the edges of each node, ``(N,)``."""
        return _log_total(edge_values, self.start)

    def _by_depth(self, *, deepest_first: bool = False) -> list[tuple[slice, slice]]:
        """Slices of the nodes and of the edges of each depth."""
        ends = self.level.tolist()
        found = [(slice(low, high), slice(int(self.start[low]), int(self.start[high]))) for low, high in pairwise(ends)]
        return found[::-1] if deepest_first else found

    @cached_property
    def _leaves(self) -> tuple[Ints, Ints, Ints]:
        """Leaves in the order of a walk in depth; for each edge, where those below it begin and how many there are."""
        count, of_node = np.zeros(len(self.node), dtype=np.intp), np.zeros(len(self.start) - 1, dtype=np.intp)
        for nodes, edges in self._by_depth(deepest_first=True):
            count[edges] = np.where(self.child[edges] >= 0, of_node[self.child[edges]], 1)
            of_node[nodes] = np.add.reduceat(count[edges], self.start[nodes] - edges.start)
        first, at = np.zeros_like(count), np.zeros_like(of_node)
        for nodes, edges in self._by_depth():
            before = np.cumsum(count[edges]) - count[edges]
            within = before - np.repeat(
                before[self.start[nodes] - edges.start], np.diff(self.start[nodes.start : nodes.stop + 1])
            )
            first[edges] = at[self.node[edges]] + within
            inner = np.flatnonzero(self.child[edges] >= 0)
            at[self.child[edges][inner]] = first[edges][inner]
        order = np.empty(len(self.leaf), dtype=np.intp)
        order[first[self.leaf]] = np.arange(len(self.leaf))
        return order, first, count

    def leaves_below(self, edges: Ints) -> tuple[Ints, Ints]:
        """Leaves below some edges, one edge after the other, and where those of each begin ``(len(edges) + 1,)``."""
        order, first, count = self._leaves
        ends = np.concatenate([[0], np.cumsum(count[edges])])
        place = np.arange(ends[-1]) - np.repeat(ends[:-1] - first[edges], count[edges])
        return order[place], ends


def _log_total(log_values: Floats, start: Ints) -> Floats:
    """Logarithm of the sum of exponentials in each of consecutive parts."""
    first = start[:-1]
    highest = np.maximum.reduceat(log_values, first)
    highest = np.where(np.isfinite(highest), highest, 0.0)
    with np.errstate(divide="ignore"):
        total = np.add.reduceat(np.exp(log_values - np.repeat(highest, np.diff(start))), first)
        return np.asarray(highest + np.log(total))


def _normalized(log_values: Floats, start: Ints) -> Floats:
    """Log-probabilities that add up to one in each of consecutive parts."""
    return np.asarray(log_values - np.repeat(_log_total(log_values, start), np.diff(start)))


def _bounds(rest_reward: Any) -> tuple[float, float]:
    """Least and largest reward of what is not listed."""
    try:
        low, high = map(float, rest_reward) if np.ndim(rest_reward) else [float(rest_reward)] * 2
    except (TypeError, ValueError):
        raise ValueError(f"rest_reward must be a number or a pair of them, got {rest_reward!r}") from None
    if not -LARGEST <= low <= high <= LARGEST:
        raise ValueError(f"rest_reward must be finite, the least one first, got {rest_reward!r}")
    return low, high


def _levels(child: Ints, start: Ints) -> Ints:
    """First node of each depth, and the number of nodes."""
    ends = [0, 1]
    while ends[-1] < len(start) - 1:
        ends.append(ends[-1] + int(np.count_nonzero(child[start[ends[-2]] : start[ends[-1]]] >= 0)))
    return np.array(ends, dtype=np.intp)


def _with_rest(edges: Edges, rest: NDArray[np.bool_], missing: Floats, start: Ints) -> tuple[Edges, Ints]:
    """Edges with one more, the last, at every node with a rest; and all leaves."""
    nodes = np.flatnonzero(rest)
    at = start[nodes + 1]
    log_reference = edges.log_reference
    if log_reference is not None:
        beyond = -np.expm1(_log_total(log_reference, start))[nodes]
        edges.require_reference_room(beyond, nodes)
        log_reference = np.insert(log_reference, at, np.log(beyond))
    moved = np.arange(len(edges.node)) + np.searchsorted(at, np.arange(len(edges.node)), side="right")
    made = edges._replace(
        node=np.insert(edges.node, at, nodes),
        token=np.insert(edges.token, at, REST),
        child=np.insert(edges.child, at, -1),
        log_behavior=np.insert(edges.log_behavior, at, np.log(missing[nodes])),
        log_reference=log_reference,
    )
    return made, np.concatenate([moved[edges.leaf], at + np.arange(len(nodes))])
