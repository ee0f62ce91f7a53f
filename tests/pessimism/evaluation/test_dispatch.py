"""The verb: what it refuses, numbers that overflow, inputs that stay as they were."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pessimism import estimators, evaluate, make_logs
from tests.pessimism.evaluation.simulate import CHANCE, POLICY, bandit_feedback

OPTIONS: dict[str, dict[str, Any]] = {
    "dr": {"reward_model": CHANCE},
    "el": {"weight_max": 10.0},
    "kernel": {"bandwidth": 0.5},
}


@pytest.mark.filterwarnings("ignore:the mean ratio")  # the kernel on actions that are no densities
@pytest.mark.parametrize("estimator", list(estimators()))
def test_inputs_are_only_read(estimator: str) -> None:
    feedback = bandit_feedback() | {"episode": np.repeat(np.arange(100), 2)}
    policy: Any = np.tile(POLICY, (200, 1))
    if estimator == "kernel":
        policy = feedback["context"][:, 0].copy()
    before = {name: np.copy(value) for name, value in feedback.items() if isinstance(value, np.ndarray)}
    for name in before:
        feedback[name].setflags(write=False)
    policy.setflags(write=False)
    evaluate(policy, feedback, estimator, **OPTIONS.get(estimator, {}))
    for name, value in before.items():
        np.testing.assert_array_equal(feedback[name], value)


GOOD: dict[str, Any] = {"action": [0, 1], "reward": [0.0, 1.0], "pscore": [0.5, 0.5]}


HALF = [0.5, 0.5]


def test_other_refusals() -> None:
    for delta in (0.0, 1.0, np.nan, "5%", True):
        with pytest.raises(ValueError, match="^delta must be "):
            evaluate(HALF, GOOD, delta=delta)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="^estimator must be one of ips, snips, .*, got 'magic'$"):
        evaluate(HALF, GOOD, "magic")
    with pytest.raises(ValueError, match=r"^estimator must be one of ips, snips, .*, got \['ls'\]$"):
        evaluate(HALF, GOOD, ["ls"])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="^weight must not be in the logs beside a policy"):
        evaluate(0.5, GOOD | {"weight": [1.0, 1.0]}, "kernel", bandwidth=1.0)
    with pytest.raises(ValueError, match=r"^weight\[1\] must not be so large that the sum of the ratios overflows"):
        evaluate(None, {"weight": [1e308, 1.5e308], "reward": [0.0, 0.0]})
    with pytest.raises(ValueError, match="^cap is no option of estimator ls, which takes lam, reward_min$"):
        evaluate(HALF, GOOD, "ls", cap=3.0)
    with pytest.raises(ValueError, match="^cap is no option of estimator ips, which takes none$"):
        evaluate(HALF, GOOD, "ips", cap=3.0)
    with pytest.raises(ValueError, match="^weight_max must be given for estimator el$"):
        evaluate(HALF, GOOD, "el")
    with pytest.raises(ValueError, match="^logs must be a mapping, a frame or made by make_logs, got list$"):
        evaluate(HALF, [1, 2])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="^reward must be in logs or a keyword, not both ways"):
        make_logs(GOOD, reward=[1, 2])
    twice = pd.DataFrame([[0, 1.0, 0.5, 0.5]], columns=["action", "reward", "pscore", "pscore"])
    with pytest.raises(ValueError, match="^logs must hold column 'pscore' once, got 2 columns of that name$"):
        evaluate(HALF, twice)


@pytest.mark.parametrize("estimator", list(estimators()))
def test_numbers_that_overflow_are_refused(estimator: str) -> None:
    """Either every number is finite, or the largest reward is named: never inf or nan, never a warning."""
    ranged = estimator in ("clipped", "ix", "el")
    options = OPTIONS.get(estimator, {}) | ({"reward_max": 1.7e308} if ranged else {})
    logs = {"action": [1, 1, 0, 0], "reward": [1e308, 1.5e308, 0.0, 0.0], "pscore": [0.4] * 4}
    policy: Any = 0.5 if estimator == "kernel" else [0.3, 0.7]
    if estimator == "dr":
        options = options | {"reward_model": [0.0, 0.0]}
    if estimator in ("clipped", "ix", "moments"):  # rewards are divided, or their terms clipped
        found = evaluate(policy, logs, estimator, **options)
        assert np.isfinite([found.value, found.lower]).all()
    else:
        named = "reward[1] and reward_model" if estimator == "dr" else "reward[1]"
        rule = f"{named} must be closer to zero: estimator {estimator} overflows, got 1.5e+308"
        with pytest.raises(ValueError, match=f"^{re.escape(rule)}$"):
            evaluate(policy, logs, estimator, **options)


def test_an_interval_that_overflows_is_refused() -> None:
    """The value is finite, the spread is not."""
    for estimator in ("ips", "snips", "star"):
        with pytest.raises(ValueError, match=rf"^reward\[1\] must be closer to zero: estimator {estimator} overflows"):
            evaluate(HALF, GOOD | {"reward": [0.0, -1e200]}, estimator)
    assert evaluate(HALF, {"action": [0], "reward": [1e200], "pscore": [0.5]}, "ips").upper == np.inf  # of one round
