"""Empirical likelihood: published numbers, the primal problem as a cone program, limits, coverage."""

from __future__ import annotations

import warnings
from typing import Any

import cvxpy as cp
import numpy as np
import pytest
from scipy.stats import f as f_law

from pessimism import Evaluation, evaluate
from pessimism.evaluation.likelihood import likelihood_weights, multiplier, smallest_value
from tests.helpers import Array

# (count, ratio, reward), from the notebook of the released code of arXiv 1906.03323.
FEW_HITS = [(2, 1.0102, 1), (8, 0, 0)]
FEW_MISSES = [(1, 0, 0), (99, 1000 / 999, 1)]
POINT = [
    (41332, 0, 0),
    (1958, 0, 1),
    (17763, 1, 0),
    (1339, 1, 1),
    (30726, 1.0344828, 0),
    (3867, 1.0344828, 1),
    (2034, 1.0447762, 1),
    (16728, 1.0447762, 0),
    (40629, 1.0497237, 0),
    (3445, 1.0497237, 1),
    (85, 59.999996, 0),
    (6, 59.999996, 1),
]


def _expand(rows: list[tuple[float, ...]]) -> dict[str, Array]:
    count, weight, reward = np.array(rows, dtype=float).T
    return {"weight": np.repeat(weight, count.astype(int)), "reward": np.repeat(reward, count.astype(int))}


def _primal(rows: Any, wmax: float, sign: int = 0, radius: float = 0.0) -> tuple[float, Array]:
    """The problem itself, as a cone program over laws on kinds of rounds (count, w, r) and the corners (0|wmax, 0|1).

    Without a sign: the most likely law. Else: the extreme of E[w r] over all laws within the radius of it.
    """
    count, weight, reward = np.array(rows, dtype=float).T
    n, w, r = count.sum(), np.append(weight, [0, 0, wmax, wmax]), np.append(reward, [0, 1, 0, 1])
    mass = cp.Variable(len(w), nonneg=True)
    law = [cp.sum(mass) == 1, w @ mass == 1]
    likelihood = count / n @ cp.log(cp.multiply(n / count, mass[: len(count)]))
    problem = cp.Problem(cp.Maximize(likelihood), law)
    if sign:
        best, _ = _primal(rows, wmax)
        problem = cp.Problem(cp.Minimize(sign * (w * r) @ mass), [*law, likelihood >= best - radius / n])
    with warnings.catch_warnings():
        # Asked for more digits than the solver can vouch for; that they are right is what the tests compare.
        warnings.filterwarnings("ignore", message="Solution may be inaccurate")
        problem.solve(solver=cp.CLARABEL, tol_gap_abs=1e-11, tol_gap_rel=1e-11, tol_feas=1e-11)
    return float(problem.value) * (sign or 1), np.asarray(mass.value)


def _radius(n: int, delta: float = 0.05) -> float:
    return float(f_law.ppf(1 - delta, 1, n - 1)) / 2


@pytest.mark.parametrize(("rows", "lower"), [(FEW_HITS, 0.0255016), (FEW_MISSES, 0.9570763)])
def test_published_intervals(rows: list[tuple[float, ...]], lower: float) -> None:
    logs = _expand(rows)
    found = evaluate(None, logs, "el", weight_max=2000.0)
    assert found.lower == pytest.approx(lower, abs=1e-5)
    assert found.upper == 1.0
    assert found.lower == pytest.approx(_primal(rows, 2000.0, 1, _radius(found.n))[0], abs=1e-8)


@pytest.mark.filterwarnings("ignore:the mean ratio")  # of the published log it is 0.79, by 57 standard errors
def test_published_point() -> None:
    found = evaluate(None, _expand(POINT), "el", weight_max=380.0)
    n = sum(row[0] for row in POINT)
    assert found.n == n == 159912
    assert n * found.details["multiplier"] == pytest.approx(-421.931398, abs=1e-6)
    _, mass = _primal(POINT, 380.0)
    _, weight, reward = np.array(POINT).T
    carried, unseen = mass[:12] @ (weight * reward), 380.0 * mass[14:].sum()
    assert found.details["vmin"] == pytest.approx(carried, abs=1e-5)
    assert found.details["vmax"] == pytest.approx(carried + unseen, abs=1e-5)
    assert found.value == pytest.approx(carried + unseen / 2, abs=1e-5)
    assert evaluate(None, _expand(POINT), "el", weight_max=380.0, rho=0.0).value == found.details["vmin"]
    said = [found.value, found.details["vmin"], found.details["vmax"]]
    np.testing.assert_allclose(said, [0.1741413, 0.0719657, 0.2763168], atol=1e-7)


