"""Regimes of the Lambert target: signs of kappa, what the shift moves, and every minimum of the negative regime."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

import pessimism as ps
from pessimism import divergences
from tests.helpers import PROBLEMS, Array, assert_monotone, cases, is_squared, make_problem, softmax

CASES = cases()
SQUARED = [name for name, objective in CASES.items() if is_squared(objective)]
OUTCOMES = [make_problem(seed, width) for seed, width in ((0, 7), (1, 3), (2, 12))]


@pytest.mark.parametrize("name", SQUARED)
@pytest.mark.parametrize("problem", ["generic", "two_actions", "unseen_actions", "ties", "rare_best"])
def test_kappa_is_mean_advantage_plus_reverse_divergence(name: str, problem: str) -> None:
    behavior, reward = PROBLEMS[problem]
    target = ps.induced_target(behavior, reward, CASES[name])
    seen = behavior > 0
    reverse = -behavior[seen] @ target.log_ratio[seen]  # KL(mu || pi) without forming pi
    expected = behavior[seen] @ target.advantage[seen] / CASES[name].temperature + reverse
    scale = 1.0 + np.abs(target.log_ratio).max()
    np.testing.assert_allclose(target.kappa, expected, rtol=1e-10, atol=1e-13 * scale)


@pytest.mark.parametrize(("behavior", "reward"), OUTCOMES)
@pytest.mark.parametrize("shift", [0.0, 0.25, 1.0, 10.0])
def test_shifted_mean_is_at_least_as_curved_as_its_shift(behavior: Array, reward: Array, shift: float) -> None:
    target = ps.induced_target(behavior, reward, "shifted_mean", beta=0.3, shift=shift)
    assert target.regime == "positive"
    assert float(target.kappa) > shift


@pytest.mark.parametrize(("behavior", "reward"), OUTCOMES)
@pytest.mark.parametrize(
    ("beta1", "beta2", "regime"), [(0.5, 0.2, "positive"), (0.2, 0.5, "negative"), (0.3, 0.3, "boundary")]
)
def test_decoupled_temperatures_decide_the_regime(
    behavior: Array, reward: Array, beta1: float, beta2: float, regime: str
) -> None:
    off_policy = ps.AStarPO(beta1=beta1, beta2=beta2, sampling="off_policy")
    sign = {"positive": 1, "boundary": 0, "negative": -1}[regime]
    for objective in (ps.OAPL(beta1=beta1, beta2=beta2), off_policy):
        target = ps.induced_target(behavior, reward, objective)
        assert target.regime == regime
        assert np.sign(target.kappa) == sign
        log_z = np.log(behavior @ np.exp(target.advantage / beta2))
        assert (np.sign(log_z) == sign) if sign else (abs(log_z) < 1e-13)


@pytest.mark.parametrize(("behavior", "reward"), OUTCOMES)
def test_constant_baseline_crosses_at_the_optimal_value(behavior: Array, reward: Array) -> None:
    optimal = float(0.3 * np.log(behavior @ np.exp(reward / 0.3)))
    for value, regime in ((optimal - 1e-9, "positive"), (optimal + 1e-9, "negative")):
        assert ps.induced_target(behavior, reward, "constant_baseline", beta=0.3, value=value).regime == regime


def test_equal_rewards_and_a_single_action_are_at_the_boundary() -> None:
    for problem in ("equal_rewards", "one_hot"):
        target = ps.induced_target(*PROBLEMS[problem], "kimi", beta=0.01)
        assert target.regime == "boundary"
        assert float(target.kappa) == 0.0
        np.testing.assert_array_equal(target.log_ratio, 0.0)


@pytest.mark.parametrize(("behavior", "reward"), OUTCOMES)
@pytest.mark.parametrize("beta", [0.05, 0.5])
def test_the_shift_is_a_dial_of_conservatism(behavior: Array, reward: Array, beta: float) -> None:
    shifts = np.linspace(0.0, 8.0, 33)
    targets = [ps.induced_target(behavior, reward, "shifted_mean", beta=beta, shift=float(c)) for c in shifts]
    assert_monotone((float(t.kappa) for t in targets), increasing=True)
    assert_monotone((t.policy @ reward for t in targets), increasing=False)
    assert_monotone((float(divergences.kl_divergence(t.policy, behavior)) for t in targets), increasing=False)
    assert_monotone((np.exp(t.log_ratio).max() for t in targets), increasing=False)
    strong = ps.induced_target(behavior, reward, "shifted_mean", beta=beta, shift=1e6)
    expected = (reward - behavior @ reward) / (beta * (1.0 + float(strong.kappa)))
    np.testing.assert_allclose(strong.log_ratio, expected, rtol=1e-3, atol=1e-12)


def test_monotone_helper_rejects_a_plateau() -> None:
    with pytest.raises(AssertionError, match="are not all of one sign"):
        assert_monotone([1.0, 2.0, 2.0], increasing=True)


# The negative regime: baseline above the optimal value.
NEGATIVE = [
    (np.array([0.5, 0.5]), np.array([0.0, 1.0]), 0.5, 2.0),
    (np.array([0.5, 0.3, 0.2]), np.array([0.0, 0.6, 1.0]), 0.4, 1.0),
    (np.array([0.5, 0.3, 0.2]), np.array([0.0, 0.6, 1.0]), 0.4, 0.8),
    (*make_problem(3, 5), 0.5, 2.5),
    (*make_problem(4, 6), 1.0, 1.2),
    (np.array([0.7, 0.0, 0.3]), np.array([0.2, 50.0, 0.9]), 0.3, 0.9),
]
BARELY = (*make_problem(17, 5), 0.3, 0.1244)  # all on W_0 is a minimum too


def loss_and_gradient(q: Array, reward: Array, beta: float, value: float) -> Any:
    advantage = reward - value

    def function(logits: Array) -> tuple[float, Array]:
        top = logits.max()
        log_pi = logits - top - np.log(np.exp(logits - top).sum())
        gap = beta * (log_pi - np.log(q)) - advantage
        pull = q * gap
        return float(q @ gap**2), 2 * beta * (pull - np.exp(log_pi) * pull.sum())

    return function


def descents(q: Array, reward: Array, beta: float, value: float, starts: Array) -> Array:
    """Policies at which BFGS on the logits rests, for starts (n, K)."""
    function = loss_and_gradient(q, reward, beta, value)
    ends = [minimize(function, s, jac=True, method="BFGS", options={"gtol": 1e-10}).x for s in starts]
    return softmax(np.array(ends))


def distances(policies: Array, points: list[ps.StationaryPoint], seen: Array) -> Array:
    """Total variation (n, points)."""
    listed = np.array([p.policy[seen] for p in points])
    return np.asarray(0.5 * np.abs(policies[:, None] - listed).sum(axis=-1))


@pytest.mark.parametrize(("behavior", "reward", "beta", "value"), [*NEGATIVE, BARELY])
def test_stationary_points_are_the_ends_of_descent(behavior: Array, reward: Array, beta: float, value: float) -> None:
    points = ps.stationary_points(behavior, reward, "constant_baseline", beta=beta, value=value)
    seen = behavior > 0
    q, r = behavior[seen], reward[seen]
    for seed in (0, 1):
        starts = np.log(q) + 3.0 * np.random.default_rng(seed).normal(size=(100, len(q)))
        assert distances(descents(q, r, beta, value, starts), points, seen).min(axis=1).max() <= 1e-6
    beside = np.array([p.log_ratio[seen] + np.log(q) for p in points])
    beside = beside + 1e-3 * np.random.default_rng(2).normal(size=beside.shape)
    found = distances(descents(q, r, beta, value, beside), points, seen)
    assert np.diag(found).max() <= 1e-6
    assert found.argmin(axis=1).tolist() == list(range(len(points)))


@pytest.mark.parametrize(("behavior", "reward", "beta", "value"), [*NEGATIVE, BARELY])
def test_stationary_points_are_strict_minima(behavior: Array, reward: Array, beta: float, value: float) -> None:
    points = ps.stationary_points(behavior, reward, "constant_baseline", beta=beta, value=value)
    seen = behavior > 0
    q, r = behavior[seen], reward[seen]
    function = loss_and_gradient(q, r, beta, value)
    assert [p.loss for p in points] == sorted(p.loss for p in points)
    for point in points:
        assert point.policy.sum() == pytest.approx(1.0, abs=1e-12)
        np.testing.assert_array_equal(point.policy[~seen], 0.0)
        logits = np.log(point.policy[seen])
        assert function(logits)[0] == pytest.approx(point.loss, rel=1e-9)
        np.testing.assert_allclose(function(logits)[1], 0.0, atol=1e-10)
        # Hessian on the logits by central differences of the exact gradient; the all-ones direction is free.
        step = 1e-5
        rows = [(function(logits + step * e)[1] - function(logits - step * e)[1]) / (2 * step) for e in np.eye(len(q))]
        curvature = np.linalg.eigvalsh((np.array(rows) + np.array(rows).T) / 2 + np.ones((len(q), len(q))))
        assert curvature.min() > 0
        # The branch tells which action lies beyond w = -1/kappa.
        beyond = np.flatnonzero(seen & (np.exp(point.log_ratio) > -1.0 / point.kappa))
        assert beyond.tolist() == ([] if point.branch is None else [point.branch])


def test_a_barely_negative_baseline_keeps_the_smooth_minimum() -> None:
    behavior, reward, beta, value = BARELY
    points = ps.stationary_points(behavior, reward, "constant_baseline", beta=beta, value=value)
    target = ps.induced_target(behavior, reward, "constant_baseline", beta=beta, value=value)
    smooth = [p for p in points if p.branch is None]
    assert target.regime == "negative"
    assert len(smooth) == 1
    assert len(points) > 1
    np.testing.assert_allclose(target.policy, smooth[0].policy, rtol=1e-12)


def test_a_lone_minimum_of_the_negative_regime_is_the_target() -> None:
    problem = np.array([0.5, 0.3, 0.2]), np.array([0.0, 0.3, 0.6])
    objective = ps.ConstantBaseline(beta=1.0, value=0.31)
    (point,) = ps.stationary_points(*problem, objective)
    target = ps.induced_target(*problem, objective)
    assert target.regime == "negative"
    np.testing.assert_allclose(target.policy, point.policy, rtol=1e-12)
    assert target.status == "local_minimum"


@pytest.mark.parametrize(("behavior", "reward", "beta", "value"), NEGATIVE)
def test_the_target_is_the_lowest_minimum_without_a_smooth_one(
    behavior: Array, reward: Array, beta: float, value: float
) -> None:
    points = ps.stationary_points(behavior, reward, "constant_baseline", beta=beta, value=value)
    target = ps.induced_target(behavior, reward, "constant_baseline", beta=beta, value=value)
    expected = next((p for p in points if p.branch is None), points[0])
    np.testing.assert_allclose(target.policy, expected.policy, rtol=1e-10, atol=1e-14)
    assert float(target.kappa) < 0


@pytest.mark.parametrize(("behavior", "reward", "beta", "value"), NEGATIVE)
def test_stationary_points_follow_a_shift_and_another_reference(
    behavior: Array, reward: Array, beta: float, value: float
) -> None:
    own = ps.stationary_points(behavior, reward, "constant_baseline", beta=beta, value=value)
    moved = ps.stationary_points(behavior, reward + 2.0, "constant_baseline", beta=beta, value=value + 2.0)
    same = ps.stationary_points(behavior, reward, "constant_baseline", beta=beta, value=value, reference=behavior)
    for other in (moved, same):
        assert [p.branch for p in other] == [p.branch for p in own]
        np.testing.assert_allclose([p.policy for p in other], [p.policy for p in own], rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("name", [n for n in SQUARED if n != "constant_baseline-negative"])
def test_elsewhere_the_minimum_is_unique(name: str) -> None:
    (point,) = ps.stationary_points(*PROBLEMS["generic"], CASES[name])
    target = ps.induced_target(*PROBLEMS["generic"], CASES[name])
    np.testing.assert_allclose(point.policy, target.policy, rtol=1e-12)
    assert point.kappa == float(target.kappa)
    assert point.branch is None
    expected = PROBLEMS["generic"][0] @ CASES[name].loss(target.log_ratio, target.advantage)
    assert point.loss == pytest.approx(expected, rel=1e-12, abs=1e-28)


@pytest.mark.parametrize(("behavior", "reward", "beta", "value"), [*NEGATIVE, BARELY])
def test_the_surplus_leaks_to_unseen_actions(behavior: Array, reward: Array, beta: float, value: float) -> None:
    target = ps.induced_target(behavior, reward, "constant_baseline", beta=beta, value=value, unseen=True)
    partition = behavior @ np.where(behavior > 0, np.exp((np.where(behavior > 0, reward, 0.0) - value) / beta), 0.0)
    assert target.regime == "negative"
    assert target.status == "converged"
    assert float(target.kappa) == 0.0
    np.testing.assert_allclose(target.leak, 1.0 - partition, rtol=1e-12)
    np.testing.assert_allclose(target.policy.sum(), partition, rtol=1e-12)
    np.testing.assert_allclose(target.log_ratio[behavior > 0], (reward - value)[behavior > 0] / beta, rtol=1e-13)
    assert float(target.certificate()["worst"].iloc[0]) <= 1e-12


@pytest.mark.parametrize("name", ["kimi", "shifted_mean", "oapl"])
def test_nothing_leaks_from_the_positive_regime(name: str) -> None:
    closed = ps.induced_target(*PROBLEMS["generic"], CASES[name])
    leaky = ps.induced_target(*PROBLEMS["generic"], CASES[name], unseen=True)
    np.testing.assert_array_equal(closed.policy, leaky.policy)
    assert float(leaky.leak) == 0.0


def test_stationary_points_refuse_what_they_cannot_enumerate() -> None:
    behavior, reward = PROBLEMS["generic"]
    with pytest.raises(ValueError, match=r"^objective nominal\(beta=0.3\) is not an off-policy squared regression"):
        ps.stationary_points(behavior, reward, "nominal", beta=0.3)
    with pytest.raises(ValueError, match="^objective a_star_po.* is not an off-policy squared regression"):
        ps.stationary_points(behavior, reward, "a_star_po")
    with pytest.raises(ValueError, match=r"^reward must be one problem \(K,\), got a batch of shape \(2,\)$"):
        ps.stationary_points(behavior, np.stack([reward, reward]), "kimi")


@given(st.integers(0, 10_000), st.floats(0.1, 3.0), st.floats(-2.0, 2.0))
def test_the_sign_of_kappa_is_that_of_log_z(seed: int, beta: float, value: float) -> None:
    behavior, reward = make_problem(seed, 2 + seed % 7)
    target = ps.induced_target(behavior, reward, replace(CASES["constant_baseline"], beta=beta, value=value))
    log_z = float(np.log(behavior @ np.exp((reward - value) / beta)))
    if abs(log_z) > 1e-12:
        assert np.sign(target.kappa) == np.sign(log_z)
        assert target.regime == ("positive" if log_z > 0 else "negative")


def test_many_actions_in_the_negative_regime() -> None:
    """Every listed point is a minimum: descent from beside it stays, and its certificate holds."""
    behavior, reward = make_problem(7, 120)
    points = ps.stationary_points(behavior, reward, "constant_baseline", beta=0.5, value=3.0)
    assert len(points) > 10
    advantage = reward - 3.0
    for point in points:
        pull = behavior * (advantage - 0.5 * point.log_ratio)
        np.testing.assert_allclose(pull, point.policy * pull.sum(), atol=1e-10)
        np.testing.assert_allclose(point.policy.sum(), 1.0, atol=1e-12)
        # d mass / d kappa > 0 along the branch: the second-order condition.
        w = point.policy / behavior
        assert np.sum(behavior * w**2 / (1 + point.kappa * w)) < 0 or point.branch is None
