"""Policies in every spelling, and bad ones refused by name and place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import pessimism as ps
from pessimism import evaluate, make_logs
from tests.pessimism.evaluation.simulate import BEHAVIOR, CHANCE


def test_ids_pick_the_row_of_their_context() -> None:
    logs = {"action": [0, 1, 0], "reward": [1.0, 1.0, 1.0], "pscore": [0.5] * 3, "context": [1, 0, 1]}
    # Ratios 2 * (0.9, 0.8, 0.9).
    assert evaluate([[0.2, 0.8], [0.9, 0.1]], logs, "ips").value == pytest.approx(5.2 / 3)
    assert evaluate({0: [0.2, 0.8], 1: [0.9, 0.1], 2: [1, 0]}, logs, "ips").value == pytest.approx(5.2 / 3)
    without = {name: value for name, value in logs.items() if name != "context"}
    assert evaluate([[0.9, 0.1], [0.2, 0.8], [0.9, 0.1]], without, "ips").value == pytest.approx(5.2 / 3)


def test_an_induced_target_is_a_policy() -> None:
    behavior, reward = np.stack([BEHAVIOR, BEHAVIOR[::-1]]), np.stack([CHANCE, CHANCE])
    target = ps.induced_target(behavior, reward, "shifted_mean", beta=0.25)
    rng = np.random.default_rng(3)
    context = rng.integers(0, 2, size=20_000)
    action = (rng.random(20_000)[:, None] > behavior.cumsum(axis=1)[context, :3]).sum(axis=1)
    logs = make_logs(
        action=action, reward=rng.binomial(1, CHANCE[action]), pscore=behavior[context, action], context=context
    )
    value = float((target.policy * reward).sum(axis=1).mean())
    found = evaluate(target, logs, "snips")
    assert found.lower < value < found.upper
    assert found.upper - found.lower < 0.03
    assert evaluate(target, logs, "ls").lower < value
    single = ps.induced_target(torch.tensor(behavior[0]), torch.tensor(reward[0]), "kimi", beta=0.25)
    assert evaluate(single, logs, "ips") == evaluate(single.policy.numpy(), logs, "ips")


GOOD: dict[str, Any] = {"action": [0, 1], "reward": [0.0, 1.0], "pscore": [0.5, 0.5]}


HALF = [0.5, 0.5]


BAD_POLICIES: dict[str, tuple[Any, dict[str, Any], str]] = {
    "none": (None, {}, r"^policy must be given: the logs have no column weight to take the ratios from$"),
    "sum": ([0.5, 0.6], {}, r"^policy must sum to 1 within 1e-06, got 1.1$"),
    "leak": ([0.5, 0.4], {}, r"^policy must sum to 1 within 1e-06, got 0.9 \(mass that leaves the logged actions"),
    "sum in a row": ([HALF, [0.5, 0.6]], {}, r"^policy\[1\] must sum to 1 within 1e-06, got 1.1$"),
    "negative": ([1.5, -0.5], {}, r"^policy\[1\] must be a probability >= 0, got -0.5$"),
    "negative in a row": ([HALF, [1.5, -0.5]], {}, r"^policy\[1, 1\] must be a probability >= 0, got -0.5$"),
    "nan": ([0.5, np.nan], {}, r"^policy\[1\] must be finite, got nan$"),
    "rows": ([HALF] * 3, {}, r"^policy must have shape .*, got shape \(3, 2\) for 2 rounds without integer ids$"),
    "slate": (np.full((2, 2, 3), 0.5), {}, r"^policy must have shape .*len_list=1\), got shape \(2, 2, 3\)$"),
    "scalar": (1.0, {}, r"^policy must have shape .*, got shape \(\)$"),
    "unknown id": ([HALF] * 3, {"context": [0, 3]}, r"^context\[1\] must be the index of one of the 3 rows of policy"),
    "ambiguous": ([HALF] * 2, {"context": [0, 0]}, r"^policy has as many rows as the logs have rounds and"),
    "no entry": ({"a": HALF}, {"context": ["a", "b"]}, r"^policy has no entry for context 'b' \(round 1\)$"),
    "mixed ids": (
        {0: HALF, "a": HALF},
        {"context": np.array([0, "a"], dtype=object)},
        r"^context\[1\] must be comparable with context\[0\], got str and int$",
    ),
    "widths": ({0: HALF, 1: [1.0]}, {"context": [0, 1]}, r"^policy\[1\] must be a vector \(K,\), K the same"),
    "mapping": ({0: HALF}, {}, r"^policy: a mapping needs context ids in the logs"),
}


@pytest.mark.parametrize("rule", BAD_POLICIES)
def test_bad_policies(rule: str) -> None:
    policy, change, message = BAD_POLICIES[rule]
    with pytest.raises(ValueError, match=message):
        evaluate(policy, GOOD | change, "ips")
