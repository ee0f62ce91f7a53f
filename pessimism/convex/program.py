"""What a convex program returns, and how it is solved: one solver after the other, what went wrong in the status.

Programs are written in the rules of disciplined convex programming (Grant, Boyd, Ye, 2006) and know nothing of the
closed forms. The first solver is Clarabel, an interior-point method; SCS and ECOS follow where they are installed.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pessimism.arrays import Array
from pessimism.equality import ByValue

# Policies go with the square root of the gap, so that the gap is tighter than the rest; "optimal_inaccurate" is
# between these and the reduced tolerances. The second attempt takes shorter steps.
_CLARABEL: dict[str, float] = {
    "tol_gap_abs": 1e-13,
    "tol_gap_rel": 1e-13,
    "tol_feas": 1e-9,
    "reduced_tol_gap_abs": 1e-9,
    "reduced_tol_gap_rel": 1e-9,
    "reduced_tol_feas": 1e-8,
    "iterative_refinement_max_iter": 50,
    "iterative_refinement_reltol": 1e-15,
    "iterative_refinement_abstol": 1e-15,
}
SETTINGS: dict[str, tuple[dict[str, float], ...]] = {
    "CLARABEL": (_CLARABEL, _CLARABEL | {"max_step_fraction": 0.9}),
    "SCS": ({"eps_abs": 1e-10, "eps_rel": 1e-10, "max_iters": 100_000},),
    "ECOS": ({"abstol": 1e-11, "reltol": 1e-11, "feastol": 1e-10},),
}
SOLVED = ("optimal", "optimal_inaccurate")


@dataclass(frozen=True, eq=False)
class Program(ByValue):
    """Solution of a convex program over policies.

    Attributes
    ----------
    name : str
        Which program it is.
    policy : ndarray, shape (K,)
        Probabilities, nan where the program was not solved.
    dual : float
        Multiplier of the normalization, in the units of the objective: the common derivative of the objective with
        respect to the probability of every action that has some.
    value : float
        Optimal value, infinite where the program is unbounded, nan where it was not solved.
    solver, status : str
        Solver and its report; where none decided, all that were tried, "A: why, B: why".
    accuracy : float
        The largest of duality gap and residuals that the solver reports, nan where it reports none.
    leak : float
        Mass that the program leaves to actions beyond these.
    duals : mapping
        Multipliers of further constraints, by name.
    value_of : callable or None
        Value of the objective at any log-probabilities ``(K,)``.
    minimizes : bool
        Whether the optimal value is the least, not the largest.
    """

    name: str
    policy: Array
    dual: float
    value: float
    solver: str
    status: str
    accuracy: float = float("nan")
    leak: float = 0.0
    duals: Mapping[str, float] = field(default_factory=dict)
    value_of: Callable[[Array], float] | None = field(default=None, repr=False, compare=False)
    minimizes: bool = False

    @property
    def solved(self) -> bool:
        """Whether there is an optimum to compare with."""
        return self.status in SOLVED

    def shortfall(self, log_policy: Array) -> float:
        """By how much a policy misses the optimal value, relative to max(1, abs(value)); 0 if by nothing."""
        if self.value_of is None:
            return float("nan")
        worse = self.value_of(log_policy) - self.value
        return max(0.0, worse if self.minimizes else -worse) / max(1.0, abs(self.value))


@dataclass(frozen=True)
class Outcome:
    """How solving ended: the solver, its status, its own account of its accuracy."""

    solver: str
    status: str
    accuracy: float

    @property
    def solved(self) -> bool:
        """Whether the variables hold an optimum."""
        return self.status in SOLVED


def cvxpy() -> Any:
    """Import cvxpy when a program is first built.

    Returns
    -------
    module
        cvxpy.

    Raises
    ------
    ImportError
        If it is not installed, with the command that installs it.
    """
    try:
        import cvxpy as cp
    except ImportError:
        raise ImportError("convex programs need cvxpy: pip install pessimism[convex]") from None
    return cp


def solve(problem: Any, solvers: Sequence[str] | None = None) -> Outcome:
    """Solve a cvxpy problem with the first solver that decides it; its variables then hold the solution.

    ``solvers`` are tried in their order, as far as cvxpy has them (default: Clarabel, SCS, ECOS). A solver that fails
    or gives no verdict is passed over; if none decides, the status says what became of each.
    """
    installed, tried = cvxpy().installed_solvers(), {}
    for solver in SETTINGS if solvers is None else solvers:
        if solver not in installed:
            tried[solver] = "not_installed"
            continue
        outcome = _with(problem, solver)
        if outcome.status in (*SOLVED, "infeasible", "unbounded"):
            return outcome
        tried[solver] = outcome.status
    return Outcome(", ".join(tried), ", ".join(f"{name}: {why}" for name, why in tried.items()), float("nan"))


def _with(problem: Any, solver: str) -> Outcome:
    """The outcome of one solver: its first verdict without doubts, else the most accurate one."""
    failure, best, unpack = "", None, None
    for options in SETTINGS.get(solver, ({},)):
        try:
            accuracy, again = _run(problem, solver, dict(options))
        except cvxpy().error.SolverError as error:
            failure = f"solver_error ({str(error).splitlines()[0].rstrip('.')})"
            continue
        if problem.status != "optimal_inaccurate":
            return Outcome(solver, problem.status, accuracy)
        if best is None or accuracy < best:
            best, unpack = accuracy, again
    if best is None or unpack is None:
        return Outcome(solver, failure, float("nan"))
    unpack()
    return Outcome(solver, problem.status, best)


def _run(problem: Any, solver: str, options: dict[str, float]) -> tuple[float, Callable[[], None]]:
    """Solve once: the solver's own account of its accuracy, and what puts this solution into the variables again."""
    data, chain, inverse = problem.get_problem_data(solver, solver_opts=options)
    with warnings.catch_warnings():  # what they say is in the status
        warnings.simplefilter("ignore")
        raw = chain.solve_via_data(problem, data, warm_start=False, verbose=False, solver_opts=options)

    def unpack() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            problem.unpack_results(raw, chain, inverse)

    unpack()
    return _accuracy(raw), unpack


