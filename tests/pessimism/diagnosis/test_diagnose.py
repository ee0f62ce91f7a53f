"""Diagnosis of rollout logs: the numbers of a group by hand, batches as loops, thresholds on both sides, summaries."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq

from pessimism.baselines import optimal_value
from pessimism.diagnosis.diagnose import COLUMNS, describe, diagnose
from pessimism.diagnosis.summary import summarize
from pessimism.diagnosis.thresholds import critical_temperature
from pessimism.diagnosis.wording import read_group, read_positive
from pessimism.dynamics.gradient_flow import gradient_flow
from pessimism.groups.design import smallest_beta1, smallest_shift
from pessimism.groups.finite_group import finite_group
from pessimism.losses.registry import ConstantBaseline, Kimi, ShiftedMean, make_objective, objectives
from pessimism.rollouts.read import read_rollouts
from pessimism.target.induced import induced_target
from pessimism.target.result import stack

EXAMPLES = Path(__file__).parents[3] / "examples"
TRL = EXAMPLES / "trl_completions"
MIXED = ("step", "prompt", "regime", "status", "population_regime", "reading")  # columns that are not numbers


def log_of(*groups: list[float], step: int = 0) -> pd.DataFrame:
    """One prompt p0, p1, ... per list of rewards."""
    return pd.DataFrame(
        [(step, f"p{i}", r) for i, g in enumerate(groups) for r in g], columns=["step", "prompt", "reward"]
    )


def random_log(seed: int = 0, groups: int = 40) -> pd.DataFrame:
    """Groups of mixed sizes, rows of different groups interleaved."""
    rng = np.random.default_rng(seed)
    drawn = [np.round(rng.normal(size=rng.integers(1, 9)), int(rng.integers(0, 3))).tolist() for _ in range(groups)]
    return log_of(*drawn).sample(frac=1.0, random_state=seed, ignore_index=True)


def test_a_binary_group_by_hand() -> None:
    """Theory for binary rewards: p w+ + (1-p) w- = 1, log w + kappa w = A/beta, kappa = E[A]/beta + KL(mu||pi)."""
    beta, p = 0.5, 0.25
    row = diagnose(log_of([1.0, 0.0, 0.0, 0.0]), "kimi", beta=beta).iloc[0]

    def excess(log_up: float) -> float:
        up = math.exp(log_up)
        down = (1 - p * up) / (1 - p)
        return log_up - math.log(down) + kappa_of(up, down) * (up - down) - 1 / beta

    def kappa_of(up: float, down: float) -> float:
        return -p * math.log(up) - (1 - p) * math.log(down)  # KL(mu||pi); the mean baseline has E[A] = 0

    up = math.exp(brentq(excess, 0.0, math.log(1 / p) - 1e-12, xtol=1e-15))
    down = (1 - p * up) / (1 - p)
    assert row["n"] == 4
    assert row["reward_mean"] == row["baseline"] == p
    assert row["regime"] == "positive"
    assert row["status"] == "converged"
    assert row["kappa"] == pytest.approx(kappa_of(up, down), rel=1e-12)
    assert row["Z"] == pytest.approx(p * math.exp(0.75 / beta) + (1 - p) * math.exp(-0.25 / beta), rel=1e-12)
    assert row["max_ratio"] == pytest.approx(up, rel=1e-12)
    assert row["kl"] == pytest.approx(p * up * math.log(up) + (1 - p) * down * math.log(down), rel=1e-11)
    assert row["effective_temperature"] == pytest.approx(1 / math.log(up / down), rel=1e-9)
    assert row["pessimism_factor"] == pytest.approx(row["effective_temperature"] / beta, rel=1e-15)
    assert row["leak"] == row["critical_shift"] == 0.0
    assert row["critical_beta"] == math.inf
    assert not row["all_equal"]
    assert row["reading"] == "positive: more conservative than nominal, as if at 1.32 times the temperature (0.659)"


def test_a_negative_group_by_hand() -> None:
    """Mass leaks: u = A/beta on the seen completions, and 1 - Z goes to unseen ones."""
    row = diagnose(log_of([1.0, 0.0]), "constant_baseline", beta=1.0, value=0.8).iloc[0]
    z = (math.exp(0.2) + math.exp(-0.8)) / 2
    assert row["regime"] == "negative"
    assert row["kappa"] == 0.0
    assert row["Z"] == pytest.approx(z, rel=1e-15)
    assert row["leak"] == pytest.approx(1 - z, rel=1e-12)
    assert row["critical_shift"] == pytest.approx(-math.log(z), rel=1e-12)
    assert row["reading"] == (
        f"negative: {1 - z:.1%} of the mass leaks to unseen completions; lowering the baseline by more than 0.18 "
        "times the temperature prevents it"
    )


def test_columns_and_attributes() -> None:
    report = diagnose(TRL, "shifted_mean", beta=0.1)
    assert tuple(report.columns) == COLUMNS
    assert len(report) == 192
    assert report["all_equal"].dtype == bool
    assert all(
        np.issubdtype(report[name].to_numpy().dtype, np.number) for name in COLUMNS if name not in (*MIXED, "all_equal")
    )
    assert report.attrs["objective"] == "shifted_mean(beta=0.1, shift=1.0)"
    assert (report.attrs["rows"], report.attrs["skipped"], len(report.attrs["files"])) == (3072, 0, 3)
    assert report.index.tolist() == list(range(192))


def test_distances_of_the_nominal_target() -> None:
    """0/1 rewards, q = 1/4 right: the nominal target is q e^(1/beta) / Z where right."""
    row = diagnose(log_of([1.0, 0.0, 0.0, 0.0]), "kimi", beta=0.5).iloc[0]
    nominal = math.exp(2) / (math.exp(2) + 3)
    assert row["nominal_kl"] == pytest.approx(
        nominal * math.log(4 * nominal) + (1 - nominal) * math.log(4 / 3 * (1 - nominal)), rel=1e-12
    )
    assert row["tv_nominal"] == pytest.approx(nominal - row["max_ratio"] / 4, rel=1e-12)
    boundary = diagnose(log_of([1.0, 0.0]), "optimal_value", beta=0.5).iloc[0]
    assert boundary["tv_nominal"] == pytest.approx(0.0, abs=1e-15)
    assert boundary["nominal_kl"] == pytest.approx(boundary["kl"], rel=1e-12)
    lost = diagnose(log_of([0.0, 0.0]), "constant_baseline", beta=1.0, value=1.0).iloc[0]
    assert lost["tv_nominal"] == pytest.approx(lost["leak"])  # what leaked is not in the nominal target
    assert lost["nominal_kl"] == 0.0


def test_groups_that_leak_have_no_effective_temperature() -> None:
    report = diagnose(log_of([1.0, 0.0], [1.0, 0.0, 0.0, 0.0]), "constant_baseline", beta=1.0, value=0.55)
    assert report["regime"].tolist() == ["positive", "negative"]
    for name in ("effective_temperature", "pessimism_factor"):
        assert report[name].isna().tolist() == [False, True]
        assert summarize(report)[f"median_{name}"] == report[name][0]


def test_the_identity_of_kappa_on_real_logs() -> None:
    """kappa = shift + KL(mu||pi) >= shift, and a larger shift is more conservative, group by group."""
    reports = [diagnose(TRL, "shifted_mean", beta=0.1, shift=shift) for shift in (0.0, 1.0, 4.0)]
    for report, shift in zip(reports, (0.0, 1.0, 4.0), strict=True):
        assert (report["kappa"] >= shift).all()
        assert (report["baseline"] - (report["reward_mean"] - shift * 0.1)).abs().max() < 1e-15
    for less, more in pairwise(reports):
        signal = ~less["all_equal"]
        assert (more["kl"] < less["kl"])[signal].all()
        assert (more["pessimism_factor"] > less["pessimism_factor"])[signal].all()


@pytest.mark.parametrize("name", ["kimi", "optimal_value", "asym_re", "std_normalized", "constant_baseline"])
def test_mixed_group_sizes_equal_a_loop_over_groups(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    log = random_log()
    hyper = {} if name == "asym_re" else {"beta": 0.7}
    report = diagnose(log, name, **hyper)
    one_by_one = [diagnose(log[log["prompt"] == prompt], name, **hyper) for prompt in report["prompt"]]
    loop = pd.concat(one_by_one, ignore_index=True)
    pd.testing.assert_frame_equal(report, loop, rtol=1e-10, check_exact=False)
    for setting, value in ("_CHUNK", 8), ("_WIDENING", 100):  # groups one at a time, and all of them padded to one size
        monkeypatch.setattr(sys.modules["pessimism.diagnosis.diagnose"], setting, value)
        pd.testing.assert_frame_equal(report, diagnose(log, name, **hyper), rtol=1e-10, check_exact=False)
        monkeypatch.undo()


@pytest.mark.parametrize("name", ["kimi", "oapl", "constant_baseline", "asym_re", "rebel", "awr"])
def test_stacked_targets_measure_like_the_targets(name: str) -> None:
    rng = np.random.default_rng(4)
    made = make_objective(name, **({"value": 0.2, "beta": 0.3} if name == "constant_baseline" else {}))
    rewards = [np.round(rng.normal(size=(3, n)), 1) for n in (1, 2, 7, 5)]
    targets = [induced_target(None, same, made, unseen=True) for same in rewards]
    whole, apart = stack(targets), pd.concat([t.conservatism() for t in targets], ignore_index=True)
    assert whole.policy.shape == (12, 7)
    assert (whole.policy[whole.behavior == 0] == 0).all()
    assert (whole.reward.max(axis=-1) == np.concatenate([same.max(axis=-1) for same in rewards])).all()
    pd.testing.assert_frame_equal(whole.conservatism(), apart, rtol=1e-9, atol=1e-14, check_exact=False)


def test_sorted_by_step_then_first_appearance() -> None:
    rows = [(2, "b", 1.0), (1, "c", 0.0), (2, "a", 1.0), (1, "a", 1.0), (2, "b", 0.0), (1, "b", 0.5)]
    report = diagnose(pd.DataFrame(rows, columns=["step", "prompt", "reward"]), "kimi", beta=1.0)
    assert list(zip(report["step"], report["prompt"], report["n"], strict=True)) == [
        (1, "b", 1), (1, "c", 1), (1, "a", 1), (2, "b", 2), (2, "a", 1),
    ]  # fmt: skip


def test_order_of_completions_does_not_matter() -> None:
    log = random_log(1)
    shuffled = log.sample(frac=1.0, random_state=5)
    a, b = (diagnose(x, "shifted_mean", beta=0.3).sort_values("prompt", ignore_index=True) for x in (log, shuffled))
    pd.testing.assert_frame_equal(a, b, rtol=1e-10, check_exact=False)


def test_groups_without_a_signal() -> None:
    log = log_of([1.0, 1.0, 1.0], [0.1, 0.1, 0.1], [0.0], [0.0, 1.0])
    for name in ("kimi", "shifted_mean", "optimal_value", "oapl", "std_normalized", "nominal"):
        report = diagnose(log, name)
        assert report["all_equal"].tolist() == [True, True, True, False]
        equal = report[:3]
        assert equal["effective_temperature"].isna().all()
        assert equal["pessimism_factor"].isna().all()
        assert (equal["max_ratio"] == 1.0).all()
        assert (equal["kl"] == 0.0).all()
        assert equal["reading"].str.startswith("no signal").all()
    lost = diagnose(log_of([0.0, 0.0]), "constant_baseline", beta=1.0, value=1.0).iloc[0]
    assert lost["leak"] == pytest.approx(1 - math.exp(-1))  # no signal, and yet mass leaves
    assert lost["reading"] == (
        "negative: 63.2% of the mass leaks to unseen completions (all rewards are equal, and below the baseline); "
        "lowering the baseline by more than 1 times the temperature prevents it"
    )


def test_published_oapl_near_the_greedy_policy_keeps_its_factor() -> None:
    """For 0/1 rewards and beta2 -> 0, log w is -log p where right and -V*/beta2 where wrong: a factor of about 1/V*."""
    report = diagnose(TRL, "oapl")
    signal = report[~report["all_equal"]]
    p, v, beta2 = signal["reward_mean"], np.log1p(signal["reward_mean"] * math.expm1(1.0)), 1e-3
    assert signal["pessimism_factor"].to_numpy() == pytest.approx((1 / (v - beta2 * np.log(p))).to_numpy(), rel=1e-9)
    half = signal[p == 0.5]
    assert half["reading"].unique().tolist() == [
        "positive: 1.61 times the temperature on paper, but within 1e-3 (total variation) of the nominal target: both "
        "are nearly greedy"
    ]


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


def test_advice_where_the_loss_has_no_target_or_gives_up_completions() -> None:
    def advice(**hyper: float) -> str:
        return str(summarize(diagnose(TRL, "asym_re", **hyper))["recommendation"]["text"])

    status = [summarize(diagnose(TRL, "asym_re", shift=shift))["status"] for shift in (-0.1, -0.5, -1.0)]
    assert status[0]["converged"] < status[1]["converged"] < status[2]["converged"] == 192
    assert advice() == (
        "190 of 190 groups with a signal are in the positive regime, but in 184 the target gives up some of the "
        "completions seen: lower the baseline to keep more."
    )
    assert advice(shift=0.0) == ("The loss has no minimum on 190 of 190 groups with a signal: try a lower baseline.")


@pytest.mark.parametrize("name", ["ppo", "dapo", "dr_grpo", "gspo"])
def test_many_optimal_policies_are_not_the_nominal_target(name: str) -> None:
    report = diagnose(log_of([1.0, 0.0], [1.0, 0.0, 0.0, 0.0]), name)
    assert (report["status"] == "set_valued").all()
    for kl, reading in zip(report["kl"], report["reading"], strict=True):
        assert reading == f"boundary: many policies are optimal; the nearest is KL {kl:.3g} from the behavior"
    assert summarize(report)["recommendation"]["text"] == (
        f"In 2 of 2 groups with a signal many policies are optimal; the nearest is KL {report['kl'].median():.3g} from "
        "the behavior (median): no shift can be recommended."
    )


GIVING_UP = ("cispo", "reinforce", "opo", "pevi", "async_dpo", "asym_re", "topr", "chi2", "log_smoothing")


@pytest.mark.parametrize("name", GIVING_UP)
def test_what_every_optimal_policy_gives_up_is_counted(name: str) -> None:
    """The flow of the logits from the behavior empties exactly the completions counted."""
    groups = [1.0, 1.0, 0.0, 0.0], [1.0, 0.4, 0.0, 0.0, 0.0], [1.0, 1.0]
    report = diagnose(log_of(*groups), name)
    for rewards, count in zip(groups, report["given_up"], strict=True):
        flow = gradient_flow(np.full(len(rewards), 1 / len(rewards)), rewards, name, horizon=1e9)
        assert (flow.policy < 1e-3).sum() == count
    several = report["status"] == "set_valued"
    assert several[0] == (name in GIVING_UP[:5])
    assert (report["reading"][several & (report["given_up"] > 0)].str.contains("all of them giving up some of")).all()
    summary = summarize(report)
    assert summary["giving_up"] == 2
    assert "in 2 the target gives up some of the completions seen" in summary["recommendation"]["text"].lower()


def test_without_a_target_nothing_is_counted_as_given_up() -> None:
    report = diagnose(log_of([1.0, 0.0], [1.0, 1.0]), "asym_re", shift=0.1)
    assert report["given_up"].isna().tolist() == [True, True]
    assert summarize(report)["giving_up"] == 0
    assert diagnose(log_of([1.0, 0.0]), "kimi", beta=1e-3)["given_up"].item() == 0  # rare is not none


@pytest.mark.parametrize("name", ["tpo", "ipo", "divergence_augmented"])
def test_the_boundary_is_nominal_only_where_the_target_is(name: str) -> None:
    report = diagnose(log_of([1.0, 0.0], [1.0, 0.0, 0.0, 0.0]), name)
    assert (report["regime"] == "boundary").all()
    assert (report["tv_nominal"] > 1e-3).all()
    assert report["reading"].str.match("boundary: (more|less) conservative than nominal, as if at ").all()
    assert "in 0 of 2 the target is within 1e-3" in summarize(report)["recommendation"]["text"]


def unsolved(report: pd.DataFrame, *rows: int) -> pd.DataFrame:
    """The report as it is where the solver fails on some groups."""
    report.loc[list(rows), "status"] = "not_converged"
    report.loc[list(rows), "regime"] = "negative"
    report.loc[list(rows), ["leak", "kl", "tv_nominal", "critical_shift"]] = math.nan
    return report


def test_groups_without_a_solution_are_counted_first_and_left_out() -> None:
    log = log_of(*[[0.0, 1.0]] * 3, [0.0, 0.0])
    summary = summarize(unsolved(diagnose(log, "kimi"), 1))
    assert summary["share"] == pytest.approx({"positive": 2 / 3, "boundary": 1 / 3, "negative": 0.0})
    assert (summary["share_of"], summary["population_share_of"], summary["groups"]) == (3, 4, 4)
    assert summary["status"] == {"converged": 3, "not_converged": 1}
    assert summary["informative"] == 3
    assert summary["recommendation"]["text"].startswith(
        "1 of 3 groups with a signal has no solution: the solver did not converge. Of the others: 2 of 2 groups with "
        "a signal are in the positive regime: nothing needs to change."
    )
    nothing = summarize(unsolved(diagnose(log, "kimi"), 0, 1, 2, 3))
    assert set(nothing["share"].values()) == {None}
    assert nothing["share_of"] == 0
    assert nothing["recommendation"]["text"] == (
        "3 of 3 groups with a signal have no solution: the solver did not converge."
    )
    json.dumps(nothing, allow_nan=False)


def test_the_solver_says_where_it_failed() -> None:
    report = diagnose(TRL, "grpo")
    failed = report["status"] == "not_converged"
    if failed.any():
        assert (report["reading"][failed] == "no solution: the solver did not converge").all()
    text = summarize(report)["recommendation"]["text"]
    assert ("have no solution" in text) == bool(failed.sum() > 1)
    assert "leak" not in text


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
    assert not report.attrs["lowering_helps"]


@pytest.mark.parametrize("shift", [-0.1, 0.5])
def test_a_lower_baseline_is_advised_where_it_helps(shift: float) -> None:
    assert diagnose(log_of([0.2, 0.5, 0.9]), "asym_re", shift=shift).attrs["lowering_helps"]
    assert not diagnose(log_of([0.2, 0.5, 0.9]), "asym_re", shift=-2.0).attrs["lowering_helps"]  # nothing is given up


def test_the_temperature_zero_is_called_greedy() -> None:
    reading = diagnose(log_of([1.0] * 3 + [0.0]), "reinforce")["reading"].item()
    assert reading.endswith("from the behavior, as far as greedy")
    said = read_group(
        "positive", "converged", False, 0.0, 0.0, 0.0, math.nan, 0.1, "", 0.7, 2, 0.0, "undefined", math.nan
    )
    assert said == "positive: as far from the behavior as greedy"


def test_z_overflows_to_infinity_quietly() -> None:
    report = diagnose(log_of([1.0, 0.0]), "constant_baseline", beta=1e-3, value=-1.0)
    assert report.loc[0, "Z"] == math.inf
    assert report.loc[0, "regime"] == "positive"
    summary = json.dumps(summarize(report), allow_nan=False)
    assert "constant_baseline" in summary


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


def test_every_objective_runs_on_real_logs_quietly() -> None:
    for name in objectives():
        report = diagnose(EXAMPLES / "verl_rollouts", name)
        assert len(report) == 64
        assert report["regime"].isin(["positive", "boundary", "negative"]).all(), name
        assert (report["reading"].str.len() > 5).all()
        json.dumps(summarize(report), allow_nan=False)


def test_an_objective_without_a_temperature() -> None:
    report = diagnose(log_of([1.0, 0.0, 0.5], [0.0, 1.0]), "asym_re")
    for name in ("Z", "nominal_kl", "tv_nominal", "pessimism_factor", "critical_shift", "critical_beta"):
        assert report[name].isna().all()
    summary = summarize(report)
    assert summary["median_pessimism_factor"] is None
    assert summary["recommendation"]["extra_shift"] is None


def test_the_baseline_of_a_nominal_objective_decides_nothing() -> None:
    recommendation = summarize(diagnose(TRL, "nominal"))["recommendation"]
    assert recommendation["extra_shift"] is None
    assert recommendation["largest_beta"] is None
    assert "a higher temperature makes it more conservative" in recommendation["text"]


@dataclasses.dataclass(frozen=True)
class Mine:
    """A user's own squared regression on half the mean."""

    beta: float = 0.5
    temperature_field = "beta"

    def advantage(self, reward: Any, weights: Any = None) -> Any:
        return reward - 0.5 * reward.mean(axis=-1, keepdims=True)

    def score_weight(self, log_ratio: Any, advantage: Any, weights: Any = None) -> Any:
        return 2 * self.beta * (advantage - self.beta * log_ratio)

    def loss(self, log_ratio: Any, advantage: Any, weights: Any = None) -> Any:
        return (self.beta * log_ratio - advantage) ** 2