@pytest.mark.parametrize("wmax", [3.0, 40.0, 5000.0])
@pytest.mark.parametrize("binary", [True, False])
def test_primal_equals_dual_on_ten_rounds(wmax: float, binary: bool) -> None:
    rng = np.random.default_rng(7)
    weight = np.minimum(rng.exponential(size=10), 3.0) * (rng.random(10) > 0.2)
    logs = {"weight": weight, "reward": rng.integers(0, 2, 10) * 1.0 if binary else rng.random(10)}
    found = evaluate(None, logs, "el", weight_max=wmax)
    rows = np.stack([np.ones(10), logs["weight"], logs["reward"]]).T
    for sign, bound in ((1, found.lower), (-1, found.upper)):
        assert bound == pytest.approx(_primal(rows, wmax, sign, _radius(10))[0], abs=1e-8)
    _, mass = _primal(rows, wmax)
    carried = mass[:10] @ (logs["weight"] * logs["reward"])
    assert found.details["vmin"] == pytest.approx(carried, abs=1e-5)
    assert found.details["vmax"] == pytest.approx(carried + wmax * mass[12:].sum(), abs=1e-5)
    assert found.lower <= found.details["vmin"] <= found.value <= found.details["vmax"] <= found.upper


def test_multiplier_is_stationary_and_the_weights_are_a_law() -> None:
    rng = np.random.default_rng(3)
    for _ in range(50):
        weight = rng.exponential(size=int(rng.integers(2, 60)))
        b = multiplier(weight, 0.0, 1e3)
        q, unseen = likelihood_weights(weight, b)
        assert 1 + b * (1e3 - 1) >= -1e-12
        assert (weight * q).sum() + unseen == pytest.approx(1.0, abs=1e-12)
        rest = 1.0 - q.sum()  # of the mass, at wmax where b < 0, at the ratio 0 where b is its largest
        assert rest == pytest.approx(unseen / 1e3 if b < 0.999 else max(rest, 0.0), abs=1e-12)


def test_limits() -> None:
    rng = np.random.default_rng(4)
    weight, reward = rng.exponential(size=40), rng.random(40)
    low = {"weight": 0.7 * weight / weight.mean(), "reward": reward}
    high = {"weight": 1.3 * weight / weight.mean(), "reward": reward}
    for logs, unseen in ((low, 0.3), (high, 0.0)):
        found = evaluate(None, logs, "el", weight_max=np.inf)
        assert found.details["unseen_mass"] == pytest.approx(unseen, abs=1e-12)
        far = evaluate(None, logs, "el", weight_max=1e9)
        np.testing.assert_allclose(
            [far.value, far.lower, far.upper], [found.value, found.lower, found.upper], atol=1e-7
        )
    assert evaluate(None, low, "el", weight_max=np.inf).value == pytest.approx(np.mean(low["weight"] * reward) + 0.15)
    narrow = evaluate(None, low, "el", weight_max=50.0, delta=1 - 1e-4)
    np.testing.assert_allclose(
        [narrow.lower, narrow.upper], [narrow.details["vmin"], narrow.details["vmax"]], atol=1e-4
    )


def test_on_policy_logs_give_the_mean_and_its_likelihood_interval() -> None:
    """All ratios 1: Owen's interval for a mean, by a root of its own dual."""
    from scipy.optimize import brentq

    reward = np.random.default_rng(5).random(30)
    found = evaluate(None, {"weight": np.ones(30), "reward": reward}, "el", weight_max=2.0)
    assert found.value == pytest.approx(reward.mean(), abs=1e-12)

    def excess(v: float) -> float:
        """Loss of log-likelihood at the mean v, mass at reward 0 allowed, beyond the radius."""
        away = reward - v
        low, high = -1 / away.max() + 1e-12, 1 / v
        lam = brentq(lambda t: (away / (1 + t * away)).sum(), low, min(high, -1 / away.min() - 1e-12))
        return float(np.log1p(lam * away).sum()) - _radius(30)

    assert found.lower == pytest.approx(brentq(excess, reward.mean() - 0.3, reward.mean() - 1e-6), abs=1e-8)


