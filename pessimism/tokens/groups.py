"""Advantages of groups of G completions, given a completion's own reward: exact, group by group of the others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pessimism.arrays import Floats
from pessimism.core.objective import Objective
from pessimism.core.validation import check_amount
from pessimism.groups.reward_law import (
    Counts,
    check_setting,
    compositions,
    few_groups,
    log_multinomial,
    member_advantages,
    reward_law,
)
from pessimism.tokens.tree import TokenTree

Bools = NDArray[np.bool_]
_MOST_GROUPS = 4096  # compositions of the others in a group, each of which is a case
_MOST_LENGTHS = 10**7  # entries of the law of the others' number of successes and total length


def cases_of_groups(
    tree: TokenTree, objective: Objective, weight: Floats, size: int, *, drop_equal: bool, by_group: bool
) -> tuple[Floats, Floats]:
    """Weights and advantages ``(L, J)`` of each leaf, one case for each composition of the G - 1 others.

    Parameters
    ----------
    tree : TokenTree
        The tree, from whose behavior the others are drawn.
    objective : Objective
        Whose advantage of a group is taken.
    weight : ndarray, shape (L,)
        Weight m of each leaf.
    size : int
        Completions G of a group.
    drop_equal : bool
        Whether groups whose rewards are all equal are dropped.
    by_group : bool
        Whether a loss is divided by the tokens of its group, times G.

    Returns
    -------
    weight, advantage : ndarray, shape (L, J)
        The cases.

    Raises
    ------
    ValueError
        If there are too many distinct rewards for so large a group, or rewards other than two with ``by_group``.
    """
    check_setting(size, leave_one_out=False, drop_equal=drop_equal)
    law = reward_law(np.exp(tree.leaf_log_prob), tree.leaf_reward)
    values = law.values
    if not few_groups(size, len(values), _MOST_GROUPS):
        raise ValueError(
            f"group_size {size} with {len(values)} distinct rewards has too many groups to be counted; take a smaller "
            f"one, or group_size=None"
        )
    others = compositions(size - 1, len(values))  # (J, D)
    of_values = np.empty((len(values), len(others)))
    for v in range(len(values)):
        own = np.zeros(len(values), dtype=others.dtype)
        own[v] = 1
        of_values[v] = member_advantages(objective, values[None], others + own)[0, :, v]
    probability = np.exp(log_multinomial(others, law.mass[None]))[0]  # (J,)
    own_value = np.searchsorted(values, tree.leaf_reward)
    kept = size - 1 > others.T if drop_equal else np.ones(others.T.shape, dtype=bool)  # the others are not all like it
    chances = np.where(kept, probability, 0.0)[own_value]
    if not by_group:
        return weight[:, None] * chances, of_values[own_value]
    return weight[:, None] * _per_token_of_group(tree, values, others, size, kept[own_value]), of_values[own_value]


def _per_token_of_group(tree: TokenTree, values: Floats, others: Counts, size: int, kept: Bools) -> Floats:
    """Weights G / (tokens of the group) times the probability of the others, ``(L, J)``, by their law of lengths."""
    if len(values) > 2:
        raise ValueError(f'mean_over="group" takes two distinct rewards, got {len(values)}')
    length = tree.leaf_length.astype(np.intp)
    longest = int(length.max())
    check_amount("group_size squared times the longest completion", size * size * longest, _MOST_LENGTHS)
    one = np.zeros((2, longest + 1))  # law of one completion: success, length
    np.add.at(one, (np.searchsorted(values, tree.leaf_reward), length), np.exp(tree.leaf_log_prob))
    law = np.zeros((size, (size - 1) * longest + 1))  # of the others so far: successes, total length
    law[0, 0] = 1.0
    for _ in range(size - 1):
        law = np.stack(
            [_convolved(law[k], one[0]) + (_convolved(law[k - 1], one[1]) if k else 0.0) for k in range(size)]
        )
    total = length[:, None] + np.arange(law.shape[1])
    chances = size * np.einsum("kt,lt->lk", law, 1.0 / total)
    successes = others[:, 1] if len(values) == 2 else np.zeros(len(others), dtype=np.intp)
    return np.where(kept, chances[:, successes], 0.0)


def _convolved(law: Floats, one: Floats) -> Floats:
    return np.asarray(np.convolve(law, one)[: len(law)], dtype=np.float64)
