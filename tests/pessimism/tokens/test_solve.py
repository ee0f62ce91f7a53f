"""Each prefix by its formula, against the generic route and against the bandit that it is."""

from __future__ import annotations

import numpy as np
import pytest

import pessimism as ps
from pessimism.tokens.solve import Prefixes
from tests.cases import CASES
from tests.pessimism.tokens.trees import random_tree

FORMULAS = ["kimi:beta=0.8", "nominal:beta=0.5", "truncated_is:beta=1,cap=2", "awr:beta=1", "shifted_mean:beta=0.5"]


@pytest.mark.parametrize("spec", FORMULAS)
@pytest.mark.parametrize("aggregation", ["sum", "sequence_mean"])
def test_formulas_agree_with_the_generic_route(spec: str, aggregation: str) -> None:
    tree = random_tree(6, depth=3)
    ours, theirs = (ps.token_target(tree, spec, aggregation, method=method) for method in (None, "fixed_point"))
    np.testing.assert_allclose(ours.policy, theirs.policy, atol=1e-9)
    if aggregation == "sum":  # else kappa says it, which the generic route cannot know
        assert np.array_equal(ours.regime, theirs.regime)
    assert ours.certificate()["worst"].max() < 1e-9


@pytest.mark.parametrize("label", CASES)
def test_a_tree_of_one_token_is_a_bandit(label: str) -> None:
    q, reward = [0.5, 0.2, 0.3], [0.0, 1.0, 1.0]
    objective = CASES[label].objective
    tree = ps.TokenTree.from_table({(): dict(enumerate(q))}, lambda y: reward[y[0]])
    bandit = ps.induced_target(q, reward, objective)
    target = ps.token_target(tree, objective)
    np.testing.assert_allclose(target.completion_policy, bandit.policy, atol=1e-10)
    if target.prefixes is not None:
        assert target.status[0] == bandit.status
        assert target.regime[0] == bandit.regime
        np.testing.assert_allclose(target.multiplier[0], bandit.multiplier, atol=1e-9)


def test_some_formula_is_used() -> None:
    """What has a formula does not come to the generic route; an objective without one says so."""
    tree = random_tree(6)
    for spec in (*FORMULAS, "ppo", "dapo", "dppo:cap=1000000"):
        ps.token_target(tree, spec, method="closed_form")
    with pytest.raises(ValueError, match="sapo.* has no closed form at some prefix"):
        ps.token_target(tree, "sapo", method="closed_form")


def test_prefixes_of_one_width_are_solved_together() -> None:
    tree = random_tree(7)
    target = ps.token_target(tree, "kimi", beta=0.8)
    assert isinstance(target.prefixes, Prefixes)
    widths = [edges.shape[1] for _, edges in target.prefixes.batches(np.arange(len(tree.value)))]
    assert sorted(widths) == sorted(set(np.diff(tree.start).tolist()))


def test_the_environment_keeps_its_probabilities() -> None:
    log = np.log
    tree = ps.TokenTree.from_completions(
        [[1, 8], [1, 9], [2]],
        [[log(0.5), log(0.3)], [log(0.5), log(0.7)], [log(0.5)]],
        [1.0, 0.0, 0.0],
        mask=[[True, False]] * 2 + [[True]],
    )
    target = ps.token_target(tree, "kimi", beta=0.5)
    assert target.status.tolist() == ["converged", "undefined"]
    np.testing.assert_allclose(target.completion_policy[0] / target.completion_policy[1], 3 / 7)
    bandit = ps.induced_target([0.5, 0.5], [0.3, 0.0], "kimi", beta=0.5)
    np.testing.assert_allclose(target.completion_policy[2], bandit.policy[1])
