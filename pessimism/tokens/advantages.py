"""Weights and advantages of completions, as the options of a loss of tokens say, down to the law below each token."""

from __future__ import annotations

from typing import Any

import numpy as np

from pessimism.arrays import Floats
from pessimism.core.objective import Objective
from pessimism.tokens.groups import cases_of_groups
from pessimism.tokens.law import Law, law_of_completions, law_of_prefixes
from pessimism.tokens.tree import Ints, TokenTree


def require_choice(name: str, value: Any, choices: tuple[Any, ...]) -> None:
    """Raise ``ValueError`` unless a value is one of the choices; None goes without saying."""
    if value not in choices:
        known = " or ".join(repr(choice) for choice in choices if choice is not None)
        raise ValueError(f"{name} must be {known}, got {value!r}")


def leaf_weights(tree: TokenTree, aggregation: str, *, mean_over: str = "batch") -> Floats:
    """Weight m of each leaf, ``(L,)``; whose length is needed, and not known, is refused."""
    if aggregation == "sequence_mean" or mean_over == "group":
        bad = np.flatnonzero(~(tree.leaf_length >= 1))
        if len(bad):
            unlisted = bad[0] >= len(tree.truncated)
            what = "completions that are not listed" if unlisted else f"completions[{bad[0]}]"
            fix = "give the tree a rest_length" if unlisted else "it has no counted token"
            raise ValueError(f"aggregation={aggregation!r} needs the length of {what}: {fix}")
    return 1.0 / tree.leaf_length if aggregation == "sequence_mean" else np.ones(len(tree.leaf))


def law_under(
    tree: TokenTree,
    objective: Objective,
    aggregation: str,
    baseline: Any = "prompt",
    *,
    group_size: int | None = None,
    drop_equal: bool = False,
    mean_over: str = "batch",
) -> Law:
    """Law of weight and advantage below each token, as the options of :func:`pessimism.token_target` say.

    Parameters
    ----------
    tree : TokenTree
        The tree.
    objective : Objective
        Whose advantage is taken.
    aggregation, baseline, group_size, drop_equal, mean_over : optional
        The options.

    Returns
    -------
    Law
        The law.

    Raises
    ------
    ValueError
        Names the option that is unknown, or does not go with the others.
    """
    require_choice("aggregation", aggregation, ("sum", "sequence_mean", "token_mean"))
    require_choice("mean_over", mean_over, ("batch", "group"))
    if isinstance(baseline, str):
        require_choice("baseline", baseline, ("prompt", "prefix"))
    if mean_over == "group" and (aggregation != "token_mean" or group_size is None):
        raise ValueError('mean_over="group" needs aggregation="token_mean" and a group_size')
    weight = leaf_weights(tree, aggregation, mean_over=mean_over)
    if group_size is not None:
        if not isinstance(baseline, str) or baseline != "prompt":
            raise ValueError('group_size needs baseline="prompt": groups are those of a prompt')
        by_group = mean_over == "group"
        cases = cases_of_groups(tree, objective, weight, group_size, drop_equal=drop_equal, by_group=by_group)
        return law_of_completions(tree, objective, *cases)
    if drop_equal:
        raise ValueError("drop_equal needs a group_size: the whole population is no group to be dropped")
    if isinstance(baseline, str) and baseline == "prompt":
        p = np.exp(tree.leaf_log_prob)
        advantage = np.asarray(objective.advantage(tree.leaf_reward[None], p[None]))[0]
        return law_of_completions(tree, objective, weight, advantage)
    if isinstance(baseline, str):
        return law_of_prefixes(tree, objective, weight, lambda leaves, ends: _among(tree, objective, leaves, ends))
    value = np.asarray(baseline, dtype=np.float64)
    count = len(tree.start) - 1
    if value.shape != (count,) or not np.all(np.isfinite(value)):
        raise ValueError(
            f"baseline must hold one finite number for each of the {count} prefixes, got shape {value.shape}"
        )
    return law_of_prefixes(
        tree, objective, weight, lambda leaves, ends: tree.leaf_reward[leaves] - np.repeat(value, np.diff(ends))
    )


def _among(tree: TokenTree, objective: Objective, leaves: Ints, ends: Ints) -> Floats:
    """Advantages of leaves among those below each node, under their conditional probabilities."""
    found, count = np.empty(len(leaves)), np.diff(ends)
    log_node = tree.node_log_prob
    for size in np.unique(count):
        nodes = np.flatnonzero(count == size)
        place = ends[nodes, None] + np.arange(size)
        p = np.exp(tree.leaf_log_prob[leaves[place]] - log_node[nodes, None])
        found[place] = objective.advantage(tree.leaf_reward[leaves[place]], p)
    return found
