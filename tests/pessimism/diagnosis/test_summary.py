"""The summary of a report: counts, medians, and a recommendation that does what it says."""

from __future__ import annotations

import json
import math
import sys

import numpy as np
import pandas as pd
import pytest

from pessimism import ConstantBaseline, ShiftedMean
from pessimism.baselines import optimal_value
from pessimism.diagnosis.diagnose import diagnose
from pessimism.diagnosis.summary import summarize
from pessimism.rollouts.read import read_rollouts
from tests.helpers import numbers
from tests.pessimism.diagnosis.logs import TRL, log_of


def test_advice_where_the_loss_has_no_target_or_gives_up_completions() -> None:
    status = [summarize(diagnose(TRL, "asym_re", shift=shift))["status"] for shift in (-0.1, -0.5, -1.0)]
    assert status[0]["converged"] < status[1]["converged"] < status[2]["converged"] == 192
    shrinking, lost = diagnose(TRL, "asym_re"), diagnose(TRL, "asym_re", shift=0.0)
    assert shrinking.lowering_helps
    assert lost.lowering_helps
    assert numbers(shrinking.recommendation)[:2] == [shrinking.summary["giving_up"], 190]
    assert numbers(lost.recommendation)[:2] == [lost.summary["status"]["no_target"], 190]


def test_summary() -> None:
    report = diagnose(TRL, "oapl", beta1=0.1, beta2=0.2)
    summary = summarize(report)
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert summary["share"] == {"positive": 0.0, "boundary": 2 / 192, "negative": 190 / 192}
    assert (summary["groups"], summary["rows"], summary["skipped"], summary["all_equal"]) == (192, 3072, 0, 2)
    signal = report[~report["all_equal"]]
    assert summary["median_pessimism_factor"] is None  # all of them leak
    for name in ("kl", "nominal_kl", "tv_nominal"):
        assert summary[f"median_{name}"] == signal[name].median()
    assert summary["informative"] == 190
    assert summary["step_note"] is None
    assert summary["max_leak"] == report["leak"].max()


@pytest.mark.parametrize("share", [0.25, 0.9, 1.0])
def test_the_recommendation_does_what_it_says(share: float) -> None:
    log = log_of(*([1.0] * k + [0.0] * (16 - k) for k in range(17)))
    report = diagnose(log, "constant_baseline", beta=0.5, value=0.6)
    advice = summarize(report, share=share)["recommendation"]
    assert advice["share"] == share
    signal = ~report["all_equal"] | (report["regime"] == "negative")

    def positive(beta: float, value: float) -> float:
        regime = diagnose(log, ConstantBaseline(beta=beta, value=value))["regime"]
        return float((regime[signal] == "positive").mean())

    assert positive(0.5, 0.6 - 0.5 * (advice["extra_shift"] + 1e-9)) >= share
    if advice["extra_shift"] > 0:
        assert positive(0.5, 0.6 - 0.5 * (advice["extra_shift"] - 1e-6)) < share
    if advice["largest_beta"] == sys.float_info.max:  # so many groups are positive at any temperature
        assert positive(1e6, 0.6) >= share
    elif advice["largest_beta"] == 0:  # the group of zeros is negative at any temperature
        assert share == 1.0
        assert positive(1e-2, 0.6) < share
    else:
        assert positive(advice["largest_beta"] * (1 - 1e-9), 0.6) >= share
        assert positive(advice["largest_beta"] * (1 + 1e-9), 0.6) < share
    enough = positive(0.5, 0.6) >= share
    said = [round(positive(0.5, 0.6) * signal.sum()), signal.sum()]
    assert (numbers(advice["text"])[:2] == said) == enough
    assert enough or advice["extra_shift"] <= numbers(advice["text"])[0] <= 1.01 * advice["extra_shift"]


def test_less_conservative_than_nominal_is_said() -> None:
    """In units of the advantage, where the temperature is, the tilt by it is always farther than the target."""
    report = diagnose(TRL, "std_normalized")
    assert (report["pessimism_factor"] < 1).sum() == 63
    assert not (report["advantage_factor"] < 1).any()
    assert numbers(summarize(report)["recommendation"]["text"])[:2] == [190, 190]
    report.frame.loc[~report["all_equal"], "advantage_factor"] = 0.5
    assert numbers(summarize(report)["recommendation"]["text"])[3:4] == [190]


