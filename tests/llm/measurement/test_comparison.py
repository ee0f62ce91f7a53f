"""Measured and predicted kappa of one prompt: on policies that are the prediction, and against groups counted."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import lambertw

import pessimism as ps
from llm.measurement.comparison import COLUMNS, Compared, compare, pool
from tests.llm.marks import slow_but

Q, REWARD = np.array([0.4, 0.25, 0.2, 0.1, 0.05]), np.array([0.0, 1.0, 0.0, 0.5, 1.0])
OBJECTIVES = [ps.Kimi(beta=0.5), ps.ShiftedMean(beta=0.5), ps.OAPL(beta1=0.8, beta2=0.5), ps.StdNormalized(beta=0.8)]


def sampled(rng: np.random.Generator, log_ratio: np.ndarray, groups: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    actions = rng.choice(len(Q), size=(groups, size), p=Q)
    return log_ratio[actions], REWARD[actions]


@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
def test_the_prediction_is_that_of_all_groups_counted(objective: ps.Objective) -> None:
    """E[A_i | a_i] over the 5^3 groups, and kappa as the root of the total mass."""
    size = 3
    expected = np.zeros(len(Q))
    for members in itertools.product(range(len(Q)), repeat=size):
        chance = np.prod(Q[list(members)])
        expected[members[0]] += chance / Q[members[0]] * objective.advantage(REWARD[list(members)])[0]
    z = expected / objective.temperature

    def ratio(kappa: float) -> np.ndarray:
        return np.asarray(lambertw(kappa * np.exp(z)).real / kappa)

    kappa = brentq(lambda k: Q @ ratio(k) - 1.0, 1e-9, 50.0, xtol=1e-14)
    row = compare(np.zeros((1, 5)), REWARD[None], objective, group_size=size, weights=Q[None]).row
    assert row["predicted_kappa"] == pytest.approx(kappa, rel=1e-8)
    assert row["predicted_value"] == pytest.approx(Q * ratio(kappa) @ REWARD, rel=1e-8)
    assert row["predicted_max_ratio"] == pytest.approx(ratio(kappa).max(), rel=1e-8)


@pytest.mark.parametrize("objective", OBJECTIVES[::2], ids=str)
@pytest.mark.slow
def test_two_errors_of_the_gap_hold_nine_times_in_ten(objective: ps.Objective) -> None:
    """The policy is the target of groups of 8; the prediction knows the rewards sampled, not the behavior."""
    target = ps.finite_group(objective, 8, Q, REWARD).target
    exact = compare(target.log_ratio[None], REWARD[None], objective, group_size=8, weights=Q[None]).row
    assert exact["gap"] == pytest.approx(0.0, abs=1e-9)
    assert exact["kappa_identity"] == pytest.approx(float(target.kappa), abs=1e-9)
    rng = np.random.default_rng(0)
    rows = [compare(*sampled(rng, target.log_ratio, 32, 8), objective, group_size=8).row for _ in range(200)]
    off = np.array([row["gap"] / row["gap_error"] for row in rows])
    assert np.mean(np.abs(off) <= 2.0) >= 0.9
    assert np.std(off) >= 0.8  # the errors are not simply wide
    fits = np.array([(row["kappa_fit"] - exact["kappa_fit"]) / row["kappa_fit_error"] for row in rows])
    assert np.mean(np.abs(fits) <= 2.0) >= 0.9
    assert np.std([row["gap"] for row in rows]) < 0.7 * np.std(
        [row["kappa_fit"] - row["predicted_kappa"] for row in rows]
    )


def test_a_policy_of_another_temperature_is_told_apart() -> None:
    log_ratio = ps.finite_group("kimi", 8, Q, REWARD, beta=0.25).target.log_ratio
    rng = np.random.default_rng(0)
    row = compare(*sampled(rng, log_ratio, 64, 8), ps.Kimi(beta=0.5), group_size=8).row
    assert abs(row["gap"]) > 3 * row["gap_error"]


@pytest.mark.parametrize("objective", slow_but([0], OBJECTIVES), ids=str)
def test_noise_of_the_training_takes_something_off_kappa_but_with_a_twin(objective: ps.Objective) -> None:
    """Two policies around the target, each off by a log-ratio of its own, normalized as policies are."""
    target, rng = ps.finite_group(objective, 8, Q, REWARD).target, np.random.default_rng(0)
    many = np.repeat(Q / 200, 200)  # 200 completions of each kind

    def gaps() -> tuple[float, float]:
        pair = np.repeat(target.log_ratio, 200) + 0.2 * rng.normal(size=(2, 1000))
        pair -= np.log(np.exp(pair) @ many)[:, None]
        given = np.repeat(REWARD, 200)[None], objective
        alone, both = (
            compare(pair[:1], *given, group_size=8, weights=many[None], twin=twin).row["gap"]
            for twin in (None, pair[1:])
        )
        return alone, both

    alone, both = np.array([gaps() for _ in range(40)]).T
    square = float(Q @ np.exp(2 * target.log_ratio))
    assert np.mean(alone) == pytest.approx(-0.04 * (float(target.kappa) + 0.5 / square), rel=0.1)
    assert abs(np.mean(both)) < 3 * np.std(both) / np.sqrt(40) + 0.002
    assert abs(np.mean(both)) < 0.1 * abs(np.mean(alone))


def test_a_twin_is_of_the_same_completions() -> None:
    with pytest.raises(ValueError, match=r"twin must be of the shape of log_ratio, got \(1, 4\) and \(1, 5\)"):
        compare(np.zeros((1, 5)), REWARD[None], OBJECTIVES[0], weights=Q[None], twin=np.zeros((1, 4)))


@pytest.mark.slow
def test_a_gap_that_is_there_is_found_unbiased() -> None:
    """Away from the target, too, the regression on the mean ratio changes the error and not what is estimated."""
    objective, log_ratio = ps.Kimi(beta=0.5), np.log([0.7, 1.4, 0.9, 1.3, 1.4])
    log_ratio -= np.log(Q @ np.exp(log_ratio))
    exact = compare(log_ratio[None], REWARD[None], objective, group_size=8, weights=Q[None]).row
    rng = np.random.default_rng(2)
    rows = [compare(*sampled(rng, log_ratio, 32, 8), objective, group_size=8).row for _ in range(100)]
    gaps = np.array([row["gap"] for row in rows])
    assert abs(exact["gap"]) > 0.02
    assert abs(gaps.mean() - exact["gap"]) < 0.3 * gaps.std()  # of the mean the error is 0.1
    assert np.mean(np.abs(gaps - exact["gap"]) <= 2.0 * np.array([row["gap_error"] for row in rows])) >= 0.9


def test_without_anything_to_regress_on_the_gap_is_the_difference() -> None:
    reward = np.random.default_rng(0).integers(0, 2, size=(5, 8)).astype(float)
    for u in (np.zeros((5, 8)), np.eye(5, 8)):  # no ratio differs; one group alone is different
        row = compare(u[:, :1] * np.ones(8), reward, ps.Kimi(beta=0.5), group_size=8).row
        found = row["gap"], row["gap_error"]
        assert found[0] == pytest.approx(row["kappa_fit"] - row["predicted_kappa"])
        assert found[1] > 0.0


def test_the_prediction_from_samples_tends_to_the_exact_one() -> None:
    objective = ps.Kimi(beta=0.5)
    log_ratio = ps.finite_group(objective, 8, Q, REWARD).target.log_ratio
    exact = compare(log_ratio[None], REWARD[None], objective, group_size=8, weights=Q[None]).row
    row = compare(*sampled(np.random.default_rng(1), log_ratio, 8000, 8), objective, group_size=8).row
    for name in ("kappa", "kl", "kl_reverse", "value", "effective_temperature"):
        assert row[f"predicted_{name}"] == pytest.approx(exact[f"predicted_{name}"], rel=0.03), name
    assert row["effective_temperature"] == pytest.approx(exact["effective_temperature"], rel=0.03)
    assert row["max_ratio"] == pytest.approx(exact["max_ratio"])


def test_equal_rewards_are_reported_not_dropped() -> None:
    u = np.random.default_rng(0).normal(scale=0.1, size=(4, 8))
    kimi = compare(u, np.ones_like(u), ps.Kimi(beta=0.5), group_size=8).row
    shifted = compare(u, np.ones_like(u), ps.ShiftedMean(beta=0.5, shift=0.7), group_size=8).row
    assert kimi["note"] == shifted["note"] == "all rewards are equal: no signal"
    assert kimi["predicted_kappa"] == pytest.approx(0.0, abs=1e-12)
    assert shifted["predicted_kappa"] == pytest.approx(0.7)
    assert kimi["predicted_kl"] == pytest.approx(0.0, abs=1e-12)
    assert np.isnan(kimi["effective_temperature"])
    assert np.isfinite(kimi["kappa_fit"])


@pytest.mark.parametrize(("value", "leak"), [(1.5, 1 - (np.exp(-3) + np.exp(-1)) / 2), (0.2, 0.0)])
def test_mass_that_leaves_the_samples(value: float, leak: float) -> None:
    reward = np.tile([0.0, 0.0, 1.0, 1.0], (4, 1))
    row = compare(np.zeros((4, 4)), reward, ps.ConstantBaseline(beta=0.5, value=value), group_size=4).row
    assert row["predicted_leak"] == pytest.approx(leak)
    assert row["predicted_regime"] == ("negative" if leak else "positive")


def test_a_minimum_of_the_negative_regime_is_said() -> None:
    """The optimal value of a group is negative in the population, with a minimum that keeps its mass."""
    reward = np.tile([0.0, 0.0, 1.0, 1.0], (4, 1))
    row = compare(np.zeros((4, 4)), reward, ps.OptimalValue(beta=0.1), group_size=4).row
    assert row["predicted_regime"] == "negative"
    assert row["predicted_leak"] == 0.0
    assert row["note"] == "the prediction is local_minimum"


@pytest.mark.parametrize(
    ("objective", "note", "has_kappa"),
    [
        (ps.TBA(beta=0.5), "couples the log-ratios of a group", False),
        (ps.AWR(beta=0.5), "its weight is not affine in the advantage", False),
        (ps.Kimi(beta=0.5), "", True),
    ],
    ids=str,
)
def test_what_has_no_effective_advantage_is_said(objective: ps.Objective, note: str, has_kappa: bool) -> None:
    row = compare(*sampled(np.random.default_rng(0), np.log(REWARD + 0.5), 16, 8), objective, group_size=8).row
    assert note in row["note"]
    assert np.isfinite(row["kappa_fit"]) == np.isfinite(row["gap"]) == has_kappa
    assert np.isfinite([row["kl"], row["predicted_kl"], row["value"], row["predicted_value"]]).all()


def pair(seed: int, objective: ps.Objective, groups: int = 16) -> Compared:
    log_ratio = np.random.default_rng(seed).normal(scale=0.3, size=len(Q))
    return compare(*sampled(np.random.default_rng(seed), log_ratio, groups, 8), objective, group_size=8)


def test_pooled_readings_are_those_of_all_pairs() -> None:
    objective = ps.Kimi(beta=0.5)
    parts = [pair(seed, objective) for seed in range(6)]
    found = pool(parts)
    weight = [part.products[0, 2] for part in parts], [part.products[0, 3] for part in parts]
    assert found["value"] == pytest.approx(np.average([p.row["value"] for p in parts], weights=weight[0]))
    assert found["kappa_fit"] == pytest.approx(np.average([p.row["kappa_fit"] for p in parts], weights=weight[1]))
    for name in ("gap", "predicted_kappa"):
        assert found[name] == pytest.approx(np.average([p.row[name] for p in parts], weights=weight[1]))
    gaps, total = np.array([p.row["gap"] for p in parts]), np.sum(weight[1])
    spread = np.sum((np.array(weight[1]) * (gaps - found["gap"])) ** 2) * 6 / 5
    assert found["gap_error"] == pytest.approx(np.sqrt(spread) / total)
    assert found["n"] == 6 * 128
    assert set(COLUMNS) - set(found) == {"kind", "prompt"}
    alone = pool(parts[:1])
    assert alone["gap"] == pytest.approx(parts[0].row["gap"])
    assert np.isnan(alone["gap_error"])


@pytest.mark.slow
def test_the_pooled_gap_has_the_spread_of_its_prompts() -> None:
    objective = ps.Kimi(beta=0.5)
    parts = [pair(seed, objective, groups=4) for seed in range(100)]
    pooled = [pool(parts[start : start + 5]) for start in range(0, 100, 5)]
    assert np.mean([p["gap_error"] for p in pooled]) == pytest.approx(np.std([p["gap"] for p in pooled]), rel=0.4)


def test_regimes_that_differ_are_mixed() -> None:
    objective = ps.Kimi(beta=0.5)
    equal = compare(np.zeros((2, 8)), np.ones((2, 8)), objective, group_size=8)
    assert pool([pair(0, objective), equal])["predicted_regime"] == "mixed"
    assert pool([equal, equal])["predicted_regime"] == "boundary"
    assert np.isnan(pool([equal, equal])["effective_temperature"])


@pytest.mark.parametrize(("log_ratio", "said"), [(9.0, True), (6.0, False)])
def test_what_is_never_drawn_may_rule_an_exact_fit(log_ratio: float, said: bool) -> None:
    """It takes off kappa what its share of E[w^2] is."""
    target = ps.induced_target([0.6, 0.4 - 1e-8, 1e-8], [0.0, 1.0, 0.5], "kimi", beta=0.5)
    u, weights = target.log_ratio.copy()[None], target.behavior[None]
    square = float(np.sum(weights * np.exp(2 * u)))
    u[0, 2] = log_ratio
    share = 1e-8 * np.exp(2 * log_ratio) / (square + 1e-8 * np.exp(2 * log_ratio))
    found = compare(u, target.reward[None], ps.Kimi(beta=0.5), weights=weights).row
    assert found["kappa_fit"] == pytest.approx((1 - share) * target.kappa, rel=0.01)
    assert found["kappa_identity"] == pytest.approx(target.kappa, rel=1e-5)
    assert ("nearer 0 than it should be" in found["note"]) == said == (share > 0.05)


def test_a_target_on_rare_completions_is_none_that_drifted() -> None:
    rare = np.full(20_000, 0.5 / 20_000)
    target = ps.induced_target([0.5, *rare], [0.0, *(rare > 0)], "kimi", beta=0.5)
    u, weights, reward = (a[None] for a in (target.log_ratio, target.behavior, target.reward))
    found = compare(u, reward, ps.Kimi(beta=0.5), weights=weights)
    assert found.row["kappa_fit"] == pytest.approx(target.kappa)
    assert found.row["note"] == pool([found])["note"] == ""
    u = u.copy()
    u[0, 1] = 7.0
    drifted = compare(u, reward, ps.Kimi(beta=0.5), weights=weights)
    assert "nearer 0" in pool([found, drifted])["note"]


@pytest.mark.parametrize("group_size", [None, 4])
def test_samples_come_in_groups(group_size: int | None) -> None:
    with pytest.raises(ValueError, match=f"group_size must be that of the sampled groups, 8, got {group_size}"):
        compare(np.zeros((2, 8)), np.zeros((2, 8)), ps.Kimi(beta=0.5), group_size=group_size)