def test_an_objective_of_the_users_own() -> None:
    log = log_of([1.0, 0.0, 1.0, 0.0])
    mine, same = diagnose(log, Mine()), diagnose(log, "constant_baseline", beta=0.5, value=0.25)
    # In the population the two differ: the mean of new groups moves, a constant does not.
    numbers = [name for name in COLUMNS if name not in MIXED and not name.startswith("population")]
    pd.testing.assert_frame_equal(mine[numbers], same[numbers], rtol=1e-6, check_exact=False)
    assert mine["critical_beta"].item() == math.inf


def test_objectives_are_checked_before_the_log_is_read(tmp_path: Path) -> None:
    for objective, hyper, what in (
        ("kimmy", {}, "unknown objective"),
        ("kimi", {"beta": -1.0}, "beta must be > 0"),
        ("kimi", {"betta": 1.0}, "no hyper-parameter 'betta'"),
        (Kimi(beta=0.1), {"beta": 1.0}, "hyper-parameters"),
    ):
        with pytest.raises(ValueError, match=what):
            diagnose(tmp_path / "nothing.csv", objective, **hyper)
    with pytest.raises(ValueError, match="no such file"):
        diagnose(tmp_path / "nothing.csv", Kimi(beta=0.1))


def test_reading_options_and_skipped_lines(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("t,question,points\n1,a,1\n1,a,oops\n1,a,0\n1,b\n2,a,1\n")
    options = {"prompt_column": "question", "reward_column": "points", "step_column": "t"}
    with pytest.raises(ValueError, match=r"log\.csv:3: points is 'oops', not a number"):
        diagnose(path, "kimi", **options)
    report = diagnose(path, "kimi", skip_bad=True, **options)
    assert report["n"].tolist() == [2, 1]
    assert (report.attrs["rows"], report.attrs["skipped"]) == (3, 2)
    summary = summarize(report)
    assert (summary["groups"], summary["rows"], summary["skipped"]) == (2, 3, 2)
    read = read_rollouts(path, skip_bad=True, **options)
    assert diagnose(read, "kimi").attrs["skipped"] == 2  # what reading left out is not forgotten


def test_a_frame_gives_what_its_file_gives_and_is_left_alone() -> None:
    log = pd.read_json(EXAMPLES / "verl_rollouts" / "32.jsonl", lines=True)
    before = log.copy()
    report = diagnose(log, "oapl", beta1=0.5)
    pd.testing.assert_frame_equal(log, before)
    pd.testing.assert_frame_equal(report, diagnose(EXAMPLES / "verl_rollouts", "oapl", beta1=0.5))


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from("abc"), st.sampled_from([0.0, 1.0, 0.5, math.nan])), min_size=1
    )
)
def test_no_row_is_lost(rows: list[tuple[int, str, float]]) -> None:
    log = pd.DataFrame(rows, columns=["step", "prompt", "reward"])
    if log["reward"].isna().all():
        with pytest.raises(ValueError, match="no usable row"):
            diagnose(log, "kimi", skip_bad=True)
        return
    report = diagnose(log, "kimi", skip_bad=True)
    assert report["n"].sum() == len(rows) - report.attrs["skipped"]
    assert report.attrs["skipped"] == log["reward"].isna().sum()


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
    assert ("groups with a signal are in the positive regime" in advice["text"]) == (positive(0.5, 0.6) >= share)
    assert "nothing needs to change" not in advice["text"]


