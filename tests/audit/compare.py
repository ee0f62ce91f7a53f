"""What it means, by the status that the package reports, that the two implementations agree."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

import pessimism as ps
from tests.audit.audits import Audit, Hyper, given, on_seen, seen
from tests.audit.bandits import Problem
from tests.audit.programs import OptimalSet

Array = npt.NDArray[np.float64]
RESTS = 1e-9


def disagreement(name: str, audit: Audit, problem: Problem, hyper: Hyper) -> str:
    """Empty where they agree, else what does not, with the numbers."""
    target = ps.induced_target(problem.q, problem.r, name, reference=problem.nu, **given(problem, hyper))
    status, on = str(target.status), problem.q > 0.0
    found, (q, nu, r) = np.asarray(target.policy)[on], seen(problem)
    if status == "no_target":
        # The claim is that the flow takes all mass from some action that it should not: it must do so.
        end = audit.solved(problem, hyper)
        return "" if not end.min() > 1e-5 else f"no target, but the flow ends at {end}"
    assert np.asarray(target.policy)[~on].max(initial=0.0) == 0.0
    lines = None
    if audit.optima is not None:
        lines = audit.optima(*((q, nu, r) if audit.apart else (q, r)), **on_seen(problem, hyper))
    if lines is not None:
        gain = OptimalSet(nu, lines).nearness(found, nu)
        return "" if abs(gain) <= 1e-5 else f"{status}: another optimum is nearer, or this is none: {gain:.1e}"
    if status == "unstable":
        return _leaves(audit, problem, hyper, found)
    end = audit.solved(problem, hyper)
    apart = np.abs(end - found).max()
    if status == "set_valued" and apart > audit.tolerance:
        return _belongs(audit, problem, hyper, found, end, nu)
    if not apart <= audit.tolerance:
        return f"{status}: {apart:.1e} apart, {found} for {end}"
    rest = audit.unrest(problem, hyper, found) if audit.kinks is not None else 0.0
    return "" if rest <= RESTS else f"{status}: does not rest, {rest:.1e}"


def _leaves(audit: Audit, problem: Problem, hyper: Hyper, found: Array) -> str:
    """An unstable point rests, and a flow that starts beside it goes away."""
    rest = audit.unrest(problem, hyper, found)
    tilt = found * np.exp(1e-3 * np.random.default_rng(0).normal(size=len(found)))
    away = np.abs(audit.solved(problem, hyper, tilt / tilt.sum()) - found).max()
    return "" if rest <= RESTS and away > 1e-2 else f"unstable, but rests to {rest:.1e} and goes {away:.1e} away"


def _belongs(audit: Audit, problem: Problem, hyper: Hyper, found: Array, end: Array, nu: Array) -> str:
    """A nearest element of a set rests, is stable, and is no farther from the reference than where the flow ends."""
    rest = audit.unrest(problem, hyper, found)
    tilt = np.maximum(found, 1e-12) * np.exp(1e-3 * np.random.default_rng(0).normal(size=len(found)))
    away = np.abs(audit.solved(problem, hyper, tilt / tilt.sum()) - found).max()
    farther = _kl(found, nu) - _kl(end, nu)
    agrees = rest <= RESTS and away <= 1e-2 and farther <= 1e-7
    return (
        ""
        if agrees
        else f"set valued: rests to {rest:.1e}, goes {away:.1e} away, {farther:.1e} farther: {found}, {end}"
    )


def _kl(policy: Array, nu: Array) -> float:
    on = policy > 0.0
    return float(policy[on] @ np.log(policy[on] / nu[on]))
