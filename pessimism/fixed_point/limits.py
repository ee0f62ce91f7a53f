r"""Limits of the gradient flows of many problems at once, of objectives whose weight does not couple the actions.

The flow is integrated by a Rosenbrock method with a step of its own for each problem, and finished by Newton's method
once an equilibrium is near. With e = q dg/du - lam pi an equilibrium is stable if e is negative on all directions that
keep the mass: at most one action has e > 0, and then sum pi^2/e > 0 (docs/theory.md).

The integrator is RODAS3 of Sandu et al., "Benchmarking stiff ODE solvers for atmospheric chemistry problems II:
Rosenbrock solvers", Atmospheric Environment 31 (1997).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pessimism.arrays import LOG_OF_NO_MASS, Array
from pessimism.fixed_point.row_field import RowField
from pessimism.fixed_point.score import BESIDE

_GAMMA = 0.5  # of RODAS3
_TOLERANCE = 1e-5  # of a step, on logits
_DECADES = 13  # of time, in units of the pull at the start
_MOST_STEPS = 2_000
_TRY_EVERY = 12  # steps between two tries to finish
_FAINT = float(np.log(1e-3))  # log-probability below which a falling action may be on its way out
_NEAR = 1e-3  # distance in log-probabilities from which Newton may finish what the flow began
_FIRST_STEPS = 5  # of Newton's method, after which rows that are far are left alone
_WAY = (0.0, 0.25, 0.5, 0.75)  # parts of the way to an equilibrium where the second order is looked at
_STILL = 1e-11  # of the pulls, below which a flow moves no more
_FAST = 1e3  # times the pulls at the start: the speed of a flow that runs away
_TOGETHER = 1e-10  # distance in log-ratios at which an action is on a jump when another has come to one
_DEEPEST = -1e8  # log-ratio down to which an action is sought that stops without a mass that float64 knows


class Limits(NamedTuple):
    """Where flows end, a row for each problem.

    Attributes
    ----------
    log_ratio : Array, shape (N, K)
        Log-ratios to the reference, -inf for actions that lose all mass.
    multiplier : Array, shape (N,)
        Multiplier lam.
    found : Array, shape (N,)
        Whether an equilibrium was found.
    stable : Array, shape (N,)
        Whether a flow that begins close by returns.
    vanishes : Array, shape (N,)
        Whether the logit field vanishes there; else the kept actions drift away from the vanished ones.
    diverges : Array, shape (N,)
        Whether the flow was left while it ran away.
    """

    log_ratio: Array
    multiplier: Array
    found: Array
    stable: Array
    vanishes: Array
    diverges: Array


def find_limits(field: RowField, start: Array) -> Limits:
    """Follow the flow of each problem from log-ratios ``start (N, K)`` to its end."""
    count, width = field.q.shape
    ended = Limits(np.full((count, width), np.nan), np.full(count, np.nan), *np.zeros((4, count), dtype=bool))
    unit = 1.0 / np.where(field.scale > 0, field.scale, 1.0)
    state = _State(start, np.zeros_like(field.seen), 0.0 * unit, 1e-2 * unit)
    index, last = np.arange(count), 10.0**_DECADES * unit
    for number in range(_MOST_STEPS):
        if number % _TRY_EVERY == 0:
            limit = settle(field, state.log_ratio, state.held)
            over = limit.found | (state.time >= 0.999 * last)
            for whole, part in zip(ended, limit, strict=True):
                whole[index[over]] = part[over]
            left = np.flatnonzero(~over)
            if len(left) < len(index):
                index, last, state, field = index[left], last[left], _State(*(a[left] for a in state)), field.rows(left)
            if len(index) == 0:
                break
        with np.errstate(all="ignore"):
            state = _stepped(field, state, last)
    if len(index):
        ended.diverges[index] = settle(field, state.log_ratio, state.held).diverges
    return ended


class _State(NamedTuple):
    """Flows on their way: log-ratios, mask of the actions held on a jump, time, and the step to try next."""

    log_ratio: Array
    held: Array
    time: Array
    step: Array


def _total(a: Array) -> Array:
    return np.sum(a, axis=-1, keepdims=True)


class _Force:
    r"""Velocity of the log-probabilities, those held on a jump staying where they are, and its Jacobian.

    On the free actions it is :math:`p_a - \lambda \pi_a - m`. That the logits keep their sum, and the free actions
    their mass M, fixes lam and m. With n held actions, P = sum p, Q = sum pi p and S = sum pi^2 over the free ones,
    lam = (M P + n Q)/D and m = (M Q - S P)/D, where D = M^2 + n S. The Jacobian is diag(dp/du - lam pi) - pi v' - 1 w'
    with the gradients v of lam and w of m: a diagonal and two ranks, so that a linear system costs as much as a sum.
    """

    def __init__(self, field: RowField, held: Array, u: Array) -> None:
        self.field = field
        self.free, self.sides = field.seen & ~held, (-np.inf, np.inf)
        self.count = np.count_nonzero(held, axis=-1, keepdims=True)
        self.mass = 1.0 - _total(np.where(held, np.exp(field.log_nu + u), 0.0))

    def _parts(self, p: Array, pi: Array) -> tuple[Array, ...]:
        mass, P, Q, S = self.mass, _total(p), _total(pi * p), _total(pi * pi)
        D = mass * mass + self.count * S
        return mass, P, S, D, (mass * P + self.count * Q) / D, (mass * Q - S * P) / D

    def _free(self, p: Array, u: Array) -> tuple[Array, Array]:
        return np.where(self.free, p, 0.0), np.where(self.free, np.exp(self.field.log_nu + u), 0.0)

    def __call__(self, u: Array) -> Array:
        """Velocity at u, with the weight of the side of each jump on which the Jacobian was taken."""
        p, pi = self._free(self.field.plain(np.clip(u, *self.sides)), u)
        lam, m = self._parts(p, pi)[-2:]
        return np.where(self.free, p - lam * pi - m, 0.0)

    def linearized(self, u: Array) -> None:
        """Take the velocity, the multipliers and the Jacobian at u."""
        low, high = np.full_like(u, -np.inf), np.full_like(u, np.inf)
        for jump in self.field.jumps:
            low = np.where(u > jump.at, np.maximum(low, jump.at + BESIDE), low)
            high = np.where(u < jump.at, np.minimum(high, jump.at - BESIDE), high)
        self.sides = low, high
        p, d = self.field.linearized(u)
        p, pi = self._free(p, u)
        d = np.where(self.free, d, 0.0)
        mass, P, S, D, lam, m = self._parts(p, pi)
        tilted, square = pi * (p + d), 2.0 * pi * pi
        self.pi, self.lam, self.m, self.e = pi, lam, m, np.where(self.free, d - lam * pi, 0.0)
        self.v = (mass * d + self.count * (tilted - lam * square)) / D
        self.w = (mass * tilted - P * square - S * d - m * self.count * square) / D
        self.here = np.where(self.free, p - lam * pi - m, 0.0)

    def solve_with(self, c: Array) -> None:
        """Prepare the system (c - J) x = r; c is a column."""
        self.b = c - self.e
        pi_b = self.pi / self.b
        v_b, w_b = self.v / self.b, self.w / self.b
        self.v_b, self.w_b, self.pi_b = v_b, w_b, pi_b
        self.m11, self.m12 = 1.0 + _total(v_b * self.pi), _total(v_b * self.free)
        self.m21, self.m22 = _total(w_b * self.pi), 1.0 + _total(w_b * self.free)
        self.determinant = self.m11 * self.m22 - self.m12 * self.m21

    def solve(self, r: Array) -> Array:
        """Solution of the system on the free actions."""
        at_v, at_w = _total(self.v_b * r), _total(self.w_b * r)
        alpha = (at_v * self.m22 - at_w * self.m12) / self.determinant
        beta = (self.m11 * at_w - self.m21 * at_v) / self.determinant
        return np.where(self.free, (r - beta) / self.b - alpha * self.pi_b, 0.0)


def _stepped(field: RowField, state: _State, last: Array) -> _State:
    """One step of each problem, or a shorter one to try next."""
    u, held, time, step = state
    force = _Force(field, held, u)
    force.linearized(u)
    h = _sighted(force, np.minimum(step, last - time))[:, None]
    force.solve_with(1.0 / (_GAMMA * h))
    k1 = force.solve(force.here)
    k2 = force.solve(force.here + (4.0 / h) * k1)
    k3 = force.solve(force(u + 2.0 * k1) + (k1 - k2) / h)
    middle = u + 2.0 * k1 + k3
    k4 = force.solve(force(middle) + (k1 - k2 - (8.0 / 3.0) * k3) / h)
    there = middle + k4
    error = np.max(np.abs(k4) / (1.0 + np.abs(there)), axis=-1) / _TOLERANCE
    finite = np.isfinite(error) & np.all(np.isfinite(there), axis=-1)
    error = np.where(finite, error, 1e9)
    factor = np.clip(0.9 * np.maximum(error, 1e-12) ** (-1.0 / 3.0), 0.2, 6.0)
    accepted = error <= 1.0
    share, landed = np.ones(len(u)), np.zeros_like(held)
    if field.jumps:
        released, beside = _released(field, u, held, force)
        accepted &= ~np.any(released, axis=-1)  # their next step is without the jump
        share, landed, there = _up_to_jumps(field, u, there, h * force.here, force.free)
        factor = np.where(share < 1.0, np.minimum(factor, 1.0), factor)
        u, held = beside, (held & ~released) | (landed & accepted[:, None])
    there = _with_unit_mass(field, there, held)
    if field.jumps and np.any(landed):  # others may have come to their jumps with it, as the mass will have it
        together = accepted & np.any(landed, axis=-1)
        for jump in field.jumps:
            met = together[:, None] & ~held & (jump.below > jump.above) & (np.abs(there - jump.at) <= _TOGETHER)
            there, held = np.where(met, jump.at, there), held | met
    h = h[:, 0]
    after, until = np.where(accepted[:, None], there, u), np.where(accepted, time + share * h, time)
    return _State(after, held, until, h * factor)


def _sighted(force: _Force, step: Array) -> Array:
    """Steps ``(N,)`` within the time in which a growing direction triples: beyond, an implicit step is blind."""
    # On directions that keep the mass the Jacobian is at most diag(e) times this.
    size = np.maximum(1.0, force.pi.shape[-1] * np.sum(force.pi * force.pi, axis=-1))
    slow = _keeps(force.e - (1.0 / (size * step))[:, None], force.pi, force.free, 0.0)
    return np.where(slow, step, np.minimum(step, 1.0 / (size * np.max(force.e, axis=-1))))


def _with_unit_mass(field: RowField, u: Array, held: Array) -> Array:
    """Log-ratios with the mass of the free actions made what the held ones leave."""
    policy = np.exp(field.log_nu + u)
    fixed, free = _total(np.where(held, policy, 0.0)), _total(np.where(held, 0.0, policy))
    return np.where(held | ~field.seen, u, u + np.log((1.0 - fixed) / free))


def _released(field: RowField, u: Array, held: Array, force: _Force) -> tuple[Array, Array]:
    """Mask of the held actions whose jump no longer holds them, and u with those moved to the side they leave to."""
    needed = force.m + force.lam * np.exp(field.log_nu + u)
    released, slack = np.zeros_like(held), 1e-10 * field.scale[:, None]
    moved = u
    for jump in field.jumps:
        on = held & (u == jump.at)
        up, down = on & (needed < jump.above - slack), on & (needed > jump.below + slack)
        released |= up | down
        moved = np.where(up, jump.at + 2.0 * BESIDE, np.where(down, jump.at - 2.0 * BESIDE, moved))
    return released, moved


def _up_to_jumps(field: RowField, u: Array, there: Array, first: Array, free: Array) -> tuple[Array, Array, Array]:
    """Steps from u to ``there``, which have not looked at jumps, cut where their first action meets one.

    Returns the share ``(N,)`` of each step that is left; the mask of the actions that have met a jump that holds them;
    and where the cut step ends, with these on it and others just beyond. ``first`` is the step to first order: the way
    in between is s -> u + s first + s^2 (there - u - first), as accurate as the method's estimate of its error.
    """
    share, part_of = np.ones(len(u)), []
    bend = there - u - first
    for jump in field.jumps:
        way = jump.at - u
        meets = free & (jump.below != jump.above) & (np.sign(way) * (there - jump.at) > 0.0)
        part = 2.0 * way / (first + np.copysign(np.sqrt(np.maximum(first * first + 4.0 * bend * way, 0.0)), way))
        straight = way / np.where(meets, there - u, 1.0)
        part = np.where(meets, np.where((part > 0.0) & (part < 1.0), part, straight), np.inf)
        share = np.minimum(share, np.min(part, axis=-1))
        part_of.append(part)
    s = share[:, None]
    there = np.where(s < 1.0, u + s * (first + s * bend), there)
    landed = np.zeros_like(free)
    for jump, part in zip(field.jumps, part_of, strict=True):
        met = part <= s * (1.0 + 1e-12)
        holds = met & (jump.below > jump.above)
        landed |= holds
        beyond = jump.at + np.sign(jump.at - u) * 2.0 * BESIDE
        there = np.where(holds, jump.at, np.where(met, beyond, there))
    return share, landed, there


def settle(field: RowField, log_ratio: Array, held: Array) -> Limits:
    """Equilibria that flows which have come to ``log_ratio`` will reach, not found where none is near."""
    with np.errstate(all="ignore"):
        return _settle(field, log_ratio, held)


def _settle(field: RowField, start: Array, held: Array) -> Limits:
    drift = _Force(field, held, start)(start)
    speed = np.max(np.abs(drift), axis=-1)
    found = Limits(np.full_like(start, np.nan), np.full(len(start), np.nan), *np.zeros((4, len(start)), dtype=bool))
    found.diverges[:] = ~(speed <= _FAST * field.scale)
    still = speed <= _STILL * field.scale
    leaving = field.seen & (field.log_nu + start < _FAINT) & (drift < 0)
    for near, rows in (
        (field.seen, np.ones(len(start), dtype=bool)),
        (field.seen & ~leaving, np.any(leaving, axis=-1)),
    ):
        tried = np.flatnonzero(rows & ~found.found)
        if len(tried):
            own = _finish(field.rows(tried), start[tried], near[tried], held[tried], still[tried])
            for whole, part in zip(found, own, strict=True):
                whole[tried[own.found]] = part[own.found]
    return found


def _finish(field: RowField, start: Array, near: Array, held: Array, still: Array) -> Limits:
    """Equilibria with the actions ``near`` where they are, each other one where its fall ends, if it does."""
    held = held & near
    u = np.where(near, start, LOG_OF_NO_MASS)
    kept, settled = near.copy(), np.zeros(len(u), dtype=bool)
    lam, found = np.zeros(len(u)), np.ones(len(u), dtype=bool)
    for _ in range(6):
        open_ = np.flatnonzero(found & ~settled)
        if not len(open_):
            break
        own, way = field.rows(open_), near[open_] & ~held[open_]
        after, its_lam, solved = _newton(own, u[open_], kept[open_], held[open_])
        short = np.max(np.where(near[open_], np.abs(after - start[open_]), 0.0), axis=-1) <= _NEAR
        reached = solved & (short | still[open_] | _on_the_way(own, start[open_], after, way))
        found[open_] = reached
        open_, own, after, its_lam = open_[reached], own.rows(np.flatnonzero(reached)), after[reached], its_lam[reached]
        u[open_], lam[open_] = after, its_lam
        falls = own.seen & ~near[open_]
        stop = _stops(own, after, its_lam, kept[open_], falls, start[open_])
        stays = ~np.isnan(stop)
        at = np.where(stays, stop, LOG_OF_NO_MASS)
        moved = falls & ((kept[open_] != stays) | (np.abs(at - after) > 1e-3 * np.abs(at)))
        settled[open_] = ~np.any(moved, axis=-1)
        kept[open_], u[open_] = np.where(moved, stays, kept[open_]), np.where(moved, at, after)
    u = np.where(kept, u, np.where(field.seen, LOG_OF_NO_MASS, 0.0))
    found &= settled & _holds(field, u, lam, kept, held)
    stable = _is_stable(field, u, lam, kept & ~held)
    found &= stable | still
    gone = np.where(field.seen & ~kept, field.plain(u), 0.0)
    vanishes = np.abs(gone).sum(axis=-1) <= 1e-9 * field.scale
    return Limits(np.where(field.seen & ~kept, -np.inf, u), lam, found, stable, vanishes, np.zeros_like(found))


def _on_the_way(field: RowField, start: Array, end: Array, free: Array) -> Array:
    """Whether a flow at ``start`` will reach ``end``: the second order draws it all the way, and no jump is met."""
    holds = np.ones(len(start), dtype=bool)
    for jump in field.jumps:
        meets = free & (jump.below != jump.above) & ((start - jump.at) * (end - jump.at) <= 0.0)
        holds &= ~np.any(meets, axis=-1)
    way = np.where(free, end - start, 0.0)
    for part in _WAY:
        u = _with_unit_mass(field, np.where(free, start + part * way, end), ~free)
        holds &= _is_stable(field, u, np.sum(field.plain(u), axis=-1), free)
    return holds


def _level(field: RowField, pulls: Array, kept: Array) -> Array:
    """Common drift of the kept logits: the actions without mass are still pulled, and share that among them."""
    gone = np.sum(np.where(field.seen & ~kept, pulls, 0.0), axis=-1, keepdims=True)
    return -gone / np.count_nonzero(kept, axis=-1, keepdims=True)


class _Newton:
    """Newton's method for p - lam pi = level on the kept actions, those on a jump staying there, with unit mass."""

    def __init__(self, field: RowField, kept: Array, held: Array, u: Array) -> None:
        self.field, self.kept, self.free, self.u = field, kept, kept & ~held, u
        p = field.plain(u)
        self.level = _level(field, p, kept)
        mass = self._on_free(self.policy)
        self.lam = self._on_free(p - self.level) / np.where(mass > 0, mass, 1.0)
        self.step = np.where(np.any(self.free, axis=-1), np.inf, 0.0)

    @property
    def policy(self) -> Array:
        """Probabilities of the kept actions."""
        return np.where(self.kept, np.exp(self.field.log_nu + self.u), 0.0)

    def _on_free(self, a: Array) -> Array:
        return _total(np.where(self.free, a, 0.0))

    def advance(self) -> None:
        """One step, of the rows that still move."""
        policy, moving = self.policy, self.step > 1e-14
        p, d = self.field.linearized(self.u)
        excess = 1.0 - _total(policy)
        residual, e = p - self.level - self.lam * policy, d - self.lam * policy
        e = np.where(self.free & (e != 0), e, -1e-300)
        ratio = np.where(self.free, policy / e, 0.0)
        rise = (excess + self._on_free(ratio * residual)) / self._on_free(ratio * policy)
        du = np.where(self.free & moving[:, None], (policy * rise - residual) / e, 0.0)
        self.u = self.u + du
        self.lam = np.where(moving[:, None], self.lam + rise, self.lam)
        self.step = np.where(moving, np.max(np.abs(du) / np.maximum(1.0, np.abs(self.u)), axis=-1), self.step)