def test_less_conservative_than_nominal_is_said() -> None:
    report = diagnose(TRL, "std_normalized")
    assert (report["pessimism_factor"] < 1).sum() == 63
    text = summarize(report)["recommendation"]["text"]
    assert text.startswith(
        "190 of 190 groups with a signal are in the positive regime, but 63 are less conservative than nominal, with "
        "an effective temperature below the stated one."
    )


def test_equal_rewards_below_the_baseline_are_a_signal() -> None:
    report = diagnose(log_of([0.0, 0.0], [1.0, 1.0], [0.0, 1.0]), "constant_baseline", beta=0.5, value=0.5)
    assert report["regime"].tolist() == ["negative", "positive", "positive"]
    summary = summarize(report)
    assert (summary["all_equal"], summary["informative"]) == (2, 2)
    assert summary["recommendation"]["extra_shift"] == pytest.approx(1.0)
    assert summary["recommendation"]["text"].startswith("Lower the baseline by more than 1 times the temperature")
    alone = summarize(report[:1])["recommendation"]
    assert "bring at least 90% of the groups" in alone["text"]
    assert alone["largest_beta"] == 0.0


def test_groups_that_stay_negative_are_said() -> None:
    report = diagnose(
        log_of(*[[0.0, 1.0]] * 18, [0.0, 0.0], [0.0] * 9 + [1.0]), "constant_baseline", beta=1.0, value=0.5
    )
    assert (report["regime"] == "negative").sum() == 2
    text = summarize(report)["recommendation"]["text"]
    leak = report["leak"].max()
    assert text.startswith("18 of 20 groups with a signal are in the positive regime, but 2 are negative still, ")
    assert f"with a leak of up to {leak:.1%}." in text


