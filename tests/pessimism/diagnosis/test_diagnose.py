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

from pessimism.diagnosis.diagnose import COLUMNS, diagnose
from pessimism.diagnosis.summary import summarize
from pessimism.dynamics.gradient_flow import gradient_flow
from pessimism.losses.registry import make_objective, objectives
from pessimism.losses.regression import Kimi
from pessimism.rollouts.read import read_rollouts
from pessimism.target.induced import induced_target
from pessimism.target.result import InducedTarget
from tests.helpers import numbers
from tests.pessimism.diagnosis.logs import EXAMPLES, TRL, log_of, random_log

MIXED = (
    "step",
    "prompt",
    "regime",
    "status",
    "population_regime",
    "verdict",
    "reading",
)  # columns that are not numbers


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
    said = [float(f"{row[name]:.3g}") for name in ("pessimism_factor", "effective_temperature")]
    assert numbers(row["reading"]) == said


def test_a_negative_group_by_hand() -> None:
    """Mass leaks: u = A/beta on the seen completions, and 1 - Z goes to unseen ones."""
    row = diagnose(log_of([1.0, 0.0]), "constant_baseline", beta=1.0, value=0.8).iloc[0]
    z = (math.exp(0.2) + math.exp(-0.8)) / 2
    assert row["regime"] == "negative"
    assert math.isnan(row["kappa"])  # what stays is no nominal target
    assert row["Z"] == pytest.approx(z, rel=1e-15)
    assert row["leak"] == pytest.approx(1 - z, rel=1e-12)
    assert row["critical_shift"] == pytest.approx(-math.log(z), rel=1e-12)
    leak, enough = numbers(row["reading"])
    assert leak == round(100 * (1 - z), 1)
    assert row["critical_shift"] <= enough < 1.01 * row["critical_shift"]


def test_columns_and_attributes() -> None:
    report = diagnose(TRL, "shifted_mean", beta=0.1)
    assert tuple(report.columns) == COLUMNS
    assert len(report) == 192
    assert report["all_equal"].dtype == bool
    assert all(
        np.issubdtype(report[name].to_numpy().dtype, np.number) for name in COLUMNS if name not in (*MIXED, "all_equal")
    )
    assert report.objective == "shifted_mean(beta=0.1, shift=1.0)"
    assert (report.rows, report.skipped, len(report.files)) == (3072, 0, 3)
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
        assert (report["kappa"] >= shift - 1e-14).all()
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
    loop = pd.concat([single.frame for single in one_by_one], ignore_index=True)
    report.frame["pass_rate"] = loop["pass_rate"] = np.nan  # which takes the whole log: are there two rewards?
    pd.testing.assert_frame_equal(report.frame, loop, rtol=1e-10, check_exact=False)
    for setting, value in ("_CHUNK", 8), ("_WIDENING", 100):  # groups one at a time, and all of them padded to one size
        monkeypatch.setattr(sys.modules["pessimism.diagnosis.logged_groups"], setting, value)
        again = diagnose(log, name, **hyper).frame.assign(pass_rate=np.nan)
        pd.testing.assert_frame_equal(report.frame, again, rtol=1e-10, check_exact=False)
        monkeypatch.undo()


@pytest.mark.parametrize("name", ["kimi", "oapl", "constant_baseline", "asym_re", "rebel", "awr"])
def test_stacked_targets_measure_like_the_targets(name: str) -> None:
    rng = np.random.default_rng(4)
    made = make_objective(name, **({"value": 0.2, "beta": 0.3} if name == "constant_baseline" else {}))
    rewards = [np.round(rng.normal(size=(3, n)), 1) for n in (1, 2, 7, 5)]
    targets = [induced_target(None, same, made, unseen=True) for same in rewards]
    whole = InducedTarget.concatenate(targets)
    apart = pd.concat([t.conservatism() for t in targets], ignore_index=True)
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
        assert report["all_equal"].tolist() == [True, True, False, False]  # one completion equals no other
        assert report["verdict"][:3].tolist() == ["no signal"] * 3
        equal = report[:3]
        assert equal["effective_temperature"].isna().all()
        assert equal["pessimism_factor"].isna().all()
        np.testing.assert_allclose(equal["max_ratio"], 1.0, rtol=1e-14)
        assert (equal["kl"] <= np.finfo(float).eps ** 2).all()  # log-ratios within the rounding of a ratio
        assert report["reading"].nunique() == 3
        assert equal["reading"].nunique() == 2
    lost = diagnose(log_of([0.0, 0.0]), "constant_baseline", beta=1.0, value=1.0).iloc[0]
    assert lost["leak"] == pytest.approx(1 - math.exp(-1))  # no signal, and yet mass leaves
    assert numbers(lost["reading"]) == [63.2, 1.0]


