r"""A loss whose gradient is the expected one of an objective, for training on every completion of a prompt.

Published losses stop gradients: of most the value does not fall along their own gradient, which a line search notices.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

import pessimism as ps
from pessimism.fixed_point.score import is_coupled

_NODES, _WEIGHTS = (torch.tensor(a) for a in np.polynomial.legendre.leggauss(32))


class _Potential(torch.autograd.Function):
    r"""A function of the log-ratios ``(N,)`` of the completions whose gradient is exactly :math:`-q g`.

    A published loss with stop-gradients is not it: its value does not fall along its own gradient, which a line search
    would notice. The value is :math:`-\sum_a q_a \int_0^{u_a} g`, by Gauss-Legendre quadrature.
    """

    @staticmethod
    def forward(ctx: Any, u: Tensor, q: Tensor, advantage: Tensor, objective: Any) -> Tensor:
        """The potential; 0 at u = 0."""
        ctx.save_for_backward(-q * objective.score_weight(u, advantage, q))
        nodes = 0.5 * (_NODES.to(u)[:, None] + 1.0) * u
        along = objective.score_weight(nodes, advantage.expand_as(nodes), q.expand_as(nodes))
        return -torch.sum(q * u * (0.5 * _WEIGHTS.to(u) @ along))

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None, None]:
        """The gradient, -q g."""
        (gradient,) = ctx.saved_tensors
        return upstream * gradient, None, None, None


def population_loss(u: Tensor, q: Tensor, advantage: Tensor, objective: ps.Objective) -> Tensor:
    """Scalar of the log-ratios ``(N,)`` that training descends: its gradient is -q g, the objective's expected one.

    Where the weights couple the completions it is the published loss, averaged under q.

    Examples
    --------
    >>> u = torch.tensor([0.1, -0.2], dtype=torch.float64, requires_grad=True)
    >>> q, advantage = torch.tensor([0.5, 0.5], dtype=torch.float64), torch.tensor([1.0, -1.0], dtype=torch.float64)
    >>> population_loss(u, q, advantage, ps.Kimi(beta=1.0)).backward()
    >>> u.grad  # -q 2 beta (A - beta u)
    tensor([-0.9000,  0.8000], dtype=torch.float64)
    """
    if is_coupled(objective):
        return torch.sum(q * objective.loss(u, advantage, q))
    return _Potential.apply(u, q, advantage, objective)  # type: ignore[no-untyped-call,no-any-return]