def test_scales_and_ranges() -> None:
    rng = np.random.default_rng(6)
    weight, reward = rng.exponential(size=25), rng.random(25)
    a = evaluate(None, {"weight": weight, "reward": reward}, "el", weight_max=30.0)
    wide = {"weight": weight, "reward": 5 * reward - 2}
    b = evaluate(None, wide, "el", weight_max=30.0, reward_min=-2.0, reward_max=3.0)
    shift = [5 * x - 2 for x in (a.value, a.lower, a.upper)]
    # E[w] = 1 makes a shift of the rewards a shift of the value.
    np.testing.assert_allclose([b.value, b.lower, b.upper], shift, atol=1e-9)


@pytest.mark.filterwarnings("ignore:the mean ratio")
def test_hard_logs_are_solved() -> None:
    rng = np.random.default_rng(8)
    for _ in range(150):
        n = int(rng.choice([2, 3, 20, 300]))
        weight = (rng.pareto(1.1, n), np.ones(n), rng.choice([0, 2, 1e3], n), 10 ** rng.uniform(-8, 4, n))[
            rng.integers(4)
        ]
        reward = (rng.random(n), rng.integers(0, 2, n) * 1.0, np.zeros(n))[rng.integers(3)]
        wmax = float(rng.choice([max(weight.max(), 1.0001), 1e7, np.inf]))
        delta = float(rng.choice([1e-4, 0.05, 0.9]))
        e = evaluate(None, {"weight": weight, "reward": reward}, "el", weight_max=wmax, delta=delta)
        assert -1e-12 <= e.lower <= e.details["vmin"] + 1e-9
        assert e.details["vmax"] - 1e-9 <= e.upper <= 1 + 1e-12


def test_coverage_on_the_published_environment() -> None:
    """Ratios in {0, 2, 1000} of maximum entropy with E[w^2] = 100: above the nominal 95% at n = 113."""
    rng = np.random.default_rng(9)
    hits, width = 0, 0.0
    for _ in range(300):
        value = rng.random()
        weight = rng.choice([0.0, 2.0, 1000.0], size=113, p=[0.549, 0.4509018036, 0.0000981964])
        logs = {"weight": weight, "reward": (rng.random(113) < value) * 1.0}
        found: Evaluation = evaluate(None, logs, "el", weight_max=1000.0)
        hits += found.lower <= value <= found.upper
        width += (found.upper - found.lower) / 300
    assert hits / 300 >= 0.97  # published: 0.9936
    assert width == pytest.approx(0.3478, abs=0.02)  # published


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight_max": 1.5}, r"^weight\[1\] must be at most weight_max = 1.5, got 2.0$"),
        ({"weight_max": 1.0}, r"^weight_max must be greater than 1, got 1.0$"),
        ({"weight_min": 0.5}, r"^weight\[0\] must be at least weight_min = 0.5, got 0.0$"),
        ({"weight_min": -0.5}, r"^weight_min must not be negative, got -0.5$"),
        ({"reward_max": 0.5}, r"^reward\[1\] must be at most reward_max = 0.5, got 1.0$"),
        ({"reward_min": 0.5}, r"^reward\[0\] must be at least reward_min = 0.5, got 0.0$"),
        ({"rho": 2.0}, r"^rho must be between reward_min and reward_max, got 2.0$"),
    ],
)
def test_refusals(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(None, {"weight": [0.0, 2.0], "reward": [0.0, 1.0]}, "el", **({"weight_max": 10.0} | options))
    with pytest.raises(ValueError, match="^logs must hold at least two rounds for estimator el, got 1$"):
        evaluate(None, {"weight": [1.0], "reward": [1.0]}, "el", weight_max=10.0)


def test_no_reward_above_the_least_is_the_least() -> None:
    assert smallest_value(np.zeros(3), np.array([0.5, 1.0, 2.0]), 0.0, 5.0, 0.0, 1.0) == 0.0


def test_the_unit_of_the_rewards_does_not_matter() -> None:
    """Squares of rewards in units of 1e-200 or 1e+200 leave float64."""
    logs = {"weight": [1.5, 0.5, 1.0, 1.2], "reward": [1.0, 0.2, 0.7, 0.0]}
    base = evaluate(None, logs, "el", weight_max=4.0)
    for unit in (1e-200, 1e200, 1e307):
        scaled = logs | {"reward": [unit * r for r in logs["reward"]]}
        found = evaluate(None, scaled, "el", weight_max=4.0, reward_max=unit)
        numbers = np.array([found.value, found.lower, found.upper]) / unit
        np.testing.assert_allclose(numbers, [base.value, base.lower, base.upper], rtol=1e-9)
