"""Constants of the lower bounds, and the logs that they are compared on."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

import pessimism as ps
from analysis.bounds import BOUNDS, LoggedProblem, bound_options, draw, lower_bounds
from tests.analysis.values import DELTA, MU, N, policies


def test_constants_from_the_ratios_are_the_best_for_rewards_of_one() -> None:
    ratio, paid = policies()["kimi"] / MU, np.log(1 / DELTA) / N
    for name, moment in (("ls", MU @ ratio**2), ("ix", ratio.sum())):
        best = minimize_scalar(lambda lam, m=moment: lam * m / 2 + paid / lam, bounds=(1e-4, 1), method="bounded")
        assert bound_options(name, "ratios", ratio, MU, N, DELTA)["lam"] == pytest.approx(best.x, rel=1e-3)
    assert bound_options("clipped", "ratios", ratio, MU, 9, DELTA)["cap"] == 3.0
    assert bound_options("el", "ratios", ratio, MU, 9, DELTA)["delta"] == 2 * DELTA  # two-sided
    assert bound_options("ls", "default", ratio, MU, 9, DELTA) == {"delta": DELTA}


def test_every_target_and_bound_sees_the_same_log() -> None:
    problem = LoggedProblem((0.4, 0.3, 0.2, 0.1), (0.2, 0.4, 0.6, 0.8), 0.1, ("kimi", "nominal"))
    found = lower_bounds(problem, 200, range(3, 5), DELTA, seed=7)
    assert found.shape == (2, 2, len(BOUNDS))
    np.testing.assert_array_equal(found[1:], lower_bounds(problem, 200, range(4, 5), DELTA, seed=7))
    log, q = draw(problem, 200, (7, 200, 4)), np.array(problem.behavior)
    for row, (name, _, target) in zip(found[1], problem.targets(), strict=True):
        for bound, (estimator, constants) in zip(row, BOUNDS, strict=True):
            options = bound_options(estimator, constants, np.asarray(target.policy) / q, q, 200, DELTA)
            assert bound == ps.evaluate(target, log, estimator, **options).lower, name


def test_a_log_is_that_of_the_bandit() -> None:
    problem = LoggedProblem((0.4, 0.3, 0.2, 0.1), (0.2, 0.4, 0.6, 0.8), 0.1, ("kimi",))
    log = draw(problem, 40_000, (0,))
    share = np.bincount(np.asarray(log.action, dtype=int)) / 40_000
    np.testing.assert_allclose(share, problem.behavior, atol=4 * 0.5 / 200)
    for action, rate in enumerate(problem.reward):
        mine = log.reward[log.action == action]
        assert abs(mine.mean() - rate) < 4 * np.sqrt(rate * (1 - rate) / len(mine))
    np.testing.assert_array_equal(log.pscore, np.array(problem.behavior)[np.asarray(log.action, dtype=int)])