def test_published_oapl_near_the_greedy_policy_keeps_its_factor() -> None:
    """For 0/1 rewards and beta2 -> 0, log w is -log p where right and -V*/beta2 where wrong: a factor of about 1/V*."""
    report = diagnose(TRL, "oapl")
    signal = report[~report["all_equal"]]
    p, v, beta2 = signal["reward_mean"], np.log1p(signal["reward_mean"] * math.expm1(1.0)), 1e-3
    assert signal["pessimism_factor"].to_numpy() == pytest.approx((1 / (v - beta2 * np.log(p))).to_numpy(), rel=1e-9)
    half = signal[p == 0.5]
    assert (half["tv_nominal"] < 1e-3).all()
    assert half["max_ratio"].to_numpy() == pytest.approx(2.0, rel=1e-3)  # greedy, as the nominal target is
    assert [numbers(reading) for reading in half["reading"].unique()] == [[1.61, 1e-3]]


@pytest.mark.parametrize("name", ["ppo", "dapo", "dr_grpo", "gspo"])
def test_many_optimal_policies_are_not_the_nominal_target(name: str) -> None:
    report = diagnose(log_of([1.0, 0.0], [1.0, 0.0, 0.0, 0.0]), name)
    assert (report["status"] == "set_valued").all()
    for kl, reading in zip(report["kl"], report["reading"], strict=True):
        assert numbers(reading) == [float(f"{kl:.3g}")]
    advice = summarize(report)["recommendation"]
    assert advice["extra_shift"] is None
    assert numbers(advice["text"])[:3] == [2, 2, float(f"{report['kl'].median():.3g}")]


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
    summary = summarize(report)
    assert summary["giving_up"] == 2
    assert 2.0 in numbers(summary["recommendation"]["text"])


def test_without_a_target_nothing_is_counted_as_given_up() -> None:
    report = diagnose(log_of([1.0, 0.0], [1.0, 1.0]), "asym_re", shift=0.1)
    assert report["given_up"].isna().tolist() == [True, True]
    assert summarize(report)["giving_up"] == 0
    assert diagnose(log_of([1.0, 0.0]), "kimi", beta=1e-3)["given_up"].item() == 0  # rare is not none


@pytest.mark.parametrize("name", ["tpo", "divergence_augmented"])
def test_the_boundary_of_what_divides_by_a_spread_is_nominal_in_its_own_unit(name: str) -> None:
    report = diagnose(log_of([1.0, 0.0], [1.0, 0.0, 0.0, 0.0]), name)
    assert (report["regime"] == "boundary").all()
    assert (report["tv_nominal"] < 1e-12).all()
    assert report["advantage_factor"].to_numpy() == pytest.approx(1.0, rel=1e-9)


def test_the_boundary_is_nominal_only_where_the_target_is() -> None:
    report = diagnose(log_of([1.0, 0.0], [1.0, 0.0, 0.0, 0.0]), "ipo")
    assert (report["regime"] == "boundary").all()
    assert (report["tv_nominal"] > 1e-3).all()
    for row in report.itertuples():
        assert numbers(row.reading) == [float(f"{x:.3g}") for x in (row.pessimism_factor, row.effective_temperature)]
    assert numbers(summarize(report)["recommendation"]["text"])[:2] == [0, 2]


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
    assert numbers(summary["recommendation"]["text"])[:4] == [1, 3, 2, 2]
    nothing = summarize(unsolved(diagnose(log, "kimi"), 0, 1, 2, 3))
    assert set(nothing["share"].values()) == {None}
    assert nothing["share_of"] == 0
    assert numbers(nothing["recommendation"]["text"]) == [3, 3]
    json.dumps(nothing, allow_nan=False)


def test_the_solver_says_where_it_failed() -> None:
    report = diagnose(TRL, "grpo")
    failed = report["status"] == "not_converged"
    summary = summarize(report)
    assert summary["status"].get("not_converged", 0) == failed.sum() == len(report) - summary["share_of"]
    assert summary["recommendation"]["extra_shift"] is None


def test_z_overflows_to_infinity_quietly() -> None:
    report = diagnose(log_of([1.0, 0.0]), "constant_baseline", beta=1e-3, value=-1.0)
    assert report.loc[0, "Z"] == math.inf
    assert report.loc[0, "regime"] == "positive"
    summary = json.dumps(summarize(report), allow_nan=False)
    assert "constant_baseline" in summary


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
    summary = summarize(diagnose(TRL, "nominal"))
    assert summary["share"]["boundary"] == 1.0
    assert summary["recommendation"]["extra_shift"] is None
    assert summary["recommendation"]["largest_beta"] is None


