"""Every rule that the input of a token tree must obey, by the message of who breaks it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pessimism import TokenTree
from pessimism.tokens.build import edges_of_completions, edges_of_table

of = TokenTree.from_completions
BAD: dict[str, Callable[[], Any]] = {
    "completions must not be empty": lambda: of([], [], []),
    r"completions\[1\] must have at least one token": lambda: of([[1], []], [[-1.0], []], [0, 1]),
    r"completions\[0\]\[1\] must be a token id >= 0, got -2": lambda: of([[1, -2]], [[-1, -1]], [0]),
    r"completions\[0\] must be a sequence of integers, got float64": lambda: of([[1.5]], [[-1.0]], [0]),
    r"log_probs must hold one sequence for each of the 2 completions, got 1": lambda: of([[1], [2]], [[-1.0]], [0, 1]),
    r"log_probs\[1\] must have one entry for each of its 1 tokens, got 2": lambda: of(
        [[1], [2]], [[-1], [-1, -1]], [0, 1]
    ),
    "log_behavior of token 1 after the prefix .* must be a finite number <= 0, got 0.5": lambda: of(
        [[1]], [[0.5]], [0]
    ),
    r"completions\[1\] is completions\[0\] once more": lambda: of([[1], [1]], [[-1.0]] * 2, [0, 1]),
    r"completions\[1\] is the beginning of completions\[0\]": lambda: of([[1, 2], [1]], [[-1, -1], [-1]], [0, 1]),
    r"log_probs\[1\]\[0\] is -3, but log_probs\[0\]\[0\] of the same token": lambda: of(
        [[1, 2], [1, 3]], [[-1, -1], [-3, -1]], [0, 1]
    ),
    "have probability 1.2.*, more than 1": lambda: of([[1], [2]], [[np.log(0.6)]] * 2, [0, 1]),
    "reward must hold one number for each of the 1 completions": lambda: of([[1]], [[-1.0]], [0, 1]),
    r"reward\[0\] must be a finite number, got nan": lambda: of([[1]], [[-1.0]], [np.nan]),
    r"mask\[0\]\[1\] must be the same for all completions": lambda: of(
        [[1, 2], [1, 3]], [[-1, -1]] * 2, [0, 1], mask=[[True, True], [True, False]]
    ),
    "truncated must hold a truth value for each of the 1": lambda: of([[1]], [[-1.0]], [0], truncated=[True, False]),
    "rest_reward must be finite, the least one first": lambda: of([[1]], [[-1.0]], [0], rest_reward=(1.0, 0.0)),
    "rest_length must be >= 1, got 0": lambda: of([[1]], [[-1.0]], [0], rest_length=0),
    "reference: after the prefix .* gives no mass to the tokens that are not listed": lambda: of(
        [[1]], [[-1.0]], [0], reference_log_probs=[[0.0]]
    ),
    r"policy must have the empty prefix \(\)": lambda: TokenTree.from_table({(1,): {0: 1.0}}, {}),
    r"policy\[\(\)\]\[0\] must be a probability, got 1.5": lambda: TokenTree.from_table({(): {0: 1.5}}, {}),
    r"reward must have every completion among its keys, \(1,\) is missing": lambda: TokenTree.from_table(
        {(): {0: 0.5, 1: 0.5}}, {(0,): 1.0}
    ),
    r"policy\[\(7,\)\]: no token of positive probability leads to this prefix": lambda: TokenTree.from_table(
        {(): {0: 1.0}, (7,): {0: 1.0}}, {(0,): 1.0}
    ),
    r"reference\[\(\)\]\[1\] must be positive": lambda: TokenTree.from_table(
        {(): {0: 0.5, 1: 0.5}}, {(0,): 1.0, (1,): 0.0}, reference={(): {0: 1.0}}
    ),
    "child must number the nodes": lambda: TokenTree.from_arrays([0, 0, 1], [0, 1, 0], [-1, 2, -1], [-1.0] * 3, [0, 1]),
    "node must be in order": lambda: TokenTree.from_arrays([0, 1, 0], [0, 0, 1], [1, -1, -1], [-1.0] * 3, [0, 1]),
    "token 4 stands twice after the prefix": lambda: TokenTree.from_arrays(
        [0, 0], [4, 4], [-1, -1], [-1.0] * 2, [0, 1]
    ),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_input_is_named(message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        BAD[message]()
    assert "\n" not in str(error.value)


def test_a_token_of_no_probability_is_no_edge() -> None:
    edges = edges_of_table({(): {0: 0.0, 1: 1.0}}, {(1,): 1.0}, None)
    assert edges.token.tolist() == [1]


def test_edges_come_by_depth_and_lead_to_numbered_nodes() -> None:
    edges = edges_of_completions(
        [[3, 1], [2], [3, 0]], [[-1.0] * 2, [-1.0], [-1.0] * 2], [0, 1, 2], None, None, None, count_masked=False
    )
    assert edges.token.tolist() == [2, 3, 0, 1]
    assert edges.child.tolist() == [-1, 1, -1, -1]
    assert edges.leaf.tolist() == [3, 0, 2]