def test_equal_rewards_below_the_baseline_are_a_signal() -> None:
    report = diagnose(log_of([0.0, 0.0], [1.0, 1.0], [0.0, 1.0]), "constant_baseline", beta=0.5, value=0.5)
    assert report["regime"].tolist() == ["negative", "positive", "positive"]
    summary = summarize(report)
    assert (summary["all_equal"], summary["informative"]) == (2, 2)
    assert summary["recommendation"]["extra_shift"] == pytest.approx(1.0)
    assert numbers(summary["recommendation"]["text"])[0] == 1.0
    alone = summarize(report[:1])["recommendation"]
    assert alone["largest_beta"] == 0.0
    assert 90.0 in numbers(alone["text"])


def test_groups_that_stay_negative_are_said() -> None:
    report = diagnose(
        log_of(*[[0.0, 1.0]] * 18, [0.0, 0.0], [0.0] * 9 + [1.0]), "constant_baseline", beta=1.0, value=0.5
    )
    assert (report["regime"] == "negative").sum() == 2
    text = summarize(report)["recommendation"]["text"]
    leak = report["leak"].max()
    assert numbers(text)[:4] == [18, 20, 2, round(100 * leak, 1)]


def test_practically_the_nominal_target_is_said_for_the_whole_log() -> None:
    report = diagnose(TRL, "oapl")
    assert (report["tv_nominal"] < 1e-3).sum() >= 190
    assert numbers(report.recommendation)[-3:] == [190, 190, 1e-3]
    for name, hyper in (("kimi", {"beta": 0.5}), ("optimal_value", {}), ("asym_re", {})):
        assert 1e-3 not in numbers(diagnose(TRL, name, **hyper).recommendation)


def test_infinity_and_undefined_differ_in_a_summary() -> None:
    always = summarize(diagnose(TRL, "kimi"))["recommendation"]
    unknown = summarize(diagnose(TRL, "shifted_mean"))["recommendation"]
    assert (always["largest_beta"], unknown["largest_beta"]) == (sys.float_info.max, None)


def test_merged_steps_reach_the_summary() -> None:
    log = pd.DataFrame({"prompt": ["a", "a"], "reward": [1.0, 0.0], "epoch": [1, 2]})
    note = summarize(diagnose(log, "kimi"))["step_note"]
    assert "epoch" in note
    assert diagnose(read_rollouts(log), "kimi").step_note == note
    assert summarize(diagnose(log, "kimi", step_column="epoch"))["step_note"] is None


def test_bounds_in_texts_are_rounded_to_the_safe_side() -> None:
    report = diagnose(log_of([1.0, 0.0]), "constant_baseline", beta=1.0, value=0.8)
    advice = summarize(report)["recommendation"]
    shift, added, share = numbers(advice["text"])[:3]
    (beta,) = (option["at"] for option in advice["options"] if option["name"] == "temperature")
    assert beta in numbers(advice["text"])
    assert advice["extra_shift"] <= shift == added < advice["extra_shift"] * 1.01  # at a temperature of 1
    assert advice["largest_beta"] * 0.99 < beta <= advice["largest_beta"]
    assert share == 90


def test_the_boundary_needs_any_shift() -> None:
    """A shift of 0 is enough where groups are at the boundary in both readings: a group of one, a constant at V*."""
    alone = summarize(diagnose(log_of([0.5], [0.5]), "constant_baseline", beta=0.1, value=0.5))
    assert alone["informative"] == 0
    assert alone["recommendation"]["extra_shift"] is None
    value = float(optimal_value(np.array([1.0, 0.0]), 0.1))
    advice = summarize(diagnose(log_of([1.0, 0.0]), "constant_baseline", beta=0.1, value=value))["recommendation"]
    assert advice["extra_shift"] == 0.0
    assert numbers(advice["text"])[:3] == [1, 1, 0]
    assert summarize(diagnose(TRL, "constant_baseline", beta=0.1, value=-1.0))["share"]["positive"] == 1.0


def test_a_summary_without_a_signal() -> None:
    summary = summarize(diagnose(log_of([1.0, 1.0], [0.0]), ShiftedMean(beta=0.1)))
    assert summary["recommendation"]["extra_shift"] is None
    assert summary["median_pessimism_factor"] is None
    assert summary["informative"] == 0
    assert numbers(summary["recommendation"]["text"]) == [1, 1]  # equal rewards, a single completion
    assert (summary["all_equal"], summary["single"]) == (1, 1)
    json.dumps(summary, allow_nan=False)


def test_summary_errors() -> None:
    report = diagnose(log_of([1.0, 0.0]), "kimi")
    for share in (0.0, 1.5, math.nan):
        with pytest.raises(ValueError, match=r"share must be in \(0, 1\]"):
            summarize(report, share=share)
    with pytest.raises(ValueError, match="no column regime"):
        summarize(report.drop(columns="regime"))
