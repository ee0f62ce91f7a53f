"""A group's reading in words: what is said in which case."""

from __future__ import annotations

import math
import re

import pytest

from pessimism.diagnosis.diagnose import diagnose
from pessimism.diagnosis.wording import Group, read_group, read_no_signal, read_positive, read_verdict
from tests.helpers import numbers
from tests.pessimism.diagnosis.logs import log_of

# An objective on one group, the regime, and the numbers of its reading: one case of the wording each.
READINGS: dict[str, tuple[str, dict[str, float], list[float], str, list[float]]] = {
    "more conservative": ("kimi", {"beta": 0.1}, [1, 0, 0, 0], "positive", [2.53, 0.253]),
    "nearly greedy": ("kimi", {"beta": 1e-12}, [1, 0], "positive", [2, 1e-3]),
    "nearly the behavior": ("shifted_mean", {"beta": 1e4}, [1, 0], "positive", [2, 1e-3]),
    "units of the advantage": ("std_normalized", {"beta": 1.0}, [1, 0], "positive", [1.16, 0.818]),
    "as conservative": ("constant_baseline", {"beta": 0.1, "value": 0.93}, [1, 0], "positive", [0.5]),
    "within rounding": ("shifted_mean", {"beta": 1e17}, [1, 0], "positive", []),
    "nominal, any shift helps": ("optimal_value", {}, [1, 0], "boundary", [2, 0.347]),
    "nominal": ("nominal", {}, [1, 0], "boundary", []),
    "leak of nearly all": ("constant_baseline", {"value": 1.0}, [0.9, 0.9], "negative", [99.9, 10]),
    "no signal": ("constant_baseline", {"value": 1 - 1e-6}, [1], "positive", []),
    "leak of next to nothing": ("constant_baseline", {"value": 1 + 1e-6}, [1], "negative", [0.1, 0.0001]),
    "gives up completions": ("asym_re", {}, [1, 0], "negative", []),
    "without a temperature": ("asym_re", {"shift": -1.0}, [1, 0], "positive", [0.91]),
    "no target": ("asym_re", {"shift": 0.1}, [1, 0], "negative", []),
    "greedy": ("reinforce", {}, [1, 1, 1, 0], "negative", [0.288]),
}


def read(case: str) -> str:
    name, hyper, rewards, regime, said = READINGS[case]
    row = diagnose(log_of([float(r) for r in rewards]), name, **hyper).iloc[0]
    assert row["regime"] == regime
    assert numbers(row["reading"]) == said
    return str(row["reading"])


def test_every_case_has_words_of_its_own() -> None:
    readings = [read(case) for case in READINGS]
    assert len({re.sub(r"[\d.e-]+", "", reading) for reading in readings}) == len(READINGS)


@pytest.mark.parametrize(("leak", "said"), [(math.nan, []), (0.0, []), (1e-5, [0.1]), (0.25, [25.0]), (0.9999, [99.9])])
def test_the_leak_of_what_stays_negative(leak: float, said: list[float]) -> None:
    assert numbers(read_positive(9, 0, 10, negative=1, leak=leak)) == [9, 10, 1, *said]


@pytest.mark.parametrize("name", ["log_smoothing", "pevi", "chord", "chi2", "luffy", "reinforce"])
def test_no_lower_baseline_is_advised_where_none_acts(name: str) -> None:
    report = diagnose(log_of([0.2, 0.5, 0.9], [1.0, 0.0, 0.0]), name)
    assert "vanishing_support" in report["status"].tolist()
    assert not report.lowering_helps
    assert report.summary["giving_up"] > 0
    assert "lower" not in report.recommendation
    assert "shift" not in report.recommendation.replace("no shift can be recommended", "")


@pytest.mark.parametrize("shift", [-0.1, 0.5])
def test_a_lower_baseline_is_advised_where_it_helps(shift: float) -> None:
    assert diagnose(log_of([0.2, 0.5, 0.9]), "asym_re", shift=shift).lowering_helps
    assert not diagnose(log_of([0.2, 0.5, 0.9]), "asym_re", shift=-2.0).lowering_helps  # nothing is given up


def test_the_temperature_zero_is_called_greedy() -> None:
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
        advantage_factor=0.0,
        only_advantage=math.nan,
    )
    assert numbers(read_group(group)) == []
    assert "greedy" in read_group(group)
    assert "greedy" not in read_group(
        group._replace(effective_temperature=0.5, pessimism_factor=2.0, advantage_factor=2.0)
    )
    assert numbers(
        read_group(group._replace(effective_temperature=0.5, pessimism_factor=2.0, advantage_factor=2.0))
    ) == [2.0, 0.5]


def test_one_group_is_told_as_one() -> None:
    assert read_no_signal(3, 1).endswith("in 3 all rewards are equal, and 1 has a single completion.")
    assert read_no_signal(1, 2).endswith("in 1 all rewards are equal, and 2 have a single completion.")
    verdict = {"word": "too few groups", "words": ["greedy"], "alone": "greedy", "groups": 1, "prompts": 1}
    said = read_verdict(verdict, {"greedy": [1.0, 0.0, 1.0]}, 10)
    told = "too few groups: 1 prompt with a signal, 10 are needed; by that alone it would be greedy"
    assert said == f"{told}. Groups with a signal: greedy 100% [0%, 100%]"