def test_practically_the_nominal_target_is_said_for_the_whole_log() -> None:
    said = "In 190 of 190 groups with a signal the target is within 1e-3 (total variation) of the nominal target"
    assert said in summarize(diagnose(TRL, "oapl"))["recommendation"]["text"]
    for name, hyper in (("kimi", {"beta": 0.5}), ("optimal_value", {}), ("asym_re", {})):
        assert "total variation" not in summarize(diagnose(TRL, name, **hyper))["recommendation"]["text"]


def test_infinity_and_undefined_differ_in_a_summary() -> None:
    always = summarize(diagnose(TRL, "kimi"))["recommendation"]
    unknown = summarize(diagnose(TRL, "shifted_mean"))["recommendation"]
    assert (always["largest_beta"], unknown["largest_beta"]) == (sys.float_info.max, None)


def test_merged_steps_reach_the_summary() -> None:
    log = pd.DataFrame({"prompt": ["a", "a"], "reward": [1.0, 0.0], "epoch": [1, 2]})
    note = "no step column: all rows are one step (column 'epoch' looks like one: step_column, or --step-column epoch)"
    assert summarize(diagnose(log, "kimi"))["step_note"] == note
    assert diagnose(read_rollouts(log), "kimi").attrs["step_note"] == note
    assert summarize(diagnose(log, "kimi", step_column="epoch"))["step_note"] is None


