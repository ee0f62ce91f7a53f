"""Gradient flow for objectives with several fixed points: the target is the one that it reaches from the reference."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy

from pessimism.arrays import LOG_OF_NO_MASS, Array
from pessimism.closed_forms.separable import as_solution
from pessimism.core.bandit import Bandit
from pessimism.core.objective import Objective
from pessimism.core.solution import Solution, Status
from pessimism.fixed_point.equilibrium import Equilibrium, find_equilibrium
from pessimism.fixed_point.limits import Limits, find_limits
from pessimism.fixed_point.row_field import RowField
from pessimism.fixed_point.rows import RowSolution, solve_each_row
from pessimism.fixed_point.score import LogitField

_ALIKE = 1e-6  # relative difference of actions that an integrator cannot tell apart on a saddle
_TIE = 1e-5  # log-probability by which the first of equal actions is favored: more than an integrator's errors
_MOVED = 1e-9  # probability that has changed, where a flow has left its start
_STATUS = {
    "converged": Status.CONVERGED,
    "vanishing_support": Status.VANISHING_SUPPORT,
    "collapsed": Status.VANISHING_SUPPORT,
    "diverged": Status.NO_TARGET,
    "unstable": Status.UNSTABLE,
    "not_converged": Status.NOT_CONVERGED,
}
_DECADES = 13  # of time, in units of the pull at the reference, before a flow without an equilibrium is given up
_PER_DECADE = 12  # recorded times, where none are asked for
# Integrators, each with the evaluations that it may take in a span: LSODA chatters near some equilibria, on all jumps.
_METHODS: dict[bool, dict[Literal["LSODA", "BDF", "Radau"], int]] = {
    False: {"LSODA": 4_000, "Radau": 100_000},
    True: {"BDF": 20_000, "Radau": 100_000},
}


_ON_JUMPS = 1e-7  # relative tolerance where jumps of the weight are bridged, which costs as much


def flow_target(bandit: Bandit, objective: Objective, advantage: Array) -> Solution:
    """Limit of the gradient flow on softmax logits from the reference; shapes as in :class:`Solution`.

    A flow that collapses to one action has vanishing support; one that diverges has no target. Where the flow does not
    leave the reference, although any tilt would drive it away, that is "unstable". Where it goes to a saddle between
    equal actions, the first of them is favored by next to nothing, and the limit is one of several alike:
    "local_minimum".
    """
    if objective.coupled:
        return solve_each_row(bandit, objective, advantage, _coupled_limit, order_free=True)
    field = RowField.of_bandit(bandit, objective, advantage)
    alone, whose = _different(field)
    log_ratio, lam, status = (a[whose] for a in _limits(field.rows(alone)))
    unsolved = np.isin(status, (Status.NO_TARGET, Status.NOT_CONVERGED))
    log_ratio = np.where(unsolved[:, None] & field.seen, np.nan, log_ratio)
    return as_solution(bandit, objective, advantage, log_ratio, lam, status, np.where(unsolved, np.nan, 0.0))


def _different(field: RowField) -> tuple[Array, Array]:
    """Indices of problems that differ, and for every problem which of these it is equal to."""
    swept = [getattr(field.objective, name) for name in field.objective.arrays]
    facts = np.concatenate([field.q, field.log_nu, field.advantage, *swept], axis=-1)
    _, alone, whose = np.unique(facts, axis=0, return_index=True, return_inverse=True)
    return alone, whose.reshape(-1)


def _limits(field: RowField) -> tuple[Array, Array, Array]:
    """Log-ratios ``(N, K)``, multipliers and statuses of the limits of flows that begin at their references."""
    start = field.at_reference
    found = find_limits(field, start)
    status = _ended(field, found)
    idle = field.scale == 0.0  # nothing pulls
    found.log_ratio[idle], found.multiplier[idle], status[idle] = start[idle], 0.0, Status.CONVERGED
    moved = np.max(np.abs(np.exp(found.log_ratio) - np.exp(start)), axis=-1) > _MOVED
    order, same = _equals(field)
    beside_saddle = (status == Status.NOT_CONVERGED) & np.any(same, axis=-1)
    parting = np.flatnonzero(((status == Status.UNSTABLE) & moved) | beside_saddle)
    if len(parting):
        theirs = field.rows(parting)
        again = find_limits(theirs, start[parting] + _TIE * _best_of_equals(order[parting], same[parting]))
        found.log_ratio[parting], found.multiplier[parting] = again.log_ratio, again.multiplier
        status[parting] = _ended(theirs, again)
    _part_the_best(field, found, status, order, same)
    return found.log_ratio, found.multiplier, status


def _ended(field: RowField, found: Limits) -> Array:
    """Status of each limit."""
    gone = np.any(np.isneginf(found.log_ratio), axis=-1)
    # The loss pulls for ever and prefers no policy: the start decides what is left.
    forever = gone & ~found.vanishes & (found.multiplier <= 1e-12 * field.scale)
    status = np.where(gone, Status.VANISHING_SUPPORT, Status.CONVERGED)
    status = np.where(found.stable, np.where(forever, Status.NO_TARGET, status), Status.UNSTABLE)
    return np.where(found.found, status, np.where(found.diverges, Status.NO_TARGET, Status.NOT_CONVERGED))


def _part_the_best(field: RowField, found: Limits, status: Array, order: Array, same: Array) -> None:
    """Where actions that are equal but for next to nothing have parted, let the best have the mass, and say so.

    Rounding may have chosen another one: the flow then begins where they have changed places.
    """
    policy = np.take_along_axis(field.nu * np.exp(found.log_ratio), order, axis=-1)
    ranked = np.take_along_axis(policy, np.lexsort(np.stack([-policy, np.cumsum(~same, axis=-1)]), axis=-1), axis=-1)
    apart = np.any(same & (np.abs(np.diff(ranked, axis=-1, prepend=0.0)) > _MOVED), axis=-1)
    apart &= np.isin(status, (Status.CONVERGED, Status.VANISHING_SUPPORT))
    swapped = np.flatnonzero(apart & np.any(np.abs(ranked - policy) > _MOVED, axis=-1))
    if len(swapped):
        start = np.zeros_like(policy[swapped])
        np.put_along_axis(start, order[swapped], np.log(np.maximum(ranked[swapped], np.exp(LOG_OF_NO_MASS))), axis=-1)
        theirs = field.rows(swapped)
        again = find_limits(theirs, np.where(theirs.seen, start - np.where(theirs.seen, theirs.log_nu, 0.0), 0.0))
        found.log_ratio[swapped], found.multiplier[swapped] = again.log_ratio, again.multiplier
        status[swapped] = _ended(theirs, again)
        apart &= np.isin(status, (Status.CONVERGED, Status.VANISHING_SUPPORT))
    status[apart] = Status.LOCAL_MINIMUM


def _equals(field: RowField | LogitField) -> tuple[Array, Array]:
    """Order of the actions ``(N, K)``, best first, and whether each equals the one before it but for next to nothing.

    Actions that the behavior never takes equal none.
    """
    q, log_nu, advantage, *own = (np.atleast_2d(a) for a in (field.q, field.log_nu, field.advantage, *field.facts))
    size = np.abs(advantage).max(axis=-1, keepdims=True)
    seen = q > 0
    log_q, log_nu = np.log(np.where(seen, q, 1.0)), np.where(seen, log_nu, 0.0)
    facts = np.stack([log_q, log_nu, *own, -advantage / np.where(size > 0, size, 1.0)])
    order = np.lexsort(facts, axis=-1)
    ordered, seen = np.take_along_axis(facts, order[None], axis=-1), np.take_along_axis(seen, order, axis=-1)
    same = np.zeros_like(seen)
    same[:, 1:] = np.all(np.abs(np.diff(ordered)) <= _ALIKE, axis=0) & seen[:, 1:] & seen[:, :-1]
    return order, same


def _best_of_equals(order: Array, same: Array) -> Array:
    """Mask ``(N, K)`` of the best of actions that are equal but for next to nothing, the first of several."""
    first = ~same
    first[:, :-1] &= same[:, 1:]
    first[:, -1] = False
    mask = np.zeros_like(same)
    np.put_along_axis(mask, order, first, axis=-1)
    return mask


def _coupled_limit(pull: LogitField) -> RowSolution:
    """Limit of the flow of one problem whose weight couples the actions."""
    start = pull.log_nu - np.logaddexp.reduce(pull.log_nu)
    if pull.scale == 0.0:  # nothing pulls
        return RowSolution(start - pull.log_nu, 0.0, Status.CONVERGED)
    run = follow(pull, start)
    parted = run.outcome(pull)[0] == "unstable" and bool(np.max(np.abs(np.exp(run.last) - np.exp(start))) > _MOVED)
    if parted:
        run = follow(pull, start + _TIE * _best_of_equals(*_equals(pull))[0])
    ended = _STATUS[run.outcome(pull)[0]]
    nothing = np.full_like(start, np.nan)
    if run.equilibrium is None:
        return RowSolution(nothing, np.nan, ended, np.nan)
    lam = run.equilibrium.multiplier
    if ended in (Status.NO_TARGET, Status.NOT_CONVERGED):
        return RowSolution(nothing, lam, ended, np.nan)
    parted &= ended in (Status.CONVERGED, Status.VANISHING_SUPPORT)
    return RowSolution(run.equilibrium.log_policy - pull.log_nu, lam, Status.LOCAL_MINIMUM if parted else ended)


@dataclass(frozen=True, eq=False)
class Run:
    """Flow on the behavior's support, as it was followed.

    Attributes
    ----------
    times : Array, shape (T,)
        Recorded times.
    log_policies : Array, shape (T, K)
        Log-probabilities at these times.
    equilibrium : Equilibrium or None
        Where the flow ends, if that was found.
    last_time : float
        Time at which it was left.
    last : Array, shape (K,)
        Log-probabilities at that time.
    failure : str
        Reason why the integrator gave up, empty where it did not.
    """

    times: Array
    log_policies: Array
    equilibrium: Equilibrium | None
    last_time: float
    last: Array
    failure: str = ""

    def outcome(self, pull: LogitField) -> tuple[str, str]:
        """Status and message of the flow."""
        end = f"by time {self.last_time:.3g}"
        if self.equilibrium is None:
            explodes = bool(self.failure) and np.abs(pull.field(self.last)).max() > 1e3 * pull.scale
            return "diverged" if explodes else "not_converged", f"{self.failure or 'still moving'} {end}"
        if not self.equilibrium.stable:
            return "unstable", "rests on a saddle, between equal actions that any difference would part"
        left = int(np.count_nonzero(self.equilibrium.log_policy > -np.inf))
        if left == len(self.equilibrium.log_policy):
            return "converged", ""
        if not self.equilibrium.vanishes and self.equilibrium.multiplier <= 1e-12 * pull.scale:
            return "diverged", "the loss pulls for ever and prefers no policy: the start decides what is left"
        return ("collapsed", "one action is left") if left == 1 else ("vanishing_support", f"{left} actions are left")


def follow(
    pull: LogitField,
    log_policy: Array,
    *,
    times: Array | None = None,
    horizon: float | None = None,
    tolerance: float = 1e-9,
) -> Run:
    """Integrate the flow from ``log_policy`` over tenfold longer spans, to an equilibrium and the last of ``times``."""
    recorded_times, recorded = [0.0], [log_policy]
    unit = 1.0 / pull.scale if pull.scale > 0 else 1.0
    last = 10.0**_DECADES * unit if horizon is None else horizon
    asked_until = 0.0 if times is None else float(times[-1])
    equilibrium, failure, time = find_equilibrium(pull, log_policy), "", 0.0
    while time < asked_until or (equilibrium is None and time < last and not pull.exhausted):
        target = last if equilibrium is None and time < last else asked_until
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
        equilibrium = find_equilibrium(pull, log_policy)
    kept = np.ones(len(recorded), dtype=bool) if times is None else np.isin(recorded_times, times)
    return Run(np.array(recorded_times)[kept], np.array(recorded)[kept], equilibrium, time, log_policy, failure)


def _integrate(pull: LogitField, log_policy: Array, begin: float, grid: Array, tolerance: float) -> tuple[Array, str]:
    """Normalized log-policies ``(T, K)`` at the times of the grid; a second, implicit method where the first fails."""
    failure, jumps = "", bool(pull.kinks)
    tolerance = max(tolerance, _ON_JUMPS) if jumps else tolerance
    for method, patience in _METHODS[jumps].items():
        velocity = _Velocity(pull, patience)
        try:
            with np.errstate(over="ignore", invalid="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # LSODA warns of what `success` says
                step = scipy.integrate.solve_ivp(
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
    """Right-hand side for an integrator, which may evaluate it ``left`` times."""

    def __init__(self, pull: LogitField, left: int) -> None:
        self.pull, self.left = pull, left

    def __call__(self, time: float, log_policy: Array) -> Array:
        self.left -= 1
        if self.left < 0 or self.pull.exhausted:
            raise _OutOfPatienceError("too many steps")
        return self.pull.drift(log_policy)


class _OutOfPatienceError(Exception):
    """Raised when an integrator takes too many steps."""
