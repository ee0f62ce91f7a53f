"""Convex programs by themselves: optimality conditions worked out by hand, golden values, solvers that fail."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import cvxpy as cp
import numpy as np
import pytest

from pessimism.convex import program
from pessimism.convex.clipped import trpo_program
from pessimism.convex.log_ratio import u_program
from pessimism.convex.lower_bound import confidence_bound_program, empirical_likelihood_interval_program
from pessimism.convex.penalties import penalized_program
from pessimism.convex.program import policy_program, solve
from pessimism.convex.utilities import (
    capped_score_program,
    likelihood_program,
    log_smoothing_program,
    power_mean_program,
    shaped_program,
)
from tests.pessimism.convex.conditions import Q, R


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
    found = penalized_program(Q, R, {"kl": 0.5})
    assert asked == ["CLARABEL", "CLARABEL", "SCS"]
    assert (found.solver, found.status) == ("SCS", "optimal")
    np.testing.assert_allclose(found.policy, Q * np.exp(R / 0.5) / (Q @ np.exp(R / 0.5)), atol=1e-5)
    assert 0 < found.accuracy < 1e-6


def test_a_failure_is_a_status(monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, "CLARABEL", "SCS")
    found = penalized_program(Q, R, {"kl": 0.5}, solvers=["CLARABEL", "SCS", "NOBODY"])
    assert found.solver == "CLARABEL, SCS, NOBODY"
    assert found.status == (
        "CLARABEL: solver_error (it stumbled), SCS: solver_error (it stumbled), NOBODY: not_installed"
    )
    assert not found.solved
    assert np.all(np.isnan(found.policy))
    assert np.isnan(found.value)
    assert np.isnan(found.shortfall(np.log(Q)))
    assert np.isnan(u_program(Q, R, 0.5, solvers=["NOBODY"]).dual)
    interval = empirical_likelihood_interval_program([0.5, 1.5], [0.0, 1.0], 0.0, 2.0, solvers=["NOBODY"])
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
    outcome = solve(problem, ["CLARABEL"])
    assert (outcome.status, outcome.accuracy, float(x.value)) == ("optimal_inaccurate", 1e-6, 1e-6)


def test_infeasible_programs_say_so() -> None:
    found = policy_program("none", 2, lambda cp, policy: (policy[0], {"impossible": policy[0] >= 2}))
    assert (found.status, found.value) == ("infeasible", float("-inf"))


def test_without_cvxpy_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cvxpy", None)
    with pytest.raises(ImportError, match=r"^convex programs need cvxpy: pip install pessimism\[convex\]$"):
        likelihood_program([0.5, 0.5])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: u_program([0.5, 0.6], [0.0, 1.0], 1.0), r"behavior must sum to 1 within 1e-06, got 1.1"),
        (lambda: u_program([1.0, 0.0], [0.0, 1.0], 1.0), r"behavior must be > 0, got 0.0: pass the actions"),
        (lambda: u_program(Q, R, 0.0), r"beta must be > 0, got 0.0"),
        (lambda: penalized_program(Q, [1.0], {}), r"advantage must hold one number per action, shape \(4,\)"),
        (
            lambda: penalized_program(Q, R / [1, 1, 1, np.inf] + [0, 0, 0, np.nan], {}),
            r"advantage must be finite, got nan",
        ),
        (lambda: penalized_program(Q, R, {"lk": 1.0}), r"penalties: unknown divergence 'lk', known: kl, "),
        (lambda: penalized_program(Q, R, {"kl": -1.0}), r"penalties\['kl'\] must be > 0, got -1.0"),
        (
            lambda: penalized_program(Q, -R, {"kl": 1.0}, max_ratio=2.0),
            r"max_ratio needs advantages >= 0, got -0.8",
        ),
        (lambda: likelihood_program([-1.0, 1.0]), r"coefficients must be >= 0 and some > 0, got -1.0 to 1.0"),
        (lambda: log_smoothing_program(Q, -R, 1.0), r"outcomes must be >= 0, got -0.8"),
        (lambda: power_mean_program(Q, -R, 0.5), r"advantage must be >= 0, got -0.8"),
        (lambda: power_mean_program(Q, R, 0.0), r"power must be in \(0, 1\], got 0.0"),
        (lambda: capped_score_program(Q, -R, 1.0), r"advantage must be > 0 for some action, got -0.2 at most"),
        (lambda: shaped_program(Q, -R, 1.0, 0.5), r"advantage must be > 0 for some action, got -0.2 at most"),
        (lambda: trpo_program(Q, R, 0.0), r"radius must be > 0, got 0.0"),
        (lambda: confidence_bound_program(Q, R, R**3, 1.0), r"second_moment must be >= mean\^2"),
        (lambda: empirical_likelihood_interval_program([1.0], [0.0], 1.0, 2.0), r"wmin and wmax must enclose 1"),
        (
            lambda: empirical_likelihood_interval_program([3.0], [0.0], 0.0, 2.0),
            r"weights must be in \[0.0, 2.0\]",
        ),
        (
            lambda: empirical_likelihood_interval_program([1.0], [0.0], 0.0, 2.0, 1.0, 1.0),
            r"rmin must be < rmax",
        ),
        (
            lambda: empirical_likelihood_interval_program([1.0], [0.0], 0.0, 2.0),
            r"weights must hold at least two",
        ),
        (lambda: empirical_likelihood_interval_program([1.0], [0.0], 0.0, 2.0, alpha=0.0), r"alpha must be in"),
    ],
)
def test_bad_input_is_named(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
