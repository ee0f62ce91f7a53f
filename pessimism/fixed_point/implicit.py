r"""Gradients of an induced target on torch tensors, by the implicit function theorem.

At the solution, :math:`q_a g(u_a, A_a) = \lambda \pi_a` and :math:`\sum_a \pi_a = 1`. With h the derivative of the
first in u_a, one linear solve (diagonal plus one row; full where the weight is coupled) carries a change of reward to
u. torch is imported by its user.
"""

from __future__ import annotations

from pessimism.arrays import LOG_OF_NO_MASS, Array
from pessimism.core.bandit import Bandit
from pessimism.core.objective import Objective
from pessimism.core.solution import Solution
from pessimism.fixed_point.score import kinks_of, sides, weight_on

_FLAT = 1e-12  # relative size of h that is rounding


def attach_gradient(solution: Solution, bandit: Bandit, objective: Objective, advantage: Array) -> Array:
    """Attach the derivative in the advantage (hence in the reward) to the log-ratio, whose value does not change.

    First derivatives only: the linear solve itself is not differentiated. A vanished action stays at zero, and one on a
    jump of the weight stays there.
    """
    import torch

    q, zeros = bandit.behavior, torch.zeros_like(bandit.behavior)
    moves = bandit.support & torch.isfinite(solution.log_ratio)
    with torch.enable_grad():
        gone = torch.where(bandit.support, torch.full_like(q, LOG_OF_NO_MASS), zeros)
        u = torch.where(moves, solution.log_ratio, gone).detach().requires_grad_()
        g = weight_on(bandit, objective, u, advantage.detach())
        slopes = _slopes(g, u, objective.coupled)
    g, u = g.detach(), u.detach()
    below, above = sides(kinks_of(objective, q, bandit.log_reference_ratio), u, bandit.log_reference_ratio)
    moves = moves & (below == above)
    policy = torch.where(moves, bandit.reference * torch.exp(u), zeros)
    lam = torch.where(moves, q * g, zeros).sum(-1, keepdim=True) / _or_one(policy.sum(-1, keepdim=True))
    # Value zero; gradient that of the equation in the advantage.
    moved = weight_on(bandit, objective, u, advantage)
    gap = torch.where(moves, q * (moved - moved.detach()), zeros)
    # Where mass leaks the normalization does not bind: lam stays zero.
    binds = (solution.leak <= 0).to(q.dtype)[:, None]
    if slopes.ndim == 2:
        h = q * slopes - lam * policy
        flat = moves & (torch.abs(h) <= _FLAT * (torch.abs(q * slopes) + torch.abs(lam * policy)))
        moves = moves & ~flat  # what nothing pulls stays, in a set of optima
        # One alone whose pull is linear in its mass fixes lam, and takes the mass that the others leave.
        level = flat & (lam != 0) & (flat.sum(-1, keepdim=True) == 1)
        of_level, own_gap = torch.where(level, policy, zeros), torch.where(level, gap, zeros)
        h, policy, gap = (torch.where(moves, a, b) for a, b in ((h, torch.ones_like(q)), (policy, zeros), (gap, zeros)))
        per_lam, per_gap = policy / h, gap / h
    else:
        level, of_level, own_gap = torch.zeros_like(moves), zeros, zeros
        both = moves[:, :, None] & moves[:, None, :]
        h = torch.where(both, q[:, :, None] * slopes, torch.zeros_like(slopes)) - torch.diag_embed(lam * policy)
        h = h + torch.diag_embed((~moves).to(q.dtype))
        # With lam = 0 and weights of differences h is singular along the constants; unit mass fixes them.
        h = h - policy[:, :, None] * policy[:, None, :]
        per_lam = torch.linalg.solve(h, policy)
        per_gap = torch.linalg.solve(h, gap)
    response = _or_one((policy * per_lam).sum(-1, keepdim=True))
    change_of_lam = binds * (policy * per_gap).sum(-1, keepdim=True) / response
    mass = of_level.sum(-1, keepdim=True)
    change_of_lam = torch.where(mass > 0, own_gap.sum(-1, keepdim=True) / _or_one(mass), change_of_lam)
    change = torch.where(moves, per_lam * change_of_lam - per_gap, zeros)
    left = -(policy * change).sum(-1, keepdim=True) / _or_one(mass)
    return solution.log_ratio + torch.where(level, left, change)


def _slopes(g: Array, u: Array, coupled: bool) -> Array:
    """Derivative of each weight in its own log-ratio ``(N, K)``; coupled: in every log-ratio, ``(N, K, K)``."""
    import torch

    def slope(total: Array) -> Array:  # zero for a weight of hyper-parameters alone
        return torch.autograd.grad(total, u, retain_graph=True, materialize_grads=True)[0]

    if not coupled:
        return slope(g.sum()) if g.requires_grad else torch.zeros_like(u)
    rows = [slope(g[:, k].sum()) for k in range(u.shape[-1])]
    return torch.stack(rows, dim=1)


def _or_one(total: Array) -> Array:
    """Divisor that is one where no action moves at all."""
    return total + (total == 0).to(total.dtype)