def _newton(field: RowField, u: Array, kept: Array, held: Array) -> tuple[Array, Array, Array]:
    """Root (u, lam), and whether it is one; rows that do not come close within a few steps are given up."""
    search = _Newton(field, kept, held, u)
    for _ in range(_FIRST_STEPS):
        search.advance()
    rows = np.flatnonzero(search.step <= 0.1)
    found, lam, solved = search.u, search.lam[:, 0].copy(), np.zeros(len(u), dtype=bool)
    if len(rows):
        found[rows], lam[rows], solved[rows] = _to_the_end(field.rows(rows), found[rows], kept[rows], held[rows])
    return found, lam, solved


def _to_the_end(field: RowField, u: Array, kept: Array, held: Array) -> tuple[Array, Array, Array]:
    search = _Newton(field, kept, held, u)
    for _ in range(40):
        search.advance()
        if not np.any(search.step > 1e-14):
            break
    u, some = search.u, np.any(search.free, axis=-1)
    closes = np.abs(np.sum(search.policy, axis=-1) - 1.0) <= 1e-9
    # All on jumps: lam may be anything that each of them allows.
    least, most = _allowed(field, u, search.level)
    low = np.max(np.where(held, least / search.policy, -np.inf), axis=-1)
    high = np.min(np.where(held, most / search.policy, np.inf), axis=-1)
    lam = np.where(some, search.lam[:, 0], np.clip(0.0, low, np.maximum(low, high)))
    return u, lam, (search.step <= 1e-10) & closes


