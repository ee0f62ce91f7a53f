"""Readings of measured pairs against sums over all actions, the bootstrap, and how often their errors hold."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import pessimism as ps
from pessimism import divergences
from pessimism.diagnosis.readings import READINGS, effective_temperature, moments, readings

BETA, GROUP = 0.4, 8


def bandit(seed: int = 0, width: int = 7) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.full(width, 2.0)), rng.integers(0, 3, size=width) / 2


def policy_near(q: np.ndarray, seed: int) -> np.ndarray:
    tilted = q * np.exp(np.random.default_rng(seed).normal(size=q.shape))
    return np.asarray(tilted / tilted.sum())


@pytest.mark.parametrize("seed", range(5))
def test_enumerated_readings_are_the_sums_over_all_actions(seed: int) -> None:
    q, reward = bandit(seed)
    policy = policy_near(q, seed + 100)
    u, z = np.log(policy / q), (reward - q @ reward) / BETA + 0.3 * seed
    found = readings(moments(u[None], z[None], reward[None], q[None]))
    root = np.sqrt(q)
    ratio = policy / q
    (fitted,), *_ = np.linalg.lstsq((root * ratio)[:, None], root * (z - u))
    expected = {
        "n": 1.0,
        "reward_mean": q @ reward,
        "kappa_fit": fitted,
        "kappa_identity": q @ z + divergences.kl_divergence(q, policy),
        "kappa_untrained": q @ z,
        "kl": divergences.kl_divergence(policy, q),
        "kl_reverse": divergences.kl_divergence(q, policy),
        "value": policy @ reward,
        "missing": 0.0,
        "ess": divergences.effective_sample_size(policy, q),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-12)
    assert all(np.isnan(found[f"{name}_error"]) for name in READINGS)  # one cluster, no spread


def test_what_the_fit_reads_off_an_untrained_policy_stands_beside_it() -> None:
    """With a shift of one temperature that is 1, near to which many a target is, too."""
    rng = np.random.default_rng(0)
    reward = rng.integers(0, 2, size=(50, 8)).astype(float)
    z = ps.ShiftedMean(beta=BETA).advantage(reward) / BETA
    u = rng.normal(scale=0.3, size=reward.shape)
    trained, untrained = (readings(moments(at, z, reward)) for at in (u, 0.0 * u))
    for name in ("kappa_fit", "kappa_identity", "kappa_untrained"):
        assert untrained[name] == pytest.approx(1.0, abs=1e-12)
        assert trained["kappa_untrained"] == pytest.approx(untrained[name], abs=1e-12)
        assert trained["kappa_untrained_error"] == pytest.approx(untrained["kappa_untrained_error"], abs=1e-12)
    assert abs(trained["kappa_fit"] - 1.0) > 0.02


@pytest.mark.parametrize("objective", [ps.Kimi(beta=BETA), ps.ShiftedMean(beta=BETA), ps.OAPL(beta1=0.8, beta2=BETA)])
def test_a_policy_at_its_target_shows_its_kappa(objective: ps.Objective) -> None:
    q, reward = bandit()
    target = ps.induced_target(q, reward, objective)
    found = readings(moments(*(a[None] for a in (target.log_ratio, target.advantage / BETA, reward, q))))
    assert found["kappa_fit"] == pytest.approx(float(target.kappa), abs=1e-9)
    assert found["kappa_identity"] == pytest.approx(float(target.kappa), abs=1e-9)


def test_moments_add_in_any_split_and_library() -> None:
    rng = np.random.default_rng(0)
    pairs = rng.normal(size=(3, 12, 5))
    whole = moments(*pairs)
    np.testing.assert_allclose(sum(moments(*pairs[:, part]) for part in (slice(3), slice(3, 12))), whole, rtol=1e-12)
    torch.testing.assert_close(moments(*torch.tensor(pairs)), torch.tensor(whole), rtol=1e-12, atol=1e-12)
    ones = [moments(*pairs[:, row : row + 1, :]) for row in range(12)]  # a cluster at a time, whatever its size
    np.testing.assert_allclose(sum(ones), whole, rtol=1e-12)
    single = torch.tensor(pairs, dtype=torch.float32)
    torch.testing.assert_close(moments(*single), moments(*single.double()), rtol=0.0, atol=0.0)


def test_clusters_of_any_size_are_those_of_the_rows() -> None:
    rng = np.random.default_rng(2)
    pairs = rng.normal(size=(3, 24))
    cluster = rng.permutation(np.repeat([7, 3, 9], [4, 8, 12]))
    by_hand = sum(moments(*pairs[:, None, cluster == one]) for one in (3, 7, 9))
    np.testing.assert_allclose(moments(*pairs, cluster=cluster), by_hand, rtol=1e-12)


def test_small_log_ratios_keep_their_digits() -> None:
    u = np.array([1e-7, -1e-7, 3e-8])
    found = readings(moments(u, 0 * u, 0 * u))
    assert found["kl"] == pytest.approx(np.mean(u**2) / 2, rel=1e-6)
    assert found["kl_reverse"] == pytest.approx(np.mean(u**2) / 2, rel=1e-6)


def test_errors_are_those_of_the_bootstrap_over_clusters() -> None:
    rng = np.random.default_rng(1)
    common = rng.normal(size=(300, 1))  # what the members of a cluster share
    u = 0.3 * (common + rng.normal(size=(300, 4)))
    z, reward = u + 0.5 * np.exp(u) + common, u + rng.normal(size=u.shape)
    found = readings(moments(u, z, reward))
    drawn = [rng.integers(300, size=300) for _ in range(2000)]
    again = [readings(moments(u[rows], z[rows], reward[rows])) for rows in drawn]
    alone = readings(moments(u.ravel(), z.ravel(), reward.ravel()))
    for name in READINGS:
        spread = np.std([one[name] for one in again])
        assert found[f"{name}_error"] == pytest.approx(spread, rel=0.1)
        assert alone[name] == pytest.approx(found[name], rel=1e-12)
    assert alone["kappa_fit_error"] < 0.8 * found["kappa_fit_error"]  # too small where clusters are not told


def groups(rng: np.random.Generator, q: np.ndarray, reward: np.ndarray, policy: np.ndarray, count: int) -> np.ndarray:
    """Readings of groups with the advantage of the group's own mean."""
    actions = rng.choice(len(q), size=(count, GROUP), p=q)
    r = reward[actions]
    return np.stack([np.log(policy / q)[actions], (r - r.mean(axis=1, keepdims=True)) / BETA, r])