def test_an_object_without_words_is_named_by_its_class() -> None:
    class Quiet:
        advantage, score_weight, loss = ShiftedMean().advantage, ShiftedMean().score_weight, ShiftedMean().loss

    class Loud(Quiet):
        def __str__(self) -> str:
            return "loud(2)"

    assert describe(Quiet()) == "Quiet"
    assert describe(Loud()) == "loud(2)"
    assert describe(Kimi(beta=0.5)) == "kimi(beta=0.5)"
    assert summarize(diagnose(log_of([0.0, 1.0]), Mine()))["objective"] == "Mine(beta=0.5)"


def test_bounds_in_texts_are_rounded_to_the_safe_side() -> None:
    report = diagnose(log_of([1.0, 0.0]), "constant_baseline", beta=1.0, value=0.8)
    advice = summarize(report)["recommendation"]
    words = advice["text"].replace(",", "").split()
    assert advice["extra_shift"] <= float(words[words.index("than") + 1]) < advice["extra_shift"] * 1.01
    assert advice["largest_beta"] * 0.99 < float(words[words.index("below") + 1]) <= advice["largest_beta"]


def test_the_boundary_needs_any_shift() -> None:
    """A shift of 0 is enough where groups are at the boundary in both readings: a group of one, a constant at V*."""
    advice = summarize(diagnose(log_of([0.5], [0.5]), "constant_baseline", beta=0.1, value=0.5))["recommendation"]
    assert advice["text"].startswith("No group has a signal")
    value = float(optimal_value(np.array([1.0, 0.0]), 0.1))
    advice = summarize(diagnose(log_of([1.0, 0.0]), "constant_baseline", beta=0.1, value=value))["recommendation"]
    assert advice["extra_shift"] == 0.0
    assert advice["text"].startswith("1 of 1 groups with a signal are at the boundary")
    assert "any shift above 0 makes them positive" in advice["text"]
    assert summarize(diagnose(TRL, "constant_baseline", beta=0.1, value=-1.0))["share"]["positive"] == 1.0


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
    assert report["reading"][8].endswith(
        "; in the population, over new groups of 16: negative, a shift by more than 0.0324 times the temperature "
        "prevents it"
    )
    summary = summarize(report)
    assert summary["share"]["boundary"] == 1.0
    assert summary["population_share"]["negative"] == 15 / 17
    advice = summary["recommendation"]
    assert advice["extra_shift"] == pytest.approx(np.sort(shift[1:-1])[13])
    assert advice["smallest_beta1"] is None
    assert advice["text"].endswith(
        "In-sample 15 of them are not negative, but in the population, over new groups of the same size, they are."
    )


