"""What a first user asked and was told wrongly once; the answers are computed here in another way."""

from __future__ import annotations

from math import comb, exp, log
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import brentq
from scipy.special import wrightomega

import pessimism as ps

QUARTER = np.full(4, 0.25)


def one_group(rewards: Any) -> pd.DataFrame:
    """A log of one prompt."""
    return pd.DataFrame({"prompt": "q", "reward": rewards})


def regression(scaled: Any) -> Any:
    """Policy w/4 of four completions with log w + kappa w = A/beta, kappa > 0."""

    def ratio(log_kappa: float) -> Any:
        return wrightomega(np.asarray(scaled) + log_kappa) / np.exp(log_kappa)

    return ratio(brentq(lambda at: ratio(at).mean() - 1.0, -60.0, 15.0, xtol=1e-14, rtol=1e-14)) / 4


def tilted(scaled: Any) -> Any:
    """Policy exp(A/beta)/Z of four completions."""
    weights = np.exp(np.asarray(scaled) - np.max(scaled))
    return weights / weights.sum()


def kl(policy: Any) -> float:
    """KL to the uniform behavior."""
    return float(np.sum(np.where(policy > 0, policy * np.log(4 * np.maximum(policy, 1e-300)), 0.0)))


def test_does_a_shift_make_an_exponential_weight_more_conservative() -> None:
    """No: exp((r - s)/beta), normalized, is exp(r/beta). So none is recommended."""
    log = one_group([1.0, 0.0, 0.0, 0.0])
    report = ps.diagnose(log, "awac", beta=0.5)
    assert report["kl"][0] == pytest.approx(kl(tilted(np.array([2.0, 0, 0, 0]) - 7.0)), rel=1e-9)
    advice = report.summary["recommendation"]
    assert advice["extra_shift"] is None
    assert "Lower the baseline" not in report.recommendation
    assert "higher temperature makes it more conservative" in report.recommendation
    warmer = ps.diagnose(log, "awac", beta=1.0)["kl"][0]  # what it says is so
    assert warmer == pytest.approx(kl(tilted([1.0, 0, 0, 0])), rel=1e-9)
    assert warmer < report["kl"][0]


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_are_sums_that_differ_by_rounding_a_signal(kind: Any) -> None:
    """Parts .1 + .2, .3 + 0, .3 + 0 and .2 + .1 are one total, although the floats differ; a part of .31 is another."""
    parts = pd.DataFrame({"prompt": "q", "x": [0.1, 0.3, 0.3, 0.2], "y": [0.2, 0.0, 0.0, 0.1]})
    parts[["x", "y"]] = parts[["x", "y"]].astype(kind)
    report = ps.diagnose(parts, "std_normalized", beta=1.0, reward_column="x,y")
    assert report["all_equal"][0]
    assert report["kl"][0] == 0
    parts.loc[1, "x"] = 0.31
    assert not ps.diagnose(parts, "std_normalized", beta=1.0, reward_column="x,y")["all_equal"][0]


@pytest.mark.parametrize("unit", [1.0, 10.0])
@pytest.mark.parametrize("name", ["std_normalized", "apa", "tpo"])
def test_does_the_unit_of_the_reward_turn_a_verdict(name: str, unit: float) -> None:
    """No: the policy is the same in every unit, and so is what is said of it, in units of the advantage."""
    gap, deviation = np.array([0.75, -0.25, -0.25, -0.25]), 0.1875**0.5
    expected = {
        "std_normalized": regression(gap / 0.5),  # n - 1
        "apa": regression(gap / deviation),
        "tpo": tilted(gap / deviation),
    }[name]
    report = ps.diagnose(one_group([unit, 0.0, 0.0, 0.0]), name, beta=1.0)
    assert report["kl"][0] == pytest.approx(kl(expected), rel=1e-3)
    assert report["verdict"][0] == {"tpo": "nominal"}.get(name, "conservative")
    scaled = {"std_normalized": gap / 0.5}.get(name, gap / deviation)
    factor = brentq(lambda at: kl(tilted(scaled / at)) - kl(expected), 0.1, 10.0)  # the nominal policy as far away
    assert report["advantage_factor"][0] == pytest.approx(factor, rel=2e-3)


@pytest.mark.parametrize("sampling", ["on_policy", "off_policy"])
def test_what_does_a_star_po_do_at_group_size_8(sampling: str) -> None:
    """On-policy the baseline cancels: nominal at beta2. Off-policy the group's own estimate of V* does not.

    Its expectation is a sum over how many of the others are right, the completion itself among the 8.
    """
    p, beta1, beta2 = 0.2, 0.5, 0.25
    found = ps.finite_group("a_star_po", 8, pass_rate=p, beta1=beta1, beta2=beta2, sampling=sampling)
    if sampling == "on_policy":
        weights = np.array([0.8, 0.2 * exp(1 / beta2)])
        np.testing.assert_allclose(found.target.policy, weights / weights.sum(), rtol=1e-9)
        assert str(found.regime) == "boundary"
        return
    for reward in (0, 1):
        baseline = sum(
            comb(7, right) * p**right * (1 - p) ** (7 - right) * beta1 * log(1 + (right + reward) / 8 * (exp(2) - 1))
            for right in range(8)
        )
        assert found.advantage[reward] == pytest.approx(reward - baseline, rel=1e-9)


@pytest.mark.parametrize(
    ("name", "options", "word", "scaled"),
    [
        ("shifted_mean", {"beta": 0.1, "shift": 50.0}, "too timid", np.array([7.5, -2.5, -2.5, -2.5]) + 50.0),
        ("kimi", {"beta": 1e-4}, "greedy", np.array([7500.0, -2500.0, -2500.0, -2500.0])),
    ],
)
def test_is_positive_all_that_there_is_to_say(name: str, options: dict[str, float], word: str, scaled: Any) -> None:
    """Both are in the positive regime in every group; one learns nothing and the other keeps the best alone."""
    log = pd.DataFrame({"prompt": np.repeat(np.arange(20), 4), "reward": [1.0, 0.0, 0.0, 0.0] * 20})
    report = ps.diagnose(log, name, **options)
    assert (report["regime"] == "positive").all()
    assert report.summary["verdict"]["word"] == word
    if word == "too timid":
        np.testing.assert_allclose(report["kl"], kl(regression(scaled)), rtol=1e-6)
        assert kl(regression(scaled)) < 0.01
    else:
        np.testing.assert_allclose(report["kl"], np.log(4), rtol=1e-9)  # exp(-2500) of the others is left


def test_which_other_normalizations_can_be_asked_for() -> None:
    """The deviation of the batch, that of the others, and MaxRL's mean, as advantages of the registry."""
    rewards = np.array([[1.0, 0.0, 0.0, 0.5], [1.0, 1.0, 0.0, 1.0]])
    gap = rewards - rewards.mean(axis=1, keepdims=True)
    of_batch = ps.GRPO(scale="batch", eps=1e-12).advantage(rewards)
    np.testing.assert_allclose(of_batch, gap / np.std(rewards, ddof=1), rtol=1e-9)
    others = np.array([[np.std(np.delete(row, i), ddof=1) for i in range(4)] for row in rewards])
    of_others = ps.GRPO(scale="leave_one_out", eps=1e-12).advantage(rewards)
    np.testing.assert_allclose(of_others[0], gap[0] / others[0], rtol=1e-9)
    by_mean = ps.MaxRL(eps=1e-12).advantage(rewards)
    np.testing.assert_allclose(by_mean, gap / rewards.mean(axis=1, keepdims=True), rtol=1e-9)
