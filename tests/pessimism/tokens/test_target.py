"""The verb: what it refuses, losses of completions, and what a level means."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pessimism as ps
from pessimism.losses.registry import make_objective
from tests.cases import CASES
from tests.pessimism.tokens.trees import random_tree

BAD: dict[str, dict[str, Any]] = {
    "aggregation must be 'sum' or 'sequence_mean' or 'token_mean', got 'mean'": {"aggregation": "mean"},
    "level must be 'token' or 'prefix' or 'sequence'": {"level": "completion"},
    "baseline must be 'prompt' or 'prefix', got 'critic'": {"baseline": "critic"},
    "baseline must hold one finite number for each of the": {"baseline": [0.0]},
    "group_size needs baseline=": {"group_size": 4, "baseline": "prefix"},
    "drop_equal needs a group_size": {"drop_equal": True},
    'mean_over="group" needs aggregation="token_mean" and a group_size': {"mean_over": "group"},
    "method must be 'closed_form' or 'fixed_point'": {"method": "flow"},
    "since its data follow the policy": {"objective": "rloo", "level": "token"},
    "since it sees the ratio of a whole completion and its length": {"objective": "gspo", "level": "token"},
    "aggregation is for losses of tokens": {"objective": "gspo", "aggregation": "sequence_mean"},
}


@pytest.mark.parametrize("message", BAD)
def test_what_is_refused(message: str) -> None:
    given = {"objective": "kimi", **BAD[message]}
    with pytest.raises(ValueError, match=message):
        ps.token_target(random_tree(1), given.pop("objective"), **given)


def test_a_rest_without_length_is_refused_where_lengths_count() -> None:
    tree = ps.TokenTree.from_completions([[1]], [[-1.0]], [1.0])
    with pytest.raises(ValueError, match="the length of completions that are not listed: give the tree a rest_length"):
        ps.token_target(tree, "kimi", "sequence_mean")


@pytest.mark.parametrize(
    "spec", ["gspo:eps_low=0.1,eps_high=0.2", "kimi:beta=0.4", "oapl:beta1=1,beta2=0.5", "ipo:beta=0.5"]
)
def test_a_loss_of_completions_is_the_bandit_of_the_leaves(spec: str) -> None:
    tree = random_tree(3)
    target = ps.token_target(tree, spec, level="sequence")
    objective = make_objective(spec)
    if "length" in objective.per_action:
        objective = objective.replaced("length", tree.length)
    bandit = ps.induced_target(np.exp(tree.log_prob), tree.reward, objective)
    np.testing.assert_allclose(target.completion_policy, bandit.policy, atol=1e-12)
    assert target.policy.sum() == pytest.approx(len(tree.value))  # conditionals: one at every prefix
    assert set(target.regime) == {"undefined"}


def test_the_ratio_of_the_prefix_is_solved_from_the_root_down() -> None:
    tree, beta = random_tree(3, depth=3), 0.8
    target = ps.token_target(tree, "kimi", level="prefix", beta=beta)
    whole = tree.along(target.log_ratio)
    q, advantage = np.exp(tree.log_behavior), tree.q_value - tree.value[0]
    pull = q * (advantage - beta * whole)  # at every prefix proportional to the policy
    lam = np.add.reduceat(pull, tree.start[:-1])
    np.testing.assert_allclose(pull, lam[tree.node] * target.policy, atol=1e-9)
    token = ps.token_target(tree, "kimi", beta=beta)
    first = slice(0, int(tree.start[1]))
    np.testing.assert_allclose(target.policy[first], token.policy[first], atol=1e-10)
    assert np.abs(target.policy - token.policy).max() > 1e-3


@pytest.mark.parametrize(
    ("second", "reward", "beta", "same"),
    [
        ([0.5, 0.5], {(0, 0): 1.0, (0, 1): 0.0, (1, 0): 1.0, (1, 1): 0.0}, 0.3, True),  # the last token decides
        ([0.5, 0.5], {(0, 0): 1.0, (0, 1): 1.0, (1, 0): 0.2, (1, 1): 0.2}, 0.8, True),  # the first, V - Q = 0.4 < beta
        ([0.5, 0.5], {(0, 0): 1.0, (0, 1): 0.0, (1, 0): 0.5, (1, 1): 0.0}, 0.3, False),  # V_q differs
    ],
)
def test_where_tokens_and_completions_agree(second: list[float], reward: Any, beta: float, same: bool) -> None:
    rows = dict(enumerate(second))
    tree = ps.TokenTree.from_table({(): {0: 0.4, 1: 0.6}, (0,): rows, (1,): rows}, reward)
    token, whole = (ps.token_target(tree, "kimi", level=level, beta=beta) for level in ("token", "sequence"))
    apart = np.abs(token.completion_policy - whole.completion_policy).sum() / 2
    assert apart < 1e-12 if same else apart > 1e-3


def test_an_object_of_ones_own() -> None:
    class Squared:
        beta = 0.6

        def advantage(self, reward: Any, weights: Any = None) -> Any:
            weights = np.full_like(reward, 1.0 / reward.shape[-1]) if weights is None else weights
            return reward - (reward * weights).sum(-1, keepdims=True)

        def score_weight(self, log_ratio: Any, advantage: Any, weights: Any = None) -> Any:
            return 2 * self.beta * (advantage - self.beta * log_ratio)

        def loss(self, log_ratio: Any, advantage: Any, weights: Any = None) -> Any:
            return (self.beta * log_ratio - advantage) ** 2

    tree = random_tree(3)
    ours, kimi = ps.token_target(tree, Squared()), ps.token_target(tree, "kimi", beta=0.6)
    np.testing.assert_allclose(ours.policy, kimi.policy, atol=1e-12)


def test_another_reference_is_that_of_the_log_ratio() -> None:
    policy = {(): {0: 0.5, 1: 0.5}, (0,): {0: 0.3, 1: 0.7}}
    reference = {(): {0: 0.4, 1: 0.6}, (0,): {0: 0.5, 1: 0.5}}
    tree = ps.TokenTree.from_table(policy, lambda y: float(y == (0, 0)), reference=reference)
    target = ps.token_target(tree, "kimi", baseline="prefix", beta=0.5)
    bandit = ps.induced_target([0.3, 0.7], [1.0, 0.0], "kimi", beta=0.5, reference=[0.5, 0.5])
    np.testing.assert_allclose(target.policy[2:], bandit.policy, atol=1e-12)
    with pytest.raises(ValueError, match="has no log-ratio to another reference"):
        ps.token_target(tree, "ppo")


@pytest.mark.parametrize("label", CASES)
def test_every_objective_rests_at_every_prefix(label: str) -> None:
    """The certificate is taken on the full law below each token, whatever formula found the policy."""
    tree, objective = random_tree(1, depth=3), CASES[label].objective
    for aggregation in ("sum", "sequence_mean"):
        try:
            target = ps.token_target(tree, objective, aggregation)
        except ValueError as error:
            assert aggregation == "sequence_mean"
            assert "is for losses of tokens" in str(error)  # noqa: PT017
            continue
        assert "TokenTarget(" in repr(target)
        if target.prefixes is None:
            continue
        worst = target.certificate().set_index("node")["worst"].to_numpy()
        claimed = ~np.isin(target.status, ["no_target", "not_converged"])
        assert np.all(worst[claimed] < 1e-7)
        assert np.isfinite(target.kl) or not claimed.all()
