"""Every objective against 50-digit reference values (tests/reference/make_tables.py says how they are made)."""

import importlib.util
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pessimism

REFERENCE = Path(__file__).parents[2] / "reference"
EPS = float(np.finfo(np.float64).eps)
GROUP = itemgetter("objective", "problem")

Case = dict[str, Any]
Array = np.ndarray[Any, np.dtype[np.float64]]

TABLES = json.loads((REFERENCE / "tables.json").read_text(encoding="utf-8"))
PROBLEMS = {
    name: {key: np.asarray(values) for key, values in problem.items()} for name, problem in TABLES["problems"].items()
}
GROUPS = {key: list(cases) for key, cases in groupby(sorted(TABLES["cases"], key=GROUP), key=GROUP)}


def excess(measured: Any, truth: Any, allowed: Any) -> float:
    """Largest error in units of the allowed one; infinite for NaN and wherever only one side is infinite."""
    measured, truth = np.asarray(measured, dtype=float), np.asarray(truth, dtype=float)
    if measured.shape != truth.shape:
        return float("inf")
    with np.errstate(invalid="ignore"):
        error = np.abs(measured - truth) / allowed
    error = np.where(np.isnan(error), np.inf, error)
    return float(np.max(np.where(measured == truth, 0.0, error)))


def input_rounding(case: Case, log_policy: Array) -> Array:
    """What float64 rewards allow: 8 eps max|r| over the scale that turns rewards into log-ratios, per action."""
    mu, reward = PROBLEMS[case["problem"]].values()
    hyper = case["hyper"]
    seen = mu > 0
    error = 8 * EPS * np.max(np.abs(reward[seen]))
    if case["objective"] != "asym_re":
        scale = hyper.get("beta2", hyper.get("beta"))
        if case["objective"] == "std_normalized":
            mean = np.average(reward, weights=mu)
            scale *= np.sqrt(np.average(np.square(reward - mean), weights=mu)) + hyper["eps"]
        return np.broadcast_to(np.asarray(error / scale), mu.shape)
    # pi = (mu A - c)_+ / |shift|, where c shares what the `dead` actions would have among the living. With every
    # advantage off by e, the denominator moves by e and the numerator by (mu + sum of dead mu / living) e.
    alive = np.isfinite(log_policy)
    moved = mu + np.sum(mu[seen & ~alive]) / np.sum(alive)
    relative: Array = 1 + moved / np.exp(np.where(alive, log_policy, 0.0))
    return (error / abs(hyper["shift"]) + 8 * EPS) * relative


def untruncated(case: Case) -> bool:
    """Whether the weights are never truncated: the target is nominal and its kappa 0, the table's that of w > cap."""
    if case["objective"] != "truncated_is":
        return False
    mu = PROBLEMS[case["problem"]]["mu"]
    ratio = np.array([float(x) for x in case["log_policy"]])[mu > 0] - np.log(mu[mu > 0] / mu.sum())
    return bool(ratio.max() <= np.log(case["hyper"]["cap"]))


def expected_regime(case: Case) -> str | None:
    """Regime of the case, None where log Z is within rounding of zero without being zero."""
    if untruncated(case):
        return "boundary"
    log_z, reward = float(case["log_z"]), PROBLEMS[case["problem"]]["reward"]
    if case["log_z"] == "0.0":
        return "boundary"
    temperature = case["hyper"].get("beta2", case["hyper"].get("beta"))
    if abs(log_z) < 1e3 * EPS * max(1.0, float(np.max(np.abs(reward))) / temperature):
        return None
    return "positive" if log_z > 0 else "negative"


