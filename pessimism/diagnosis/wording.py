"""The numbers of a group, and how its solution ended, in plain English."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, Context

SAME = 1e-3  # total variation below which two policies are practically the same
AS_CONSERVATIVE = 5e-3  # relative distance from 1 of a pessimism factor that is practically 1

_REGIMES = ("positive", "boundary", "negative")
GIVES_UP = "the target gives up some of the completions seen"
_TROUBLE = {
    "vanishing_support": GIVES_UP,
    "no_target": "no target, the loss has no minimum on this group",
}
UNSOLVED = "the solver did not converge"


def read_group(
    regime: str,
    status: str,
    all_equal: bool,
    leak: float,
    factor: float,
    effective: float,
    shift: float,
    tv: float,
    both: str,
    kl: float,
    n: int,
    given_up: float,
    population: str,
    population_shift: float,
) -> str:
    """Say what the objective does to one group.

    ``both`` says what target and nominal target have in common where ``tv``, the distance between them, is small;
    ``kl`` is how far the target is from the behavior, ``given_up`` how many completions it gives up; ``population`` is
    the regime on new groups of ``n``, which is said where it differs.
    """
    if status == "not_converged":  # whatever the regime says
        return f"no solution: {UNSOLVED}"
    text = _in_sample(regime, status, all_equal, leak, factor, effective, shift, tv, both, kl, given_up)
    if status == "local_minimum":
        text += "; one of several targets alike, between which equal completions part"
    if population not in (*_REGIMES, "undecided") or population == regime or status in _TROUBLE:
        return text
    cure = "" if math.isnan(population_shift) or population == "positive" else _cure(population, population_shift)
    return f"{text}; in the population, over new groups of {n}: {population}{cure}"


def _cure(population: str, shift: float) -> str:
    return ", any shift prevents it" if shift == 0 else f", a shift by more than {temperatures(shift)} prevents it"


def _in_sample(
    regime: str,
    status: str,
    all_equal: bool,
    leak: float,
    factor: float,
    effective: float,
    shift: float,
    tv: float,
    both: str,
    kl: float,
    given_up: float,
) -> str:
    if status in _TROUBLE:
        return f"{regime}: {_TROUBLE[status]}"
    if regime == "negative" and leak > 0:
        why = " (all rewards are equal, and below the baseline)" if all_equal else ""
        cure = "" if math.isnan(shift) else f"; lowering the baseline by more than {temperatures(shift)} prevents it"
        return f"negative: {percent(leak)} of the mass leaks to unseen completions{why}{cure}"
    if all_equal:
        return "no signal: all rewards are equal, the target is the behavior"
    if status == "set_valued":
        greedy = ", as far as greedy" if effective == 0 else ""
        lost = ", all of them giving up some of the completions seen" if given_up > 0 else ""
        return f"{regime}: many policies are optimal{lost}; the nearest is KL {kl:.3g} from the behavior{greedy}"
    if regime != "boundary":
        return _compared(regime, factor, effective, tv, both)
    cure = "" if math.isnan(shift) else "; any shift of the baseline downwards adds some"
    if tv < SAME:  # so that there is a temperature
        return f"boundary: the nominal target, with no implicit pessimism{cure}"
    return _compared(regime, factor, effective, tv, both)


def _compared(regime: str, factor: float, effective: float, tv: float, both: str) -> str:
    if math.isnan(effective):
        return regime
    if math.isinf(effective):
        return f"{regime}: within rounding of the behavior"
    if effective == 0:
        return f"{regime}: as far from the behavior as greedy"
    if math.isnan(factor):  # no temperature to compare with
        return f"{regime}: as far from the behavior as nominal at temperature {effective:.3g}"
    if abs(factor - 1.0) < AS_CONSERVATIVE:
        return f"{regime}: as conservative as nominal within 0.5%"
    if tv < SAME:
        why = f": both are nearly {both}" if both else ""
        return (
            f"{regime}: {factor:.3g} times the temperature on paper, but within 1e-3 (total variation) of the "
            f"nominal target{why}"
        )
    than = "more" if factor > 1.0 else "less"
    return f"{regime}: {than} conservative than nominal, as if at {factor:.3g} times the temperature ({effective:.3g})"


def percent(part: float) -> str:
    """A part of the mass, never 0% or 100% by rounding."""
    if part < 0.0005:
        return "less than 0.1%"
    return "more than 99.9%" if part > 0.9995 else f"{part:.1%}"


def temperatures(shift: float) -> str:
    """A shift of the baseline that is enough."""
    return f"{digits(shift, ROUND_CEILING)} times the temperature"


def digits(value: float, rounding: str) -> str:
    """Three digits of a bound, rounded to the side on which it holds; the last digits of the value are noise."""
    slack = value * (1.0 - 1e-12 if rounding == ROUND_CEILING else 1.0 + 1e-12)
    return f"{float(Context(prec=3, rounding=rounding).create_decimal_from_float(slack)):g}"


def read_status(objective: str, status: str) -> str | None:
    """Say why an objective has no target on a problem, or none that was found; None where it has one."""
    if status == "no_target":
        if objective == "asym_re":
            return "no target: shift must be below 0, the loss is unbounded"
        return "no target: the loss has no fixed point here, it is unbounded or some action loses all its mass"
    if status == "not_converged":
        return "not converged: the solver found no fixed point to working accuracy, so the numbers cannot be relied on"
    return None