def _accuracy(raw: Any) -> float:
    """Largest of relative duality gap, primal and dual residual of what Clarabel, SCS or ECOS returned."""
    if hasattr(raw, "obj_val_dual"):
        gap = abs(raw.obj_val - raw.obj_val_dual) / max(1.0, abs(raw.obj_val))
        return float(max(gap, raw.r_prim, raw.r_dual))
    info = raw.get("info", {}) if isinstance(raw, dict) else {}
    names = ("gap", "res_pri", "res_dual") if "res_pri" in info else ("gap", "pres", "dres")
    found = [abs(float(info[name])) for name in names if info.get(name) is not None]
    return max(found, default=float("nan"))


def policies(**given: Any) -> list[Array]:
    """Check arguments of one length ``(K,)``; behavior and reference must be positive, and the behavior sum to one.

    Parameters
    ----------
    **given : array_like, shape (K,)
        The arguments by their names.

    Returns
    -------
    list of ndarray
        Them as float arrays, in order.

    Raises
    ------
    ValueError
        Names the argument and the rule.
    """
    found: list[Array] = []
    for name, value in given.items():
        array = np.asarray(value, dtype=float)
        width = found[0].shape if found else array.shape
        if array.ndim != 1 or array.shape != width or not array.size:
            raise ValueError(f"{name} must hold one number per action, shape {width}, got shape {array.shape}")
        if not np.all(np.isfinite(array)):
            raise ValueError(f"{name} must be finite, got {array[~np.isfinite(array)][0]}")
        if name in ("behavior", "reference"):
            if np.any(array <= 0):
                raise ValueError(f"{name} must be > 0, got {array.min()}: pass the actions that it can produce")
            if name == "behavior" and abs(array.sum() - 1.0) > 1e-6:
                raise ValueError(f"{name} must sum to 1 within 1e-06, got {array.sum():.9g}")
        found.append(array)
    return found


def policy_program(
    name: str,
    width: int,
    utility: Callable[[Any, Any], Any],
    *,
    unit: float = 1.0,
    shift: float = 0.0,
    value_of: Callable[[Array], float] | None = None,
    solvers: Sequence[str] | None = None,
) -> Program:
    """Maximize ``unit`` (utility + shift times mass) over the policies on ``width`` actions.

    The solver sees ``utility(cp, policy)``, a concave expression that should be of order one around its maximum, or a
    pair of it and further constraints by name, whose multipliers come back in ``duals``. ``value_of`` replaces the
    expression where that holds variables of its own.
    """
    cp = cvxpy()
    policy = cp.Variable(width)
    stated = utility(cp, policy)
    gain, further = stated if isinstance(stated, tuple) else (stated, {})
    normalized = cp.sum(policy) == 1
    outcome = solve(cp.Problem(cp.Minimize(-gain), [normalized, policy >= 0, *further.values()]), solvers)
    if not outcome.solved:
        value = {"unbounded": float("inf"), "infeasible": float("-inf")}.get(outcome.status, float("nan"))
        return unsolved(name, width, outcome, value)

    def in_units(log_policy: Array) -> float:
        policy.value = np.exp(log_policy)
        with np.errstate(all="ignore"):
            return unit * (float(gain.value) + shift * float(np.sum(policy.value)))

    return Program(
        name=name,
        policy=np.array(policy.value),
        dual=unit * (float(normalized.dual_value) + shift),
        value=unit * (float(gain.value) + shift),
        solver=outcome.solver,
        status=outcome.status,
        accuracy=outcome.accuracy,
        duals={key: unit * float(np.sum(constraint.dual_value)) for key, constraint in further.items()},
        value_of=value_of or in_units,
    )


def unsolved(name: str, width: int, outcome: Outcome, value: float = float("nan")) -> Program:
    """The report of a program that has no solution to show."""
    nothing = np.full(width, np.nan)
    return Program(name, nothing, float("nan"), value, outcome.solver, outcome.status, outcome.accuracy)