def test_the_recommended_beta1_is_enough_and_least() -> None:
    log = log_of(*([1.0] * k + [0.0] * (8 - k) for k in range(1, 8)))
    report = diagnose(log, "oapl", beta1=0.1, beta2=0.1)
    least = smallest_beta1(0.1, 8, np.arange(1, 8) / 8)
    assert report["population_beta1"].to_numpy() == pytest.approx(least, rel=1e-12)
    advice = summarize(report, share=1.0)["recommendation"]
    assert advice["smallest_beta1"] == pytest.approx(least.max())
    assert " or use beta2 below " in advice["text"]
    assert " or beta1 above " in advice["text"]
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
    text = summarize(report)["recommendation"]["text"]
    assert text.startswith(
        "177 of 190 groups with a signal are in the positive regime, but 13 are not known to be so in the population, "
        "over new groups of the same size."
    )


@pytest.mark.parametrize("name", ["awr", "tba", "a_star_po"])
def test_no_population_reading_without_an_expected_advantage(name: str) -> None:
    report = diagnose(log_of([1.0, 0.0, 0.0], [0.2, 0.5, 0.7]), name)
    assert (report["population_regime"] == "undefined").all()
    numbers = [c for c in COLUMNS if c.startswith("population") and c != "population_regime"]
    assert report[numbers].isna().all(axis=None)
    assert summarize(report)["population_share"]["undefined"] == 1.0


