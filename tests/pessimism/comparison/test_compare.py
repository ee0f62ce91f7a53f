"""Objectives side by side: medians and shares, at their own settings or at equal conservatism."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import pessimism as ps
from pessimism.diagnosis.intervals import median_interval, share_interval
from tests.pessimism.comparison.test_match import MU, R, kl, softmax


def test_one_problem_is_its_own_median() -> None:
    table = ps.compare(MU, R, ["nominal", ps.Kimi(0.25)], beta=0.25)
    assert table["objective"].tolist() == ["nominal", "kimi"]
    policies = [softmax(0.25), ps.induced_target(MU, R, "kimi", beta=0.25).policy]
    np.testing.assert_allclose(table["kl"], [kl(p) for p in policies], rtol=1e-12)
    np.testing.assert_allclose(table["value"], [p @ R for p in policies], rtol=1e-12)
    np.testing.assert_allclose(table["max_ratio"], [(p / MU).max() for p in policies], rtol=1e-12)
    np.testing.assert_allclose(table["tv_nominal"], [0, abs(policies[0] - policies[1]).sum() / 2], atol=1e-15)
    assert table[["boundary", "positive"]].to_numpy().tolist() == [[1, 0], [0, 1]]
    assert table["note"].tolist() == ["", ""]


def test_a_batch_has_shares_and_medians_over_what_has_a_signal() -> None:
    rng = np.random.default_rng(0)
    r = rng.integers(0, 2, (60, 4)).astype(float)
    signal = np.ptp(r, axis=1) > 0
    assert 0 < signal.sum() < 60
    row = ps.compare(None, r, ["constant_baseline:beta=0.5,value=0.5"]).iloc[0]
    alone = ps.induced_target(None, r[signal], "constant_baseline", beta=0.5, value=0.5)
    assert (row["problems"], row["no_signal"]) == (60, 60 - signal.sum())
    regime = alone.regime
    for name in ("positive", "boundary", "negative"):
        assert row[name] == pytest.approx(np.mean(regime == name))
    assert row["kl"] == pytest.approx(np.median(alone.conservatism()["kl"]))
    assert row["kappa"] == pytest.approx(np.median(alone.kappa))


def test_without_any_signal_there_are_no_numbers() -> None:
    row = ps.compare(None, [[1.0, 1.0], [0.0, 0.0]], ["kimi"]).iloc[0]
    assert row["no_signal"] == 2
    assert np.isnan(row["kl"])
    note = ps.compare(None, [1.0, 1.0], ["kimi"], matched={"kl": 0.1})["note"][0]
    assert note.startswith("not matched: no problem has a signal: in each of them all rewards are equal")


def test_all_objectives_at_equal_kl() -> None:
    """Each has the KL or says why not; nominal has the highest value of all of that KL (it is the optimum)."""
    table = ps.compare(MU, R, matched={"kl": 0.1}, sort="-value")
    assert len(table) == len(ps.objectives())
    missed = table["note"].str.startswith("not matched")
    assert missed.is_monotonic_increasing  # what is matched comes first
    matched = table[~missed]
    np.testing.assert_allclose(matched["kl"], 0.1, rtol=1e-6)
    assert matched["value"].is_monotonic_decreasing
    nominal = matched.loc[matched["objective"].str.startswith("nominal"), "value"].item()
    assert matched["value"].max() == pytest.approx(nominal, abs=1e-9)
    for spec in matched["objective"]:  # what is written can be passed on
        found = float(ps.induced_target(MU, R, spec).conservatism()["kl"][0])
        assert found == pytest.approx(0.1, rel=1e-6)
    assert set(matched["note"].str.split("beta1").str[0]) == {""}


def test_matched_like_another() -> None:
    table = ps.compare(MU, R, ["kimi", "oapl"], matched={"like": "nominal:beta=0.5"})
    np.testing.assert_allclose(table["kl"], kl(softmax(0.5)), rtol=1e-9)


def test_with_a_reference_all_that_take_one() -> None:
    table = ps.compare(MU, R, reference=[0.25] * 4)
    names = table["objective"].str.split(":").str[0].tolist()
    assert names == [name for name, cls in ps.objectives().items() if cls.takes_reference]


def test_a_log_against_its_diagnosis() -> None:
    log = ps.read_rollouts("examples/verl_rollouts")
    for row in ps.compare(log=log, objectives=["kimi:beta=0.5", "grpo", "opo"]).itertuples():
        report = ps.diagnose(log, row.objective)
        signal = report[~report["all_equal"]]
        assert (row.problems, row.no_signal) == (len(report), len(report) - len(signal))
        assert row.positive == pytest.approx((signal["regime"] == "positive").mean())
        for name in ("kl", "kappa", "max_ratio", "leak", "tv_nominal"):
            assert getattr(row, name) == pytest.approx(signal[name].median(), nan_ok=True), name


def test_what_an_objective_refuses_is_noted_and_what_the_problem_breaks_is_raised() -> None:
    table = ps.compare([0.5, 0.5], [-1.0, 1.0], ["gspo:length=1/2/3", "kimi"])
    assert table["note"][0] == "gspo: length must hold one number per action, got 3 for 2 actions"
    assert np.isnan(table["kl"][0])
    assert table["note"][1] == ""
    with pytest.raises(ValueError, match="behavior must sum to 1"):
        ps.compare([0.5, 0.6], R[:2], ["kimi"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"objectives": "kimi"}, r"objectives must be a list of names or objectives, got the text 'kimi': write \["),
        ({"objectives": ["kimmi"]}, "unknown objective 'kimmi'"),
        ({"matched": {"klx": 1}}, "matched must name one of kl, value, max_ratio, like, got 'klx'"),
        ({"matched": {"kl": 1, "value": 1}}, "just one of kl, value, max_ratio and like must be given, got kl, value"),
        ({"matched": 0.1}, r'matched must be a dict such as {"kl": 0.1}, got 0.1'),
        ({"sort": "kls"}, "sort must name a column, one of objective, .*, got 'kls'"),
    ],
)
def test_errors(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ps.compare(MU, R, **({"objectives": ["kimi"]} | arguments))  # type: ignore[arg-type]


def test_intervals_of_a_log_are_those_over_its_prompts() -> None:
    log = "examples/verl_rollouts"
    table, report = ps.compare(log=log, objectives=["grpo"]), ps.diagnose(log, "grpo")
    some = report.frame[~report["all_equal"]]
    prompt = some["prompt"].factorize()[0].astype(np.intp)
    for name, (at, low, high) in {
        "kl": median_interval(some["kl"].to_numpy(), prompt)[0],
        "negative": share_interval((some["regime"] == "negative").to_numpy(), prompt)[0],
    }.items():
        assert table.loc[0, [name, f"{name}_low", f"{name}_high"]].tolist() == pytest.approx([at, low, high])
    assert "kl_low" not in ps.compare([[0.5, 0.5]] * 2, [[0.0, 1.0]] * 2, ["grpo"])


def test_an_interval_covers_the_median_of_the_law() -> None:
    """Logs of 40 prompts drawn from one law: the interval of the KL holds the law's median in about 95 % of them."""
    rng, law, beta = np.random.default_rng(0), np.array([0.25, 0.2, 0.15, 0.15, 0.1, 0.1, 0.05]), 0.3
    groups = np.tril(np.ones((7, 8)))  # 1 to 7 of 8 are right
    kl_of = ps.induced_target(None, groups, "kimi", beta=beta).conservatism()["kl"].to_numpy()
    order = np.argsort(kl_of)
    truth = kl_of[order][np.searchsorted(np.cumsum(law[order]), 0.5)]
    hits = 0
    for _ in range(60):
        rewards = groups[rng.choice(7, size=40, p=law)].ravel()
        frame = pd.DataFrame({"prompt": np.repeat(np.arange(40), 8), "reward": rewards})
        row = ps.compare(log=frame, objectives=[f"kimi:beta={beta}"]).loc[0]
        hits += row["kl_low"] - 1e-9 <= truth <= row["kl_high"] + 1e-9
    assert hits >= 52  # of 60; fewer have a probability below 1e-3 at 95 %


def test_of_two_temperatures_one_is_moved_and_the_other_named() -> None:
    table = ps.compare(MU, R, ["kimi", "oapl"], matched={"kl": 0.1}, sort="kl")
    notes = dict(zip(table["objective"].str.split(":").str[0], table["note"], strict=True))
    assert notes == {"kimi": "", "oapl": "beta1 stays 1, beta2 alone is moved"}


@pytest.mark.parametrize("log", ["logs/run", Path("logs"), pd.DataFrame({"prompt": ["a"], "reward": [1.0]})])
def test_a_log_in_the_place_of_a_behavior(log: object) -> None:
    for ask in (lambda: ps.compare(log, ["kimi"]), lambda: ps.match(log, "kimi", kl=0.1)):
        with pytest.raises(ValueError, match=r"a log is given by its name, as log=\.\.\."):
            ask()
