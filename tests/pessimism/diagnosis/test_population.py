"""The reading of a group in its population: finite groups at the plug-in rate, and why there is none."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest

from pessimism.diagnosis.diagnose import COLUMNS, diagnose
from pessimism.diagnosis.summary import summarize
from pessimism.groups.design import smallest_beta1, smallest_shift
from pessimism.groups.finite_group import finite_group
from tests.helpers import numbers
from tests.pessimism.diagnosis.logs import TRL, log_of


@pytest.mark.parametrize(
    ("name", "hyper"),
    [
        ("kimi", {"beta": 0.1}),
        ("optimal_value", {"beta": 0.1}),
        ("oapl", {"beta1": 0.11, "beta2": 0.1}),
        ("std_normalized", {"beta": 0.5}),
        ("constant_baseline", {"beta": 0.3, "value": 0.6}),
        ("asym_re", {"shift": -0.2}),
        ("nominal", {"beta": 0.2}),
    ],
)
def test_the_population_reading_is_the_finite_group_at_the_plug_in_rate(name: str, hyper: dict[str, float]) -> None:
    log = log_of(*([2.0] * k + [-1.0] * (n - k) for n in (1, 2, 5, 16) for k in range(n + 1)))
    report = diagnose(log, name, **hyper)
    for (_, row), (_, group) in zip(report.iterrows(), log.groupby("prompt", sort=False), strict=True):
        rewards = group["reward"].to_numpy()
        exact = finite_group(name, len(rewards), None, rewards, unseen=True, **hyper)
        assert row["population_regime"] == exact.regime
        assert row["population_log_z"] == pytest.approx(float(exact.log_z), rel=1e-9, abs=1e-14, nan_ok=True)
        assert row["population_kappa"] == pytest.approx(float(exact.kappa), rel=1e-8, abs=1e-13, nan_ok=True)
    assert (report["population_error"] == 0).all()


@pytest.mark.parametrize("name", ["kimi", "optimal_value", "oapl", "std_normalized"])
def test_the_population_reading_of_more_than_two_rewards(name: str) -> None:
    """Linear advantages and optimal values as by finite_group; others within their errors."""
    rng = np.random.default_rng(3)
    rewards = [np.round(rng.random(n), 3) for n in (3, 5, 8)]
    report = diagnose(log_of(*(r.tolist() for r in rewards)), name, **({} if name == "oapl" else {"beta": 0.5}))
    for (_, row), same in zip(report.iterrows(), rewards, strict=True):
        hyper = {} if name == "oapl" else {"beta": 0.5}
        exact = finite_group(name, len(same), None, same, draws=20000, **hyper)
        error = row["population_error"] + float(exact.log_z_error)
        assert (row["population_error"] > 0) == (name == "std_normalized")
        assert row["population_log_z"] == pytest.approx(float(exact.log_z), rel=1e-7, abs=3 * error + 1e-10)
        assert row["population_regime"] == exact.regime


def test_both_readings_of_a_group_and_what_is_recommended() -> None:
    """V* at the regression's own temperature: at the boundary in-sample, negative in the population."""
    log = log_of(*([1.0] * k + [0.0] * (16 - k) for k in range(17)))
    report = diagnose(log, "optimal_value", beta=0.1)
    p = np.arange(17) / 16
    assert (report["regime"] == "boundary").all()
    assert (report["population_regime"][1:-1] == "negative").all()
    shift = smallest_shift(0.1, 16, p, baseline="optimal_value")
    assert report["population_shift"].to_numpy() == pytest.approx(shift, rel=1e-10, abs=1e-15)
    size, enough = numbers(report["reading"][8])
    assert size == 16
    assert shift[8] <= enough < 1.01 * shift[8]
    summary = summarize(report)
    assert summary["share"]["boundary"] == 1.0
    assert summary["population_share"]["negative"] == 15 / 17
    advice = summary["recommendation"]
    assert advice["extra_shift"] == pytest.approx(np.sort(shift[1:-1])[13])
    assert advice["smallest_beta1"] is None
    assert 15 in numbers(advice["text"])