def test_a_summary_without_a_signal() -> None:
    summary = summarize(diagnose(log_of([1.0, 1.0], [0.0]), ShiftedMean(beta=0.1)))
    assert summary["recommendation"]["extra_shift"] is None
    assert summary["median_pessimism_factor"] is None
    assert summary["recommendation"]["text"].startswith("No group has a signal")
    json.dumps(summary, allow_nan=False)


def test_summary_errors() -> None:
    report = diagnose(log_of([1.0, 0.0]), "kimi")
    for share in (0.0, 1.5, math.nan):
        with pytest.raises(ValueError, match=r"share must be in \(0, 1\]"):
            summarize(report, share=share)
    with pytest.raises(ValueError, match="no column regime"):
        summarize(report.drop(columns="regime"))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("ppo", "not affine in the advantage"),
        ("awr", "not affine in the advantage"),
        ("rebel", "couples the log-ratios of a group"),
        ("rloo", "its groups follow the policy itself"),
        ("pevi", "needs the probability of each completion"),
        ("kimi", None),
        ("oapl", None),
    ],
)
def test_an_undefined_population_has_a_reason(name: str, reason: str | None) -> None:
    report = diagnose(log_of([1.0, 0.0, 0.0], [1.0, 1.0], [0.0, 0.3, 0.7, 1.0]), name)
    note = summarize(report)["population_note"]
    undefined = report["population_regime"] == "undefined"
    assert undefined.any() == (reason is not None) == (note is not None)
    assert reason is None or reason in note
    if reason is not None:
        with pytest.raises(ValueError, match=note):
            finite_group(name, 3, None, [1.0, 0.0, 0.5])


def test_a_completion_that_no_draw_reached_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    for setting in ("_DRAWS", "_FEWEST"):
        monkeypatch.setattr(sys.modules["pessimism.diagnosis.population"], setting, 1)
    report = diagnose(log_of(np.linspace(0.0, 1.0, 40).tolist(), [1.0, 0.0]), "std_normalized")
    assert report["population_regime"].tolist() == ["undefined", "positive"]
    assert str(report.attrs["population_note"]).startswith("some completion was in none of the groups drawn")


def test_no_progress_bar_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    diagnose(TRL, "kimi")
    assert capsys.readouterr() == ("", "")