def _allowed(field: RowField, u: Array, level: Array) -> tuple[Array, Array]:
    """Least and largest drift, short of -lam pi, that the weights on the two sides of a jump allow; at a jump."""
    least = most = field.plain(u)
    for jump in field.jumps:
        here = u == jump.at
        least = np.where(here, np.minimum(jump.below, jump.above), least)
        most = np.where(here, np.maximum(jump.below, jump.above), most)
    return least - level, most - level


def _holds(field: RowField, u: Array, lam: Array, kept: Array, held: Array) -> Array:
    """Whether each action on a jump needs a weight between those of its two sides to stay there."""
    least, most = _allowed(field, u, _level(field, field.plain(u), kept))
    needed, slack = lam[:, None] * np.exp(field.log_nu + u), 1e-9 * field.scale[:, None]
    return np.all(~held | ((needed >= least - slack) & (needed <= most + slack)), axis=-1)


def is_stable(field: RowField, log_ratio: Array) -> Array:
    """Whether flows that begin close to fixed points ``log_ratio (N, K)`` return to them; true where there is none.

    Actions on a jump and those without mass are taken to stay where they are.
    """
    kept = field.seen & np.isfinite(log_ratio)
    u = np.where(kept, log_ratio, np.where(field.seen, LOG_OF_NO_MASS, 0.0))
    on_jump = np.zeros_like(kept)
    for jump in field.jumps:
        on_jump |= np.abs(u - jump.at) <= BESIDE
    with np.errstate(all="ignore"):
        stable = _is_stable(field, u, np.sum(field.plain(u), axis=-1), kept & ~on_jump)
    return stable | np.any(np.isnan(log_ratio), axis=-1)


