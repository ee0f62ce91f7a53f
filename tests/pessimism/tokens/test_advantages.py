"""What the options say of weights and advantages; refusals are those of `token_target`, in test_target.py."""

from __future__ import annotations

import numpy as np
import pytest

import pessimism as ps
from pessimism.tokens.advantages import law_under, leaf_weights, require_choice
from tests.pessimism.tokens.trees import random_tree


def test_weights_are_one_or_one_over_the_length() -> None:
    tree = random_tree(3)
    assert leaf_weights(tree, "sum").tolist() == leaf_weights(tree, "token_mean").tolist() == [1.0] * len(tree.leaf)
    np.testing.assert_allclose(leaf_weights(tree, "sequence_mean") * tree.length, 1.0)


def test_advantages_are_those_among_all_below_a_prefix_or_against_a_critic() -> None:
    tree = random_tree(3, binary=False)
    mean = {
        name: law_under(tree, ps.Kimi(), "sum", of).moments[1] for name, of in (("all", "prompt"), ("own", "prefix"))
    }
    np.testing.assert_allclose(mean["all"], tree.q_value - tree.value[0], atol=1e-12)
    np.testing.assert_allclose(mean["own"], tree.q_value - tree.value[tree.node], atol=1e-12)
    critic = np.arange(len(tree.value), dtype=float)
    np.testing.assert_allclose(law_under(tree, ps.Kimi(), "sum", critic).moments[1], tree.q_value - critic[tree.node])


def test_a_choice_is_named() -> None:
    require_choice("level", None, (None, "token"))
    with pytest.raises(ValueError, match="level must be 'token', got 'word'"):
        require_choice("level", "word", (None, "token"))