@pytest.mark.parametrize("at_target", [True, False])
def test_two_errors_hold_nine_times_in_ten(at_target: bool) -> None:
    q, reward = bandit()
    group = ps.finite_group("kimi", GROUP, q, reward, beta=BETA)
    policy = np.asarray(group.target.policy) if at_target else policy_near(q, 3)
    u, z = np.log(policy / q), np.asarray(group.advantage) / BETA
    truth = readings(moments(*(a[None] for a in (u, z, reward, q))))
    if at_target:
        assert truth["kappa_fit"] == pytest.approx(float(group.kappa), abs=1e-9)
    rng = np.random.default_rng(5)
    found = [readings(moments(*groups(rng, q, reward, policy, 32))) for _ in range(200)]
    for one in found:  # the advantages of each group about its mean
        assert one["kappa_untrained"] == pytest.approx(0.0, abs=1e-12)
        assert one["kappa_untrained_error"] == pytest.approx(0.0, abs=1e-8)  # the root of a difference of squares
    for name in READINGS.keys() - {"kappa_untrained"}:
        off = np.array([(one[name] - truth[name]) / one[f"{name}_error"] for one in found])
        assert np.mean(np.abs(off) <= 2) >= 0.9, name
        assert np.std(off) >= 0.8, name  # the errors are not simply wide
        assert abs(np.mean([one[name] for one in found]) - truth[name]) <= 4 * np.std(
            [one[name] for one in found]
        ) / np.sqrt(200), name


def test_effective_temperature_is_that_of_the_package() -> None:
    q, reward = bandit()
    nominal = np.asarray(ps.nominal_target(q, reward, BETA))
    exact = effective_temperature(np.log(nominal / q)[None], reward[None], q[None])
    np.testing.assert_allclose(exact, BETA, rtol=1e-9)
    actions = np.random.default_rng(0).choice(len(q), size=(1, 20_000), p=q)
    np.testing.assert_allclose(effective_temperature(np.log(nominal / q)[actions], reward[actions]), BETA, rtol=0.05)


def test_groups_without_a_temperature() -> None:
    u = np.array([[0.1, -0.1], [0.0, 0.0], [3.0, 0.0], [0.0, 0.2]])
    reward = np.array([[1.0, 1.0], [0.0, 1.0], [0.0, 1.0], [0.0, 0.5]])
    found = effective_temperature(u, reward)
    assert np.isnan(found[0])  # equal rewards
    assert np.isinf(found[1])  # no distance
    assert np.isnan(found[2])  # worse than the behavior
    assert found[3] == pytest.approx(0.5 / 0.2)


def test_a_ratio_beyond_float64_is_seen() -> None:
    found = readings(moments(np.array([800.0, 0.0]), np.zeros(2), np.ones(2)))
    assert not any(np.isfinite(found[name]) for name in ("kappa_fit", "kl", "kl_reverse", "value", "ess", "missing"))
    assert found["reward_mean"] == 1.0
    assert found["kappa_identity"] == -400.0


def test_shapes_are_checked() -> None:
    u = np.zeros((2, 3))
    with pytest.raises(ValueError, match=r"reward must be of the shape of log_ratio, .*, got \(3,\) and \(2, 3\)"):
        moments(u, u, np.zeros(3))
    with pytest.raises(ValueError, match=r"scaled must be of the shape of log_ratio, .*, got \(1, 2, 3\)"):
        moments(u[None], u[None], u[None])
