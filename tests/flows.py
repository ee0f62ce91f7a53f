"""Independent routes to a target: plain gradient flow, descent on its published loss by autograd, and cone programs."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import cvxpy as cp
import numpy as np
import torch
from scipy.integrate import solve_ivp

from tests.helpers import Array


def _deep(_: float, logits: Array) -> float:
    """Falls to zero where an action has run so far away that its reciprocal overflows."""
    return float(300.0 + logits.min() - logits.max())


_deep.terminal = True  # type: ignore[attr-defined]


def descend(objective: Any, q: Array, reward: Array, *, reference: Array | None = None, time: float = 1e6) -> Array:
    """Policy ``(K,)`` after gradient flow of ``objective.loss`` from the reference, on softmax logits.

    On-policy data are drawn from the policy of the moment, without a gradient through the sampling. Losses with jumps
    in their gradient are followed by steps that shrink, since an integrator would chatter on a jump.
    """
    nu = q if reference is None else reference
    behavior, log_nu = torch.tensor(q), torch.tensor(np.log(nu))
    advantage = torch.tensor(objective.advantage(reward, q))
    share = {"log_share": log_nu - torch.log(behavior)} if objective.takes_share else {}

    def velocity(logits: Array) -> Array:
        theta = torch.tensor(logits, requires_grad=True)
        log_policy = torch.log_softmax(theta, -1)
        data = log_policy.detach().exp() if objective.on_policy else behavior
        loss = (data * objective.loss(log_policy - log_nu, advantage, behavior, **share)).sum()
        (gradient,) = torch.autograd.grad(loss, theta)
        return -gradient.numpy()

    logits, end = np.log(nu), 0.0
    if objective.kinks_at(q):
        for size in np.geomspace(1.0, 1e-4, 10):
            for _ in range(200):
                logits = logits + size * velocity(logits)
    else:
        for until in np.geomspace(1.0, time, 7):
            step = solve_ivp(
                lambda _, y: velocity(y), (end, until), logits, method="LSODA", rtol=1e-8, atol=1e-10, events=_deep
            )
            logits, end = step.y[:, -1] - step.y[:, -1].max(), until
            if np.abs(velocity(logits)).max() < 1e-9 or step.status == 1:
                break
    return np.exp(logits - np.logaddexp.reduce(logits))


def leak_of_flow(
    objective: Any,
    q: Array,
    reward: Array,
    *,
    reference: Array | None = None,
    unseen: float = 1e-4,
    time: float = 1e12,
    pace: float = 1.0,
) -> tuple[float, Array]:
    """Mass that gradient flow of ``objective.loss`` takes to one more action without data, and the policy ``(K,)``.

    The loss is taken ``pace`` times, by which time passes faster and nothing else changes.

    Of that action the start has the mass ``unseen``, taken from the reference, where the flow begins; nothing else
    is known of it. Losses with jumps in their gradient are followed by steps that shrink.
    """
    nu = q if reference is None else reference
    behavior, log_nu = torch.tensor(q), torch.tensor(np.log(nu))
    advantage = torch.tensor(objective.advantage(reward, nu if objective.baseline_under_reference else q))
    share = {"log_share": log_nu - torch.log(behavior)} if objective.takes_share else {}

    def velocity(logits: Array) -> Array:
        theta = torch.tensor(logits, requires_grad=True)
        log_policy = torch.log_softmax(theta, -1)[:-1]
        loss = pace * (behavior * objective.loss(log_policy - log_nu, advantage, behavior, **share)).sum()
        (gradient,) = torch.autograd.grad(loss, theta)
        return -gradient.numpy()

    logits = np.append(np.log(nu * (1.0 - unseen)), np.log(unseen))
    if objective.kinks_at(q):
        for size, steps in ((2.0, 1000), (0.2, 12000), (0.02, 10000), (0.005, 20000)):
            for _ in range(steps):
                step = velocity(logits)
                if not step.any():
                    break
                logits = logits + size * step
    else:
        begin = 0.0
        for until in np.geomspace(1.0, time, 25):
            run = solve_ivp(lambda _, y: velocity(y), (begin, until), logits, method="BDF", rtol=1e-6, atol=1e-8)
            logits, begin = run.y[:, -1], until
            # A hundredth of the mass is left, and it still falls.
            if logits[-1] - np.logaddexp.reduce(logits) < np.log(1e-2 * unseen) and velocity(logits)[-1] < 0:
                break
    policy = np.exp(logits - np.logaddexp.reduce(logits))
    return float(policy[-1]), policy[:-1]


def maximize(value: Any, constraints: list[Any]) -> float:
    """Solve a cone program as tightly as the solver can: an error of a value is the square of one of a policy."""
    tight = {"tol_gap_abs": 1e-13, "tol_gap_rel": 1e-13, "tol_feas": 1e-13}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it may stop short of these
        return float(cp.Problem(cp.Maximize(value), constraints).solve(solver="CLARABEL", **tight))


def logit_field(q: Array, log_reference: Array, weight: Callable[[Array], Array], logits: Array) -> Array:
    r"""Expected gradient on softmax logits, :math:`q_a g_a - \pi_a \sum_b q_b g_b`, for one problem ``(K,)``.

    ``weight`` maps log-ratios log(pi / reference) to score weights g. Source: arXiv 2605.28150.
    """
    log_policy = logits - np.logaddexp.reduce(logits)
    pull = q * weight(log_policy - log_reference)
    return pull - np.exp(log_policy) * pull.sum()


def flow_to_rest(
    q: Array, log_reference: Array, weight: Callable[[Array], Array], start: Array, *, tolerance: float = 1e-9
) -> tuple[Array, bool]:
    """Follow the logit field from ``start`` until it rests: (log-policy, whether the field fell by ``tolerance``).

    Time is stretched tenfold until the field is small beside its size at the start.
    """
    logits, span = np.array(start, dtype=np.float64), 1.0
    scale = np.abs(q * weight(start - np.logaddexp.reduce(start) - log_reference)).sum()
    for _ in range(12):
        step = solve_ivp(
            lambda _, y: logit_field(q, log_reference, weight, y),
            (0.0, span),
            logits,
            method="LSODA",
            rtol=1e-9,
            atol=1e-11,
        )
        if not step.success or not np.all(np.isfinite(step.y)):
            return logits, False
        logits = step.y[:, -1] - step.y[:, -1].max()
        if np.abs(logit_field(q, log_reference, weight, logits)).max() <= tolerance * scale:
            return logits - np.logaddexp.reduce(logits), True
        span *= 10.0
    return logits - np.logaddexp.reduce(logits), False
