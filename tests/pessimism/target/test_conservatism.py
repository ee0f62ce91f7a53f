"""Effective temperature and the table of metrics, against closed forms and direct computation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pessimism as ps
from pessimism.target.conservatism import effect
from tests.helpers import PROBLEMS, cases, make_problem, posed

CASES = cases()
BETAS = np.logspace(-4, 4, 17)


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_nominal_target_has_its_own_temperature(beta: float, seed: int) -> None:
    behavior, reward = make_problem(seed, 6)
    target = ps.induced_target(behavior, reward, "nominal", beta=float(beta))
    frame = target.conservatism()
    np.testing.assert_allclose(frame["effective_temperature"], beta, rtol=1e-8)
    np.testing.assert_allclose(frame["pessimism_factor"], 1.0, rtol=1e-8)


@pytest.mark.parametrize("beta", BETAS[BETAS >= 0.1])
def test_probabilities_alone_tell_the_temperature(beta: float) -> None:
    behavior, reward = make_problem(3, 6)
    policy = ps.nominal_target(behavior, reward, float(beta))
    found = ps.effective_temperature(policy, behavior, reward)
    # Probabilities near the behavior are rounded by eps, distances are known to eps * beta relative.
    assert float(found) == pytest.approx(beta, rel=1e-8 + 1e-14 * beta**2)


@pytest.mark.parametrize("name", ["kimi", "shifted_mean", "oapl", "constant_baseline", "truncated_is", "mixed_chi2_kl"])
@pytest.mark.parametrize("pass_rate", [1e-3, 0.2, 0.5, 0.95])
def test_binary_rewards_have_a_closed_form(name: str, pass_rate: float) -> None:
    behavior, reward = np.array([1 - pass_rate, pass_rate]), np.array([0.0, 1.0])
    target = ps.induced_target(behavior, reward, CASES[name])
    expected = 1.0 / (target.log_ratio[1] - target.log_ratio[0])
    found = target.conservatism()
    assert found["effective_temperature"].iloc[0] == pytest.approx(expected, rel=1e-9)
    assert found["pessimism_factor"].iloc[0] == pytest.approx(expected / target.beta, rel=1e-9)
    if target.regime == "positive":
        assert expected >= target.beta * (1 - 1e-12)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ([0.5, 0.2, 0.3], np.inf),  # the behavior itself
        ([0.0, 0.0, 1.0], 0.0),  # greedy
        ([0.0, 1.0, 0.0], np.nan),  # better than the behavior, yet farther from it than greedy
    ],
)
def test_ends_of_the_scale(policy: list[float], expected: float) -> None:
    np.testing.assert_equal(float(ps.effective_temperature(policy, [0.5, 0.2, 0.3], [0.0, 1.0, 2.0])), expected)


def test_a_policy_worse_than_the_behavior_has_no_temperature() -> None:
    behavior, reward = [0.2, 0.3, 0.5], [0.0, 1.0, 2.0]
    one = "^effective temperature is nan: the policy has a smaller mean reward than the behavior; no nominal"
    for policy in ([1.0, 0.0, 0.0], [0.21, 0.3, 0.49], [0.2 + 1e-9, 0.3, 0.5 - 1e-9]):
        with pytest.warns(RuntimeWarning, match=one):
            assert np.isnan(ps.effective_temperature(policy, behavior, reward))
    policies = [[1.0, 0.0, 0.0], behavior, [0.1, 0.3, 0.6], [0.3, 0.3, 0.4]]
    with pytest.warns(RuntimeWarning, match="nan: 2 of 4 policies have a smaller mean reward") as said:
        found = ps.effective_temperature(policies, behavior, reward)
    assert len(said) == 1
    assert said[0].filename == __file__
    np.testing.assert_equal(np.isnan(found), [True, False, False, True])


@pytest.mark.parametrize("reward", [[0.0, 1.0, 2.0], [1e9, 1e9 + 1.0, 1e9 + 2.0]])
def test_rounding_makes_no_policy_worse_than_the_behavior(reward: list[float]) -> None:
    for behavior in ([0.2, 0.3, 0.5], [1e-12, 1.0 - 2e-12, 1e-12], [0.9, 0.1 - 1e-9, 1e-9]):
        temperatures = np.geomspace(1e-2, 1e14, 60)
        policies = np.stack([ps.nominal_target(behavior, reward, beta) for beta in temperatures])
        found = ps.effective_temperature(policies, behavior, reward)  # a warning would be an error
        assert not np.isnan(found).any()


@pytest.mark.parametrize("behavior", [[0.37, 0.33, 0.3], [0.41, 0.27, 0.32], [0.7, 0.2, 0.1]])
def test_rounding_to_single_precision_makes_no_policy_worse_either(behavior: list[float]) -> None:
    assert ps.effective_temperature(np.float32(behavior), behavior, [0.0, 1.0, 2.0]) > 1e6
    target = ps.induced_target(np.float32(behavior), np.float32([0.0, 1.0, 2.0]), "kimi", beta=1e9)
    assert target.conservatism()["effective_temperature"][0] > 1e6


def test_a_target_worse_than_its_reference_has_no_temperature() -> None:
    behavior, reference, reward = [0.8, 0.1, 0.1], [0.1, 0.1, 0.8], [0.0, 0.1, 1.0]
    target = ps.induced_target(behavior, reward, "cql_reference", reference=reference)
    assert np.vecdot(target.policy - np.asarray(reference), reward) < 0
    found = target.conservatism()  # which warns of nothing
    assert found[["effective_temperature", "pessimism_factor"]].isna().all(axis=None)


def test_equal_rewards_and_foreign_mass_have_no_temperature() -> None:
    assert np.isnan(ps.effective_temperature([0.9, 0.1], [0.5, 0.5], [1.0, 1.0]))
    assert np.isnan(ps.effective_temperature([0.5, 0.5], [1.0, 0.0], [0.0, 1.0]))


def test_temperatures_of_a_batch() -> None:
    policies = np.stack([ps.nominal_target([0.5, 0.5], [0.0, 1.0], b) for b in (0.2, 0.7)] + [np.array([0.5, 0.5])])
    found = ps.effective_temperature(policies, [0.5, 0.5], [0.0, 1.0])
    np.testing.assert_allclose(found, [0.2, 0.7, np.inf], rtol=1e-9)


def test_temperature_scales_with_rewards() -> None:
    behavior, reward = make_problem(4, 5)
    policy = ps.induced_target(behavior, reward, "kimi", beta=0.3).policy
    one = ps.effective_temperature(policy, behavior, reward)
    np.testing.assert_allclose(ps.effective_temperature(policy, behavior, 8.0 * reward - 3.0), 8.0 * one, rtol=1e-9)


def test_temperature_refuses_bad_input() -> None:
    with pytest.raises(ValueError, match=r"^policy, behavior and reward must broadcast against each other, got shapes"):
        ps.effective_temperature([0.5, 0.5], [0.2, 0.3, 0.5], [0.0, 1.0, 2.0])
    for policy in ([-0.5, 1.5], [0.0, 0.0], [np.nan, 1.0]):
        with pytest.raises(ValueError, match="^policy must be probabilities >= 0 with some mass in each problem$"):
            ps.effective_temperature(policy, [0.5, 0.5], [0.0, 1.0])
    with pytest.raises(ValueError, match="^behavior must sum to 1"):
        ps.effective_temperature([0.5, 0.5], [0.5, 0.6], [0.0, 1.0])


def directly(target: Any) -> dict[str, float]:
    """The columns, written out for one problem."""
    q, r, advantage = (np.asarray(a) for a in (target.behavior, target.reward, target.advantage))
    pi = np.asarray(target.policy) / np.sum(target.policy)
    seen, kept = q > 0, pi > 0
    kl = float(np.sum(pi[kept] * np.log(pi[kept] / q[kept])))
    chi = float(np.sum((pi[seen] - q[seen]) ** 2 / q[seen]))
    with np.errstate(divide="ignore"):
        reverse = float(np.sum(q[seen] * np.log(q[seen] / pi[seen])))
    found = {
        "kappa": float(target.kappa),
        "kl": kl,
        "kl_reverse": reverse,
        "chi_square": chi,
        "total_variation": float(0.5 * np.abs(pi - q).sum()),
        "entropy": float(-np.sum(pi[kept] * np.log(pi[kept]))),
        "max_ratio": float(np.max(pi[seen] / q[seen])),
        "effective_sample_size": 1.0 / (1.0 + chi),
        "value": float(pi @ r),
        "behavior_value": float(q @ r),
        "leak": float(target.leak),
        "log_z": np.nan,
        "kl_gap": np.nan,
    }
    if target.beta is not None:
        nominal = np.asarray(target.nominal)
        on = nominal > 0
        found["log_z"] = float(np.log(q[seen] @ np.exp(advantage[seen] / target.beta)))
        found["kl_gap"] = float(np.sum(nominal[on] * np.log(nominal[on] / q[on]))) - kl
    return found


# oapl-published: exp(A/beta) overflows in the plain formula.
@pytest.mark.parametrize("name", [n for n in CASES if n != "oapl-published"])
@pytest.mark.parametrize("problem", ["generic", "two_actions", "unseen_actions", "ties"])
def test_columns_are_what_they_say(name: str, problem: str) -> None:
    target = ps.induced_target(*posed(name, problem), CASES[name])
    row = target.conservatism().iloc[0]
    assert row["regime"] == target.regime
    for column, expected in directly(target).items():
        np.testing.assert_allclose(row[column], expected, rtol=1e-9, atol=1e-12, err_msg=column)
    if target.beta is None:
        assert np.isnan(row["pessimism_factor"])


def test_a_leaking_policy_is_described_without_its_leak() -> None:
    target = ps.induced_target(*PROBLEMS["generic"], CASES["constant_baseline-negative"], unseen=True)
    row = target.conservatism().iloc[0]
    assert row["leak"] > 0.1
    compared = ["effective_temperature", "pessimism_factor", "kl_gap"]  # with a nominal target that does not leak
    for column, expected in directly(target).items():
        if column not in compared:
            np.testing.assert_allclose(row[column], expected, rtol=1e-9, atol=1e-12, err_msg=column)
    assert row[compared].isna().all()


def test_temperature_is_measured_from_the_reference() -> None:
    problem, reference = PROBLEMS["generic"], np.full(len(PROBLEMS["generic"][0]), 1 / len(PROBLEMS["generic"][0]))
    target = ps.induced_target(*problem, "nominal", beta=0.3)
    assert target.conservatism()["pessimism_factor"][0] == pytest.approx(1.0, rel=1e-9)
    around = ps.induced_target(*problem, "tba", beta=0.3, reference=reference)
    np.testing.assert_allclose(around.policy, around.nominal, rtol=1e-12)
    assert around.conservatism()["pessimism_factor"][0] == pytest.approx(1.0, rel=1e-9)


def test_rows_of_a_batch_come_in_c_order() -> None:
    behaviors, rewards = map(np.stack, zip(*(make_problem(seed, 4) for seed in range(6)), strict=True))
    frame = ps.induced_target(behaviors.reshape(2, 3, 4), rewards.reshape(2, 3, 4), "kimi", beta=0.3).conservatism()
    for row in range(6):
        single = ps.induced_target(behaviors[row], rewards[row], "kimi", beta=0.3).conservatism()
        np.testing.assert_allclose(
            frame.drop(columns="regime").iloc[row].astype(float),
            single.drop(columns="regime").iloc[0].astype(float),
            rtol=1e-9,
        )


def test_a_policy_of_more_than_all_mass_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^policy must not sum to more than 1 within 1e-06, got 1\.4$"):
        ps.effective_temperature([0.5, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1], [0.2, 0.4, 0.6, 0.8])


@pytest.mark.parametrize("name", ["kimi", "shifted_mean", "std_normalized", "grpo", "asym_re", "constant_baseline"])
def test_the_effect_of_a_target_from_its_policy_alone(name: str) -> None:
    """Each measure again from the probabilities, one problem at a time."""
    q = np.array([[0.5, 0.3, 0.2], [0.2, 0.4, 0.4], [0.2, 0.3, 0.5]])
    r = np.array([[0.1, 0.7, 0.4], [1.0, 0.0, 0.0], [0.3, 0.3, 0.3]])
    setting = {"constant_baseline": {"value": 0.6, "beta": 0.5}, "asym_re": {"shift": -1.0}}.get(name, {})
    target = ps.induced_target(q, r, name, unseen=True, **setting)
    found = effect(target)
    for i in range(3):
        policy = np.asarray(target.policy)[i]
        pi, best, mean = policy / policy.sum(), r[i].max(), float(q[i] @ r[i])
        assert found["leak"][i] == pytest.approx(1 - policy.sum(), abs=1e-12)
        assert found["value"][i] == pytest.approx(pi @ r[i], rel=1e-12)
        assert found["behavior_value"][i] == pytest.approx(mean, rel=1e-15)
        share = np.nan if i == 2 else (pi @ r[i] - mean) / (best - mean)
        assert found["gain_share"][i] == pytest.approx(share, rel=1e-10, nan_ok=True)
        assert found["kl"][i] == pytest.approx(np.sum(pi * np.log(pi / q[i])), rel=1e-9, abs=1e-15)
        assert found["max_ratio"][i] == pytest.approx((pi / q[i]).max(), rel=1e-12)
        assert found["total_variation"][i] == pytest.approx(np.abs(pi - q[i]).sum() / 2, rel=1e-9, abs=1e-15)
        if target.beta is None:
            assert np.isnan(found["nominal_kl"][i])
            continue
        weighs = r if name in ("kimi", "shifted_mean", "constant_baseline") else np.asarray(target.advantage)
        nominal = q[i] * np.exp((weighs[i] - weighs[i].max()) / target.beta)
        nominal /= nominal.sum()
        kl = np.sum(np.where(nominal > 0, nominal * np.log(np.where(nominal > 0, nominal, 1) / q[i]), 0.0))
        assert found["nominal_kl"][i] == pytest.approx(kl, rel=1e-9, abs=1e-15)
        tv = (np.abs(policy - nominal).sum() + (1 - policy.sum())) / 2
        assert found["tv_nominal"][i] == pytest.approx(tv, rel=1e-9, abs=1e-12)


def test_the_greedy_policy_gains_all_and_no_reward_gains_nothing() -> None:
    greedy = effect(ps.induced_target([0.5, 0.25, 0.25], [0.2, 0.9, 0.9], "nominal", beta=1e-3))
    assert greedy["gain_share"][0] == pytest.approx(1.0, abs=1e-15)
    assert greedy["kl"][0] == pytest.approx(np.log(2), rel=1e-12)
    far = effect(ps.induced_target([0.5, 0.5], [1e9, 1e9 + 1.0], "nominal", beta=1e3))  # what is common cancels
    assert far["gain_share"][0] == pytest.approx(np.tanh(0.5e-3), rel=1e-6)


@pytest.mark.parametrize("name", ["std_normalized", "apa", "tpo", "qrpo", "grpo", "divergence_augmented"])
def test_the_unit_of_the_reward_changes_no_comparison_with_the_nominal_target(name: str) -> None:
    """What divides rewards by their spread has one policy whatever the unit; so has every number beside it but two."""
    rewards = np.array([1.0, 0.0, 0.0, 0.0])
    one, ten = (
        ps.induced_target(None, unit * rewards, name, beta=1.0, unseen=True).conservatism().iloc[0]
        for unit in (1.0, 10.0)
    )
    assert one["regime"] == ten["regime"]
    for column in ("kl", "gain_share", "nominal_kl", "tv_nominal", "advantage_factor", "leak"):
        assert ten[column] == pytest.approx(one[column], rel=1e-3, abs=1e-12, nan_ok=True), column
    assert ten["pessimism_factor"] == pytest.approx(10 * one["pessimism_factor"], rel=1e-3, nan_ok=True)
    if name == "std_normalized":  # A = +-: the tilt by A/beta that is as far from the behavior
        policy = np.asarray(ps.induced_target(None, rewards, name, beta=1.0, unseen=True).policy)
        spread = 1.0 / rewards.std(ddof=1)
        assert one["advantage_factor"] == pytest.approx(spread / np.log(policy[0] / policy[1]), rel=1e-3)
        assert one["advantage_factor"] > 1.0 > one["pessimism_factor"]


def test_what_subtracts_a_baseline_has_one_factor() -> None:
    for name in ("kimi", "oapl", "shifted_mean", "nominal"):
        frame = ps.induced_target([0.2, 0.8], [[1.0, 0.0], [0.1, 0.3]], name).conservatism()
        assert frame["advantage_factor"].equals(frame["pessimism_factor"].rename("advantage_factor"))