def errors(case: Case) -> dict[str, float]:
    """Error of each output of the package on one case, in units of the allowed one."""
    mu, reward = PROBLEMS[case["problem"]].values()
    target = pessimism.induced_target(mu, reward, case["objective"], unseen=case["unseen"], **case["hyper"])
    log_policy = np.array([float(x) for x in case["log_policy"]])
    rounding = input_rounding(case, log_policy)

    def allowed(truth: Any) -> Any:
        return 1e-12 * np.maximum(1.0, np.abs(truth))

    found = {
        "log_policy": excess(target.log_policy, log_policy, allowed(log_policy) + rounding),
        "leak": excess(target.leak, float(case["leak"]), allowed(1.0) + np.max(rounding)),
    }
    if case["kappa"] is not None:
        kappa = 0.0 if untruncated(case) else float(case["kappa"])
        if target.leak > 0:  # off the family: undefined
            assert np.isnan(target.kappa)
        else:
            found["kappa"] = excess(target.kappa, kappa, allowed(kappa) + np.max(rounding))
    if case["baseline"] is not None:
        # A baseline far from the rewards (a large shift) is only as fine as its own float64 grid.
        baseline = float(case["baseline"])
        scale = max(abs(baseline), float(np.max(np.abs(reward[mu > 0]))))
        found["baseline"] = excess(target.baseline, baseline, 8 * EPS * scale)
    if case["kappa"] is not None and case["log_z"] is not None and expected_regime(case) is not None:
        found["regime"] = 0.0 if str(target.regime) == expected_regime(case) else float("inf")
    return found


@pytest.mark.parametrize("group", GROUPS, ids="-".join)
def test_target_matches_reference(group: tuple[str, str]) -> None:
    failures = [
        f"{case['id']}: {name} is off by {found:.3g} times the allowed error"
        for case in GROUPS[group]
        for name, found in errors(case).items()
        if not found <= 1
    ]
    assert not failures, "\n".join(failures)


@pytest.mark.parametrize(
    ("measured", "truth"),
    [
        ([-1.0 - 1.1e-12, -2.0], [-1.0, -2.0]),
        ([-1.0, -2.0], [-1.0, -np.inf]),
        ([-1.0, -np.inf], [-1.0, -2.0]),
        ([-1.0, np.nan], [-1.0, -2.0]),
        ([-1.0, np.nan], [-1.0, -np.inf]),
        ([-1.0, np.inf], [-1.0, -np.inf]),
        ([-1.0], [-1.0, -1.0]),
    ],
)
def test_comparison_rejects(measured: list[float], truth: list[float]) -> None:
    assert not excess(measured, truth, 1e-12 * np.maximum(1.0, np.abs(truth))) <= 1


def test_comparison_accepts_rounding_and_equal_infinities() -> None:
    assert excess([-1.0 - 0.9e-12, -np.inf], [-1.0, -np.inf], [1e-12, np.inf]) <= 1


def test_errors_notice_a_wrong_table_entry() -> None:
    case = next(c for c in TABLES["cases"] if c["id"] == "kimi(beta=1.0)-k8_uniform")
    wrong = [repr(float(x) * (1 + 1e-11)) for x in case["log_policy"]]
    assert errors(case | {"log_policy": wrong})["log_policy"] > 1
    assert errors(case | {"kappa": repr(float(case["kappa"]) + 1e-10)})["kappa"] > 1
    assert errors(case | {"baseline": repr(float(case["baseline"]) + 1e-14)})["baseline"] > 1
    assert errors(case | {"log_z": "-1.0"})["regime"] > 1


@pytest.fixture(scope="module")
def script() -> Iterator[Any]:
    spec = importlib.util.spec_from_file_location("make_tables", REFERENCE / "make_tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_script_reproduces_the_tables(script: Any) -> None:
    problems = script.problems()
    stored = {case["id"]: case for case in TABLES["cases"]}
    cases = list(script.cases(problems))
    assert [case.name for case in cases] == list(stored)
    for name, inputs in TABLES["problems"].items():
        assert {"mu": list(problems[name].mu), "reward": list(problems[name].reward)} == inputs
    for case in [case for case in cases if case.problem.startswith(("k3", "pass"))][::8]:
        assert script.record(problems[case.problem], case) == stored[case.name]


@pytest.mark.parametrize("objective", ["kimi", "truncated_is", "mixed_chi2_kl", "awr", "asym_re", "nominal"])
def test_script_rejects_a_wrong_solution(script: Any, objective: str) -> None:
    problem = script.problems()["k8_uniform"]
    case = next(c for c in script.cases(script.problems()) if (c.objective, c.problem) == (objective, "k8_uniform"))
    with script.mp.workdps(150):
        solution = script.solve(problem, case)
        log_policy = [solution.log_policy[0] + script.mpf("1e-35"), *solution.log_policy[1:]]
        right = max(map(abs, script.residuals(problem, case, solution)))
        wrong = max(map(abs, script.residuals(problem, case, replace(solution, log_policy=log_policy))))
        assert right < script.mpf("1e-40") < wrong
