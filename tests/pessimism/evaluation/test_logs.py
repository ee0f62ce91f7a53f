"""What goes in: every spelling of logs and policies says the same, and bad ones are refused by name and place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from pessimism import estimators, evaluate, make_logs
from tests.pessimism.evaluation.simulate import CHANCE, POLICY, bandit_feedback

OPTIONS: dict[str, dict[str, Any]] = {
    "dr": {"reward_model": CHANCE},
    "el": {"weight_max": 10.0},
    "kernel": {"bandwidth": 0.5},
}


def _columns(feedback: dict[str, Any]) -> dict[str, Any]:
    return {name: feedback[name] for name in ("action", "reward", "pscore")}


@pytest.mark.parametrize("estimator", [name for name in estimators() if name != "kernel"])
def test_every_spelling_of_logs_and_policy_agrees(estimator: str) -> None:
    feedback = bandit_feedback()
    options = OPTIONS.get(estimator, {})
    expected = evaluate(POLICY, feedback, estimator, **options)
    frame = pd.DataFrame(_columns(feedback))
    tiled = np.tile(POLICY, (200, 1))
    group = np.arange(200) % 2
    spellings: list[tuple[Any, Any]] = [
        (POLICY.tolist(), frame),
        (POLICY, frame.rename(columns={"pscore": "propensity"})),
        (POLICY, make_logs(**_columns(feedback))),
        (POLICY, feedback | {"position": np.zeros(200, dtype=int)}),
        (torch.tensor(POLICY), {name: torch.tensor(value) for name, value in _columns(feedback).items()}),
        (tiled, feedback),
        (tiled[:, :, None], feedback),
        (np.tile(POLICY, (2, 1)), frame.assign(context=group)),
        ({"a": POLICY, "b": POLICY}, frame.assign(problem=np.array(["a", "b"])[group])),
    ]
    for policy, logs in spellings:
        found = evaluate(policy, logs, estimator, **options)
        np.testing.assert_allclose(
            [found.value, found.lower, found.upper, found.ess],
            [expected.value, expected.lower, expected.upper, expected.ess],
            rtol=1e-13,
        )
    assert (found.estimator, found.n, found.delta) == (estimator, 200, 0.05)


@pytest.mark.parametrize("estimator", ["ips", "snips", "clipped", "ix", "ls", "moments", "el", "star"])
def test_a_column_of_ratios_stands_for_policy_and_action(estimator: str) -> None:
    feedback, options = bandit_feedback(), OPTIONS.get(estimator, {})
    weight = POLICY[feedback["action"]] / feedback["pscore"]
    ratios = {"weight": weight, "reward": feedback["reward"], "pscore": feedback["pscore"]}
    given, direct = evaluate(POLICY, feedback, estimator, **options), evaluate(None, ratios, estimator, **options)
    assert (given.value, given.lower, given.upper) == (direct.value, direct.lower, direct.upper)


GOOD: dict[str, Any] = {"action": [0, 1], "reward": [0.0, 1.0], "pscore": [0.5, 0.5]}
HALF = [0.5, 0.5]
BAD_LOGS: dict[str, tuple[dict[str, Any], str]] = {
    "nan reward": ({"reward": [0.0, np.nan]}, r"^reward\[1\] must be finite, got nan$"),
    "text reward": ({"reward": ["a", "b"]}, r"^reward must be real numbers, got values of type <U1$"),
    "missing reward": ({"reward": None}, r"^logs must hold reward, found action, reward, pscore$"),
    "short action": ({"action": [0]}, r"^action must have one entry per round, got 1 entries for 2 rounds$"),
    "wide action": ({"action": [[0], [1]]}, r"^action must have one entry per round, shape \(n_rounds,\), got shape"),
    "no rounds": ({"reward": [], "action": [], "pscore": []}, r"^reward is empty: logs must hold at least one round$"),
    "fraction": ({"action": [0, 0.5]}, r"^action\[1\] must be one of the 2 actions 0, ..., 1 of the policy, got 0.5$"),
    "third action": (
        {"action": [0, 2]},
        r"^action\[1\] must be one of the 2 actions 0, ..., 1 of the policy, got 2.0$",
    ),
    "negative action": ({"action": [-1, 0]}, r"^action\[0\] must be one of the 2 actions"),
    "zero pscore": ({"pscore": [0.5, 0.0]}, r"^pscore\[1\] must be positive, got 0.0$"),
    "large pscore": ({"pscore": [1.5, 0.5]}, r"^pscore\[0\] must be a probability, at most 1 .*, got 1.5$"),
    "tiny pscore": ({"pscore": [0.5, 1e-310]}, r"^pscore\[1\] must not be so small that the ratio overflows"),
    "no pscore": ({"pscore": None}, r"^logs must hold pscore to evaluate a policy$"),
    "two pscores": ({"propensity": [0.5, 0.5]}, r"^logs must hold one of pscore and propensity: both mean pscore$"),
    "slate": ({"position": [0, 2]}, r"^position\[1\] must be 0 \(one action a round, len_list=1\), got 2$"),
    "n_rounds": ({"n_rounds": 3}, r"^n_rounds must be the number of rewards, got 3 for 2 rewards$"),
    "n_actions": ({"n_actions": 3}, r"^policy must have one entry per action, got 2 for 3 actions$"),
    "long n_rounds": ({"n_rounds": np.ones(2)}, r"^n_rounds must be a positive integer, got array\(\[1., 1.\]\)$"),
    "nan n_actions": ({"n_actions": np.nan}, r"^n_actions must be a positive integer, got nan$"),
    "long n_actions": ({"n_actions": np.ones((9, 9))}, r"^n_actions must be a positive integer, got array.*\.\.\.$"),
    "mixed episodes": (
        {"episode": [0, "a"]},
        r"^episode\[1\] must be comparable with episode\[0\], got str and int$",
    ),
    "episodes of no order": ({"episode": [{}, {}]}, r"^episode\[0\] must be comparable with episode\[0\], got dict"),
    "ratios beside a policy": (
        {"weight": [1.0, 1.0]},
        r"^weight must not be in the logs beside a policy: drop it, or give policy None to use it$",
    ),
    "sum of ratios": (
        {"pscore": [4e-309, 3e-309], "reward": [0.0, 0.0]},
        r"^pscore\[1\] must not be so small that the sum of the ratios overflows, got 3e-309$",
    ),
    "bad n_actions": ({"n_actions": 0}, r"^n_actions must be a positive integer, got 0$"),
    "context": (
        {"context": np.zeros((3, 2))},
        r"^context must have one row per round, got shape \(3, 2\) for 2 rounds",
    ),
    "missing id": ({"context": ["a", None]}, r"^context\[1\] must not be missing, got None$"),
    "negative weight": ({"weight": [1.0, -1.0]}, r"^weight\[1\] must not be negative, got -1.0$"),
    "step": ({"step": [0, 1]}, r"^step needs episode"),
    "ragged": ({"action": [[0], [1, 2]]}, r"^action must be a rectangular array: rows differ in length$"),
}


@pytest.mark.parametrize("rule", BAD_LOGS)
def test_bad_logs(rule: str) -> None:
    change, message = BAD_LOGS[rule]
    with pytest.raises(ValueError, match=message) as caught:
        evaluate(HALF, GOOD | change, "ips")
    assert "\n" not in str(caught.value)
