"""A result: its line of text, its row, effective sample sizes and intervals."""

from __future__ import annotations

import numpy as np
import pytest

from pessimism import evaluate
from pessimism.evaluation.result import effective_sample_size
from tests.pessimism.evaluation.simulate import POLICY, bandit_feedback


def test_a_result_prints_and_becomes_a_row() -> None:
    found = evaluate(POLICY, bandit_feedback(), "ls")
    assert str(found).startswith("ls: 0.")
    assert f"at least {found.lower:.6g} with probability 0.95 (finite-sample)" in str(found)
    names = ["estimator", "value", "lower", "upper", "ess", "n", "delta", "guarantee"]
    assert list(found.as_dict()) == [*names, "mean_ratio", "mean_ratio_error", "ratio_check"]
    assert "in [" in str(evaluate(POLICY, bandit_feedback(), "ips", delta=0.1))


def test_one_round_has_no_interval() -> None:
    found = evaluate(None, {"weight": [2.0], "reward": [1.0]}, "ips")
    assert (found.value, found.lower, found.upper) == (2.0, -np.inf, np.inf)
    assert "in [-inf, inf]" in str(found)


def test_effective_sample_size() -> None:
    assert effective_sample_size(np.ones(7)) == pytest.approx(7.0)
    assert effective_sample_size(np.array([5.0, 0.0])) == 1.0
    assert effective_sample_size(np.zeros(3)) == 0.0
    assert effective_sample_size(np.array([1e-200, 1e-200])) == pytest.approx(2.0)
    feedback = bandit_feedback()
    weight = POLICY[feedback["action"]] / feedback["pscore"]
    assert evaluate(POLICY, feedback, "ips").ess == pytest.approx(weight.sum() ** 2 / (weight**2).sum(), rel=1e-14)
