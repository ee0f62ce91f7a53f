"""The shift and the temperature at which a group changes its regime: both sides, other root finders, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pessimism as ps
from pessimism.diagnosis.diagnose import diagnose
from pessimism.diagnosis.thresholds import critical_temperature, lowering_helps
from tests.pessimism.diagnosis.logs import TRL, log_of, random_log

THRESHOLDS = [("constant_baseline", {"beta": 0.3, "value": 0.4}), ("oapl", {"beta1": 0.2, "beta2": 0.5})]


@pytest.mark.parametrize(("name", "hyper"), THRESHOLDS)
def test_the_critical_shift_is_the_boundary(name: str, hyper: dict[str, float]) -> None:
    report = diagnose(random_log(2), name, **hyper)
    negative = report[report["regime"] == "negative"]
    assert len(negative) > 3
    assert (report["critical_shift"][report["regime"] != "negative"] == 0.0).all()
    for _, row in negative.iterrows():
        group = random_log(2).query("prompt == @row.prompt")
        beta = hyper.get("beta", hyper.get("beta2", math.nan))
        for slack, regime in ((1 - 1e-6, "negative"), (1 + 1e-6, "positive")):
            value = row["baseline"] - slack * row["critical_shift"] * beta
            assert diagnose(group, "constant_baseline", beta=beta, value=float(value))["regime"].item() == regime


def test_the_critical_beta_is_the_boundary() -> None:
    log = random_log(3)
    report = diagnose(log, "constant_baseline", beta=1.0, value=0.3)
    finite = report[np.isfinite(report["critical_beta"]) & (report["critical_beta"] > 0)]
    assert len(finite) > 3
    for _, row in finite.iterrows():
        group = log.query("prompt == @row.prompt")
        for slack, regime in ((1 - 1e-6, "positive"), (1 + 1e-6, "negative")):
            beta = float(slack * row["critical_beta"])
            assert diagnose(group, "constant_baseline", beta=beta, value=0.3)["regime"].item() == regime
    never, always = report[report["critical_beta"] == 0], report[np.isinf(report["critical_beta"])]
    assert len(never) > 1
    assert len(always) > 1
    for beta in (1e-3, 1e3):
        again = diagnose(log, "constant_baseline", beta=beta, value=0.3)
        assert (again["regime"][never.index] == "negative").all()
        assert (again["regime"][always.index] == "positive").all()


def test_the_critical_beta_of_a_decoupled_optimal_value_is_its_other_temperature() -> None:
    report = diagnose(TRL, "oapl", beta1=0.3, beta2=0.01)
    signal = report[~report["all_equal"]]
    assert signal["critical_beta"].to_numpy() == pytest.approx(0.3, rel=1e-9)


@pytest.mark.parametrize(
    "name", ["shifted_mean", "optimal_value", "nominal", "tba", "rebel", "a_star_po", "asym_re", "awr"]
)
def test_no_critical_beta_where_the_temperature_alone_does_not_decide(name: str) -> None:
    assert diagnose(log_of([0.0, 1.0, 1.0]), name)["critical_beta"].isna().all()


@pytest.mark.parametrize(
    ("advantage", "beta"),
    [
        ([1.0, -1.0], math.inf),  # E[A] = 0
        ([0.1, 0.2, -0.3], math.inf),  # E[A] = 0 up to rounding
        ([1.0, 2.0], math.inf),
        ([1.0, 1.0], math.inf),
        ([0.0, -1.0], 0.0),
        ([0.0, 0.0], 0.0),
        ([-1.0, -2.0], 0.0),
        ([1.0, -1000.0], 1 / math.log(2)),
        ([1e-9, -1.0], 1e-9 / math.log(2)),
        ([1e6, -1e9], 1e6 / math.log(2)),
    ],
)
def test_critical_temperature_by_hand(advantage: list[float], beta: float) -> None:
    a = np.array([advantage])
    for padding in (0, 3):  # actions that nobody takes
        rows = np.pad(a, ((0, 0), (0, padding)), mode="edge")
        behavior = np.pad(np.full_like(a, 1 / a.size), ((0, 0), (0, padding)))
        found = critical_temperature(behavior, rows, 1e-15 * np.abs(a).max(axis=-1))
        assert found == pytest.approx([beta], rel=1e-12)


@given(st.lists(st.floats(-10, 10).map(lambda x: round(x, 3)), min_size=2, max_size=12))
def test_critical_temperature_is_the_root(advantage: list[float]) -> None:
    a = np.array([advantage])
    beta = critical_temperature(np.full_like(a, 1 / a.size), a, 1e-14 * np.abs(a).max(axis=-1))[0]
    assert beta >= 0
    if 0 < beta < math.inf:
        assert a.mean() < 0 < a.max()
        below, above = (np.log(np.mean(np.exp(a / (beta * slack)))) for slack in (1 - 1e-7, 1 + 1e-7))
        assert below > above
        assert np.log(np.mean(np.exp(a / beta))) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    ("objective", "helps"),
    [
        (ps.OptimalValue(beta=1e-4), True),  # its own formula would be the nominal target, whatever the shift
        (ps.Kimi(beta=1.0), False),  # all are kept already
        (ps.AsymRE(shift=0.2), True),
        (ps.Nominal(beta=1e-4), False),  # a constant cancels
    ],
    ids=str,
)
def test_a_lower_baseline_is_solved_with_the_lower_advantage(objective: ps.Objective, helps: bool) -> None:
    logged = ps.diagnose(log_of([0.2, 0.5, 0.9]), objective).logged
    assert logged is not None
    assert lowering_helps(logged, 0, objective) == helps
    kept = ps.induced_target(None, [0.2, 0.5, 0.9], objective, unseen=True).policy > 0
    assert kept.all() == (objective == ps.Kimi(beta=1.0))
