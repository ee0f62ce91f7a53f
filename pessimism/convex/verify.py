"""A target against the convex program of its objective: an independent solver, and its dual variables."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from pessimism.convex.problem import Check, ConvexProblem, problems_of
from pessimism.convex.table import check_of
from pessimism.progress import progress
from pessimism.target.result import InducedTarget

if TYPE_CHECKING:
    import pandas as pd

_WHY = {
    "missing": "the target has no policy",
    "vague": "the solver's own accuracy is worse than the tolerance",
}
COLUMNS = {
    "route": "string",
    "program": "string",
    "solver": "string",
    "solver_status": "string",
    "accuracy": "float64",
    "policy_error": "float64",
    "value_error": "float64",
    "multiplier": "float64",
    "dual": "float64",
    "dual_error": "float64",
    "leak_error": "float64",
    "tolerance": "float64",
    "agrees": "boolean",
    "reason": "string",
}


def verify(
    target: InducedTarget, *, tolerance: float = 1e-5, solvers: str | Sequence[str] | None = None
) -> pd.DataFrame:
    """Solve the convex program of a target's objective with a cone solver, and compare policy, value and multiplier.

    The program is the published population objective where that is concave in the policy, otherwise the concave problem
    that the objective is said to solve, in the objective's own advantage; it does not use the closed forms, but for
    truncated_is, whose penalty takes the target's own kappa. Cone solvers lose digits that closed forms keep: the check
    is independent, not the truth.

    Parameters
    ----------
    target : InducedTarget
        What :func:`~pessimism.induced_target` returned, of one problem or a batch.
    tolerance : float, default 1e-5
        Largest error of an agreement: absolute for policies and leaks, relative to max(1, abs(...)) for values and
        multipliers.
    solvers : str or sequence of str, optional
        Names of cvxpy's solvers, in the order of trial. Default: Clarabel, then SCS and ECOS where installed.

    Returns
    -------
    pandas.DataFrame
        One row per problem, in C order of the batch:

        - route : "convex".
        - program : its name, "none" where there is no convex program.
        - solver, solver_status, accuracy : who solved it, its verdict, its own account of gap and residuals.
        - policy_error : largest absolute difference of a probability. Where the optimum is a set, of its element
          nearest to the reference, or nan where the program does not single that out.
        - value_error : by how much the program's objective at the target misses its optimal value.
        - multiplier, dual, dual_error : the multiplier of normalization as the target has it, and the program's; nan
          where the target determines none.
        - leak_error : difference of the mass that leaves the actions.
        - tolerance; agrees : whether every error that is defined is within it. Missing where there was nothing to
          compare, with the ``reason``: no program, no solution, or one that is too inaccurate to refute a target.

    Raises
    ------
    ImportError
        cvxpy is not installed.
    ValueError
        The tolerance is not positive.
    TypeError
        ``target`` is not an induced target.

    References
    ----------
    arXiv 2605.28150 for the program in the log-ratio; each objective names its own paper.

    Examples
    --------
    >>> import pessimism as ps
    >>> found = verify(ps.induced_target([0.5, 0.3, 0.2], [0.0, 0.5, 1.0], "kimi", beta=0.5))
    >>> found["program"][0], found["solver_status"][0], bool(found["agrees"][0])
    ('log_ratio', 'optimal', True)
    """
    import pandas as pd

    if isinstance(tolerance, bool) or not isinstance(tolerance, Real) or not tolerance > 0:
        raise ValueError(f"tolerance must be a number > 0, got {tolerance!r}")
    if not isinstance(target, InducedTarget):
        raise TypeError(f"target must be an InducedTarget, as induced_target returns, got {type(target).__name__}")
    solvers = (solvers,) if isinstance(solvers, str) else solvers
    with np.errstate(all="ignore"):  # a target may hold zeros and nan
        records = [_record(problem, tolerance) for problem in progress(problems_of(target, solvers), "verifying")]
    return pd.DataFrame(records, columns=list(COLUMNS)).astype(COLUMNS)


def _record(problem: ConvexProblem, tolerance: float) -> dict[str, Any]:
    record: dict[str, Any] = {"route": "convex", "tolerance": tolerance}
    try:
        found = check_of(problem)
    except ValueError as error:
        found = str(error)
    if isinstance(found, str):
        return record | {"program": "none", "reason": found}
    program = found.program
    record |= {
        "program": program.name,
        "solver": program.solver,
        "solver_status": program.status,
        "accuracy": program.accuracy,
    }
    if not program.solved:
        return record | {"reason": f"the program was not solved ({program.status})"}
    errors = _errors(problem, found)
    wrong = [error for error in errors.values() if not (np.isnan(error) or error <= tolerance)]
    # A target without a policy agrees with nothing; a solver that is off by more than the tolerance refutes nothing.
    missing = not np.all(np.isfinite(problem.policy))
    vague = bool(wrong) and not missing and program.accuracy > tolerance
    return (
        record
        | errors
        | {
            "multiplier": found.multiplier,
            "dual": program.dual,
            "agrees": None if vague else not wrong and not missing,
            "reason": _WHY["missing"] if missing else _WHY["vague"] if vague else "",
        }
    )


def _errors(problem: ConvexProblem, found: Check) -> dict[str, float]:
    program = found.program
    several = problem.status == "set_valued" and not found.nearest
    return {
        "policy_error": float("nan") if several else float(np.max(np.abs(program.policy - problem.policy))),
        "value_error": program.shortfall(problem.log_policy),
        "dual_error": abs(program.dual - found.multiplier) / max(1.0, abs(found.multiplier)),
        "leak_error": abs(program.leak - problem.leak),
    }
