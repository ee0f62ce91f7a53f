"""Verdicts: the words of the use cases, from numbers computed anew; the unit of the reward; what the prompts allow."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import brentq

import pessimism as ps
from pessimism.diagnosis.diagnose import diagnose
from pessimism.diagnosis.summary import summarize
from pessimism.diagnosis.verdict import SCALE, VerdictRules, log_verdicts, verdicts
from tests.pessimism.diagnosis.logs import TRL, log_of

BINARY = log_of(*([1.0] * k + [0.0] * (16 - k) for k in (2, 4, 5, 6, 7, 8, 8, 9, 10, 11, 12, 14)))


def lambert(p: float, beta: float, shift: float) -> tuple[float, float]:
    """Ratios (right, wrong) of the squared regression with the mean less a shift, on 0/1 rewards, by bisection."""

    def down(up: float) -> float:
        return (1 - p * up) / (1 - p)

    def kappa(up: float) -> float:  # E_q[A/beta - log w], w of mean one
        return shift - p * math.log(up) - (1 - p) * math.log(down(up))

    up = brentq(lambda x: math.log(x / down(x)) + kappa(x) * (x - down(x)) - 1 / beta, 1.0, 1 / p - 1e-13, xtol=1e-15)
    return up, down(up)


CASES: dict[str, tuple[str, dict[str, Any], str]] = {
    "a shift of 50": ("shifted_mean", {"beta": 0.1, "shift": 50.0}, "too timid"),
    "a high temperature": ("kimi", {"beta": 50.0}, "too timid"),
    "between": ("kimi", {"beta": 0.32}, "conservative"),
    "at the spread": ("kimi", {"beta": 1.0}, "nominal"),
    "a low temperature": ("kimi", {"beta": 1e-4}, "greedy"),
    "oapl as published": ("oapl", {}, "greedy"),
    "grpo": ("grpo", {}, "leaking"),
    "a high constant": ("constant_baseline", {"beta": 0.1, "value": 0.9}, "leaking"),
    "ppo": ("ppo", {}, "moderate"),
    "no minimum": ("asym_re", {"shift": 0.1}, "no target"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_word_of_a_use_case(case: str) -> None:
    name, hyper, word = CASES[case]
    for log in (TRL, BINARY):
        verdict = diagnose(log, name, **hyper).summary["verdict"]
        assert verdict["word"] == word
        assert word in verdict["words"]


@pytest.mark.parametrize(("beta", "shift"), [(0.1, 50.0), (0.32, 0.0), (1.0, 0.0), (0.2, 1.0)])
def test_the_numbers_behind_a_word_by_hand(beta: float, shift: float) -> None:
    report = diagnose(BINARY, "shifted_mean", beta=beta, shift=shift)
    words = []
    for row in report.frame.itertuples():
        p = row.reward_mean
        up, down = lambert(p, beta, shift)
        kl = p * up * math.log(up) + (1 - p) * down * math.log(down)
        tilt = p * math.exp(1 / beta) / (1 - p + p * math.exp(1 / beta))
        nominal_kl = tilt * math.log(tilt / p) + (1 - tilt) * math.log((1 - tilt) / (1 - p))
        gain, tv = p * (up - 1) / (1 - p), abs(tilt - p * up)
        assert (row.value, row.gain_share) == pytest.approx((p * up, gain), rel=1e-8)
        assert (row.kl, row.tv_nominal, row.nominal_kl) == pytest.approx((kl, tv, nominal_kl), rel=1e-7)
        timid, greedy = kl < 0.01 and gain < 0.1, gain >= 0.95
        words.append("too timid" if timid else "greedy" if greedy else "nominal" if tv < 0.05 else "conservative")
    assert report["verdict"].tolist() == words
    levels = sorted(SCALE.index(word) for word in words)
    assert report.summary["verdict"]["word"] == SCALE[levels[(len(levels) - 1) // 2]]


@pytest.mark.parametrize("name", ["std_normalized", "apa", "tpo", "qrpo", "divergence_augmented", "kimi", "oapl"])
def test_a_unit_flips_no_verdict(name: str) -> None:
    """Nor a reading: 1, 0, 0, 0 and 10, 0, 0, 0 have one policy, where the temperature goes along with the unit."""
    said = []
    for unit in (1e-2, 1.0, 10.0, 1e4):
        moves = {"kimi": {"beta": unit}, "oapl": {"beta1": 2 * unit, "beta2": unit}}.get(name, {"beta": 1.0})
        row = diagnose(log_of([unit, 0.0, 0.0, 0.0]), name, **moves).iloc[0]
        said.append((row["verdict"], row["regime"], row["reading"].split(",")[0]))
    assert len(set(said)) == 1


def test_one_completion_is_not_equal_rewards() -> None:
    report = diagnose(log_of([1.0], [0.0], [1.0, 1.0], [1.0, 0.0]), "grpo")
    assert report["all_equal"].tolist() == [False, False, True, False]
    assert (report.summary["single"], report.summary["all_equal"], report.summary["informative"]) == (2, 1, 1)
    assert "one completion" in report["reading"][0]
    assert "equal" not in report["reading"][0]


def test_too_few_groups_are_called_that() -> None:
    few = diagnose(log_of(*[[1.0, 0.0, 0.0, 0.0]] * 9), "kimi", beta=1.0).summary
    assert (few["verdict"]["word"], few["verdict"]["alone"]) == ("too few groups", "nominal")
    assert "Too few groups" in few["recommendation"]["text"]
    again = pd.concat([log_of(*[[1.0, 0.0, 0.0, 0.0]] * 9, step=step) for step in range(5)])  # still nine prompts
    assert diagnose(again, "kimi", beta=1.0).summary["verdict"]["word"] == "too few groups"
    enough = diagnose(log_of(*[[1.0, 0.0, 0.0, 0.0]] * 10), "kimi", beta=1.0)
    assert enough.summary["verdict"]["word"] == "nominal"
    assert summarize(enough, rules=VerdictRules(few=11))["verdict"]["word"] == "too few groups"


def test_what_the_prompts_leave_open_is_said() -> None:
    """Half of few groups say one word and half another: the interval holds both; of many prompts it is one."""
    words = np.array(["conservative"] * 11 + ["greedy"] * 9)
    ask = lambda w, prompt: log_verdicts(w, prompt, np.zeros(w.size, dtype=int), 1, VerdictRules())[0]  # noqa: E731
    few = ask(words, np.arange(20))
    assert (few["word"], few["words"]) == ("conservative", ["conservative", "nominal", "bold", "greedy"])
    many = np.repeat(words, 100)
    assert ask(many, np.arange(2000))["words"] == ["conservative"]
    assert ask(many, np.repeat(np.arange(20), 100))["words"] == few["words"]  # one prompt's groups are one
    leaky = np.array(["leaking"] * 2 + ["nominal"] * 18)
    assert ask(leaky, np.arange(20))["words"] == ["nominal", "leaking"]
    assert ask(np.repeat(leaky[2:], 100), np.arange(1800))["words"] == ["nominal"]


def test_thresholds_can_be_set() -> None:
    report = diagnose(BINARY, "kimi", beta=0.32, rules=VerdictRules(greedy_gain=0.6))
    assert report["verdict"].eq(verdicts(report.frame, VerdictRules(greedy_gain=0.6))).all()
    assert report.summary["verdict"]["word"] == "greedy"
    assert summarize(report, rules=VerdictRules())["verdict"]["word"] == "conservative"
    assert report.summary["verdict"]["rules"]["greedy_gain"] == 0.6


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ({"leak": 2}, r"leak must be in \[0, 1\], got 2"),
        ({"timid_kl": -1.0}, "timid_kl must be >= 0, got -1.0"),
        ({"few": 0}, "few must be an integer >= 1, got 0"),
        ({"hard": 0.8}, "hard must be <= easy, got 0.8 and 0.75"),
        ({"easy": math.nan}, "easy must be in"),
        ({"easy": "x"}, "easy must be a number, got 'x'"),
    ],
)
def test_thresholds_out_of_range(setting: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        VerdictRules(**setting)


def test_bands_and_steps_by_hand() -> None:
    log = pd.concat([BINARY.assign(step=step, reward=BINARY["reward"] * 3 - 1) for step in (1, 2)])
    report = ps.diagnose(log, "kimi", beta=0.5)
    rate = (report["reward_mean"] + 1) / 3
    assert report["pass_rate"].to_numpy() == pytest.approx(rate.to_numpy())
    effect = report.summary["effect"]
    parts = {"hard": rate < 0.25, "middle": (rate >= 0.25) & (rate <= 0.75), "easy": rate > 0.75, "all": rate >= 0}
    for name, part in parts.items():
        assert effect[name]["groups"] == part.sum()
        assert effect[name]["prompts"] == part.sum() / 2
        for column in ("value", "gain_share", "kl", "max_ratio", "tv_nominal"):
            assert effect[name][column][0] == pytest.approx(report[part][column].median())
    assert [of["step"] for of in report.summary["by_step"]] == [1, 2]
    assert report.summary["by_step"][0]["kl"][0] == pytest.approx(report[report["step"] == 1]["kl"].median())
    ranked = diagnose(log_of(*[[float(i), i + 1.0, i + 2.5] for i in range(8)]), "kimi", beta=1.0).summary["effect"]
    assert ranked["bands_by"] == "rank of the mean reward"
    assert [ranked[name]["groups"] for name in ("hard", "middle", "easy")] == [2, 4, 2]


def test_single_completions_that_gain_are_not_called_without_a_signal() -> None:
    """Their rewards are advantages: they rise, and the target on the one that was seen does not show by how much."""
    log = log_of(*([0.5 + 0.1 * k] for k in range(12)))
    report = diagnose(log, "kimi", beta=1.0, singleton="reward")
    assert report["verdict"].eq("unmeasured").all()
    assert (report.summary["informative"], report.summary["unmeasured"]) == (0, 12)
    assert report.summary["verdict"]["word"] == report.summary["effect"]["all"]["word"] == "unmeasured"
    assert {step["word"] for step in report.summary["by_step"]} == {"unmeasured"}
    assert report.recommendation.startswith("No group has a signal that the log can measure. 12 groups of a single")
    again = summarize(report.frame)
    assert again["verdict"] == report.summary["verdict"]
    silent = diagnose(log, "kimi", beta=1.0, singleton="zero")
    assert silent.summary["verdict"]["word"] == "no signal"
    assert silent.recommendation == "No group has a signal: each has a single completion."


def test_a_step_without_a_solution_is_not_called_without_a_signal() -> None:
    report = diagnose(BINARY, "kimi", beta=1.0)
    frame = report.frame.assign(status="not_converged")
    summary = summarize(frame)
    words = {summary["verdict"]["word"], summary["effect"]["all"]["word"], *(s["word"] for s in summary["by_step"])}
    assert words == {"no solution"}
