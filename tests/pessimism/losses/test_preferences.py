"""Pair losses against brute force over labeled pairs, optimizers on the simplex, gradient flow and their limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from scipy import optimize
from scipy.integrate import solve_ivp

import pessimism as ps
from pessimism.losses.registry import make_objective
from tests.flows import logit_field
from tests.helpers import Array, assert_log_policies_agree, make_problem
from tests.pessimism.losses.published import sigmoid, win

PairLoss = Callable[[Array, int, int], float]


def dpo_pair(beta: float) -> PairLoss:
    return lambda u, i, j: -np.log(sigmoid(beta * (u[i] - u[j])))


def ipo_pair(beta: float) -> PairLoss:
    return lambda u, i, j: (u[i] - u[j] - 1.0 / (2.0 * beta)) ** 2


def chi_po_pair(beta: float, r_max: float) -> PairLoss:
    phi = lambda u: np.exp(u) + u  # noqa: E731
    return lambda u, i, j: -np.log(sigmoid(np.clip(beta * (phi(u[i]) - phi(u[j])), -2 * r_max, 2 * r_max)))


def labeled(pair: PairLoss, reward: Array, preference: str, u: Array, i: int, j: int) -> float:
    """Expected loss of one pair over its label."""
    p = win(reward[i] - reward[j], preference)
    return p * pair(u, i, j) + (1.0 - p) * pair(u, j, i)


def population(pair: PairLoss, q: Array, reward: Array, preference: str) -> Callable[[Array], float]:
    indices = range(len(q))
    return lambda u: sum(q[i] * q[j] * labeled(pair, reward, preference, u, i, j) for i, j in product(indices, indices))


def copg_pair(reward: Array, beta: float) -> PairLoss:
    half = lambda u, i: reward[i] - beta / 2.0 * u[i]  # noqa: E731
    return lambda u, i, j: -(half(u, i) - half(u, j)) * (u[i] - u[j])


SETTINGS: dict[str, tuple[dict[str, Any], Callable[[Array], PairLoss], str]] = {
    "dpo": ({"beta": 0.7}, lambda r: dpo_pair(0.7), "bradley_terry"),
    "ipo": ({"beta": 0.3}, lambda r: ipo_pair(0.3), "bradley_terry"),
    "ipo-deterministic": ({"beta": 0.3, "preference": "deterministic"}, lambda r: ipo_pair(0.3), "deterministic"),
    "chi_po": ({"beta": 0.6, "r_max": 5.0}, lambda r: chi_po_pair(0.6, 5.0), "bradley_terry"),
    "copg": ({"beta": 0.6}, lambda r: copg_pair(r, 0.6), "bradley_terry"),
}
every_setting = pytest.mark.parametrize("label", SETTINGS)


def setting(label: str, reward: Array) -> tuple[Any, PairLoss, str]:
    hyper, pair, preference = SETTINGS[label]
    return make_objective(label.split("-")[0], **hyper), pair(reward), preference


@every_setting
def test_the_loss_is_the_published_one_over_pairs(label: str) -> None:
    q, reward = make_problem(20, 5)
    objective, pair, preference = setting(label, reward)
    u = np.random.default_rng(0).normal(size=5)
    published = population(pair, q, reward, preference)(u)
    assert q @ objective.loss(u, objective.advantage(reward, q), q) == pytest.approx(published, rel=1e-12)
    # A sampled group: all ordered pairs of two different members.
    others = [labeled(pair, reward, preference, u, i, j) for i, j in product(range(5), range(5)) if i != j]
    found = np.mean(objective.loss(u, objective.advantage(reward, None), None))
    assert found == pytest.approx(np.mean(others), rel=1e-12)


@every_setting
def test_the_score_weight_is_the_slope_of_the_published_loss(label: str) -> None:
    q, reward = make_problem(21, 4)
    objective, pair, preference = setting(label, reward)
    u = np.random.default_rng(1).normal(size=4)
    slope = optimize.approx_fprime(u, population(pair, q, reward, preference), 1e-7)
    np.testing.assert_allclose(-slope / q, objective.score_weight(u, objective.advantage(reward, q), q), atol=1e-4)


def minimized(loss: Callable[[Array], float], nu: Array) -> Array:
    """Log-ratios of the policy of least loss, from a start away from the reference."""

    def of_logits(x: Array) -> float:
        return loss(x - np.logaddexp.reduce(x) - np.log(nu))

    start = np.log(nu) + 0.3 * np.random.default_rng(3).normal(size=len(nu))
    x = optimize.minimize(of_logits, start, method="BFGS", options={"gtol": 1e-8}).x
    return np.asarray(x - np.logaddexp.reduce(x) - np.log(nu))


@every_setting
@pytest.mark.parametrize("width", [2, 4])
@pytest.mark.parametrize("own_reference", [False, True])
def test_an_optimizer_of_the_published_loss_finds_the_target(label: str, width: int, own_reference: bool) -> None:
    q, reward = make_problem(30 + width, width)
    nu = make_problem(40, width)[0] if own_reference else q
    objective, pair, preference = setting(label, reward)
    target = ps.induced_target(q, reward, objective, reference=nu if own_reference else None)
    found = minimized(population(pair, q, reward, preference), nu)
    np.testing.assert_allclose(nu * np.exp(found), target.policy, atol=2e-6)


def flow(objective: Any, q: Array, advantage: Array, nu: Array, time: float) -> Array:
    """Log-ratios that gradient flow on softmax logits has reached from the reference."""
    run = solve_ivp(
        lambda _, x: logit_field(q, np.log(nu), lambda u: objective.score_weight(u, advantage, q), x),
        (0.0, time),
        np.log(nu),
        method="LSODA",
        rtol=1e-9,
        atol=1e-11,
    )
    x = run.y[:, -1]
    return np.asarray(x - np.logaddexp.reduce(x) - np.log(nu))


@every_setting
def test_gradient_flow_reaches_the_target(label: str) -> None:
    q, reward = make_problem(11, 4)
    nu = make_problem(13, 4)[0]
    objective = setting(label, reward)[0]
    target = ps.induced_target(q, reward, objective, reference=nu)
    reached = flow(objective, q, target.advantage, nu, 1e5)
    np.testing.assert_allclose(nu * np.exp(reached), target.policy, atol=1e-4)


@every_setting
@pytest.mark.parametrize("width", [2, 3, 7, 12])
def test_the_generic_route_agrees(label: str, width: int) -> None:
    q, reward = make_problem(50 + width, width)
    nu = make_problem(60, width)[0]
    objective = setting(label, reward)[0]
    if label == "chi_po":  # where all pairs are clipped every policy is stationary: Newton must not jump there
        objective = replace(objective, r_max=1e3)
    closed = ps.induced_target(q, reward, objective, reference=nu, method="closed_form")
    generic = ps.induced_target(q, reward, objective, reference=nu, method="fixed_point")
    assert_log_policies_agree(generic.log_policy, closed.log_policy, tolerance=1e-9)


def test_the_behavior_does_not_matter_where_all_pairs_agree() -> None:
    q, reward = make_problem(14, 6)
    nu = make_problem(15, 6)[0]
    for name in ("dpo", "copg", "chi_po"):
        objective = make_objective(name, beta=0.5, **({"r_max": 9.0} if name == "chi_po" else {}))
        found = [ps.induced_target(p, reward, objective, reference=nu) for p in (q, q[::-1], nu)]
        for other in found[1:]:
            assert_log_policies_agree(other.log_policy, found[0].log_policy)
    # Win probabilities are against the behavior: there it matters.
    one, two = (ps.induced_target(p, reward, "ipo", reference=nu).policy for p in (q, q[::-1]))
    assert np.abs(one - two).max() > 1e-3


@pytest.mark.parametrize("name", ["dpo", "async_dpo"])
def test_deterministic_labels_have_no_end(name: str) -> None:
    """Every gap of log-ratios grows for ever, among vanishing actions too; what they share is gone in the limit."""
    q, reward = np.array([0.5, 0.3, 0.2]), np.array([0.0, 1.0, 0.4])
    objective = make_objective(name, beta=1.0, preference="deterministic")
    target = ps.induced_target(q, reward, objective)
    np.testing.assert_allclose(target.policy, [0.0, 1.0, 0.0], atol=1e-15)
    assert (target.status, target.regime) == ("vanishing_support", "negative")
    runs = [flow(objective, q, target.advantage, q, time) for time in (1e2, 1e4, 1e6)]
    assert all(np.diff(run[[1, 2, 0]]).max() < 0 for run in runs)
    gaps = np.array([[u[1] - u[2], u[2] - u[0]] for u in runs])
    np.testing.assert_allclose(np.diff(gaps, axis=0) / np.log(100.0), 1.0, atol=0.2)  # log t / beta
    assert np.abs(q * np.exp(runs[-1]) - target.policy).max() < 1e-4
    # The stand-ins of the limit are a rest point of the flow, the order of the vanished actions included.
    ends = objective.at_infinity(target.log_ratio, target.advantage)
    np.testing.assert_array_equal(objective.score_weight(ends, target.advantage, q), 0.0)


def test_ties_among_the_best() -> None:
    q, nu, reward = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.2, 0.6]), np.array([1.0, 0.0, 1.0])
    kept = np.array([0.25, 0.0, 0.75])
    balanced = ps.induced_target(q, reward, "dpo", preference="deterministic", reference=nu)
    np.testing.assert_allclose(balanced.policy, kept, rtol=1e-15)
    assert balanced.status == "vanishing_support"
    free = ps.induced_target(q, reward, "async_dpo", reference=nu)
    np.testing.assert_allclose(free.policy, kept, rtol=1e-15)
    assert free.status == "set_valued"
    # Ties of one half pull together; ties that pull nowhere leave the shares to the path: nu q^(1/beta) at infinity.
    for objective, expected in (
        (ps.objectives()["dpo"](beta=1.0, preference="deterministic"), nu[[0, 2]]),
        (ps.objectives()["async_dpo"](beta=1.0), nu[[0, 2]] * q[[0, 2]]),
    ):
        reached = flow(objective, q, balanced.advantage, nu, 1e7)
        shares = (nu * np.exp(reached))[[0, 2]]
        np.testing.assert_allclose(shares / shares.sum(), expected / expected.sum(), atol=2e-3)


def test_equal_rewards_move_nothing() -> None:
    for name in ("dpo", "async_dpo", "ipo", "chi_po", "copg"):
        target = ps.induced_target([0.2, 0.3, 0.5], [0.7, 0.7, 0.7], name)
        np.testing.assert_allclose(target.policy, [0.2, 0.3, 0.5], rtol=1e-13)
    assert ps.induced_target([0.2, 0.8], [0.7, 0.7], "dpo", preference="deterministic").status == "converged"


def test_chi_po_is_the_mixed_penalty_with_gamma_one() -> None:
    for width, beta in product((2, 5, 33), (1e-3, 0.05, 1.0, 1e3)):
        q, reward = make_problem(70 + width, width)
        found = ps.induced_target(q, reward, "chi_po", beta=beta, r_max=100.0)
        mixed = ps.induced_target(q, reward, "mixed_chi2_kl", beta=beta, gamma=1.0)
        assert_log_policies_agree(found.log_policy, mixed.log_policy)
        assert float(found.kappa) == 1.0


def test_chi_po_solves_its_link_around_another_reference() -> None:
    """The reference may know actions that the behavior does not produce."""
    q, nu, reward = np.array([0.6, 0.0, 0.4]), np.array([0.1, 0.5, 0.4]), np.array([0.1, 5.0, 0.9])
    target = ps.induced_target(q, reward, "chi_po", beta=0.3, reference=nu)
    w = target.policy[[0, 2]] / nu[[0, 2]]
    link = np.log(w) + w
    assert link[1] - link[0] == pytest.approx(0.8 / 0.3, rel=1e-12)
    assert target.policy.sum() == pytest.approx(1.0, abs=1e-14)


def nearest_in_set(q: Array, reward: Array, beta: float, r_max: float) -> Array:
    """Policy of least KL to q among those of least chi_po loss: every pair at its own optimum within the clip."""
    phi = lambda u: np.exp(u) + u  # noqa: E731
    rules: list[dict[str, Any]] = [{"type": "eq", "fun": lambda u: np.sum(q * np.exp(u)) - 1.0}]
    for i, j in product(range(len(q)), range(len(q))):
        gap = reward[i] - reward[j]
        if gap >= 2 * r_max:
            rules.append({"type": "ineq", "fun": lambda u, i=i, j=j: beta * (phi(u[i]) - phi(u[j])) - 2 * r_max})
        elif gap > 0:
            rules.append({"type": "eq", "fun": lambda u, i=i, j=j, g=gap: beta * (phi(u[i]) - phi(u[j])) - g})
    divergence = lambda u: np.sum(q * np.exp(u) * u)  # noqa: E731
    start = ps.induced_target(q, reward, "mixed_chi2_kl", beta=beta, gamma=1.0).log_ratio
    found = optimize.minimize(divergence, start, method="SLSQP", constraints=rules, options={"ftol": 1e-14})
    assert found.success
    return np.asarray(q * np.exp(found.x))


@pytest.mark.parametrize(
    "reward", [[0.0, 1.0], [0.0, 0.3, 1.4], [0.0, 0.3, 1.4, 1.6], [1.0, 0.0, 2.0], [0.0, 0.5, 1.0, 3.0]]
)
def test_a_clipped_gap_is_as_small_as_the_loss_allows(reward: list[float]) -> None:
    q, r = np.random.default_rng(5).dirichlet(np.ones(len(reward))), np.array(reward)
    target = ps.induced_target(q, r, "chi_po", beta=0.5, r_max=0.4)
    assert target.status == ("set_valued" if np.diff(np.sort(r)).max() >= 0.8 else "converged")
    np.testing.assert_allclose(target.policy, nearest_in_set(q, r, 0.5, 0.4), atol=2e-6)
    loss = population(chi_po_pair(0.5, 0.4), q, r, "bradley_terry")
    unclipped = ps.induced_target(q, r, "chi_po", beta=0.5, r_max=100.0)
    assert loss(target.log_ratio) == pytest.approx(loss(unclipped.log_ratio), abs=1e-12)
    assert loss(target.log_ratio * 0.999) > loss(target.log_ratio) + 1e-9
    # Gradient ascent from the reference ends in the set.
    logits = np.log(q)
    for _ in range(4000):
        logits = logits + logit_field(
            q, np.log(q), lambda u: target.objective.score_weight(u, target.advantage, q), logits
        )
    reached = logits - np.logaddexp.reduce(logits) - np.log(q)
    assert loss(reached) == pytest.approx(loss(target.log_ratio), abs=1e-6)


def test_clips_that_no_reward_reaches_change_nothing() -> None:
    q, reward = make_problem(17, 6, spread=0.3)
    reward = (reward - reward.min()) / np.ptp(reward)
    one, two = (ps.induced_target(q, reward, "chi_po", beta=0.1, r_max=r_max) for r_max in (1.0, 50.0))
    assert one.status == "converged"
    np.testing.assert_array_equal(one.policy, two.policy)


@pytest.mark.parametrize(
    ("name", "hyper", "message"),
    [
        ("dpo", {"beta": 0.0}, "dpo: beta must be > 0, got 0.0"),
        ("ipo", {"preference": "human"}, 'ipo: preference must be "bradley_terry" or "deterministic", got \'human\''),
        (
            "async_dpo",
            {"preference": None},
            'async_dpo: preference must be "bradley_terry" or "deterministic", got None',
        ),
        ("chi_po", {"r_max": -1.0}, "chi_po: r_max must be > 0, got -1.0"),
        ("copg", {"beta": float("inf")}, "copg: beta must be a finite number, got inf"),
    ],
)
def test_bad_settings_are_named(name: str, hyper: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        make_objective(name, **hyper)
