"""The least shift that keeps prefixes out of the negative regime, against the regimes of targets beside it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pessimism as ps
from tests.pessimism.tokens.trees import random_tree

WAYS: list[dict[str, Any]] = [
    {},
    {"aggregation": "sequence_mean"},
    {"group_size": 4},
    {"group_size": 4, "drop_equal": True, "aggregation": "token_mean"},
]


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("share", [0.0, 0.2, 0.5])
def test_just_above_it_the_share_is_kept_and_just_below_it_is_not(way: dict[str, Any], share: float) -> None:
    for seed in range(4):
        tree, beta = random_tree(seed), 0.3
        shift = ps.smallest_token_shift(tree, beta, share=share, **way)
        above, below = (
            ps.token_target(tree, "shifted_mean", beta=beta, shift=shift + side, **way).negative_share
            for side in (1e-7, -1e-7)
        )
        assert above <= share < below


def test_it_is_at_most_the_gap_of_the_values_over_beta() -> None:
    for seed in range(10):
        tree = random_tree(seed, binary=False)
        gap = (tree.value[0] - tree.value[tree.chosen].min()) / 0.4
        assert ps.smallest_token_shift(tree, 0.4) <= gap + 1e-12


def test_on_one_token_it_is_that_of_the_group() -> None:
    tree = ps.TokenTree.from_table({(): {0: 0.7, 1: 0.3}}, lambda y: float(y == (1,)))
    group = ps.smallest_shift(0.2, 8, 0.3, drop_equal=True)
    assert ps.smallest_token_shift(tree, 0.2, group_size=8, drop_equal=True) == pytest.approx(float(group), abs=1e-9)
    optimal = ps.smallest_shift(0.2, 8, 0.3, baseline="optimal_value")
    ours = ps.smallest_token_shift(tree, 0.2, group_size=8, baseline="optimal_value")
    assert ours == pytest.approx(float(optimal), abs=1e-9)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"beta": 0.0}, "beta must be > 0"),
        ({"beta": 1.0, "share": 1.0}, "share must be at least 0 and below 1, got 1.0"),
        ({"beta": 1.0, "baseline": "median"}, "baseline must be .*, got 'median'"),
        ({"beta": 1.0, "aggregation": "mean"}, "aggregation must be"),
    ],
)
def test_what_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ps.smallest_token_shift(random_tree(0), **given)


def test_a_tree_without_a_choice_has_none() -> None:
    tree = ps.TokenTree.from_completions([[1, 2]], [[0.0, 0.0]], [1.0])
    assert not tree.chosen.any()
    with pytest.raises(ValueError, match="no prefix has a choice"):
        ps.smallest_token_shift(tree, 1.0)
    assert np.isnan(ps.token_target(tree, "kimi").kappa).all()
