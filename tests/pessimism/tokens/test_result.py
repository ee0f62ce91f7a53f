"""What a token target says of completions, of prefixes and of the whole."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import pessimism as ps
from tests.pessimism.tokens.trees import random_tree


def visited_by(target: ps.TokenTarget) -> np.ndarray:
    """Log-probability of reaching each prefix under the policy."""
    found, inner = np.zeros(len(target.tree.value)), target.tree.child >= 0
    found[target.tree.child[inner]] = target.tree.along(target.log_policy)[inner]
    return found


def test_the_whole_is_that_of_the_completions() -> None:
    tree = random_tree(1, binary=False)
    target = ps.token_target(tree, "kimi", beta=1.5)
    pi, q = target.completion_policy, np.exp(tree.log_prob)
    assert pi.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(target.completion_log_ratio, np.log(pi / q), atol=1e-12)
    assert target.kl == pytest.approx(pi @ np.log(pi / q))
    assert target.value == pytest.approx(pi @ tree.reward)
    assert target.entropy == pytest.approx(-pi @ np.log(pi))
    assert target.leak == 0.0
    assert target.effective_temperature == pytest.approx(ps.effective_temperature(pi, q, tree.reward), rel=1e-8)
    visits = np.exp(tree.node_log_prob)
    assert target.kl == pytest.approx(target.prefix_kl @ np.exp(visited_by(target)))
    assert target.negative_share == pytest.approx(visits @ (target.regime == "negative") / visits.sum())
    assert "TokenTarget(kimi(beta=1.5)" in repr(target)


def test_kappa_is_the_divergence_under_the_value_of_each_prefix() -> None:
    tree = random_tree(1)
    target = ps.token_target(tree, "kimi", baseline="prefix", beta=0.7)
    q, start = np.exp(tree.log_behavior), tree.start[:-1]
    divergence = np.add.reduceat(-q * target.log_ratio, start)
    np.testing.assert_allclose(target.kappa, divergence, atol=1e-12)
    critic = ps.token_target(tree, "kimi", baseline=tree.value, beta=0.7)
    np.testing.assert_allclose(critic.policy, target.policy, atol=1e-12)
    prompt = ps.token_target(tree, "kimi", beta=0.7)
    divergence = np.add.reduceat(-q * prompt.log_ratio, start)
    np.testing.assert_allclose(prompt.kappa, (tree.value - tree.value[0]) / 0.7 + divergence, atol=1e-10)


def test_leaves_below_an_unstable_prefix_are_taken_as_one() -> None:
    policy = {(): {0: 0.5, 1: 0.5}, (0,): {0: 0.5, 1: 0.5}}
    tree = ps.TokenTree.from_table(policy, lambda y: float(y == (1,)))
    target = ps.token_target(tree, "kimi", beta=0.2)
    assert target.status.tolist() == ["converged", "unstable"]
    merged = target.merged(target.completion_policy)
    assert len(merged) == 2
    assert merged.sum() == pytest.approx(1.0)
    assert len(ps.token_target(tree, "kimi", beta=0.6).merged(np.ones(3) / 3)) == 3
    with pytest.raises(ValueError, match="probability must have shape"):
        target.merged([1.0])


def test_bounds_of_what_is_not_listed_give_two_targets() -> None:
    half = np.log(0.5)
    tree = ps.TokenTree.from_completions([[1]], [[half]], [0.5], rest_reward=(0.0, 1.0))
    target = ps.token_target(tree, "kimi", beta=0.5)
    assert target.at_largest_rest is not None
    assert target.completion_policy[0] > 0.5 > target.at_largest_rest.completion_policy[0]
    alone = ps.token_target(tree.with_rest_reward(1.0), "kimi", beta=0.5)
    assert alone.at_largest_rest is None
    assert alone.completion_policy == target.at_largest_rest.completion_policy


def test_trees_and_targets_are_equal_by_value_and_come_back_from_pickle() -> None:
    tree, spec = random_tree(1), "ppo:eps_high=0.3"
    target = ps.token_target(tree, spec)
    assert tree == random_tree(1) != random_tree(2)
    assert target == ps.token_target(random_tree(1), spec) != ps.token_target(tree, "ppo:eps_high=0.4")
    again = pickle.loads(pickle.dumps(target))
    assert again == target
    assert again.kl == target.kl
