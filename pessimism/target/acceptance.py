r"""What a claim of a target must hold to: whatever route found it, here it is looked at once more.

A row is called solved only if its policy is finite and sums to one, and its certificate is small. Routes that search
for a fixed point are asked for the certificate itself. Closed forms are asked for the sum alone, because it bounds the
certificate: they answer a multiplier lam by probabilities with :math:`q_a g_a = \lambda \pi_a + \rho_a`, where rho is
the rounding of the formula, and look for the lam at which these sum to one. With S that sum and R = sum rho, the
multiplier of the certificate is :math:`\sum_b q_b g_b = \lambda S + R`, so that its residual at an action is

.. math:: q_a g_a - (\lambda S + R) \pi_a = \lambda \pi_a (1 - S) + \rho_a - R \pi_a .

With :math:`|\lambda| S \le \sum_b |q_b g_b| + |R|` and :math:`\pi_a \le S` that is at most :math:`|1 - S| + 3 \sum_b
|\rho_b|` in units of :math:`\sum_b |q_b g_b|`, the size of the pulls, but for products of the small numbers.
"""

from __future__ import annotations

import numpy as np
from array_api_compat import device

from pessimism.arrays import Array, pick, to_numpy
from pessimism.core.bandit import Bandit
from pessimism.core.objective import Objective
from pessimism.core.solution import Solution, Status, policy_of
from pessimism.target.certificate import residual_on_logits

SUM = 1e-9  # most that the mass of a target, with what leaks, may differ from one
CERTIFICATE = 1e-7  # most that the certificate of a target may be which no formula gave
_LARGE = 1e-10 / float(np.finfo(float).eps)  # advantages in units of the temperature, whose rounding is 1e-10
_NO_CLAIM = (Status.NO_TARGET, Status.NOT_CONVERGED, Status.INVALID_INPUT)


def accepted(bandit: Bandit, objective: Objective, advantage: Array, solution: Solution, searched: Array) -> Solution:
    """Solution in which every row that claims a target is one: the others become "not_converged", without numbers.

    Parameters
    ----------
    bandit : Bandit
        The problems, N of them.
    objective : Objective
        The objective, with hyper-parameters that are arrays as columns.
    advantage : Array, shape (N, K)
        Its advantages.
    solution : Solution
        What the routes found.
    searched : ndarray, shape (N,)
        Mask of the rows that were searched for, not given by a formula.

    Returns
    -------
    Solution
        The same solution if every row holds.
    """
    claims = ~np.isin(to_numpy(solution.status), _NO_CLAIM)
    coarse = _coarse(bandit, objective, advantage)
    if coarse is not None:  # a formula is not as exact as it knows
        solution, searched = solution._replace(mass=None), searched | coarse
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is no target
        holds = np.abs(to_numpy(_mass(bandit, solution)) - 1.0) <= SUM
    asked = claims & holds & searched
    if asked.any():
        mask = bandit.xp.asarray(asked, device=device(bandit.reward))
        own = bandit if asked.all() else bandit.rows(mask)
        theirs = objective.each_swept(lambda column: pick(bandit.xp, column, mask))
        u = pick(bandit.xp, solution.log_ratio, mask)
        arrays = (own.behavior, policy_of(own, u), own.masked(u, 0.0), pick(bandit.xp, advantage, mask))
        holds[asked] = residual_on_logits(own, theirs, *map(to_numpy, arrays)) <= CERTIFICATE
    failed = claims & ~holds
    return without(bandit, solution, failed) if failed.any() else solution


def _coarse(bandit: Bandit, objective: Objective, advantage: Array) -> Array | None:
    """Mask ``(N,)`` of rows whose advantages, in units of the temperature, are rounded by more than 1e-10; or None."""
    xp, unit = bandit.xp, 1.0 if objective.temperature is None else objective.temperature
    if 0 in advantage.shape:
        return None
    seen = bandit.masked(advantage, 0.0)
    highest, lowest = (xp.astype(end / unit, xp.float64, copy=False) for end in (xp.max(seen), xp.min(seen)))
    if bool(xp.all(highest <= _LARGE)) and bool(xp.all(lowest >= -_LARGE)):
        return None
    return np.asarray(to_numpy(xp.max(xp.abs(seen / unit), axis=-1)) > _LARGE)


def _mass(bandit: Bandit, solution: Solution) -> Array:
    """Sum ``(N,)`` of the policy of each row, with what leaks."""
    if solution.mass is not None:
        return solution.mass
    xp = bandit.xp
    mass = xp.vecdot(bandit.masked(bandit.reference, 0.0), xp.exp(bandit.masked(solution.log_ratio, 0.0)))
    if not bool(xp.all(xp.isfinite(mass))):  # where a ratio overflows, its probability need not
        mass = xp.sum(policy_of(bandit, solution.log_ratio), axis=-1)
    return mass + solution.leak


def without(bandit: Bandit, solution: Solution, failed: Array) -> Solution:
    """Solution with the ``failed`` rows ``(N,)`` marked as not converged, and no numbers there."""
    xp = bandit.xp
    mask = xp.asarray(failed, device=device(bandit.reward))

    def no_number(rows: Array) -> Array:
        return xp.where(mask if rows.ndim == 1 else mask[:, None], xp.full_like(rows, xp.nan), rows)

    return solution._replace(
        log_ratio=bandit.masked(no_number(solution.log_ratio), 0.0),
        kappa=no_number(solution.kappa),
        leak=no_number(solution.leak),
        status=xp.where(mask, xp.full_like(solution.status, Status.NOT_CONVERGED.value), solution.status),
    )
