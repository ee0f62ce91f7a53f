"""The field of an objective: the gradient of its loss, both sides of a jump, the multiplier that actions agree on."""

from __future__ import annotations

import numpy as np
import torch

import pessimism as ps
from pessimism.dynamics.trajectory import make_flow_problem
from tests.flows import logit_field
from tests.helpers import (
    make_problem,
)


def test_logit_field_is_the_gradient_of_the_population_loss() -> None:
    behavior, reward = make_problem(10, 6)
    objective = ps.Kimi(beta=0.4)
    advantage = objective.advantage(reward, behavior)
    logits = torch.tensor(np.random.default_rng(0).normal(size=6), requires_grad=True)
    u = torch.log_softmax(logits, -1) - torch.tensor(np.log(behavior))
    loss = (torch.tensor(behavior) * objective.loss(u, torch.tensor(advantage))).sum()
    (gradient,) = torch.autograd.grad(loss, logits)
    pull = make_flow_problem(behavior, reward, objective, None, None).pull
    field = pull.field(torch.log_softmax(logits, -1).detach().numpy())
    np.testing.assert_allclose(field, -gradient.numpy(), rtol=1e-12, atol=1e-14)
    weight = lambda u: objective.score_weight(u, advantage, behavior)  # noqa: E731
    plain = logit_field(behavior, np.log(behavior), weight, logits.detach().numpy())
    np.testing.assert_allclose(plain, field, rtol=1e-12, atol=1e-14)