def test_the_recommended_beta1_is_enough_and_least() -> None:
    log = log_of(*([1.0] * k + [0.0] * (8 - k) for k in range(1, 8)))
    report = diagnose(log, "oapl", beta1=0.1, beta2=0.1)
    least = smallest_beta1(0.1, 8, np.arange(1, 8) / 8)
    assert report["population_beta1"].to_numpy() == pytest.approx(least, rel=1e-12)
    advice = summarize(report, share=1.0)["recommendation"]
    assert advice["smallest_beta1"] == pytest.approx(least.max())
    tried = {option["name"]: option["at"] for option in advice["options"]}
    beta2, beta1 = tried["temperature"], tried["beta1"]
    assert {beta2, beta1, 100.0} <= set(numbers(advice["text"]))
    assert 0.99 * advice["largest_beta"] < beta2 <= advice["largest_beta"]
    assert advice["smallest_beta1"] <= beta1 < 1.01 * advice["smallest_beta1"]
    for slack, enough in ((1 + 1e-6, True), (1 - 1e-6, False)):
        again = diagnose(log, "oapl", beta1=least.max() * slack, beta2=0.1)
        assert (again["population_regime"] == "positive").all() == enough
    assert diagnose(log_of([0.0, 0.5, 1.0]), "oapl")["population_beta1"].isna().all()


def test_the_recommended_temperature_holds_in_the_population() -> None:
    log = log_of(*([1.0] * k + [0.0] * (8 - k) for k in range(1, 8)))
    report = diagnose(log, "oapl", beta1=0.1, beta2=0.1)
    largest = report["population_beta"].to_numpy()
    assert (largest < 0.1).all()
    for row, beta in enumerate(largest):
        for slack, regime in ((1 - 1e-6, "positive"), (1 + 1e-6, "negative")):
            again = diagnose(log, "oapl", beta1=0.1, beta2=float(beta * slack))
            assert again["population_regime"][row] == regime


def test_groups_that_are_positive_in_sample_only_are_said() -> None:
    report = diagnose(TRL, "oapl", beta1=0.11, beta2=0.1)
    known = (report["population_regime"] == "positive") & ~report["all_equal"]
    assert numbers(report.recommendation)[:3] == [known.sum(), 190, 190 - known.sum()] == [177, 190, 13]


@pytest.mark.parametrize("name", ["awr", "tba", "a_star_po"])
def test_no_population_reading_without_an_expected_advantage(name: str) -> None:
    report = diagnose(log_of([1.0, 0.0, 0.0], [0.2, 0.5, 0.7]), name)
    assert (report["population_regime"] == "undefined").all()
    numbers = [c for c in COLUMNS if c.startswith("population") and c != "population_regime"]
    assert report[numbers].isna().all(axis=None)
    assert summarize(report)["population_share"]["undefined"] == 1.0


@pytest.mark.parametrize(
    ("name", "has_none"),
    [("ppo", True), ("awr", True), ("rebel", True), ("rloo", True), ("pevi", True), ("kimi", False), ("oapl", False)],
)
def test_an_undefined_population_has_a_reason(name: str, has_none: bool) -> None:
    report = diagnose(log_of([1.0, 0.0, 0.0], [1.0, 1.0], [0.0, 0.3, 0.7, 1.0]), name)
    note = summarize(report)["population_note"]
    undefined = report["population_regime"] == "undefined"
    assert undefined.any() == has_none == (note is not None)
    if has_none:  # the one of finite groups
        with pytest.raises(ValueError, match=re.escape(note)):
            finite_group(name, 3, None, [1.0, 0.0, 0.5])


def test_a_completion_that_no_draw_reached_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    for setting in ("_DRAWS", "_FEWEST"):
        monkeypatch.setattr(sys.modules["pessimism.diagnosis.population"], setting, 1)
    report = diagnose(log_of(np.linspace(0.0, 1.0, 40).tolist(), [1.0, 0.0]), "std_normalized")
    assert report["population_regime"].tolist() == ["undefined", "positive"]
    assert report.population_note
    assert report.summary["population_share"]["undefined"] == 0.5
