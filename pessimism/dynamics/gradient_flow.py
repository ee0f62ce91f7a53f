"""Gradient flow on tabular softmax logits: where an objective's expected gradient leads from a start."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.integrate import solve_ivp

from pessimism.dynamics.trajectory import Trajectory
from pessimism.fixed_point.equilibrium import Rest, find_rest
from pessimism.fixed_point.pull import Pull, pose
from pessimism.losses.registry import ObjectiveLike, make_objective

Array = Any

_DECADES = 13  # of time, in units of the pull at the reference, before a flow without rest is given up
_PER_DECADE = 12  # recorded times, where none are asked for
# Integrators, each with the evaluations that it may take in a span: LSODA chatters near some rests and on all jumps.
_METHODS: dict[bool, dict[Literal["LSODA", "BDF", "Radau"], int]] = {
    False: {"LSODA": 4_000, "Radau": 100_000},
    True: {"BDF": 20_000, "Radau": 100_000},
}
_ON_JUMPS = 1e-7  # relative tolerance where jumps of the weight are bridged, which costs as much


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
    **hyper: Any,
) -> Trajectory:
    r"""Follow the exact expected gradient of an objective on softmax logits, in continuous time, until it rests.

    .. math:: \dot\theta_a = q_a g_a - \pi_a \sum_b q_b g_b

    There is no step size: time is stretched tenfold until the flow is so close to a stable rest that Newton's method
    finishes it (``log_policy`` of the result, exact to rounding), or until the horizon.

    Parameters
    ----------
    behavior, reward, reference, objective, hyper : as in :func:`pessimism.induced_target`, for one problem ``(K,)``;
        actions that the behavior cannot produce keep no mass.
    start : probabilities ``(K,)``, positive where the behavior is. Default: the reference.
    times : increasing times >= 0 to record, by default a geometric grid. The flow runs at least to the last.
    horizon : time at which to stop, at rest or not. By default 1e13 times that in which the pull at the reference moves
        a logit by one.
    tolerance : relative tolerance of the integrator.

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
    problem = pose(behavior, reward, make_objective(objective, **hyper), reference, start)
    for name, value in (("horizon", horizon), ("tolerance", tolerance)):
        if value is not None and not 0 < value < np.inf:
            raise ValueError(f"{name} must be a finite number > 0, got {value!r}")
    run = follow(problem.pull, problem.log_start, times=_checked(times, horizon), horizon=horizon, tolerance=tolerance)
    status, message = run.outcome(problem.pull)
    end = run.last if run.rest is None else run.rest.log_policy
    return problem.trajectory(run.times, run.log_policies, end, status, message)


@dataclass(frozen=True)
class Run:
    """A flow on the behavior's support: recorded times ``(T,)``, log-policies ``(T, K)``, its end, its rest if any."""

    times: Array
    log_policies: Array
    rest: Rest | None
    last_time: float
    last: Array
    failure: str = ""

    def outcome(self, pull: Pull) -> tuple[str, str]:
        """Status and message."""
        end = f"by time {self.last_time:.3g}"
        if self.rest is None:
            explodes = bool(self.failure) and np.abs(pull.field(self.last)).max() > 1e3 * pull.scale
            return "diverged" if explodes else "not_converged", f"{self.failure or 'still moving'} {end}"
        if not self.rest.stable:
            return "not_converged", "rests on a saddle, between equal actions that any difference would part"
        left = int(np.count_nonzero(self.rest.log_policy > -np.inf))
        if left == len(self.rest.log_policy):
            return "converged", ""
        if not self.rest.vanishes and self.rest.multiplier <= 1e-12 * pull.scale:
            return "diverged", "the loss pulls for ever and prefers no policy: the start decides what is left"
        return ("collapsed", "one action is left") if left == 1 else ("vanishing_support", f"{left} actions are left")


def follow(
    pull: Pull,
    log_policy: Array,
    *,
    times: Array | None = None,
    horizon: float | None = None,
    tolerance: float = 1e-9,
) -> Run:
    """Integrate the flow from ``log_policy`` over tenfold longer spans, until a rest and the last of ``times``."""
    recorded_times, recorded = [0.0], [log_policy]
    unit = 1.0 / pull.scale if pull.scale > 0 else 1.0
    last = 10.0**_DECADES * unit if horizon is None else horizon
    asked_until = 0.0 if times is None else float(times[-1])
    rest, failure, time = find_rest(pull, log_policy), "", 0.0
    if rest is not None and not rest.stable:  # nothing pulls from the very start: there it stays
        rest = rest._replace(stable=True)
    while time < asked_until or (rest is None and time < last):
        target = last if rest is None and time < last else asked_until
        until = unit if time == 0.0 else 10.0 * time
        until = target if until > 0.99 * target else until
        if times is None:
            grid = np.geomspace(max(time, 1e-2 * until), until, _PER_DECADE + 1)[1:]
        else:
            grid = np.append(times[(times > time) & (times < until)], until)
        grid[-1] = until
        log_policies, failure = _integrate(pull, log_policy, time, grid, tolerance)
        if failure:
            break
        time, log_policy = until, log_policies[-1]
        recorded_times.extend(grid.tolist())
        recorded.extend(log_policies)
        rest = find_rest(pull, log_policy)
    kept = np.ones(len(recorded), dtype=bool) if times is None else np.isin(recorded_times, times)
    return Run(np.array(recorded_times)[kept], np.array(recorded)[kept], rest, time, log_policy, failure)


def _integrate(pull: Pull, log_policy: Array, begin: float, grid: Array, tolerance: float) -> tuple[Array, str]:
    """Normalized log-policies ``(T, K)`` at the times of the grid; a second, implicit method where the first fails."""
    failure, jumps = "", bool(pull.kinks)
    tolerance = max(tolerance, _ON_JUMPS) if jumps else tolerance
    for method, patience in _METHODS[jumps].items():
        velocity = _Velocity(pull, patience)
        try:
            with np.errstate(over="ignore", invalid="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # LSODA warns of what `success` says
                step = solve_ivp(
                    velocity,
                    (begin, grid[-1]),
                    log_policy,
                    method=method,
                    t_eval=grid,
                    rtol=tolerance,
                    atol=1e-2 * tolerance,
                )
        except (_OutOfPatienceError, ValueError, np.linalg.LinAlgError) as error:
            failure = f"the integrator failed ({error})"
            continue
        if step.success and np.all(np.isfinite(step.y)):
            return step.y.T - np.logaddexp.reduce(step.y.T, axis=-1, keepdims=True), ""
        failure = "a log-probability is not finite" if step.success else f"the integrator failed ({step.message})"
    return log_policy[None], failure


class _Velocity:
    """Right-hand side for an integrator, which it may evaluate ``left`` times."""

    def __init__(self, pull: Pull, left: int) -> None:
        self.pull, self.left = pull, left

    def __call__(self, time: float, log_policy: Array) -> Array:
        self.left -= 1
        if self.left < 0:
            raise _OutOfPatienceError("too many steps")
        return self.pull.drift(log_policy)


class _OutOfPatienceError(Exception):
    """An integrator takes too many steps."""


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