def _is_stable(field: RowField, u: Array, lam: Array, free: Array) -> Array:
    """Whether a flow that begins close to u returns, in the directions of the free actions, which sit on no jump."""
    _, d = field.linearized(u)
    policy = np.where(free, np.exp(field.log_nu + u), 0.0)
    e = np.where(free, d - lam[:, None] * policy, 0.0)
    return _keeps(e, policy, free, 1e-7 * np.maximum(np.max(np.abs(e), axis=-1), field.scale)[:, None])


def _keeps(e: Array, policy: Array, free: Array, tolerance: Array | float) -> Array:
    """Whether diag(e) is negative, up to a tolerance, on all directions that keep the mass of the free actions."""
    rising = free & (e > tolerance)
    count = np.count_nonzero(rising, axis=-1)
    falling = np.where(rising, e, np.minimum(e, -1e-300))
    bent = np.sum(np.where(free, policy * policy / falling, 0.0), axis=-1)
    return (count == 0) | ((count == 1) & (bent > 0))


def _stops(field: RowField, u: Array, lam: Array, kept: Array, faint: Array, start: Array) -> Array:
    """Log-ratio at or below ``start`` where the drift of a faint action changes sign against that of the others kept.

    They are in equilibrium at u, and what the action gains beyond lam times its mass they lose in equal parts. It is
    nan where the drift is negative all the way down, and for actions that are not faint.
    """
    stop = np.full_like(u, np.nan)
    rows = np.flatnonzero(np.any(faint, axis=-1))
    if not len(rows):
        return stop
    part, own, top = field.rows(rows), faint[rows], start[rows]
    others = np.count_nonzero(kept[rows], axis=-1, keepdims=True) - (own & kept[rows])
    # What an action without mass is pulled beyond lam times that mass: at 1e-304 the difference is all there is.
    beyond = part.plain(u[rows]) - lam[rows, None] * np.exp(part.log_nu + u[rows])
    at_rest = np.where(part.seen & ~kept[rows], beyond, 0.0)
    level = -(np.sum(at_rest, axis=-1, keepdims=True) - np.where(own, at_rest, 0.0)) / others

    def rises(v: Array) -> Array:
        excess = part.plain(v) - lam[rows, None] * np.exp(part.log_nu + v)
        return excess * (1.0 + 1.0 / others) - level

    offsets = np.concatenate(
        [[0.0], np.geomspace(0.05, -LOG_OF_NO_MASS, 60), -np.geomspace(-LOG_OF_NO_MASS + 100.0, -_DEEPEST, 24)]
    )
    high = low = np.where(own, top, 0.0)
    looking = own.copy()
    for offset in np.abs(offsets):
        node = np.where(own, top - offset, 0.0)
        value = rises(node)
        # Below, a weight that carries the ratio has underflowed: only what rises still counts.
        up = looking & np.where(node > LOG_OF_NO_MASS, value >= 0, value > 0)
        low = np.where(looking, node, low)
        high = np.where(looking & ~up, node, high)
        looking = looking & ~up
        if not np.any(looking):
            break
    caught = own & ~looking
    for _ in range(50):
        middle = 0.5 * (low + high)
        up = rises(np.where(own, middle, 0.0)) >= 0
        low, high = np.where(up, middle, low), np.where(up, high, middle)
    stop[rows] = np.where(caught, low, np.nan)
    return stop
