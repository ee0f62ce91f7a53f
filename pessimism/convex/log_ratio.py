"""Programs in the log-ratio u = log(pi / nu), where a policy is the convex set log sum nu exp(u) <= 0."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pessimism.arrays import Array
from pessimism.convex.program import Outcome, Program, cvxpy, policies, solve, unsolved

_LEAKS = -1e-6  # log-mass from which on the constraint does not bind


def u_program(
    behavior: Array,
    advantage: Array,
    beta: float,
    reference: Array | None = None,
    *,
    solvers: Sequence[str] | None = None,
) -> Program:
    r"""Squared regression, mass may leave: :math:`\min E_q[(A - \beta u)^2]` s.t. :math:`\log \sum \nu e^u \le 0`.

    Convex in u whatever the baseline. The multiplier of the constraint is lam = E_q[g] = 2 beta^2 kappa of the Lambert
    target; it vanishes where the advantages are too low to hold all mass (the negative regime), and then mass leaks
    (arXiv 2605.28150). Solved twice, the second time in the distance from the first solution, for the digits that
    large log-ratios cost; the one with the smaller residual counts.

    Parameters
    ----------
    behavior, advantage : array_like, shape (K,)
        Probabilities q of the behavior, all positive, and advantages A.
    beta : float
        Temperature, > 0.
    reference : array_like, shape (K,), optional
        Policy nu in the log-ratio, all positive. Default: the behavior.
    solvers : sequence of str, optional
        Names of solvers in the order of trial. Default: those of :func:`pessimism.convex.program.solve`.

    Returns
    -------
    Program
        With ``leak`` = 1 - sum(policy) and ``value`` the least mean loss.

    Examples
    --------
    >>> found = u_program([0.5, 0.5], [-0.5, 0.5], beta=0.5)
    >>> found.policy.round(4), round(found.dual, 4), found.status
    (array([0.1668, 0.8332]), 0.1468, 'optimal')
    """
    q, advantage = policies(behavior=behavior, advantage=advantage)
    nu = q if reference is None else policies(advantage=advantage, reference=reference)[1]
    if not beta > 0:
        raise ValueError(f"beta must be > 0, got {beta}")
    z, log_nu = advantage / beta, np.log(nu)
    size = float(q @ z**2) or 1.0
    u, dual, outcome = _step(None, q, z, log_nu, 1.0 / min(size, 1.0), solvers)
    if not outcome.solved and size > 1.0:
        u, dual, outcome = _step(None, q, z, log_nu, size**-0.5, solvers)
    if not outcome.solved:
        return unsolved("log_ratio", len(q), outcome)
    log_mass = float(np.logaddexp.reduce(u + log_nu))
    if log_mass > _LEAKS:
        start = u - log_mass
        again = _step(start, q, z, log_nu, 1.0 / float(np.abs(q * (start - z)).max() or 1.0), solvers)
        if again[2].solved and _residual(*again[:2], q, z, log_nu) < _residual(u, dual, q, z, log_nu):
            u, dual, outcome = again

    def value_of(log_policy: Array) -> float:
        return float(q @ (advantage - beta * (log_policy - log_nu)) ** 2)

    policy = np.exp(u + log_nu)
    return Program(
        name="log_ratio",
        policy=policy,
        dual=dual * beta**2,
        value=value_of(u + log_nu),
        solver=outcome.solver,
        status=outcome.status,
        accuracy=outcome.accuracy,
        leak=1.0 - float(policy.sum()),
        value_of=value_of,
        minimizes=True,
    )


def _step(
    start: Array | None, q: Array, z: Array, log_nu: Array, weight: float, solvers: Sequence[str] | None
) -> tuple[Array, float, Outcome]:
    """u, multiplier and outcome of min E_q[(z - u)^2] s.t. log sum nu exp(u) <= 0, in u or in u - start.

    From a start near the solution the constant part of the loss is left out: tolerances then refer to what is left.
    """
    cp = cvxpy()
    step = cp.Variable(len(q))
    root, origin = np.sqrt(weight * q), np.zeros(len(q)) if start is None else start
    mass = cp.log_sum_exp(step + (origin + log_nu)) <= 0
    if start is None:
        loss = cp.sum_squares(cp.multiply(root, step - z))
    else:
        loss = cp.sum_squares(cp.multiply(root, step)) + (2.0 * weight * q * (start - z)) @ step
    outcome = solve(cp.Problem(cp.Minimize(loss), [mass]), solvers)
    if not outcome.solved:
        return origin, float("nan"), outcome
    return origin + step.value, float(mass.dual_value) / weight, outcome


def _residual(u: Array, dual: float, q: Array, z: Array, log_nu: Array) -> float:
    """How far 2 q (z - u) is from dual times the policy, relative to its size, and the mass from one."""
    pull, policy = 2.0 * q * (z - u), np.exp(u + log_nu)
    size = max(float(np.abs(pull).max()), 1e-12)
    off = abs(float(policy.sum()) - 1.0)  # a common change of u, which moves the pull as well
    return float(np.abs(pull - dual * policy).max()) / size + off * max(1.0, 1.0 / size)
