"""What the tests of the offline systems share: small bandits, and an optimizer that knows no closed form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy import optimize

import pessimism as ps
from tests.helpers import Array, make_problem

BANDITS = [make_problem(200 + width, width) for width in (2, 3, 5, 7)]
DIVERGENCES = ("kl", "rkl", "inf", "hellinger", "entropy")


def solved(behavior: Array, reward: Array, name: str, **hyper: Any) -> Array:
    target = ps.induced_target(behavior, reward, name, **hyper)
    assert target.status == "converged"
    return np.asarray(target.policy)


def descend(loss: Callable[[torch.Tensor], torch.Tensor], start: Array) -> Array:
    """A minimizer by BFGS with autograd, written without any of the closed forms."""

    def value_and_slope(x: Array) -> tuple[float, Array]:
        point = torch.tensor(x, requires_grad=True)
        value = loss(point)
        (slope,) = torch.autograd.grad(value, point)
        return float(value.detach()), slope.numpy()

    found = optimize.minimize(value_and_slope, start, jac=True, method="BFGS", options={"gtol": 1e-9, "maxiter": 5000})
    assert np.abs(found.jac).max() < 1e-7
    return np.asarray(found.x)
