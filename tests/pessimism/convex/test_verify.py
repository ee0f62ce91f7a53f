"""`verify`: every objective against the convex program of its problem, and what it says where it must not agree."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cvxpy as cp
import numpy as np
import pandas as pd
import pytest
import torch

import pessimism as ps
from pessimism.convex import program
from pessimism.convex.verify import COLUMNS, verify
from tests.helpers import PROBLEMS, cases, make_problem, posed
from tests.pessimism.convex.conditions import ERRORS, assert_agrees, problems

CASES = cases()


def perturbed(target: ps.InducedTarget, amount: float = 1e-3) -> ps.InducedTarget:
    """The target with some mass moved to its rarest action that has any room, sums unchanged."""
    policy = np.array(target.policy).reshape(len(target.solution.leak), -1)
    for row in policy:
        seen = np.flatnonzero(row > 0) if np.sum(row > 0) > 1 else np.arange(len(row))
        rare, frequent = seen[np.argmin(row[seen])], np.argmax(row)
        row[rare] += amount
        row[frequent] -= amount
    with np.errstate(divide="ignore"):
        log_ratio = np.log(policy) - target.bandit.log_reference
    return replace(target, solution=target.solution._replace(log_ratio=log_ratio))


@pytest.mark.parametrize("label", CASES)
def test_every_objective_with_a_program_agrees_with_it(label: str) -> None:
    target = ps.induced_target(*problems(label), CASES[label])
    frame = verify(target)
    none = frame["program"] == "none"
    assert (frame.loc[none, "reason"].str.len() > 10).all()
    assert frame.loc[none, "agrees"].isna().all()
    if not none.all():
        assert_agrees(frame[~none])
    # A wrong policy is noticed, unless there is nothing to tell it from others that are as good.
    unique = frame["policy_error"].notna().to_numpy()
    wrong = verify(perturbed(target))["agrees"]
    assert (wrong[unique & ~none.to_numpy()] == False).all()  # noqa: E712 (missing is not False)


WIDE = ["nominal", "kimi", "oapl", "awr", "mixed_chi2_kl", "truncated_is", "ppo", "trpo", "log_smoothing", "cql"]


@pytest.mark.parametrize("width", [2, 3, 9, 16])
@pytest.mark.parametrize("label", [label for label in WIDE if label in CASES])
def test_widths(label: str, width: int) -> None:
    assert_agrees(verify(ps.induced_target(*problems(label, width), CASES[label])))


KINDS = ["nominal", "kimi", "awr", "asym_re", "mixed_chi2_kl", "truncated_is", "reinforce", "ppo", "trpo", "cql_huber"]


@pytest.mark.parametrize("label", [label for label in KINDS if label in CASES])
@pytest.mark.parametrize("problem", PROBLEMS)
def test_problems_of_each_kind(label: str, problem: str) -> None:
    assert_agrees(verify(ps.induced_target(*posed(label, problem), CASES[label])))


@pytest.mark.parametrize("beta", [1e-3, 1e-2, 1.0, 1e2])
@pytest.mark.parametrize("name", ["nominal", "kimi", "shifted_mean", "mixed_chi2_kl", "truncated_is"])
def test_temperatures(name: str, beta: float) -> None:
    assert_agrees(verify(ps.induced_target(*make_problem(23, 5), name, beta=beta)))


@pytest.mark.parametrize("label", ["constant_baseline-negative", "kimi"])
def test_leaks_are_compared(label: str) -> None:
    target = ps.induced_target(*problems(label), CASES[label], unseen=True)
    frame = verify(target)
    assert_agrees(frame)
    assert (frame["program"] == "log_ratio").all()
    leaks = target.solution._replace(leak=target.solution.leak + 1e-3)
    wrong = verify(replace(target, solution=leaks))
    np.testing.assert_allclose(wrong["leak_error"], 1e-3, atol=1e-5)
    assert not wrong["agrees"].any()


def test_the_target_of_another_objective_is_rejected() -> None:
    problem = problems("kimi")
    kimi, shifted = (ps.induced_target(*problem, CASES[label]) for label in ("kimi", "shifted_mean"))
    for target in (replace(kimi, solution=shifted.solution), replace(shifted, solution=kimi.solution)):
        frame = verify(target)
        assert not frame["agrees"].any()
        assert (frame[["policy_error", "value_error"]] > 1e-4).all(axis=None)


@pytest.mark.parametrize("label", ["nominal", "kimi", "tba", "cql_reference", "brac", "dpo", "chi_po"])
def test_another_reference(label: str) -> None:
    if label not in CASES:
        pytest.skip("not registered")
    reference = make_problem(31, 6)[0]
    if not getattr(CASES[label], "takes_reference", False):
        with pytest.raises(ValueError, match="reference"):
            ps.induced_target(*problems(label), CASES[label], reference=reference)
        return
    target = ps.induced_target(*problems(label), CASES[label], reference=reference)
    assert_agrees(verify(target))
    around_behavior = ps.induced_target(*problems(label), CASES[label])
    assert not verify(replace(target, solution=around_behavior.solution))["agrees"].any()


def test_rows_follow_the_batch_and_bad_rows_are_named() -> None:
    behavior = np.array([[0.5, 0.5, 0.0], [0.5, 0.6, 0.0], [0.2, 0.3, 0.5]])
    target = ps.induced_target(behavior, [0.0, 1.0, 2.0], "kimi", beta=0.5, on_error="status")
    frame = verify(target)
    assert list(frame) == list(COLUMNS)
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == COLUMNS
    assert frame["program"].tolist() == ["log_ratio", "none", "log_ratio"]
    assert frame["reason"][1] == "the target is invalid_input"
    assert_agrees(frame.iloc[[0, 2]])
    alone = verify(ps.induced_target(behavior[2], [0.0, 1.0, 2.0], "kimi", beta=0.5))
    assert frame["dual"][2] == alone["dual"][0]
    assert (frame["route"] == "convex").all()
    assert verify(ps.induced_target(np.empty((0, 3)), np.empty((0, 3)), "kimi")).empty


def test_tensors_and_single_precision() -> None:
    behavior, reward = (torch.tensor(a, dtype=torch.float32) for a in problems("kimi"))
    target = ps.induced_target(behavior, reward.requires_grad_(), "kimi", beta=0.3)
    assert_agrees(verify(target))


def test_set_valued_targets() -> None:
    ties = ps.induced_target([0.1, 0.2, 0.3, 0.4], [1.0, 1.0, 1.0, 0.0], "cispo", cap=5.0)
    assert ties.status == "set_valued"
    frame = verify(ties)
    assert_agrees(frame)
    assert np.isnan(frame["policy_error"][0])  # the program does not single an element out
    elsewhere = np.array([[-1e9, -1e9, -1e9, 0.0]])
    worse = verify(replace(ties, solution=ties.solution._replace(log_ratio=elsewhere)))
    assert worse["value_error"][0] > 0.1
    assert not worse["agrees"][0]
    nearest = ps.induced_target([0.4, 0.3, 0.2, 0.1], [0.2, 0.4, 0.6, 0.8], "ppo")
    assert nearest.status == "set_valued"
    assert_agrees(verify(nearest))
    assert verify(nearest)["policy_error"][0] < 1e-6
    # As good for the surrogate, but farther from the behavior.
    policy = np.array(nearest.policy) + np.array([-1e-3, 0.0, 0.0, 1e-3])
    log_ratio = np.log(policy) - nearest.bandit.log_reference
    other = verify(replace(nearest, solution=nearest.solution._replace(log_ratio=log_ratio)))
    assert other["value_error"][0] < 1e-9
    assert not other["agrees"][0]


def test_no_target_and_unbounded_losses() -> None:
    frame = verify(ps.induced_target([0.5, 0.5], [0.0, 1.0], "asym_re", shift=0.1))
    assert frame["program"][0] == "none"
    assert "unbounded" in frame["reason"][0]
    target = ps.induced_target([0.5, 0.5], [0.0, 1.0], "kimi", beta=0.5)
    lost = replace(target, solution=target.solution._replace(log_ratio=np.full((1, 2), np.nan)))
    frame = verify(lost)
    assert not frame["agrees"][0]
    assert frame["reason"][0] == "the target has no policy"


def test_failures_of_solvers_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    target = ps.induced_target([0.3, 0.7], [0.0, 1.0], "kimi", beta=0.5)
    other = verify(target, solvers=["SCS"])
    assert other["solver"][0] == "SCS"
    assert_agrees(other)

    def run(problem: Any, solver: str, options: dict[str, float]) -> Any:
        raise cp.error.SolverError("no.")

    monkeypatch.setattr(program, "_run", run)
    frame = verify(target)
    assert frame["agrees"][0] is pd.NA
    assert frame["solver_status"][0].startswith("CLARABEL: solver_error (no)")
    assert frame["reason"][0].startswith("the program was not solved (")
    assert frame[ERRORS].isna().all(axis=None)


def test_an_inaccurate_solver_refutes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    target = ps.induced_target(*make_problem(0, 5), "kimi", beta=0.3)
    monkeypatch.setattr(program, "_accuracy", lambda raw: 1e-2)
    assert verify(target)["agrees"][0]
    frame = verify(perturbed(target))
    assert frame["agrees"][0] is pd.NA
    assert frame["reason"][0] == "the solver's own accuracy is worse than the tolerance"


@pytest.mark.parametrize("tolerance", [0.0, -1.0, float("nan")])
def test_tolerance_is_checked(tolerance: float) -> None:
    target = ps.induced_target([0.5, 0.5], [0.0, 1.0], "kimi")
    with pytest.raises(ValueError, match="tolerance must be a number > 0, got"):
        verify(target, tolerance=tolerance)


def test_tolerance_decides() -> None:
    target = perturbed(ps.induced_target(*make_problem(0, 5), "kimi", beta=0.3), 1e-4)
    assert not verify(target)["agrees"][0]
    assert verify(target, tolerance=1e-2)["agrees"][0]
