"""Token trees: values, expectations and orders against recursions over dictionaries."""

from __future__ import annotations

import numpy as np
import pytest

from pessimism import TokenTree
from tests.pessimism.tokens.trees import Policy, Reward, random_table, random_tree


def value(policy: Policy, reward: Reward, prefix: tuple[int, ...]) -> float:
    if prefix in reward:
        return reward[prefix]
    return sum(p * value(policy, reward, (*prefix, token)) for token, p in policy[prefix].items())


def log_probs_of(policy: Policy, completion: tuple[int, ...]) -> list[float]:
    return [float(np.log(policy[completion[:t]][token])) for t, token in enumerate(completion)]


@pytest.mark.parametrize("seed", range(5))
def test_values_are_those_of_a_recursion(seed: int) -> None:
    policy, reward = random_table(seed, binary=False)
    tree = TokenTree.from_table(policy, reward)
    assert set(tree.prefixes) == set(policy)
    np.testing.assert_allclose(tree.value, [value(policy, reward, s) for s in tree.prefixes], atol=1e-14)
    ways = [(*tree.prefixes[n], int(a)) for n, a in zip(tree.node, tree.token, strict=True)]
    np.testing.assert_allclose(tree.q_value, [value(policy, reward, s) for s in ways], atol=1e-14)
    np.testing.assert_allclose(tree.log_prob, [sum(log_probs_of(policy, y)) for y in tree.completions], atol=1e-13)
    assert tree.length.tolist() == [len(y) for y in tree.completions]


@pytest.mark.parametrize("seed", range(5))
def test_completions_give_the_tree_of_the_table_in_the_order_given(seed: int) -> None:
    policy, reward = random_table(seed)
    order = np.random.default_rng(seed).permutation(len(reward))
    completions = [list(reward)[i] for i in order]
    tree = TokenTree.from_completions(
        completions, [log_probs_of(policy, y) for y in completions], [reward[y] for y in completions]
    )
    assert tree.completions == completions
    assert tree.reward.tolist() == [reward[y] for y in completions]
    of = dict(zip(tree.prefixes, tree.value, strict=True))
    assert of == pytest.approx({s: value(policy, reward, s) for s in policy}, abs=1e-13)


def test_leaves_below_an_edge_are_the_completions_that_begin_so() -> None:
    tree = random_tree(2)
    leaves, ends = tree.leaves_below(np.arange(len(tree.node)))
    for edge in range(len(tree.node)):
        prefix = (*tree.prefixes[tree.node[edge]], int(tree.token[edge]))
        found = {tree.completions[i] for i in leaves[ends[edge] : ends[edge + 1]]}
        assert found == {y for y in tree.completions if y[: len(prefix)] == prefix}


def test_masses_add_up_in_logarithms() -> None:
    tree = random_tree(3)
    edge, node = tree.log_mass(tree.leaf_log_prob - 2000.0)
    np.testing.assert_allclose(node, tree.node_log_prob - 2000.0, atol=1e-10)
    np.testing.assert_allclose(edge, tree.along(tree.log_behavior) - 2000.0, atol=1e-10)


def test_what_is_not_listed_is_a_rest_with_the_reward_given() -> None:
    half = np.log(0.5)
    tree = TokenTree.from_completions([[1, 2], [3]], [[half, half], [np.log(0.4)]], [1.0, 0.0], rest_reward=0.5)
    assert tree.token.tolist() == [1, 3, -1, 2, -1]
    np.testing.assert_allclose(np.exp(tree.log_behavior), [0.5, 0.4, 0.1, 0.5, 0.5])
    np.testing.assert_allclose(tree.value, [0.5 * 0.75 + 0.1 * 0.5, 0.75])
    assert np.isnan(tree.leaf_length[2:]).all()
    assert tree.length.tolist() == [2.0, 1.0]
    assert tree.with_rest_reward(0.0).value[0] == pytest.approx(0.25)


def test_masked_tokens_are_no_decision() -> None:
    half = np.log(0.5)
    tree = TokenTree.from_completions(
        [[1, 9, 2], [1, 9, 3], [4]],
        [[half, np.nan, half], [half, np.nan, half], [half]],
        [1.0, 0.0, 0.0],
        mask=[[True, False, True]] * 2 + [[True]],
    )
    assert tree.chosen.tolist() == [True, False, True]
    assert tree.length.tolist() == [2.0, 2.0, 1.0]  # what the environment said is not counted
    assert tree.value[0] == pytest.approx(0.25)
    counted = TokenTree.from_completions([[1, 9]], [[0.0, np.nan]], [1.0], mask=[[True, False]], count_masked=True)
    assert counted.length.tolist() == [2.0]


def test_an_environment_with_several_answers_has_probabilities() -> None:
    tree = TokenTree.from_completions(
        [[1, 8], [1, 9]], [[0.0, np.log(0.3)], [0.0, np.log(0.7)]], [1.0, 0.0], mask=[[True, False]] * 2
    )
    assert tree.value.tolist() == pytest.approx([0.3, 0.3])


def test_a_deep_tree_needs_no_recursion() -> None:
    depth = 3000
    tree = TokenTree.from_completions([[0] * depth + [1]], [[0.0] * depth + [-1.0]], [1.0])
    assert len(tree.value) == depth + 1
    assert tree.value[0] == pytest.approx(np.exp(-1.0))
