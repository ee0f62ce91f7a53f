"""Lower confidence bounds as objectives: quadratic programs, tables of the literature, ends and ties."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize

import pessimism as ps
from tests.helpers import Array, assert_log_policies_agree, make_problem
from tests.pessimism.losses.logged.estimators import (
    GOLDEN,
    policy_of,
    unit_problem,
)


def by_supports(behavior: Array, reward: Array, moment: Array, k: float) -> Array:
    """Policy of the largest v - k S: S = s at the optimum of v - k S^2 / (2 s), a quadratic program on each support."""

    def best(s: float) -> Array:
        found, value = np.zeros_like(reward), -np.inf
        for bits in range(1, 2 ** len(reward)):
            on = np.array([bool(bits >> i & 1) for i in range(len(reward))])
            curve = np.diag(moment / behavior) - np.outer(reward, reward)
            system = np.ones((on.sum() + 1, on.sum() + 1))
            system[:-1, :-1], system[-1, -1] = k / s * curve[np.ix_(on, on)], 0.0
            part = np.linalg.solve(system, np.append(reward[on], 1.0))[:-1]
            score = reward[on] @ part - 0.5 * k / s * part @ curve[np.ix_(on, on)] @ part
            if np.all(part >= 0) and score > value:
                found, value = np.where(on, 0.0, 0.0), score
                found[on] = part
        return found

    def gap(s: float) -> float:
        pi = best(s)
        return math.sqrt(np.sum(pi**2 * moment / behavior) - (pi @ reward) ** 2) - s

    return best(optimize.brentq(gap, 1e-3, 1e2, xtol=1e-14))


@pytest.mark.parametrize("n", [1, 5, 20, 50, 200])
@pytest.mark.parametrize("seed", range(3))
def test_the_lower_bound_by_quadratic_programs(n: int, seed: int) -> None:
    behavior, reward = unit_problem(20 + seed, 4)
    moment = reward**2 + (1 - 0.3 * seed) * (reward - reward**2)
    target = ps.induced_target(behavior, reward, "empirical_likelihood_lcb", n=n, second_moment=tuple(moment))
    expected = by_supports(behavior, reward, moment, 1.96 / math.sqrt(n))
    np.testing.assert_allclose(target.policy, expected, atol=1e-9)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("width", [2, 3, 5, 8])
def test_the_coupled_route_finds_the_lower_bound(seed: int, width: int) -> None:
    behavior, reward = make_problem(60 + seed, width)
    reward = 0.45 + 0.1 * np.tanh(reward)
    closed = ps.induced_target(behavior, reward, "empirical_likelihood_lcb", n=2)
    generic = ps.induced_target(behavior, reward, "empirical_likelihood_lcb", n=2, method="fixed_point")
    assert_log_policies_agree(generic.log_policy, closed.log_policy, tolerance=1e-9)
    np.testing.assert_allclose(generic.multiplier, closed.multiplier, rtol=1e-9)


def test_tables_of_the_literature() -> None:
    """Four lower-bound policies and one pessimism factor that were computed elsewhere, to their three digits."""
    expected = {
        5: [0.412, 0.297, 0.195, 0.097],
        20: [0.187, 0.363, 0.292, 0.158],
        50: [0.0, 0.343, 0.408, 0.249],
        200: [0.0, 0.0, 0.522, 0.478],
    }
    for n, policy in expected.items():
        found = ps.induced_target(*GOLDEN, "empirical_likelihood_lcb", n=n).policy
        np.testing.assert_allclose(found, policy, atol=6e-4, err_msg=str(n))
    twin = ps.induced_target(*GOLDEN, "pevi_kl", n=200, beta=0.25).conservatism()
    assert twin["pessimism_factor"].iloc[0] == pytest.approx(1.41, abs=5e-3)


@pytest.mark.parametrize("n", [0.5, 2, 10, 100, 1e5])
def test_the_multiplier_is_the_lower_bound(n: float) -> None:
    behavior, reward = unit_problem(8, 6)
    target = ps.induced_target(behavior, reward, "empirical_likelihood_lcb", n=n)
    pi, value = target.policy, target.policy @ reward
    spread = math.sqrt(np.sum(pi**2 * reward / behavior) - value**2)
    assert float(target.multiplier) == pytest.approx(value - 1.96 / math.sqrt(n) * spread, abs=1e-12)
    loss = target.objective.loss(target.log_ratio, target.advantage, behavior)  # type: ignore[union-attr]
    assert behavior @ loss == pytest.approx(-float(target.multiplier), abs=1e-12)


def test_ends_of_the_lower_bounds() -> None:
    behavior, reward = GOLDEN
    np.testing.assert_allclose(policy_of("pevi", n=1e9), [0, 0, 0, 1], atol=1e-14)
    np.testing.assert_allclose(policy_of("pevi", n=1e-3), [1, 0, 0, 0], atol=1e-14)  # the best known
    np.testing.assert_allclose(policy_of("pevi_kl", n=60, beta=1e-4), policy_of("pevi", n=60), atol=1e-12)
    np.testing.assert_allclose(policy_of("empirical_likelihood_lcb", n=1e9), [0, 0, 0, 1], atol=1e-14)
    # A tiny n asks for the least variance of w R: (p + (1 - E p)) / p times the behavior.
    least = behavior * (1 + (1 - behavior @ reward) / reward)
    np.testing.assert_allclose(policy_of("empirical_likelihood_lcb", n=1e-12), least / least.sum(), rtol=1e-5)


def test_ties_of_the_greedy_bound_are_shared() -> None:
    target = ps.induced_target([0.25, 0.25, 0.5], [0.9, 0.9, 0.1], "pevi", n=100)
    assert target.status == "set_valued"
    np.testing.assert_allclose(target.policy, [0.5, 0.5, 0.0], rtol=1e-15)
    assert ps.induced_target([1.0], [0.3], "pevi").status == "converged"
    assert ps.induced_target([0.5, 0.5], [0.3, 0.3], "pevi").status == "set_valued"


def test_a_certain_nothing_beats_a_negative_bound() -> None:
    problem = [0.2, 0.3, 0.5], [0.0, 0.4, 0.5]
    safe = ps.induced_target(*problem, "empirical_likelihood_lcb", n=1)
    np.testing.assert_allclose(safe.policy, [1, 0, 0], atol=1e-14)
    bold = ps.induced_target(*problem, "empirical_likelihood_lcb", n=50)
    assert bold.policy[0] == 0
    several = ps.induced_target([0.1, 0.3, 0.6], [0.0, 0.0, 0.2], "empirical_likelihood_lcb", n=1)
    assert several.status == "set_valued"
    np.testing.assert_allclose(several.policy, [0.25, 0.75, 0.0], rtol=1e-15)


def test_certain_rewards_allow_a_bound_without_variance() -> None:
    behavior, reward = GOLDEN
    target = ps.induced_target(behavior, reward, "empirical_likelihood_lcb", n=2, second_moment=tuple(reward**2))
    flat = behavior / reward
    np.testing.assert_allclose(target.policy, flat / flat.sum(), rtol=1e-12)  # w r is the same for every action
    every = ps.induced_target(behavior, np.ones(4), "empirical_likelihood_lcb")
    np.testing.assert_allclose(every.policy, behavior, rtol=1e-15)
    assert float(every.certificate()["worst"].iloc[0]) <= 1e-12
