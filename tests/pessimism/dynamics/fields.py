"""Two problems, and the field of a loss by autograd."""

from __future__ import annotations

from typing import Any

import torch

from tests.helpers import Array

PROBLEM = [0.4, 0.3, 0.2, 0.1], [0.2, 0.4, 0.6, 0.8]


UNEVEN = [0.4, 0.3, 0.25, 0.05], [0.2, 0.4, 0.6, 0.8]  # without ties among behavior times advantage


def torch_field(objective: Any, behavior: Array, reward: Array, logits: Array) -> Array:
    """Minus the autograd gradient of the population loss, all of it independent of the field under test."""
    y = torch.tensor(logits, requires_grad=True)
    q, r = torch.tensor(behavior), torch.tensor(reward)
    u = torch.log_softmax(y, -1) - torch.log(q)
    weights = torch.softmax(y, -1).detach() if getattr(objective, "on_policy", False) else q
    (weights * objective.loss(u, objective.advantage(r, q), q)).sum().backward()
    assert y.grad is not None
    return -y.grad.numpy()
