"""Gradient flow on tabular softmax logits: where an objective's expected gradient leads from a start."""

from __future__ import annotations

from typing import Any

import numpy as np

from pessimism.arrays import Array
from pessimism.core.objective import ObjectiveLike
from pessimism.dynamics.trajectory import Trajectory, make_flow_problem
from pessimism.fixed_point.flow import follow
from pessimism.losses.registry import make_objective


def gradient_flow(
    behavior: Any,
    reward: Any,
    objective: str | ObjectiveLike,
    *,
    reference: Any = None,
    start: Any = None,
    times: Any = None,
    horizon: float | None = None,
    tolerance: float = 1e-9,
    check: bool = True,
    **hyper: Any,
) -> Trajectory:
    r"""Follow the exact expected gradient of an objective on softmax logits, in continuous time, to its equilibrium.

    .. math:: \dot\theta_a = q_a g_a - \pi_a \sum_b q_b g_b

    There is no step size: time is stretched tenfold until the flow is so close to a stable equilibrium that Newton's
    method finishes it (``log_policy`` of the result, exact to rounding), or until the horizon.

    Parameters
    ----------
    behavior, reward : array_like, shape (K,)
        Probabilities and rewards of one problem, as in :func:`pessimism.induced_target`; actions that the behavior
        cannot produce keep no mass.
    objective : str or ObjectiveLike
        As in :func:`pessimism.induced_target`.
    reference : array_like, shape (K,), optional
        Policy in the log-ratio. Default: the behavior.
    start : array_like, shape (K,), optional
        Probabilities of the first policy, positive where the behavior is. Default: the reference.
    times : array_like, shape (T,), optional
        Increasing times >= 0 to record. The flow runs at least to the last. Default: a geometric grid.
    horizon : float, optional
        Time at which to stop, in equilibrium or not. Default: 1e13 times the time in which the pull at the reference
        moves a logit by one.
    tolerance : float, default 1e-9
        Relative tolerance of the integrator.
    check : bool, default True
        Whether an objective of one's own is checked first, once for each object (:func:`pessimism.check`).
    **hyper : dict
        Hyper-parameters of a registered objective.

    Returns
    -------
    Trajectory
        ``status`` "converged"; "vanishing_support", the support shrinks; "collapsed", to a single action; "diverged",
        where the loss pulls for ever and prefers no policy, so that what is left depends on the start; or
        "not_converged" by the horizon.

    Raises
    ------
    ValueError
        As :func:`pessimism.induced_target`; also for a batch, a start without support, times that do not increase.

    References
    ----------
    arXiv 2605.28150; docs/theory.md.

    Examples
    --------
    >>> flow = gradient_flow([0.5, 0.5], [0.0, 1.0], "nominal", beta=1.0)
    >>> flow.status, flow.policy.round(4)
    ('converged', array([0.2689, 0.7311]))
    >>> gradient_flow([0.5, 0.5], [0.0, 1.0], "asym_re", shift=0.1).status
    'diverged'
    """
    problem = make_flow_problem(behavior, reward, make_objective(objective, check=check, **hyper), reference, start)
    for name, value in (("horizon", horizon), ("tolerance", tolerance)):
        if value is not None and not 0 < value < np.inf:
            raise ValueError(f"{name} must be a finite number > 0, got {value!r}")
    run = follow(problem.pull, problem.log_start, times=_checked(times, horizon), horizon=horizon, tolerance=tolerance)
    status, message = run.outcome(problem.pull)
    end = run.last if run.equilibrium is None else run.equilibrium.log_policy
    return problem.trajectory(run.times, run.log_policies, end, status, message)


def _checked(times: Any, horizon: float | None) -> Array | None:
    if times is None:
        return None
    times = np.asarray(times, dtype=np.float64)
    if times.ndim != 1 or len(times) == 0 or not np.all(np.isfinite(times)) or times[0] < 0:
        raise ValueError("times must be one or more finite numbers >= 0")
    if np.any(np.diff(times) <= 0):
        raise ValueError("times must increase")
    if horizon is not None and times[-1] > horizon:
        raise ValueError(f"times must not exceed the horizon {horizon!r}, got {float(times[-1])!r}")
    return times
