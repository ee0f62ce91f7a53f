"""Groups of G completions at every token: all groups counted, against sums over all of them written out."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

import pessimism as ps
from pessimism.losses.registry import make_objective
from pessimism.tokens.groups import cases_of_groups
from tests.pessimism.tokens.trees import random_tree


def expected(
    tree: ps.TokenTree, objective: ps.Objective, size: int, *, drop_equal: bool, by_group: bool, power: int
) -> np.ndarray:
    """E[m A^power | own completion] by all groups of G completions."""
    q, found = np.exp(tree.log_prob), np.zeros(len(tree.reward))
    for own in range(len(q)):
        for others in product(range(len(q)), repeat=size - 1):
            group = [own, *others]
            reward = tree.reward[group]
            if drop_equal and np.ptp(reward) == 0:
                continue
            m = size / tree.length[group].sum() if by_group else 1.0
            advantage = np.asarray(objective.advantage(reward))[0]
            found[own] += np.prod(q[list(others)]) * m * advantage**power
    return found


@pytest.mark.parametrize("spec", ["kimi", "grpo", "rloo_clipped"])
@pytest.mark.parametrize("drop_equal", [False, True])
@pytest.mark.parametrize("by_group", [False, True])
def test_cases_are_those_of_all_groups(spec: str, drop_equal: bool, by_group: bool) -> None:
    tree, objective = random_tree(9, depth=2, width=2), make_objective(spec)
    assert set(tree.reward) == {0.0, 1.0}
    weight, advantage = cases_of_groups(
        tree, objective, np.ones(len(tree.leaf)), 3, drop_equal=drop_equal, by_group=by_group
    )
    for power in (0, 1, 2):
        ours = (weight * advantage**power).sum(axis=-1)
        theirs = expected(tree, objective, 3, drop_equal=drop_equal, by_group=by_group, power=power)
        np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_on_one_token_it_is_the_finite_group_of_a_bandit() -> None:
    q, reward = [0.5, 0.3, 0.2], [0.0, 1.0, 0.0]
    tree = ps.TokenTree.from_table({(): dict(enumerate(q))}, lambda y: reward[y[0]])
    for drop_equal in (False, True):
        target = ps.token_target(tree, "kimi", group_size=4, drop_equal=drop_equal, beta=0.3)
        group = ps.finite_group("kimi", 4, behavior=q, reward=reward, drop_equal=drop_equal, beta=0.3)
        np.testing.assert_allclose(target.completion_policy, group.target.policy, atol=1e-10)


def test_too_many_groups_are_refused() -> None:
    with pytest.raises(ValueError, match="distinct rewards has too many groups to be counted"):
        ps.token_target(random_tree(1, binary=False), "kimi", group_size=64)
    with pytest.raises(ValueError, match="group_size must be an integer >= 1"):
        ps.token_target(random_tree(1), "kimi", group_size=0)
    with pytest.raises(ValueError, match="group_size must be an integer >= 2 with leave_one_out or drop_equal"):
        ps.token_target(random_tree(1), "kimi", group_size=1, drop_equal=True)


def test_groups_that_are_all_dropped_move_nothing() -> None:
    """As for a bandit: where all rewards are equal no group is kept, and the behavior stays."""
    tree = ps.TokenTree.from_table({(): {0: 0.5, 1: 0.5}, (1,): {0: 0.3, 1: 0.7}}, lambda y: 1.0)
    target = ps.token_target(tree, "kimi", group_size=4, drop_equal=True, beta=0.3)
    assert target.regime.tolist() == ["boundary", "boundary"]
    assert target.kl == 0.0
