"""The law of weight and advantage below each token, against sums over the completions."""

from __future__ import annotations

import numpy as np
import pytest

from pessimism.losses.registry import make_objective
from pessimism.tokens.law import law_of_completions, law_of_prefixes
from tests.pessimism.tokens.trees import random_tree


@pytest.mark.parametrize(("spec", "atoms"), [("kimi", 1), ("ppo", 2), ("awr", None)])
@pytest.mark.parametrize("way", ["completions", "prefixes"])
def test_atoms_have_the_moments_of_the_completions_below(spec: str, atoms: int | None, way: str) -> None:
    tree, rng = random_tree(5, binary=False), np.random.default_rng(0)
    weight, advantage = 1.0 / tree.leaf_length, rng.normal(size=len(tree.leaf))
    objective = make_objective(spec)
    if way == "completions":
        law = law_of_completions(tree, objective, weight, advantage)
    else:
        law = law_of_prefixes(tree, objective, weight, lambda leaves, ends: advantage[leaves])
    assert (law.atoms if isinstance(law.atoms, int) else None) == atoms
    leaves, ends = tree.leaves_below(np.arange(len(tree.node)))
    for edge in range(len(tree.node)):
        own = leaves[ends[edge] : ends[edge + 1]]
        p = np.exp(tree.leaf_log_prob[own])
        p /= p.sum()
        mean = p @ weight[own]
        pull = p * weight[own] * advantage[own]
        assert law.moments[0][edge] == pytest.approx(mean)
        assert law.moments[1][edge] == pytest.approx(pull.sum() / mean)
        assert law.by_sign[0][edge] == pytest.approx(np.maximum(pull, 0.0).sum()) or atoms == 1
        assert law.by_sign[1][edge] == pytest.approx(np.maximum(-pull, 0.0).sum()) or atoms == 1
        table = [a[0] for a in law.table(np.array([edge]))]
        assert table[0] @ table[1] == pytest.approx(pull.sum())
        if atoms is None:  # every distinct advantage is there
            assert set(table[1][table[0] > 0]) == set(advantage[own])


def test_equal_advantages_are_one_atom() -> None:
    tree = random_tree(5)
    law = law_of_completions(tree, make_objective("awr"), np.ones(len(tree.leaf)), tree.leaf_reward)
    assert np.diff(law.atoms).max() <= 2
