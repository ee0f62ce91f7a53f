"""Regimes: the sign of kappa on the Lambert family, off it a comparison with the nominal target that no shift moves."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import pessimism as ps
from pessimism.closed_forms.regime import Distance, lambert_fit, regime_at_any_temperature
from pessimism.core.bandit import make_bandit
from tests.cases import CASES
from tests.helpers import Array, accepted, make_problem, shifted

SIGNS = {"positive": 1, "boundary": 0, "negative": -1}
ENDED = ("no_target", "not_converged")


def bandits() -> list[tuple[Array, Array]]:
    """Random bandits, with ties, rewards of 0 and 1 and below 0, equal rewards and actions without probability."""
    found = []
    for seed in range(18):
        rng = np.random.default_rng(seed)
        width = int(rng.integers(2, 8))
        q = rng.dirichlet(np.ones(width))
        right = (rng.random(width) < 0.5).astype(float)
        kinds = (
            np.round(rng.normal(size=width) * 1024) / 1024,
            right,
            -right,
            np.full(width, rng.choice([-1.0, 0.0, 0.5])),
            np.round(2.0 * rng.normal(size=width)) / 2.0,
            -np.abs(np.round(rng.normal(size=width) * 1024) / 1024),
        )
        if seed % 6 == 4:
            q[0] = 0.0
            q /= q.sum()
        found.append((q, kinds[seed % 6]))
    return found


def factor_of(target: Any) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a policy worse than the behavior has none
        return float(target.conservatism()["pessimism_factor"].iloc[0])


def solved(label: str, q: Array, reward: Array, objective: Any) -> Any:
    """Target of a problem that the objective takes, None where it takes it not or has no target."""
    try:
        target = ps.induced_target(q, reward, objective)
    except ValueError:  # rewards out of its range
        return None
    return None if target.status in ENDED else target


@pytest.mark.parametrize("label", CASES)
def test_no_regime_contradicts_the_pessimism_factor_and_no_shift_changes_it_alone(label: str) -> None:
    objective, compared = CASES[label].objective, 0
    for q, reward in bandits():
        reward = accepted(label, reward)
        target = solved(label, q, reward, objective)
        if target is None:
            continue
        compared += 1
        if np.isfinite(target.kappa):
            assert SIGNS[str(target.regime)] == (0 if abs(target.kappa) <= 1e-9 else np.sign(target.kappa))
        elif target.beta is not None and np.isfinite(factor := factor_of(target)):
            assert SIGNS[str(target.regime)] == (0 if abs(factor - 1.0) <= 1e-8 else np.sign(factor - 1.0)), factor
        for constant in (-2.0, -0.5, 0.5, 2.0):
            other = solved(label, q, reward + constant, shifted(label, constant))
            fixed = solved(label, q, reward + constant, objective)
            for again in (other, fixed):
                same = again is not None and np.abs(again.policy - target.policy).max() <= 1e-12
                # The level of a squared regression on a fixed baseline shows in kappa even where the policy stays.
                if same and not (np.isfinite(again.kappa) and again.kappa != target.kappa):
                    assert again.regime == target.regime, (q.tolist(), reward.tolist(), constant)
    assert compared >= 3


def test_a_policy_that_gives_up_actions_is_compared_with_nominal() -> None:
    bold = ps.induced_target(
        [0.5, 0.3, 0.2], [0.0, 0.5, 1.0], "kl_regularized", estimator="k1", placement="loss", beta=0.3
    )
    np.testing.assert_allclose(bold.policy, [0.0, 0.0, 1.0], rtol=1e-15)
    row = bold.conservatism().iloc[0]
    assert (row["kl_gap"].round(3), row["pessimism_factor"]) == (-0.877, 0.0)
    assert bold.regime == "negative"
    pair = [ps.induced_target([0.103, 0.21, 0.687], r, "chi2", beta=0.1) for r in ([1, 1, 0], [-1, -1, -2])]
    np.testing.assert_allclose(pair[0].policy, pair[1].policy, rtol=1e-14)
    assert pair[0].regime == pair[1].regime


def test_random_chi_square_targets_agree_with_their_factors() -> None:
    rng = np.random.default_rng(0)
    q, reward = rng.dirichlet(np.ones(5), size=300), rng.normal(size=(300, 5))
    target = ps.induced_target(q, reward, "chi2", beta=0.3)
    factor = target.conservatism()["pessimism_factor"].to_numpy()
    np.testing.assert_array_equal([SIGNS[name] for name in target.regime], np.sign(factor - 1.0))
    assert len(set(target.regime)) == 2
    assert (target.status == "vanishing_support").mean() > 0.5


@pytest.mark.parametrize(
    ("name", "regime"), [("kimi", "positive"), ("shifted_mean", "positive"), ("nominal", "boundary")]
)
def test_a_leaking_row_is_negative_without_a_kappa(name: str, regime: str) -> None:
    rewards = [[0.0, 1.0], [2.0, 3.0]]
    target = ps.induced_target([0.5, 0.5], rewards, "constant_baseline", beta=0.25, value=1.5, unseen=True)
    assert (target.leak > 0).tolist() == [True, False]
    assert np.isnan(target.kappa).tolist() == [True, False]
    assert target.regime.tolist() == ["negative", "positive"]
    assert np.isnan(target.conservatism()["kappa"]).tolist() == [True, False]
    assert ps.induced_target([0.5, 0.5], [0.0, 1.0], name, unseen=True).regime == regime  # nothing leaks


def test_the_level_of_equal_rewards_counts_only_where_the_loss_sees_it() -> None:
    """Both routes of a regression on a fixed baseline keep its kappa; a penalty on top of rewards is nominal."""
    for value, sign in ((0.2, "positive"), (0.7, "boundary")):
        objective = ps.ConstantBaseline(beta=0.5, value=value)
        for method in ("closed_form", "fixed_point"):
            target = ps.induced_target([0.3, 0.7], [0.7, 0.7], objective, method=method)
            assert float(target.kappa) == pytest.approx((0.7 - value) / 0.5, abs=1e-12)
            assert target.regime == sign
    for level in (-1.0, 0.0, 1.0):
        target = ps.induced_target([0.3, 0.7], [level, level], "chi2", beta=0.5)
        assert (float(target.kappa), target.regime) == (0.0, "boundary")


def test_without_a_temperature_only_what_holds_at_every_temperature_is_compared() -> None:
    bandit = make_bandit(np.full((5, 2), 0.5), np.array([[0.0, 1.0]] * 3 + [[1.0, 1.0]] * 2))
    half = np.log([0.8, 1.2])
    log_ratio = np.array([[-np.inf, np.log(2.0)], half, half, half, [0.0, 0.0]])
    found = regime_at_any_temperature(bandit, log_ratio, np.array([1.0, 1.0, -1.0, 1.0, 1.0]))
    # Greedy; in between, the sign of the multiplier; farther than the reference, which is nominal; that itself.
    assert found.tolist() == [-1, 1, -1, -1, 0]
    nothing = regime_at_any_temperature(bandit, np.full((5, 2), np.nan), np.array([1.0, 0.0, -1.0, np.nan, 1.0]))
    assert nothing.tolist() == [1, 0, -1, 0, 1]


def test_near_greedy_policies_are_still_compared() -> None:
    """Where both divergences round to the greedy one, what is missing to it tells."""
    q, reward = np.array([[0.4, 0.3, 0.3]]), np.array([[0.0, 0.9, 1.0]])
    for pull, sign in ((0.5, 1), (2.0, -1)):
        log_policy = np.log(q) + pull * reward / 1e-3
        log_policy = log_policy - np.logaddexp.reduce(log_policy, axis=-1, keepdims=True)
        u = log_policy - np.log(q) + 1e-3 * np.array([[1.0, 0.0, 0.0]])  # off the family, and nearly normalized
        assert lambert_fit(make_bandit(q, reward), ps.Kimi(beta=1e-3), reward, u, np.zeros(1))[1].tolist() == [sign]


def test_the_shortfall_of_a_distance_is_what_is_missing_to_greedy() -> None:
    q, reward = make_problem(3, 5)
    distance = Distance(np.log(q)[None], reward[None])
    nominal = distance.tilted(np.array([1.5]))
    policy = np.exp(nominal[0])
    assert distance.kl(nominal)[0] == pytest.approx(float(policy @ np.log(policy / q)), rel=1e-13)
    missing = -np.log(q[reward.argmax()]) - distance.kl(nominal)[0]
    assert distance.log_shortfall(nominal)[0] == pytest.approx(np.log(missing), rel=1e-10)


@pytest.mark.parametrize("name", ["kimi", "shifted_mean", "oapl", "nominal"])
def test_kappa_is_read_off_a_policy(name: str) -> None:
    q, reward = make_problem(4, 6)
    target = ps.induced_target(q, reward, name)
    advantage = np.asarray(target.advantage)
    u = np.asarray(target.log_ratio)[None]
    kappa, regime = lambert_fit(target.bandit, target.objective, advantage[None], u, np.array([0.0]))
    assert kappa[0] == pytest.approx(float(target.kappa), rel=1e-9, abs=1e-9)
    assert {1: "positive", 0: "boundary", -1: "negative"}[int(regime[0])] == target.regime


def test_a_policy_off_the_family_has_no_kappa() -> None:
    """It has the regime of its distance from the reference beside that of the nominal target."""
    q, advantage = np.array([[0.3, 0.3, 0.4]]), np.array([[0.0, 1.0, 0.2]])
    for pull, sign in ((0.2, 1), (3.0, -1)):
        policy = q * np.exp(pull * np.array([[0.3, 1.0, 0.0]]))
        u = np.log(policy / policy.sum() / q)
        kappa, regime = lambert_fit(make_bandit(q, advantage), ps.Kimi(beta=1.0), advantage, u, np.array([0.0]))
        assert np.isnan(kappa[0])
        assert regime[0] == sign
