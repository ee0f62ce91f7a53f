"""A group's reading in words: what is said in which case."""

from __future__ import annotations

import math

import pytest

from pessimism.diagnosis.diagnose import diagnose
from pessimism.diagnosis.summary import summarize
from pessimism.diagnosis.wording import Group, read_group, read_positive
from tests.pessimism.diagnosis.logs import log_of

READINGS = [
    ("kimi", {"beta": 0.1}, [1, 0, 0, 0], "positive: more conservative than nominal, as if at 2.53 times"),
    ("kimi", {"beta": 1e-12}, [1, 0], "positive: 2 times the temperature on paper, but within 1e-3 (total variation)"),
    ("kimi", {"beta": 0.01}, [0, 0.99, 1], "positive: more conservative than nominal, as if at"),
    ("shifted_mean", {"beta": 1e4}, [1, 0], "positive: 2 times the temperature on paper, but within 1e-3 (total "
     "variation) of the nominal target: both are nearly the behavior"),
    ("std_normalized", {"beta": 1.0}, [1, 0], "positive: less conservative than nominal, as if at 0.818 times"),
    ("constant_baseline", {"beta": 0.1, "value": 0.93}, [1, 0], "positive: as conservative as nominal within 0.5%"),
    ("shifted_mean", {"beta": 1e17}, [1, 0], "positive: within rounding of the behavior"),
    ("optimal_value", {}, [1, 0], "boundary: the nominal target, with no implicit pessimism; any shift"),
    ("nominal", {}, [1, 0], "boundary: the nominal target, with no implicit pessimism"),
    ("constant_baseline", {"value": 1.0}, [0.9, 0.9], "negative: more than 99.9% of the mass leaks to unseen"),
    ("constant_baseline", {"value": 1 - 1e-6}, [1], "no signal: all rewards are equal, the target is the behavior"),
    ("constant_baseline", {"value": 1 + 1e-6}, [1], "negative: less than 0.1% of the mass leaks"),
    ("asym_re", {}, [1, 0], "positive: the target gives up some of the completions seen"),
    ("asym_re", {"shift": -1.0}, [1, 0], "positive: as far from the behavior as nominal at temperature 0.91"),
    ("asym_re", {"shift": 0.1}, [1, 0], "negative: no target, the loss has no minimum on this group"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "hyper", "rewards", "words"), READINGS)
def test_readings(name: str, hyper: dict[str, float], rewards: list[float], words: str) -> None:
    reading = diagnose(log_of(rewards), name, **hyper)["reading"].item()
    assert reading.startswith(words)
    assert ("any shift" in reading) == (name == "optimal_value")


@pytest.mark.parametrize(
    ("leak", "words"),
    [
        (math.nan, "1 is negative still."),
        (0.0, "1 is negative still."),
        (1e-5, "1 is negative still, with a leak of less than 0.1%."),
        (0.25, "1 is negative still, with a leak of up to 25.0%."),
        (0.9999, "1 is negative still, with a leak of more than 99.9%."),
    ],
)
def test_the_leak_of_what_stays_negative(leak: float, words: str) -> None:
    text = read_positive(9, 0, 10, negative=1, leak=leak)
    assert text == f"9 of 10 groups with a signal are in the positive regime, but {words}"


@pytest.mark.parametrize("name", ["log_smoothing", "pevi", "chord", "chi2", "luffy", "reinforce"])
def test_no_lower_baseline_is_advised_where_none_acts(name: str) -> None:
    report = diagnose(log_of([0.2, 0.5, 0.9], [1.0, 0.0, 0.0]), name)
    assert "vanishing_support" in report["status"].tolist()
    text = summarize(report)["recommendation"]["text"]
    assert "the target gives up some of the completions seen" in text
    assert "baseline" not in text
    assert not report.lowering_helps


@pytest.mark.parametrize("shift", [-0.1, 0.5])
def test_a_lower_baseline_is_advised_where_it_helps(shift: float) -> None:
    assert diagnose(log_of([0.2, 0.5, 0.9]), "asym_re", shift=shift).lowering_helps
    assert not diagnose(log_of([0.2, 0.5, 0.9]), "asym_re", shift=-2.0).lowering_helps  # nothing is given up


def test_the_temperature_zero_is_called_greedy() -> None:
    reading = diagnose(log_of([1.0] * 3 + [0.0]), "reinforce")["reading"].item()
    assert reading.endswith("from the behavior, as far as greedy")
    group = Group(
        regime="positive",
        status="converged",
        all_equal=False,
        leak=0.0,
        pessimism_factor=0.0,
        effective_temperature=0.0,
        critical_shift=math.nan,
        tv_nominal=0.1,
        both="",
        kl=0.7,
        n=2,
        given_up=0.0,
        population_regime="undefined",
        population_shift=math.nan,
    )
    assert read_group(group) == "positive: as far from the behavior as greedy"
