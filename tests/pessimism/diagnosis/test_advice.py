"""Advice is tried before it is given: what it says of the log holds when the log is diagnosed again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest

import pessimism as ps
from pessimism.diagnosis.advice import Trial, always_positive
from pessimism.diagnosis.diagnose import diagnose
from pessimism.diagnosis.verdict import VerdictRules
from pessimism.losses.registry import make_objective, objectives
from tests.pessimism.diagnosis.logs import log_of

LOG = log_of(*([1.0] * k + [0.0] * (8 - k) for k in (1, 1, 2, 2, 3, 4, 4, 5, 6, 7, 7)))
NEGATIVE: dict[str, dict[str, Any]] = {
    "constant_baseline": {"beta": 0.3, "value": 0.7},
    "oapl": {"beta1": 0.1, "beta2": 0.3},
}


@dataclass(frozen=True)
class Lowered:
    """A squared regression with its baseline so many temperatures lower, as somebody would write it himself."""

    of: Any
    shift: float

    @property
    def temperature(self) -> float:
        return float(self.of.temperature)

    def advantage(self, reward: Any, weights: Any = None) -> Any:
        return self.of.advantage(reward, weights) + self.shift * self.of.temperature

    def score_weight(self, log_ratio: Any, advantage: Any, weights: Any = None) -> Any:
        return 2.0 * (advantage - self.of.temperature * log_ratio)

    def loss(self, log_ratio: Any, advantage: Any, weights: Any = None) -> Any:
        return (advantage - self.of.temperature * log_ratio) ** 2 / self.of.temperature


@pytest.mark.parametrize("name", NEGATIVE)
def test_every_option_does_what_it_says(name: str) -> None:
    hyper = NEGATIVE[name]
    report = diagnose(LOG, name, **hyper)
    options = report.summary["recommendation"]["options"]
    assert {option["name"] for option in options} >= {"shift", "temperature"}
    for option in options:
        if option["name"] == "shift":
            again = diagnose(LOG, Lowered(make_objective(name, **hyper), option["at"] * (1 + 1e-6)))
        else:
            field = report.temperature_name if option["name"] == "temperature" else option["name"]
            changed = hyper | {field: option["at"] * (1 + (1e-6 if field == "beta1" else -1e-6))}
            again = diagnose(LOG, name, **changed)
        assert option["after"]["positive"] == pytest.approx((again["regime"] == "positive").mean())
        assert option["after"]["positive"] >= 0.9
        for column in ("kl", "gain_share", "max_ratio", "leak", "value", "tv_nominal"):
            assert option["before"][column] == pytest.approx(report[column].median(), rel=1e-6, abs=1e-12)
            if (option["name"], column) != ("temperature", "tv_nominal") or name != "oapl":
                assert option["after"][column] == pytest.approx(again[column].median(), rel=1e-5, abs=1e-9)
        assert option["bolder"] == (again["kl"].median() > report["kl"].median())


def test_a_bolder_step_is_not_sold_as_the_safe_side() -> None:
    report = diagnose(LOG, "constant_baseline", **NEGATIVE["constant_baseline"])
    (cooler,) = (o for o in report.summary["recommendation"]["options"] if o["name"] == "temperature")
    assert cooler["bolder"]
    assert "bolder" in report.recommendation
    assert "or use" not in report.recommendation


def test_no_shift_is_advised_where_none_changes_the_target() -> None:
    """An exponential weight takes a shift for a factor: the target is the same, whatever the baseline."""
    log = log_of([1.0, 0.0, 0.0, 0.0])
    report = diagnose(log, "awac", beta=0.5)
    assert report["critical_shift"].isna().all()
    assert report.summary["recommendation"]["extra_shift"] is None
    assert "Lower the baseline" not in report.recommendation
    q, a = np.full(4, 0.25), np.array([1.0, 0.0, 0.0, 0.0]) - 0.25
    tilted = [q * np.exp((a + c) / 0.5) for c in (0.0, 3.0)]
    np.testing.assert_allclose(tilted[0] / tilted[0].sum(), tilted[1] / tilted[1].sum())


@pytest.mark.parametrize("name", sorted(objectives()))
def test_no_objective_is_given_advice_that_does_not_hold(name: str) -> None:
    summary = diagnose(LOG, name).summary
    advice = summary["recommendation"]
    assert (advice["extra_shift"] is not None and "Lower the baseline by more" in advice["text"]) <= any(
        option["name"] == "shift" for option in advice["options"]
    )
    for option in advice["options"]:
        assert option["holds"]
        assert option["before"]["verdict"] == summary["verdict"].get("alone", summary["verdict"]["word"])


def test_a_log_does_not_say_how_far_to_go() -> None:
    for beta, word in ((1e-4, "greedy"), (50.0, "too timid")):
        report = diagnose(LOG, "kimi", beta=beta)
        (option,) = report.summary["recommendation"]["options"]
        assert option["before"]["verdict"] == word
        assert option["after"]["verdict"] in ("conservative", "nominal")
        assert "cannot be made from a log" in report.recommendation
        again = diagnose(LOG, "kimi", beta=option["at"])
        assert again.summary["verdict"]["word"] == option["after"]["verdict"]
        assert again["kl"].median() == pytest.approx(option["after"]["kl"])
        assert option["bolder"] == (word == "too timid")
    greedy = diagnose(LOG, "reinforce").recommendation
    assert "it has no temperature" in greedy
    assert "cannot be made from a log" in greedy


def test_positive_is_a_theorem_where_it_is_one() -> None:
    theorems = {"kimi", "shifted_mean", "std_normalized", "oapl", "dro"}
    for name in theorems:
        objective = make_objective(name)
        assert always_positive(objective), name
        rng = np.random.default_rng(5)
        target = ps.induced_target(None, rng.normal(size=(50, 6)), objective, unseen=True)
        assert not (np.asarray(target.regime) == "negative").any()
    for name, hyper in (("constant_baseline", {"value": 0.5}), ("oapl", {"beta1": 0.1, "beta2": 0.2}), ("grpo", {})):
        assert always_positive(make_objective(name, **hyper)) is None
    said = diagnose(LOG, "kimi", beta=1.0).recommendation
    assert said.count("a theorem") == 1


def test_a_report_without_its_log_says_that_nothing_was_tried() -> None:
    frame = diagnose(LOG, "constant_baseline", **NEGATIVE["constant_baseline"]).frame
    advice = ps.summarize(pd.DataFrame(frame))["recommendation"]
    assert advice["options"] == []
    assert "not tried" in advice["text"]


def test_temperatures_that_were_tried_in_vain_are_named() -> None:
    said = diagnose(LOG, "grpo").recommendation
    assert "no beta that was tried, 0.13 to 400, makes it conservative, nominal or bold" in said
    words = [diagnose(LOG, "grpo", beta=beta).summary["verdict"]["word"] for beta in (0.13, 1.3, 13.0, 400.0)]
    assert not {*words} & {"conservative", "nominal", "bold", "moderate"}


def test_a_penalty_that_is_switched_off_is_tried_on() -> None:
    objective = make_objective("grpo", beta=0.0, eps_high=50.0, eps_low=0.99)
    report = diagnose(LOG, objective)
    assert report.temperature is None
    assert report.logged is not None
    rungs = Trial(report.logged, objective, report.frame, VerdictRules()).rungs(rising=True)
    assert [at for at, _ in rungs] == [0.0032, 0.01, 0.032, 0.1, 0.32, 1.0, 3.2, 10.0]
    assert [other.temperature for _, other in rungs] == [at for at, _ in rungs]
    assert Trial(report.logged, objective, report.frame, VerdictRules()).rungs(rising=False) == []


def test_an_inverse_temperature_is_moved_and_named() -> None:
    report = diagnose(LOG, "rebel", eta=1e4)
    (option,) = report.summary["recommendation"]["options"]
    assert (option["name"], option["at"]) == ("temperature", 0.32)
    assert "a higher temperature is the conservative side. With temperature 0.32 (eta 3.12): " in report.recommendation
    again = diagnose(LOG, "rebel", eta=1 / 0.32)
    assert option["after"]["kl"] == pytest.approx(again["kl"].median())
    assert option["after"]["verdict"] == again.summary["verdict"]["word"] != "greedy"


def test_a_temperature_that_ends_the_leak_and_all_else_is_told() -> None:
    """Between leaking and too timid no temperature of GRPO is conservative here; what is beyond is said, and true."""
    log = "pessimism/demo/rollouts.jsonl"
    report = ps.diagnose(log, "grpo", eps=1e-4, unbiased_kl=True)
    (option,) = report.summary["recommendation"]["options"]
    again = ps.diagnose(log, "grpo", beta=option["at"], eps=1e-4, unbiased_kl=True)
    assert again.summary["verdict"]["word"] == option["after"]["verdict"] == "too timid"
    assert again.summary["median_kl"] == pytest.approx(option["after"]["kl"], rel=1e-9)
    assert f"With beta {option['at']:.3g}: " in report.recommendation
    assert "no beta that was tried" in report.recommendation
    assert "verdict leaking -> too timid" in report.recommendation


@pytest.mark.parametrize("start", [-0.05, 0.0])  # at 0 there is no target at all
@pytest.mark.parametrize("rewards", [[[0.2, 0.5, 0.9], [0, 1, 1]], [[0, 0, 1], [0, 5, 7, 9]]])
def test_a_lower_baseline_is_tried_before_it_is_said(rewards: list[list[float]], start: float) -> None:
    """The objective has the baseline as a hyper-parameter: the same by another way."""
    report = ps.diagnose(log_of(*rewards * 5), "asym_re", shift=start)
    (option,) = (one for one in report.summary["recommendation"]["options"] if one["name"] == "baseline")
    assert f"With the baseline lower by {option['at']:.3g}: groups that give up completions" in report.recommendation
    assert "nan" not in report.recommendation
    again = ps.diagnose(log_of(*rewards * 5), "asym_re", shift=start - option["at"])
    for name, of in (("before", report), ("after", again)):
        without = (of["given_up"] > 0) | (of["status"] == "no_target")
        assert option[name]["giving_up"] == without.mean()
        if start or name == "after":
            assert option[name]["kl"] == pytest.approx(of["kl"].median(), rel=1e-9)
    assert option["before"]["giving_up"] > option["after"]["giving_up"] == 0.0


def test_a_lower_baseline_that_does_not_help_is_not_recommended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pessimism.diagnosis.advice._LOWER", (1e-3, 2e-3))
    text = ps.diagnose(log_of([0, 1, 1], [0, 0, 1]), "asym_re", shift=0.0).recommendation
    assert "lower the baseline" not in text
    assert "No lower baseline that was tried keeps all of them, 0.001 to 0.002." in text
