"""Convex programs by themselves: optimality conditions worked out by hand, golden values, solvers that fail."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import cvxpy as cp
import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import wrightomega

from pessimism import convex
from pessimism.convex import program
from pessimism.evaluation import evaluate
from tests.helpers import Array, make_problem

Q, R = np.array([0.4, 0.3, 0.2, 0.1]), np.array([0.2, 0.4, 0.6, 0.8])


def slopes_agree(slope: Array, found: convex.Program, *, tolerance: float = 1e-5) -> None:
    """The optimality conditions of a program on the simplex: one slope where there is mass, none above it elsewhere."""
    kept = found.policy > 1e-6
    assert kept.any()
    np.testing.assert_allclose(slope[kept], found.dual, atol=tolerance)
    assert np.all(slope[~kept] <= found.dual + tolerance)
    assert found.policy.sum() == pytest.approx(1.0, abs=1e-8)
    assert found.status in program.SOLVED
    assert found.accuracy < 1e-6


SLOPES: dict[str, Callable[[Array, Array], Array]] = {
    "kl": lambda pi, nu: np.log(pi / nu),
    "forward_kl": lambda pi, nu: 1.0 - nu / pi,
    "chi_square": lambda pi, nu: pi / nu - 1.0,
    "hellinger": lambda pi, nu: 1.0 - np.sqrt(nu / pi),
    "inf": lambda pi, nu: nu**-0.5 - pi**-0.5,
}


@pytest.mark.parametrize("name", SLOPES)
def test_a_penalty_has_the_slope_that_it_states(name: str) -> None:
    reference = make_problem(1, 4)[0]
    found = convex.penalized_program(Q, R, {name: 0.7}, reference=reference)
    with np.errstate(divide="ignore"):
        slopes_agree(R - 0.7 * SLOPES[name](np.maximum(found.policy, 0.0), reference), found)
    value = float(found.policy @ R) - found.value
    assert found.value_of is not None
    assert found.value_of(np.log(found.policy)) == pytest.approx(found.value, abs=1e-9)
    assert value > 0  # the penalty is not negative
    assert found.value_of(np.log(reference)) == pytest.approx(reference @ R, abs=1e-12)


def test_penalties_add_up_each_around_its_base() -> None:
    found = convex.penalized_program(Q, R, {"kl": (1.0, np.ones(4)), "chi_square": (0.5, Q)})
    slopes_agree(R - np.log(found.policy) - 0.5 * (found.policy / Q - 1.0), found)


def test_total_variation_moves_mass_only_where_it_pays() -> None:
    # Moving mass from a to b gains R_b - R_a and costs (Q_a + Q_b)/2 times the coefficient.
    assert convex.penalized_program(Q, R, {"total_variation": 5.0}).policy == pytest.approx(Q, abs=1e-7)
    cheap = convex.penalized_program(Q, R, {"total_variation": 0.1}).policy
    assert cheap == pytest.approx([0.0, 0.0, 0.0, 1.0], abs=1e-7)


def test_ratios_stay_in_their_bounds() -> None:
    found = convex.penalized_program(Q, 10.0 * R, {"kl": 0.1}, ratio_bounds=(0.8, 1.5))
    np.testing.assert_allclose(found.policy / Q, [0.8, 0.8, 1.45, 1.5], atol=1e-6)


def test_capped_weights_are_nominal_up_to_a_ceiling() -> None:
    found = convex.penalized_program(Q, R, {"kl": 0.2}, max_ratio=1.3)
    free = brentq(lambda c: Q @ np.minimum(c * np.exp(R / 0.2), max(1.3, c)) - 1.0, 1e-6, 1.0)
    np.testing.assert_allclose(found.policy, Q * np.minimum(free * np.exp(R / 0.2), 1.3), atol=1e-5)


@pytest.mark.parametrize("beta", [1e-4, 1e-2, 1.0, 1e2])
def test_regression_in_the_log_ratio(beta: float) -> None:
    """log w + kappa w = A/beta with kappa = dual / (2 beta^2), at temperatures far apart."""
    q, reward = make_problem(3, 7)
    advantage = reward - q @ reward
    found = convex.u_program(q, advantage, beta)
    kappa = found.dual / (2.0 * beta**2)
    assert kappa > 0
    expected = q * wrightomega(np.log(kappa) + advantage / beta) / kappa
    np.testing.assert_allclose(found.policy, expected, atol=1e-5)
    assert abs(found.leak) < 1e-7
    assert found.minimizes
    assert found.value_of is not None
    assert found.value <= found.value_of(np.log(q))


def test_mass_leaks_where_advantages_are_low() -> None:
    found = convex.u_program(Q, R - 2.0, 0.5)
    np.testing.assert_allclose(found.policy, Q * np.exp((R - 2.0) / 0.5), atol=1e-6)
    assert found.dual == pytest.approx(0.0, abs=1e-7)
    assert found.leak == pytest.approx(1.0 - Q @ np.exp((R - 2.0) / 0.5), abs=1e-6)


def test_regression_around_another_reference() -> None:
    reference = make_problem(2, 4)[0]
    found = convex.u_program(Q, R, 0.3, reference)
    u = np.log(found.policy / reference)
    slopes_agree(2 * 0.3 * Q * (R - 0.3 * u) / found.policy, found)


def test_likelihood_and_projection() -> None:
    found = convex.likelihood_program([0.0, 3.0, 1.0])
    assert found.policy == pytest.approx([0.0, 0.75, 0.25], abs=1e-6)
    assert found.dual == pytest.approx(4.0, abs=1e-5)
    point = np.array([1.1, 0.4, -0.5])
    found = convex.projection_program(point)
    assert found.policy == pytest.approx(np.maximum(point - found.dual, 0.0), abs=1e-6)


@pytest.mark.parametrize("smoothing", [0.1, 1.0, 10.0])
def test_logarithmic_smoothing_fills_water(smoothing: float) -> None:
    """(mu/lam) (p/nu - 1)_+ for Bernoulli rewards, (mu/lam) (1/nu - 1/r)_+ for deterministic ones."""
    bernoulli = convex.log_smoothing_program(Q, np.ones((1, 4)), smoothing, chances=R)
    np.testing.assert_allclose(bernoulli.policy, Q / smoothing * np.maximum(R / bernoulli.dual - 1.0, 0.0), atol=1e-5)
    sure = convex.log_smoothing_program(Q, R, smoothing)
    np.testing.assert_allclose(sure.policy, Q / smoothing * np.maximum(1.0 / sure.dual - 1.0 / R, 0.0), atol=1e-5)
    chances = np.array([[0.5] * 4, [0.5] * 4])
    mixed = convex.log_smoothing_program(Q, np.array([R, 2 * R]), smoothing, chances=chances, kl=0.2)
    w = mixed.policy / Q
    slope = 0.5 * sum(c * R / (1 + smoothing * w * c * R) for c in (1, 2))
    slopes_agree(slope - 0.2 * np.log(w), mixed)


@pytest.mark.parametrize("power", [0.1, 0.9])
def test_power_mean_fills_water(power: float) -> None:
    found = convex.power_mean_program(Q, R, power)
    w = np.maximum(np.sqrt(R * (1 - power) / found.dual) - (1 - power), 0.0) / power
    np.testing.assert_allclose(found.policy, Q * w, atol=1e-5)


@pytest.mark.parametrize("cap", [0.3, 1.5, 4.0])
def test_capped_scores(cap: float) -> None:
    advantage = R - Q @ R
    found = convex.capped_score_program(Q, advantage, cap)
    slopes_agree(advantage * np.minimum(1.0, cap / np.maximum(found.policy / Q, 1e-12)), found)
    assert found.value_of is not None
    assert found.value_of(np.log(np.maximum(found.policy, 1e-300))) == pytest.approx(found.value, abs=1e-7)
    assert found.value_of(np.log(Q)) < found.value


def test_mixed_data() -> None:
    advantage = R - Q @ R
    found = convex.shaped_program(Q, advantage, 0.1, 0.5)
    slopes_agree(advantage * (0.5 + 0.5 * 0.1 * Q / (found.policy + 0.1) ** 2), found)
    bounded, plain = (convex.imitation_program(Q, advantage, 0.7, kind) for kind in (True, False))
    slopes_agree(0.3 * advantage + 0.7 * Q * (1.0 - bounded.policy), bounded)
    slopes_agree(0.3 * advantage + 0.7 * Q / plain.policy, plain)


def test_truncated_penalty() -> None:
    found = convex.truncated_program(Q, R, 0.3, 0.7, 1.1)
    w = found.policy / Q
    slopes_agree(R - 0.3 * (np.log(w) + 0.7 * np.maximum(w, 1.1)), found)
    assert 0 < np.sum(w > 1.1) < 4


@pytest.mark.parametrize("radius", [1e-4, 0.05, 2.0])
def test_trust_region_has_two_multipliers(radius: float) -> None:
    found = convex.trpo_program(Q, R, radius)
    eta = found.duals["trust_region"]
    np.testing.assert_allclose(found.policy, eta * Q / (found.dual - R), atol=1e-5)
    assert Q @ np.log(Q / found.policy) == pytest.approx(radius, rel=1e-5)


@pytest.mark.parametrize("high", [0.2, 3.0])
def test_clipped_surrogate_returns_its_nearest_optimum(high: float) -> None:
    advantage = R - Q @ R
    found = convex.ppo_program(Q, advantage, 0.2, high)

    def surrogate(policy: Array) -> Array:
        w = policy / Q
        return np.minimum(w * advantage, np.clip(w, 0.8, 1.0 + high) * advantage) @ Q

    def distance(policy: Array) -> Array:
        return np.sum(policy * np.log(np.maximum(policy, 1e-300) / Q), axis=-1)

    assert surrogate(found.policy) == pytest.approx(found.value, abs=1e-7)
    others = np.random.default_rng(0).dirichlet(np.ones(4), size=20_000)
    values = surrogate(others)
    assert values.max() <= found.value + 1e-9
    as_good = others[values > found.value - 1e-12]
    assert len(as_good) > 50 or high == 3.0  # a set for a narrow clip, a vertex for a wide one
    assert np.all(distance(as_good) >= distance(found.policy) - 1e-7)


def test_clipped_sequence_ratio() -> None:
    advantage = R - Q @ R
    assert np.allclose(
        convex.ppo_program(Q, advantage, 0.1, 0.1, length=1.0).policy, convex.ppo_program(Q, advantage, 0.1, 0.1).policy
    )
    wide = convex.ppo_program(Q, advantage, 0.2, 1.0, length=3.0)
    w = wide.policy / Q
    good = advantage > 0
    assert np.all(w[~good] < 1e-6)
    slope = advantage[good] * w[good] ** (1 / 3 - 1) / 3
    np.testing.assert_allclose(slope, wide.dual, atol=1e-5)


def test_ties_are_shared_like_the_reference() -> None:
    found = convex.linear_program(Q, [1.0, 0.0, 1.0, 1.0], [0.1, 0.2, 0.3, 0.4])
    assert found.policy == pytest.approx([0.125, 0.0, 0.375, 0.5], abs=1e-6)
    assert (found.value, found.dual) == pytest.approx((1.0, 1.0), abs=1e-9)


# The first-order bound on Bernoulli rewards, z = 1.96: policies to three digits.
@pytest.mark.parametrize(
    ("n", "policy"),
    [
        (5, [0.412, 0.297, 0.195, 0.097]),
        (20, [0.187, 0.363, 0.292, 0.158]),
        (50, [0.0, 0.343, 0.408, 0.249]),
        (200, [0.0, 0.0, 0.522, 0.478]),
    ],
)
def test_confidence_bound(n: int, policy: list[float]) -> None:
    found = convex.confidence_bound_program(Q, R, R, 1.96 / np.sqrt(n))
    np.testing.assert_allclose(found.policy, policy, atol=6e-4)
    value = found.policy @ R
    spread = np.sqrt(np.sum(found.policy**2 * R / Q) - value**2)
    assert found.value == pytest.approx(value - 1.96 / np.sqrt(n) * spread, abs=1e-8)
    assert found.dual == pytest.approx(found.value, abs=1e-7)  # homogeneous


# The authors' notebook (arXiv 1906.03323): counts, ratios, rewards and the 95% interval.
@pytest.mark.parametrize(
    ("rows", "low"),
    [
        ([(2, 1.0102, 1.0), (8, 0.0, 0.0)], 0.0255016),
        ([(1, 0.0, 0.0), (99, 1000 / 999, 1.0)], 0.9570763),
    ],
)
def test_empirical_likelihood_golden_intervals(rows: list[tuple[float, ...]], low: float) -> None:
    counts, weights, rewards = map(np.array, zip(*rows, strict=True))
    found = convex.empirical_likelihood_interval_program(weights, rewards, 0.0, 2000.0, counts=counts)
    assert found.low == pytest.approx(low, abs=1e-5)
    assert found.high == pytest.approx(1.0, abs=1e-8)
    assert set(found.status) <= set(program.SOLVED)
    single = convex.empirical_likelihood_interval_program(
        np.repeat(weights, counts.astype(int)), np.repeat(rewards, counts.astype(int)), 0.0, 2000.0
    )
    assert single.low == pytest.approx(found.low, abs=1e-6)


def test_empirical_likelihood_golden_multiplier() -> None:
    rows = np.array(
        [
            *((41332, 0.0, 0), (1958, 0.0, 1), (17763, 1.0, 0), (1339, 1.0, 1)),
            *((30726, 1.0344828, 0), (3867, 1.0344828, 1), (2034, 1.0447762, 1), (16728, 1.0447762, 0)),
            *((40629, 1.0497237, 0), (3445, 1.0497237, 1), (85, 59.999996, 0), (6, 59.999996, 1)),
        ]
    )
    counts, weights, rewards = rows.T
    found = convex.empirical_likelihood_interval_program(weights, rewards, 0.0, 380.0, counts=counts)
    assert found.dual == pytest.approx(-421.931398, abs=1e-3)
    assert found.low < found.point_low <= found.point_high < found.high


def test_empirical_likelihood_point_has_the_scalar_dual() -> None:
    rng = np.random.default_rng(4)
    weights, rewards = rng.exponential(size=10), rng.integers(0, 2, size=10).astype(float)
    found = convex.empirical_likelihood_interval_program(weights, rewards, 0.0, 20.0)
    b = brentq(lambda b: np.sum((weights - 1) / (1 + b * (weights - 1))), -1 / (weights.max() - 1), 1.0)
    b = max(b, -1.0 / 19.0)  # mass at wmax where the sample's own root is out of reach
    share = 1.0 / (10 * (1 + b * (weights - 1)))
    assert found.dual == pytest.approx(10 * b, abs=1e-4)
    assert found.point_low == pytest.approx(np.sum(share * weights * rewards), abs=1e-5)


def failing(monkeypatch: pytest.MonkeyPatch, *names: str) -> list[str]:
    """Make solvers fail; the list records who was asked."""
    asked: list[str] = []
    original = program._run

    def run(problem: Any, solver: str, options: dict[str, float]) -> Any:
        asked.append(solver)
        if solver in names:
            raise cp.error.SolverError("it stumbled.\nAnd some more.")
        return original(problem, solver, options)

    monkeypatch.setattr(program, "_run", run)
    return asked


def test_the_next_solver_takes_over(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = failing(monkeypatch, "CLARABEL")
    found = convex.penalized_program(Q, R, {"kl": 0.5})
    assert asked == ["CLARABEL", "CLARABEL", "SCS"]
    assert (found.solver, found.status) == ("SCS", "optimal")
    np.testing.assert_allclose(found.policy, Q * np.exp(R / 0.5) / (Q @ np.exp(R / 0.5)), atol=1e-5)
    assert 0 < found.accuracy < 1e-6


def test_a_failure_is_a_status(monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, "CLARABEL", "SCS")
    found = convex.penalized_program(Q, R, {"kl": 0.5}, solvers=["CLARABEL", "SCS", "NOBODY"])
    assert found.solver == "CLARABEL, SCS, NOBODY"
    assert found.status == (
        "CLARABEL: solver_error (it stumbled), SCS: solver_error (it stumbled), NOBODY: not_installed"
    )
    assert not found.solved
    assert np.all(np.isnan(found.policy))
    assert np.isnan(found.value)
    assert np.isnan(found.shortfall(np.log(Q)))
    assert np.isnan(convex.u_program(Q, R, 0.5, solvers=["NOBODY"]).dual)
    interval = convex.empirical_likelihood_interval_program([0.5, 1.5], [0.0, 1.0], 0.0, 2.0, solvers=["NOBODY"])
    assert interval.status == ("NOBODY: not_installed", "not_run", "not_run")
    assert np.isnan(interval.low)


def test_the_most_accurate_of_inaccurate_solutions_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    x = cp.Variable()
    problem = cp.Problem(cp.Minimize(cp.square(x - 1.0)))
    accuracies = {"a": 1e-3, "b": 1e-6, "c": 1e-4}

    def run(problem: Any, solver: str, options: dict[str, str]) -> tuple[float, Callable[[], None]]:
        def unpack() -> None:
            x.value = accuracies[options["name"]]
            problem._status = "optimal_inaccurate"

        unpack()
        return accuracies[options["name"]], unpack

    monkeypatch.setattr(program, "_run", run)
    monkeypatch.setitem(program.SETTINGS, "CLARABEL", tuple({"name": name} for name in accuracies))
    outcome = convex.solve(problem, ["CLARABEL"])
    assert (outcome.status, outcome.accuracy, float(x.value)) == ("optimal_inaccurate", 1e-6, 1e-6)


def test_infeasible_programs_say_so() -> None:
    found = convex.policy_program("none", 2, lambda cp, policy: (policy[0], {"impossible": policy[0] >= 2}))
    assert (found.status, found.value) == ("infeasible", float("-inf"))


def test_without_cvxpy_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cvxpy", None)
    with pytest.raises(ImportError, match=r"^convex programs need cvxpy: pip install pessimism\[convex\]$"):
        convex.likelihood_program([0.5, 0.5])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: convex.u_program([0.5, 0.6], [0.0, 1.0], 1.0), r"behavior must sum to 1 within 1e-06, got 1.1"),
        (lambda: convex.u_program([1.0, 0.0], [0.0, 1.0], 1.0), r"behavior must be > 0, got 0.0: pass the actions"),
        (lambda: convex.u_program(Q, R, 0.0), r"beta must be > 0, got 0.0"),
        (lambda: convex.penalized_program(Q, [1.0], {}), r"advantage must hold one number per action, shape \(4,\)"),
        (
            lambda: convex.penalized_program(Q, R / [1, 1, 1, np.inf] + [0, 0, 0, np.nan], {}),
            r"advantage must be finite, got nan",
        ),
        (lambda: convex.penalized_program(Q, R, {"lk": 1.0}), r"penalties: unknown divergence 'lk', known: kl, "),
        (lambda: convex.penalized_program(Q, R, {"kl": -1.0}), r"penalties\['kl'\] must be > 0, got -1.0"),
        (
            lambda: convex.penalized_program(Q, -R, {"kl": 1.0}, max_ratio=2.0),
            r"max_ratio needs advantages >= 0, got -0.8",
        ),
        (lambda: convex.likelihood_program([-1.0, 1.0]), r"coefficients must be >= 0 and some > 0, got -1.0 to 1.0"),
        (lambda: convex.log_smoothing_program(Q, -R, 1.0), r"outcomes must be >= 0, got -0.8"),
        (lambda: convex.power_mean_program(Q, -R, 0.5), r"advantage must be >= 0, got -0.8"),
        (lambda: convex.power_mean_program(Q, R, 0.0), r"power must be in \(0, 1\], got 0.0"),
        (lambda: convex.capped_score_program(Q, -R, 1.0), r"advantage must be > 0 for some action, got -0.2 at most"),
        (lambda: convex.shaped_program(Q, -R, 1.0, 0.5), r"advantage must be > 0 for some action, got -0.2 at most"),
        (lambda: convex.trpo_program(Q, R, 0.0), r"radius must be > 0, got 0.0"),
        (lambda: convex.confidence_bound_program(Q, R, R**3, 1.0), r"second_moment must be >= mean\^2"),
        (lambda: convex.empirical_likelihood_interval_program([1.0], [0.0], 1.0, 2.0), r"wmin and wmax must enclose 1"),
        (
            lambda: convex.empirical_likelihood_interval_program([3.0], [0.0], 0.0, 2.0),
            r"weights must be in \[0.0, 2.0\]",
        ),
        (
            lambda: convex.empirical_likelihood_interval_program([1.0], [0.0], 0.0, 2.0, 1.0, 1.0),
            r"rmin must be < rmax",
        ),
        (
            lambda: convex.empirical_likelihood_interval_program([1.0], [0.0], 0.0, 2.0),
            r"weights must hold at least two",
        ),
        (lambda: convex.empirical_likelihood_interval_program([1.0], [0.0], 0.0, 2.0, alpha=0.0), r"alpha must be in"),
    ],
)
def test_bad_input_is_named(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(("size", "seed"), [(6, 0), (30, 1), (200, 2)])
def test_empirical_likelihood_estimator_has_the_same_primal(size: int, seed: int) -> None:
    """The estimator solves two small dual problems; the program has the sample's masses as variables."""
    rng = np.random.default_rng(seed)
    weight, reward = rng.exponential(size=size), rng.uniform(-1.0, 2.0, size=size)
    options = {"weight_min": 0.0, "weight_max": 15.0, "reward_min": -1.0, "reward_max": 2.0}
    closed = evaluate(None, {"weight": weight, "reward": reward}, "el", delta=0.1, **options)
    found = convex.empirical_likelihood_interval_program(weight, reward, *options.values(), alpha=0.1)
    assert (found.low, found.high) == pytest.approx((closed.lower, closed.upper), abs=1e-5)
    assert found.point_low == pytest.approx(closed.details["vmin"], abs=1e-5)
    assert found.point_high == pytest.approx(closed.details["vmax"], abs=1e-5)
    assert found.dual == pytest.approx(size * closed.details["multiplier"], abs=1e-4)
