"""Where a loss leads: minimized from the reference, or followed by gradient flow, all on logits.

Nothing here knows a formula of an objective. A loss is a function ``loss(logits, q, nu, r)`` of float64 tensors whose
gradient autograd takes as published, through whatever it detaches.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import optimize

Array = npt.NDArray[np.float64]
Loss = Callable[[torch.Tensor], torch.Tensor]
Field = Callable[[Array], Array]

DEEP = 600.0  # log-probabilities below the largest from which an action sinks no further: exp(DEEP) is still a number


def field(loss: Loss) -> Field:
    """Downhill direction on logits ``(..., K)``, by autograd: what gradient flow follows."""

    def velocity(logits: Array) -> Array:
        theta = torch.tensor(logits, requires_grad=True)
        (gradient,) = torch.autograd.grad(loss(theta).sum(), theta)
        return np.asarray(-gradient.numpy())

    return velocity


def jacobian(velocity: Field, logits: Array, step: float = 1e-6) -> Array:
    """Central differences of a field at logits ``(K,)``, one call for all directions."""
    moves = step * np.eye(len(logits))
    both = velocity(np.concatenate([logits + moves, logits - moves]))
    return np.asarray((both[: len(logits)] - both[len(logits) :]).T / (2.0 * step))


def policy(logits: Array) -> Array:
    return np.asarray(np.exp(logits - np.logaddexp.reduce(logits)))


def minimized(loss: Loss, start: Array) -> Array:
    """Logits of a minimum: BFGS from the start, then Newton's method on the gradient."""
    velocity = field(loss)
    scale = np.abs(velocity(start)).max() or 1.0
    run = optimize.minimize(
        lambda x: float(loss(torch.tensor(x))) / scale,
        start,
        jac=lambda x: -velocity(x) / scale,
        method="BFGS",
        options={"gtol": 1e-10, "maxiter": 2000},
    )
    return newton(velocity, run.x)


def newton(velocity: Field, logits: Array) -> Array:
    """A few steps on the field itself, each taken while it makes the field smaller: digits after the minimum is near.

    Differences of the loss run out of digits at half of the working accuracy, those of its gradient do not.
    """
    size = np.abs(velocity(logits)).max()
    for _ in range(8):
        move = np.linalg.lstsq(jacobian(velocity, logits), -velocity(logits), rcond=1e-12)[0]
        if not np.isfinite(move).all() or np.abs(move).max() > 0.5:
            break
        smaller = np.abs(velocity(logits + move)).max()
        if not smaller < size:
            break
        logits, size = logits + move, smaller
    return logits


def flowed(loss: Loss, start: Array, *, until: float = 1e12, tolerance: float = 3e-4) -> Array:
    """Logits where gradient flow from ``start`` has come to rest, and Newton's method from there.

    The integrator is linearly implicit (ode23s: Shampine and Reichelt 1997), so that its steps may grow tenfold each
    as the flow slows down. Its errors decide at most into which basin a flow goes that starts close to their border.
    """
    velocity = field(loss)
    logits = np.array(start, dtype=np.float64)
    slope, edge = velocity(logits), np.eye(len(logits))
    scale = np.abs(slope).max()
    if scale == 0.0:
        return logits
    now, step, d = 0.0, 1e-3 / scale, 1.0 / (2.0 + np.sqrt(2.0))
    for _ in range(5000):
        # An action of a probability of exp(-600) goes no further down: its logit would only leave the numbers.
        sunk = (logits - logits.max() < -DEEP) & (slope < 0.0)
        free = np.where(sunk, 0.0, 1.0)
        inverse = np.linalg.inv(edge - step * d * free[:, None] * jacobian(velocity, logits))
        first = inverse @ (free * slope)
        middle = free * velocity(logits + step / 2.0 * first)
        second = inverse @ (middle - first) + first
        after = logits + step * second
        end = free * velocity(after)
        third = inverse @ (end - (6.0 + np.sqrt(2.0)) * (second - middle) - 2.0 * (first - free * slope))
        error = np.abs(step / 6.0 * (first - 2.0 * second + third) / (1.0 + 0.1 * np.abs(after))).max()
        if np.isfinite(error) and error <= tolerance:
            now, logits, slope = now + step, after - after.max(), velocity(after)
            resting = np.abs(slope).max() < 1e-12 * scale
            if now * scale > until or resting:
                return newton(velocity, logits) if resting else logits
        step *= min(10.0, max(0.1, 0.8 * (tolerance / max(error, 1e-300)) ** (1.0 / 3.0))) if error == error else 0.1
    raise AssertionError(f"the flow is still at time {now:.1e}")


def against(loss: Callable[..., torch.Tensor], q: Array, nu: Array, r: Array, **hyper: Any) -> Loss:
    """The loss of one bandit as a function of logits."""
    tensors = [torch.tensor(a, dtype=torch.float64) for a in (q, nu, r)]
    return lambda logits: loss(logits, *tensors, **hyper)
