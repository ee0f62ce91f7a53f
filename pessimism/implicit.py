r"""Gradients of an induced target on torch tensors, by the implicit function theorem.

At the solution, :math:`q_a g(u_a, A_a) = \lambda \pi_a` and :math:`\sum_a \pi_a = 1`. With h the derivative of the
first in u_a, one linear solve (diagonal plus one row) carries a change of reward to u. torch is imported by its user.
"""

from __future__ import annotations

from typing import Any

from pessimism.bandit import Bandit
from pessimism.objectives.base import ObjectiveLike
from pessimism.targets import Solution

Array = Any


def attach_gradient(solution: Solution, bandit: Bandit, objective: ObjectiveLike, advantage: Array) -> Array:
    """The log-ratio with its value unchanged and its derivative in the advantage (hence in the reward) attached.

    First derivatives only: the linear solve itself is not differentiated.
    """
    import torch

    seen, q, weights = bandit.support, bandit.behavior, bandit.weights
    with torch.enable_grad():
        u = torch.where(seen, solution.log_ratio, torch.zeros_like(q)).detach().requires_grad_()
        g = objective.score_weight(u, advantage.detach(), weights)
        (slope,) = torch.autograd.grad(g.sum(), u)
    g, u = g.detach(), u.detach()
    policy = torch.where(seen, bandit.reference * torch.exp(u), torch.zeros_like(q))
    lam = (q * g).sum(-1, keepdim=True)
    h = torch.where(seen, q * slope - lam * policy, torch.ones_like(q))
    # Value zero; gradient that of the equation in the advantage.
    moved = objective.score_weight(u, advantage, weights)
    gap = torch.where(seen, q * (moved - moved.detach()), torch.zeros_like(q))
    # Where mass leaks the normalization does not bind: lam stays zero.
    binds = (solution.leak <= 0).to(q.dtype)[:, None]
    change_of_lam = binds * (policy * gap / h).sum(-1, keepdim=True) / (policy * policy / h).sum(-1, keepdim=True)
    return solution.log_ratio + torch.where(seen, (policy * change_of_lam - gap) / h, torch.zeros_like(q))
