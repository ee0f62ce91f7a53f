"""Lags by hand, and the step of a policy that is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import pessimism as ps
from pessimism.diagnosis.logged_groups import LoggedGroups
from pessimism.diagnosis.staleness import KLPerStep, Lag, kl_per_step, lag_of
from pessimism.rollouts.log_probs import KNOWN
from pessimism.rollouts.read import read_rollouts
from tests.pessimism.diagnosis.token_logs import law, near


def logged(columns: Any = KNOWN, **fields: Any) -> LoggedGroups:
    return LoggedGroups.of(read_rollouts(pd.DataFrame(fields), log_prob_columns=columns))


def test_tinker_writes_the_step_of_the_client() -> None:
    found = lag_of(logged(prompt=list("aabb"), reward=0.0, step=[3, 3, 4, 4], sampling_client_step=[3, 3, 2, None]))
    assert found == Lag({0: 2, 2: 1}, mixed=0, unknown=1)
    assert str(found) == (
        "lag (step - version that sampled): 0 in 66.7%, 2 in 33.3%; mean 0.667, at most 2; 1 without a version"
    )


def test_areal_writes_head_and_tail() -> None:
    found = lag_of(logged(prompt="a", reward=0.0, step=5, head_version=[3, 4, 5, -1], tail_version=[5, 4, 5, -1]))
    assert found == Lag({0: 1, 1: 1, 2: 1}, mixed=1, unknown=1)
    assert found.to_dict() == {
        "counts": {"0": 1, "1": 1, "2": 1},
        "mean": 1.0,
        "least": 0,
        "most": 2,
        "mixed": 1,
        "unknown": 1,
    }
    assert "1 sampled by several versions" in str(found)


def test_versions_ahead_of_the_step_are_said() -> None:
    found = lag_of(logged(prompt="a", reward=0.0, sampling_client_step=[1, 2]))
    assert found is not None
    assert "below 0: versions and steps are not counted alike" in str(found)


def test_many_lags_are_cut() -> None:
    assert " and 4 others" in str(Lag(dict.fromkeys(range(12), 1), 0, 0))


def test_a_log_without_versions() -> None:
    assert lag_of(logged(prompt="a", reward=[0.0, 1.0])) is None
    assert lag_of(logged(prompt="a", reward=[0.0, 1.0], sampling_client_step=[None, -1])) is None


def walk(steps: dict[int, int], tokens: bool = False) -> pd.DataFrame:
    """Completions of a behavior at each lag, once per unit of its law, and a policy that went so many nats a step."""
    rows = []
    for prompt in range(4):
        q = law(prompt).ravel() / 40
        for lag, size in steps.items():
            policy = near(q, 10 * prompt + lag, 0.1 * size)
            for k in np.repeat(np.arange(9), law(prompt).ravel()):
                mu, pi = float(np.log(q[k])), float(np.log(policy[k]))
                row = {"prompt": f"p{prompt}", "reward": float(k % 2), "step": 9, "sampling_client_step": 9 - lag}
                rows.append(row | ({"mu": [mu], "pi": [pi]} if tokens else {"mu": mu, "pi": pi}))
    return pd.DataFrame(rows)


def exact(lag: int, size: int) -> float:
    laws = [law(prompt).ravel() / 40 for prompt in range(4)]
    return float(np.mean([q @ np.log(q / near(q, 10 * i + lag, 0.1 * size)) for i, q in enumerate(laws)]))


def per_step(log: pd.DataFrame, **options: Any) -> KLPerStep:
    return kl_per_step(LoggedGroups.of(read_rollouts(log, log_prob_columns="mu,pi")), **options)


@pytest.mark.parametrize("tokens", [False, True])
def test_one_step_is_measured_as_it_is(tokens: bool) -> None:
    found = per_step(walk({1: 2, 3: 5}, tokens))
    assert found.steps == 1
    assert found.kl == pytest.approx((exact(1, 2), exact(1, 2)), rel=1e-12)
    assert found.at[3][0] == pytest.approx(exact(3, 5), rel=1e-12)
    assert found.at[3][2] == 160
    assert ("sum over tokens" in found.reason) is tokens


def test_several_steps_bound_one() -> None:
    found = per_step(walk({2: 3}), steps_per_version=2)
    assert found.steps == 4
    assert found.kl == pytest.approx((exact(2, 3) / 16, exact(2, 3) / 4), rel=1e-12)
    assert found.error is not None
    assert found.error == pytest.approx((found.at[4][1] / 16, found.at[4][1] / 4))


def test_what_engines_differ_by_is_taken_off() -> None:
    found = per_step(walk({0: 1, 1: 3}))
    assert found.kl == pytest.approx((exact(1, 3) - exact(0, 1),) * 2, rel=1e-12)
    assert found.error is not None
    assert found.error[0] == pytest.approx(np.hypot(found.at[0][1], found.at[1][1]))


def test_a_lag_that_is_told() -> None:
    log = walk({2: 3}).drop(columns="sampling_client_step")
    assert per_step(log).reason == "the log does not say which version of the policy sampled a completion"
    found = per_step(log, steps=2)
    assert found.kl == pytest.approx((exact(2, 3) / 4, exact(2, 3) / 2), rel=1e-12)


def test_why_there_is_none() -> None:
    log = walk({0: 1})
    assert per_step(log).reason == "no completion is known to be older than the policy that was trained on it"
    assert "behavior alone" in kl_per_step(LoggedGroups.of(read_rollouts(log, log_prob_columns="mu"))).reason
    same = per_step(log.assign(pi=log["mu"], sampling_client_step=8))
    assert (same.kl, same.error, same.steps) == (None, None, None)
    assert same.at == {1: (0.0, 0.0, 160)}
    assert "not told from 0" in same.reason
    report = ps.diagnose(log, "kimi", log_prob_columns="mu,pi")
    assert report.logged is not None
    assert kl_per_step(report.logged).kl is None


@pytest.mark.parametrize("name", ["steps", "steps_per_version"])
def test_steps_are_counted_from_one(name: str) -> None:
    with pytest.raises(ValueError, match=rf"^{name} must be >= 1, got 0$"):
        per_step(walk({1: 1}), **{name: 0})
