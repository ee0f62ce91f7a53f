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


def newton(velocity: Field, logits: Array, fine: float = 1e-6) -> Array:
    """A few steps on the field itself, each taken while it makes the field smaller: digits after the minimum is near.

    Differences of the loss run out of digits at half of the working accuracy, those of its gradient do not.
    """
    size = np.abs(velocity(logits)).max()
    for _ in range(8):
        move = np.linalg.lstsq(jacobian(velocity, logits, fine), -velocity(logits), rcond=1e-12)[0]
        if not np.isfinite(move).all() or np.abs(move).max() > 1e-2:
            break
        smaller = np.abs(velocity(logits + move)).max()
        if not smaller < size:
            break
        logits, size = logits + move, smaller
    return logits


def flowed(
    loss: Loss,
    start: Array,
    *,
    until: float = 1e30,
    rest: float = 1e-12,
    tolerance: float = 3e-4,
    fine: float = 1e-6,
) -> Array:
    """Logits where gradient flow from ``start`` has come to rest, and Newton's method from there.

    The integrator is linearly implicit (ode23s: Shampine and Reichelt 1997), so that its steps may grow tenfold each
    as the flow slows down. Its errors decide at most into which basin a flow goes that starts close to their border.
    Losses see probabilities alone: a change of all logits is none, and is taken out of the field and of its Jacobian,
    where it would drown what is left at steps of 1e10. ``fine`` is the step of the differences, ``rest`` the speed that
    counts as none, beside that at the start. A flow that neither rests nor ends is returned after 2000 steps.
    """
    raw = field(loss)
    logits, size = np.array(start, dtype=np.float64), len(start)

    def relative(x: Array) -> Array:
        moves = raw(x)
        with np.errstate(invalid="ignore"):  # of a step that went too far, and is taken again
            return np.asarray(moves - moves[..., lead, None])

    lead = int(np.argmax(logits))
    slope = relative(logits)
    scale = np.abs(slope).max()
    if scale == 0.0:
        return logits
    now, step, d = 0.0, 1e-3 / scale, 1.0 / (2.0 + np.sqrt(2.0))
    for _ in range(2000):
        # An action of a probability of exp(-600) goes no further down: its logit would only leave the numbers.
        free = np.where((logits - logits.max() < -DEEP) & (slope < 0.0), 0.0, 1.0)
        # A rare action that still gains relative to the others does not rest, however slow it is.
        growth = raw(logits) / np.maximum(policy(logits), 1e-200)
        gaining = (growth > growth[lead] + 1e-6 * scale) & (policy(logits) > 1e-200)
        gains = bool(gaining.any())
        if gains and np.abs(free * slope).max() < 1e-9 * scale and policy(logits)[gaining].max() < 1e-7:
            # Nothing else moves until what gains is no longer rare, at a time that differences cannot reach. An action
            # grows as y' = x exp(y): one shift for all keeps their order. It must grow up there, too.
            lifted = logits + gaining * (np.log(1e-5) - np.log(policy(logits)[gaining].max()))
            gains = bool(relative(lifted)[gaining].max() > 0.0)
            if gains:
                logits, slope, step = lifted, relative(lifted), 1e-3 / scale
                continue
        if now * scale > until or (not gains and np.abs(free * slope).max() < rest * scale):
            break
        slopes = jacobian(relative, logits, fine)
        slopes = free[:, None] * (slopes - slopes.mean(1, keepdims=True))
        # Implicit steps would damp what grows and so hold a flow on a saddle: no step is longer than its growth takes.
        fastest = max(
            np.linalg.eigvals(slopes).real.max() if np.isfinite(slopes).all() else 0.0,
            (policy(logits) * (growth - growth[lead]))[gaining].max(initial=0.0),
        )
        if fastest > 1e-8 * scale or gains:
            step = min(step, 1.0 / max(fastest, 1e-300))
        inverse = np.linalg.inv(np.eye(size) - step * d * slopes)
        first = inverse @ (free * slope)
        middle = free * relative(logits + step / 2.0 * first)
        second = inverse @ (middle - first) + first
        after = logits + step * second
        end = free * relative(after)
        third = inverse @ (end - (6.0 + np.sqrt(2.0)) * (second - middle) - 2.0 * (first - free * slope))
        error = np.abs(step / 6.0 * (first - 2.0 * second + third) / (1.0 + 0.1 * np.abs(after))).max()
        if not np.isfinite(error):
            step *= 0.1
            continue
        if error <= tolerance:
            now, logits = now + step, after - after.max()
            lead = int(np.argmax(logits))
            slope = relative(logits)
        step *= min(10.0, max(0.1, 0.8 * (tolerance / max(error, 1e-300)) ** (1.0 / 3.0)))
    return polished(raw, logits, fine)


def polished(velocity: Field, logits: Array, fine: float) -> Array:
    """Newton's method on the actions that keep mass, where all of them are at rest but for what the steps leave."""
    kept = logits - logits.max() > np.log(1e-9)
    others = logits[~kept]

    def among(x: Array) -> Array:
        whole = np.empty((*x.shape[:-1], len(kept)))
        whole[..., kept], whole[..., ~kept] = x, others
        moves = velocity(whole)[..., kept]
        return np.asarray(moves - moves.mean(-1, keepdims=True))

    result = logits.copy()
    result[kept] = newton(among, logits[kept], fine)
    return result


def unrest(loss: Loss, target: Array, kinks: Array | None = None, side: float = 1e-9) -> float:
    """How far a policy is from resting under the field: zero where no action gains or loses against the others.

    Per unit of its probability an action moves at ``x = velocity / pi``, and at rest x is the same for all that have
    mass, and no larger for those without. On a jump of the field (``kinks``, boolean) the two one-sided values of x
    must enclose that of the others, from above below the jump: then the flow is pushed onto the jump from both sides.
    """
    velocity = field(loss)
    kinks = np.zeros(len(target), dtype=bool) if kinks is None else kinks
    logits = np.log(np.maximum(target, 1e-60))
    kept = target > 1e-30

    def pull(shift: Array) -> Array:
        moved = logits + shift
        return np.asarray(velocity(moved) / policy(moved))

    gap = 0.0
    for action in np.flatnonzero(kept):
        # This one above its jump and all others below: it must not gain on any of them.
        x = pull(side * np.where(np.arange(len(target)) == action, kinks * 1.0, kinks * -1.0))
        rivals = kept & (np.arange(len(target)) != action)
        if rivals.any():
            gap = max(gap, target[action] * (x[action] - x[rivals].min()))
    x = pull(np.zeros_like(target))
    if not kept.all() and not kinks.any():
        gap = max(gap, (x[~kept].max() - x[kept].max()) * target.max())
    return float(gap)


def against(loss: Callable[..., torch.Tensor], q: Array, nu: Array, r: Array, **hyper: Any) -> Loss:
    """The loss of one bandit as a function of logits."""
    tensors = [torch.tensor(a, dtype=torch.float64) for a in (q, nu, r)]
    return lambda logits: loss(logits, *tensors, **hyper)
