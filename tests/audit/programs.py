"""Published problems that flows cannot decide: a constraint, a jump of the gradient, a set of optima."""

from __future__ import annotations

import warnings
from typing import Any

import cvxpy as cp
import numpy as np
import numpy.typing as npt
from scipy.optimize import linprog

Array = npt.NDArray[np.float64]
Line = tuple[Array, Array]  # intercepts and slopes in the ratio, one for each action
_TIGHT = {"tol_gap_abs": 1e-12, "tol_gap_rel": 1e-12, "tol_feas": 1e-12}


def solved(maximized: Any, constraints: list[Any], pi: Any) -> Array:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the solver may stop short of such tolerances
        cp.Problem(cp.Maximize(maximized), constraints).solve(solver="CLARABEL", **_TIGHT)
    return np.asarray(pi.value)


def trpo(q: Array, r: Array, *, delta: float) -> Array:
    """arXiv 1502.05477, equation 14."""
    pi = cp.Variable(len(q))
    return solved(pi @ (r - q @ r), [cp.sum(pi) == 1, cp.sum(cp.kl_div(q, pi)) <= delta], pi)


def weight_clipping(q: Array, r: Array, *, cap: float, beta: float) -> Array:
    """Clipped importance weights (arXiv 2405.14335) minus beta KL(pi || q), whose gradient jumps at the cap."""
    pi = cp.Variable(len(q))
    return solved(r @ cp.minimum(pi, cap * q) - beta * cp.sum(cp.kl_div(pi, q)), [cp.sum(pi) == 1], pi)


class OptimalSet:
    """Policies that minimize ``E_q[max over lines of (intercept + slope w)]``, a linear program.

    Attributes
    ----------
    least : float
        Least loss.
    """

    def __init__(self, q: Array, lines: tuple[Line, ...]) -> None:
        size = len(q)
        # Variables are the ratios w and a bound t of the loss of each action: a + b w <= t, written once per line.
        self._q = q
        self._rows = np.concatenate([np.hstack([np.diag(b), -np.eye(size)]) for _, b in lines])
        self._right = np.concatenate([-a for a, _ in lines])
        self._cost = np.concatenate([np.zeros(size), q])
        self.least = float(self._least(self._cost, self._rows, self._right).fun)

    def _least(self, cost: Array, rows: Array, right: Array) -> Any:
        size = len(self._q)
        run = linprog(
            cost,
            A_ub=rows,
            b_ub=right,
            A_eq=np.concatenate([self._q, np.zeros(size)])[None],
            b_eq=[1.0],
            bounds=[(0, None)] * size + [(None, None)] * size,
            options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
        )
        assert run.success, run.message
        return run

    def nearness(self, policy: Array, nu: Array, slack: float = 1e-10) -> float:
        """How much first-order gain in KL(. || nu) some other member offers over ``policy``: zero at the nearest one.

        The set is convex and so is KL, hence a member is the nearest iff no direction within the set lowers KL.
        """
        size = len(nu)
        # The slope of KL at an action without mass is minus infinity; any finite one that large is a witness.
        slope = np.log(np.maximum(policy, 1e-30) / nu)
        rows = np.vstack([self._rows, self._cost[None]])
        best = self._least(
            np.concatenate([self._q * slope, np.zeros(size)]), rows, np.append(self._right, self.least + slack)
        )
        return float(slope @ policy - best.fun)


def clipped_lines(advantage: Array, low: float, high: float) -> tuple[Line, Line]:
    """Loss -min(w A, clip(w, low, high) A) as the larger of two lines."""
    return (np.zeros_like(advantage), -advantage), (
        -advantage * np.where(advantage > 0.0, high, low),
        np.zeros_like(advantage),
    )


def linear_lines(reward: Array) -> tuple[Line, ...]:
    """Loss -w r."""
    return ((np.zeros_like(reward), -reward),)
