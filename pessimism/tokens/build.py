"""From completions, or from a table, to the edges of a token tree, with every rule that the input must obey."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from pessimism.arrays import Floats
from pessimism.core.validation import LARGEST, SUM_TOLERANCE

Ints = NDArray[np.intp]
_SAME = 1e-6  # most that two log-probabilities of one token after one prefix may differ, as float32 ones do
_SHOWN = 8  # tokens of a prefix that a message shows


class Edges(NamedTuple):
    """Edges of a tree as they were given, those of a node together, nodes by depth.

    Attributes
    ----------
    node, token, child : ndarray of int, shape (E,)
        Node that an edge leaves, its token, and the node that it leads to, -1 at a leaf.
    log_behavior, log_reference : ndarray, shape (E,)
        Log-probabilities; the reference's are None where it is the behavior.
    leaf : ndarray of int, shape (C,)
        Last edge of each completion.
    reward, length : ndarray, shape (C,)
        Of each completion; lengths are None where they are the depths.
    truncated : ndarray of bool, shape (C,)
        Completions that were cut off.
    chosen : ndarray of bool, shape (N,), or None
        Whether the policy chooses the token after a node; None where it always does.
    """

    node: Ints
    token: Ints
    child: Ints
    log_behavior: Floats
    log_reference: Floats | None
    leaf: Ints
    reward: Floats
    length: Floats | None
    truncated: NDArray[np.bool_]
    chosen: NDArray[np.bool_] | None

    @property
    def nodes(self) -> range:
        """Numbers of the nodes."""
        return range(int(np.count_nonzero(self.child >= 0)) + 1)

    def prefix(self, node: int) -> str:
        """Tokens before a node, as a message shows them."""
        way: list[int] = []
        while node > 0:
            edge = int(np.flatnonzero(self.child == node)[0])
            way.append(int(self.token[edge]))
            node = int(self.node[edge])
        more = ", ..." if len(way) > _SHOWN else ""
        return f"({', '.join(map(str, way[::-1][:_SHOWN]))}{more})"

    def checked(self) -> Self:
        """The edges themselves, if they are those of a tree.

        Returns
        -------
        Edges
            The same.

        Raises
        ------
        ValueError
            Names the array and the place that breaks a rule.
        """
        shapes = {name: getattr(self, name).shape for name in ("node", "token", "child", "log_behavior")}
        if len(set(shapes.values())) != 1 or len(self.node) == 0 or self.node.ndim != 1:
            raise ValueError(f"node, token, child and log_behavior must have one shape (E,), E >= 1, got {shapes}")
        if self.log_reference is not None and self.log_reference.shape != self.node.shape:
            raise ValueError(f"log_reference must have shape {self.node.shape}, got {self.log_reference.shape}")
        if self.reward.shape != self.leaf.shape:
            shape = self.reward.shape
            raise ValueError(
                f"reward must hold one number for each of the {len(self.leaf)} completions, got shape {shape}"
            )
        inner = self.child >= 0
        if not np.array_equal(self.child[inner], np.arange(1, np.count_nonzero(inner) + 1)):
            raise ValueError("child must number the nodes 1, 2, ... in the order of the edges that lead to them")
        if np.any(np.diff(self.node) < 0) or not np.array_equal(np.unique(self.node), self.nodes):
            raise ValueError("node must be in order, and every node from 0 on must have an edge")
        if np.any(self.child[inner] <= self.node[inner]):
            raise ValueError("child must come after the node that leads to it")
        same = np.flatnonzero((np.diff(self.node) == 0) & (np.diff(self.token) == 0))
        if len(same):
            raise ValueError(
                f"token {self.token[same[0]]} stands twice after the prefix {self.prefix(self.node[same[0]])}"
            )
        for name in ("log_behavior", "log_reference"):
            self._require_log_probs(name)
        bad = np.flatnonzero(~(np.abs(self.reward) <= LARGEST))
        if len(bad):
            raise ValueError(f"reward[{bad[0]}] must be a finite number, got {self.reward[bad[0]]}")
        return self

    def _require_log_probs(self, name: str) -> None:
        values = getattr(self, name)
        if values is None:
            return
        bad = np.flatnonzero(~((values <= _SAME) & np.isfinite(values)))
        if len(bad):
            edge = bad[0]
            where = f"of token {self.token[edge]} after the prefix {self.prefix(self.node[edge])}"
            raise ValueError(f"{name} {where} must be a finite number <= 0, got {values[edge]}")

    def require_room(self, missing: Floats) -> None:
        """Raise ``ValueError`` where the probabilities listed after a prefix add up to more than one."""
        bad = np.flatnonzero(missing < -SUM_TOLERANCE)
        if len(bad):
            where, total = self.prefix(int(bad[0])), 1.0 - missing[bad[0]]
            raise ValueError(
                f"log-probabilities: the tokens listed after the prefix {where} have probability {total:.9g}, "
                "more than 1"
            )

    def require_reference_room(self, beyond: Floats, nodes: Ints) -> None:
        """Raise ``ValueError`` where the reference leaves no mass to the tokens that are not listed."""
        bad = np.flatnonzero(~(beyond > 0))
        if len(bad):
            where = self.prefix(int(nodes[bad[0]]))
            raise ValueError(f"reference: after the prefix {where} it gives no mass to the tokens that are not listed")


def edges_of_completions(
    completions: Sequence[Sequence[int]],
    log_probs: Sequence[Sequence[float]],
    reward: Any,
    reference_log_probs: Sequence[Sequence[float]] | None,
    mask: Sequence[Sequence[bool]] | None,
    truncated: Any,
    *,
    count_masked: bool,
) -> Edges:
    """Edges of the tree of completions: one pass for each depth, which sorts the tokens there."""
    count = len(completions)
    if count == 0:
        raise ValueError("completions must not be empty")
    lengths = np.array([len(tokens) for tokens in completions], dtype=np.intp)
    if not lengths.all():
        raise ValueError(f"completions[{int(np.argmin(lengths))}] must have at least one token")
    ends = np.cumsum(lengths)
    tokens = _flat("completions", completions, lengths, np.int64)
    behavior = _flat("log_probs", log_probs, lengths, np.float64)
    reference = (
        None if reference_log_probs is None else _flat("reference_log_probs", reference_log_probs, lengths, np.float64)
    )
    chosen = np.ones(len(tokens), dtype=bool) if mask is None else _flat("mask", mask, lengths, np.bool_)
    if tokens.min() < 0:
        bad = int(np.argmax(tokens < 0))
        raise ValueError(f"{_place('completions', bad, ends, lengths)} must be a token id >= 0, got {tokens[bad]}")
    ids, rank = np.unique(tokens, return_inverse=True)
    cut = np.zeros(count, dtype=bool) if truncated is None else np.asarray(truncated, dtype=bool)
    if cut.shape != (count,):
        raise ValueError(
            f"truncated must hold a truth value for each of the {count} completions, got shape {cut.shape}"
        )
    at, parts, kinds = np.zeros(count, dtype=np.intp), [], [np.ones(1, dtype=bool)]
    leaf, nodes, edges = np.empty(count, dtype=np.intp), 1, 0
    active, begin = np.arange(count), ends - lengths
    for depth in range(int(lengths.max())):
        active = active[lengths[active] > depth]
        place = begin[active] + depth
        key, first, which = np.unique(at[active] * len(ids) + rank[place], return_index=True, return_inverse=True)
        node, token = key // len(ids), ids[key % len(ids)]
        decides = _kind(chosen[place], at[active], node, first, active, depth)
        kinds[-1][node - (nodes - len(kinds[-1]))] = decides
        own = [_common("log_probs", behavior, place, first, which, active, depth, decides)]
        if reference is not None:
            own.append(_common("reference_log_probs", reference, place, first, which, active, depth, decides))
        alone = ~decides & (np.bincount(node)[node] == 1)  # the environment's only answer is certain
        own = [np.where(alone, 0.0, values) for values in own]
        ended = lengths[active] == depth + 1
        last = np.zeros(len(key), dtype=np.intp)
        np.add.at(last, which[ended], 1)
        _require_ends(last, which, ended, active, lengths)
        child = np.where(last > 0, -1, nodes + np.cumsum(last == 0) - 1)
        leaf[active[ended]] = edges + which[ended]
        at[active] = child[which]
        parts.append((node, token, child, *own))
        edges += len(key)
        kinds.append(np.ones(int(np.count_nonzero(last == 0)), dtype=bool))
        nodes += len(kinds[-1])
    node, token, child, *own = (np.concatenate(column) for column in zip(*parts, strict=True))
    counted = lengths if count_masked else np.add.reduceat(chosen.astype(np.intp), begin)
    return Edges(
        *(node.astype(np.intp), token.astype(np.intp), child.astype(np.intp), own[0]),
        log_reference=own[1] if reference is not None else None,
        leaf=leaf,
        reward=np.asarray(reward, dtype=np.float64),
        length=counted.astype(np.float64),
        truncated=cut,
        chosen=None if mask is None else np.concatenate(kinds),
    )


def _flat(name: str, rows: Sequence[Sequence[Any]], lengths: Ints, kind: Any) -> Any:
    if len(rows) != len(lengths):
        raise ValueError(f"{name} must hold one sequence for each of the {len(lengths)} completions, got {len(rows)}")
    for i, row in enumerate(rows):
        if len(row) != lengths[i]:
            raise ValueError(f"{name}[{i}] must have one entry for each of its {lengths[i]} tokens, got {len(row)}")
    arrays = [np.asarray(row) for row in rows]
    for i, array in enumerate(arrays):
        if array.ndim != 1 or array.dtype.kind not in ("iu" if kind is np.int64 else "fiub"):
            what = "integers" if kind is np.int64 else "numbers"
            raise ValueError(f"{name}[{i}] must be a sequence of {what}, got {array.dtype} of shape {array.shape}")
    return np.concatenate(arrays).astype(kind)


def _place(name: str, flat: int, ends: Ints, lengths: Ints) -> str:
    row = int(np.searchsorted(ends, flat, side="right"))
    return f"{name}[{row}][{flat - (ends[row] - lengths[row])}]"


def _kind(chosen: NDArray[np.bool_], at: Ints, node: Ints, first: Ints, active: Ints, depth: int) -> NDArray[np.bool_]:
    """Whether the policy chooses each edge; after one prefix it chooses always or never."""
    decides = chosen[first]
    of_node = np.zeros(int(node.max()) + 1, dtype=bool)
    of_node[node] = decides
    bad = np.flatnonzero(of_node[at] != chosen)
    if len(bad):
        one = int(active[bad[0]])
        raise ValueError(f"mask[{one}][{depth}] must be the same for all completions that share the tokens before it")
    return decides


def _common(
    name: str,
    values: Floats,
    place: Ints,
    first: Ints,
    which: Ints,
    active: Ints,
    depth: int,
    decides: NDArray[np.bool_],
) -> Floats:
    """Log-probability of each edge, on which all completions through it must agree."""
    of_edge = values[place[first]]
    with np.errstate(invalid="ignore"):
        apart = np.abs(values[place] - of_edge[which]) > _SAME * (1.0 + np.abs(of_edge[which]))
    bad = np.flatnonzero(apart & decides[which])
    if len(bad):
        one, other = int(active[first[which[bad[0]]]]), int(active[bad[0]])
        raise ValueError(
            f"{name}[{other}][{depth}] is {values[place[bad[0]]]:.9g}, but {name}[{one}][{depth}] of the same token "
            f"after the same tokens is {of_edge[which[bad[0]]]:.9g}"
        )
    return of_edge


def _require_ends(last: Ints, which: Ints, ended: NDArray[np.bool_], active: Ints, lengths: Ints) -> None:
    twice = np.flatnonzero(last > 1)
    if len(twice):
        one, other = (int(i) for i in active[ended & (which == twice[0])][:2])
        raise ValueError(f"completions[{other}] is completions[{one}] once more: give each completion once")
    through = np.flatnonzero((last > 0)[which] & ~ended)
    if len(through):
        longer = int(active[through[0]])
        shorter = int(active[ended & (which == which[through[0]])][0])
        raise ValueError(
            f"completions[{shorter}] is the beginning of completions[{longer}]: where one ends, an end-of-sequence "
            f"token is its last"
        )


def edges_of_table(
    policy: Mapping[tuple[int, ...], Mapping[int, float]],
    reward: Mapping[tuple[int, ...], float] | Callable[[tuple[int, ...]], float],
    reference: Mapping[tuple[int, ...], Mapping[int, float]] | None,
) -> Edges:
    """Edges of the tree of a policy that is given as a table, by a walk by depth."""
    if () not in policy:
        raise ValueError("policy must have the empty prefix () among its keys")
    columns: list[tuple[int, int, int, float, float]] = []
    rewards: list[float] = []
    leaf: list[int] = []
    prefixes: list[tuple[int, ...]] = [()]
    node = 0
    while node < len(prefixes):
        prefix = prefixes[node]
        for token in sorted(policy[prefix]):
            p = policy[prefix][token]
            if not 0 <= p <= 1 + SUM_TOLERANCE:
                raise ValueError(f"policy[{prefix}][{token}] must be a probability, got {p!r}")
            if p == 0:
                continue
            reached = (*prefix, int(token))
            inner = reached in policy
            other = p if reference is None else reference.get(prefix, {}).get(token, 0.0)
            if not other > 0:
                raise ValueError(f"reference[{prefix}][{token}] must be positive, as the policy's is, got {other!r}")
            if not inner:
                leaf.append(len(columns))
                rewards.append(_reward_of(reward, reached))
            columns.append((node, int(token), len(prefixes) if inner else -1, float(p), float(other)))
            prefixes += [reached] * inner
        node += 1
    unreached = [prefix for prefix in policy if prefix not in set(prefixes)]
    if unreached:
        raise ValueError(f"policy[{unreached[0]}]: no token of positive probability leads to this prefix")
    nodes, tokens, child, behavior, others = (np.array(column) for column in zip(*columns, strict=True))
    return Edges(
        *(nodes.astype(np.intp), tokens.astype(np.intp), child.astype(np.intp), np.log(behavior)),
        log_reference=None if reference is None else np.log(others),
        leaf=np.array(leaf, dtype=np.intp),
        reward=np.array(rewards, dtype=np.float64),
        length=None,
        truncated=np.zeros(len(leaf), dtype=bool),
        chosen=None,
    )


def _reward_of(
    reward: Mapping[tuple[int, ...], float] | Callable[[tuple[int, ...]], float], completion: tuple[int, ...]
) -> float:
    if callable(reward):
        return float(reward(completion))
    if completion not in reward:
        raise ValueError(f"reward must have every completion among its keys, {completion} is missing")
    return float(reward[completion])