@dataclasses.dataclass(frozen=True)
class Mine:
    """A user's own squared regression on half the mean."""

    beta: float = 0.5
    temperature_field = "beta"

    def advantage(self, reward: Any, weights: Any = None) -> Any:
        return reward - 0.5 * np.average(reward, axis=-1, weights=weights, keepdims=True)

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
        (Kimi(beta=0.1), {"beta": 1.0}, "beta is given as a keyword"),
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
    assert (report.rows, report.skipped) == (3, 2)
    summary = summarize(report)
    assert (summary["groups"], summary["rows"], summary["skipped"]) == (2, 3, 2)
    read = read_rollouts(path, skip_bad=True, **options)
    assert diagnose(read, "kimi").skipped == 2  # what reading left out is not forgotten


def test_a_frame_gives_what_its_file_gives_and_is_left_alone() -> None:
    log = pd.read_json(EXAMPLES / "verl_rollouts" / "32.jsonl", lines=True)
    before = log.copy()
    report = diagnose(log, "oapl", beta1=0.5)
    pd.testing.assert_frame_equal(log, before)
    pd.testing.assert_frame_equal(report.frame, diagnose(EXAMPLES / "verl_rollouts", "oapl", beta1=0.5).frame)


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
    assert report["n"].sum() == len(rows) - report.skipped
    assert report.skipped == log["reward"].isna().sum()


def test_an_object_is_named_by_its_own_words() -> None:
    assert summarize(diagnose(log_of([0.0, 1.0]), Mine()))["objective"] == "Mine(beta=0.5)"


def test_no_progress_bar_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    diagnose(TRL, "kimi")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("column", ["length", "tokens"])
def test_lengths_of_the_log_are_those_of_its_completions(column: str) -> None:
    """Each group is solved with its own lengths; without a column, or with a length given, as one length for all."""
    reward, length = [0.0, 1.0, 0.0, 1.0, 1.0], [3.0, 1.0, 2.0, 5.0, 4.0]
    log = pd.DataFrame({"prompt": [*"aabbb"], "reward": reward, column: length})
    given = {} if column == "length" else {"length_column": column}
    for name, hyper in (("opo", {"sampling": "off_policy"}), ("gspo", {"eps_high": 2.0})):
        found = diagnose(log, name, **given, **hyper)
        for row, (start, stop) in enumerate(((0, 2), (2, 5))):
            alone = induced_target(None, reward[start:stop], name, length=length[start:stop], unseen=True, **hyper)
            assert found["status"][row] == alone.status
            np.testing.assert_allclose(found["baseline"][row], alone.baseline, rtol=1e-14)
            if alone.status != "no_target":
                np.testing.assert_allclose(found["max_ratio"][row], np.exp(alone.log_ratio.max()), rtol=1e-12)
        plain = diagnose(log.drop(columns=column), name, **hyper)
        fixed = diagnose(log, name, **given, **hyper, length=1.0)
        np.testing.assert_array_equal(plain["max_ratio"], fixed["max_ratio"])
    assert diagnose(log.drop(columns=column), "opo", sampling="off_policy")["baseline"][0] == 0.5
    assert (diagnose(log, "gspo", **given)["population_regime"] == "undefined").all()


def test_a_length_that_is_none_is_malformed() -> None:
    log = pd.DataFrame({"prompt": ["a", "a"], "reward": [0.0, 1.0], "length": [0.0, 2.0]})
    with pytest.raises(ValueError, match="^row 0: length is 0.0, not a number of tokens >= 1$"):
        diagnose(log, "gspo")
    assert len(diagnose(log, "kimi")) == 1


def test_the_batch_of_a_log_is_its_step() -> None:
    log = pd.DataFrame({"prompt": [*"aabb"] * 2, "step": [0] * 4 + [1] * 4, "reward": [0.0, 1, 1, 1, 0, 0, 0, 3]})
    found = diagnose(log, "reinforce_pp")
    assert found["baseline"].tolist() == [0.75, 0.75, 0.75, 0.75]
    other = diagnose(log.assign(reward=[0.0, 1, 1, 1, 0, 0, 0, 7]), "reinforce_pp")
    assert other["baseline"].tolist() == [0.75, 0.75, 1.75, 1.75]
    with pytest.raises(ValueError, match="^the batch of step 0 must have groups of one size for such a baseline"):
        diagnose(log.drop(index=0), "reinforce_pp")
