"""The numbers of a group, and how its solution ended, in plain English."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Context
from typing import Any, NamedTuple

from pessimism.diagnosis.verdict import MEANING, TOO_FEW

SAME = 1e-3  # total variation below which two policies are practically the same
AS_CONSERVATIVE = 5e-3  # relative distance from 1 of a pessimism factor that is practically 1
_REGIMES = ("positive", "boundary", "negative")
GIVES_UP = "the target gives up some of the completions seen"
_TROUBLE = {
    "vanishing_support": GIVES_UP,
    "no_target": "no target, the loss has no minimum on this group",
}
UNTRIED = " Only the report is here, and not the log: this was not tried."
UNSOLVED = "the solver did not converge"
_NEAR = "within 1e-3 (total variation) of the nominal"


class Group(NamedTuple):
    """What a reading needs to know of a group: columns of the report, and ``both``."""

    regime: str
    status: str
    all_equal: bool
    leak: float
    pessimism_factor: float
    effective_temperature: float
    critical_shift: float
    tv_nominal: float
    both: str  # what target and nominal target are nearly, where they are near each other
    kl: float
    n: int
    given_up: float
    population_regime: str
    population_shift: float
    advantage_factor: float  # that of what the temperature weighs
    only_advantage: float  # of the only completion, where that is its reward or the log's; else nan


def read_group(group: Group) -> str:
    """Say what the objective does to one group, and in the population where that differs."""
    if group.status == "not_converged":  # whatever the regime says
        return f"no solution: {UNSOLVED}"
    text = _in_sample(group)
    if group.status == "local_minimum":
        text += "; one of several targets alike, between which equal completions part"
    population = group.population_regime
    if population not in (*_REGIMES, "undecided") or population == group.regime or group.status in _TROUBLE:
        return text
    shift = group.population_shift
    cure = "" if math.isnan(shift) or population == "positive" else _cure(shift)
    return f"{text}; in the population, over new groups of {group.n}: {population}{cure}"


def _cure(shift: float) -> str:
    return ", any shift prevents it" if shift == 0 else f", a shift by more than {temperatures(shift)} prevents it"


def _in_sample(group: Group) -> str:
    regime, shift = group.regime, group.critical_shift
    if regime == "negative" and group.leak > 0:
        why = " (all rewards are equal, and below the baseline)" if group.all_equal else ""
        cure = "" if math.isnan(shift) else f"; lowering the baseline by more than {temperatures(shift)} prevents it"
        share = "all" if group.leak == 1 else percent(group.leak)
        return f"negative: {share} of the mass leaks to unseen completions{why}{cure}"
    if group.status in _TROUBLE:
        return f"{regime}: {_TROUBLE[group.status]}"
    if group.n == 1:
        if group.only_advantage > 0:
            return "one completion, with a positive advantage: it gains on all that were not sampled"
        if group.only_advantage < 0:
            return "no signal: one completion, with a negative advantage that takes no mass from it"
        return "no signal: one completion, which has nothing to be compared with"
    if group.all_equal:
        return "no signal: all rewards are equal, the target is the behavior"
    if group.status == "set_valued":
        greedy = ", as far as greedy" if group.effective_temperature == 0 else ""
        lost = ", all of them giving up some of the completions seen" if group.given_up > 0 else ""
        return f"{regime}: many policies are optimal{lost}; the nearest is KL {group.kl:.3g} from the behavior{greedy}"
    if regime == "boundary" and group.tv_nominal < SAME:  # so that there is a temperature
        cure = "" if math.isnan(shift) else "; any shift of the baseline downwards adds some"
        return f"boundary: the nominal target, with no implicit pessimism{cure}"
    return f"{regime}{_compared(group)}"


def _compared(group: Group) -> str:
    """Say how conservative the target is, beside the nominal one."""
    factor, effective = group.advantage_factor, group.effective_temperature
    if math.isnan(effective):
        return ""
    if math.isinf(effective):
        return ": within rounding of the behavior"
    if effective == 0:
        return ": as far from the behavior as greedy"
    if math.isnan(factor):  # no temperature to compare with
        return f": as far from the behavior as nominal at temperature {effective:.3g}"
    if abs(factor - 1.0) < AS_CONSERVATIVE:
        return ": as conservative as nominal within 0.5%"
    if group.tv_nominal < SAME:
        why = f": both are nearly {group.both}" if group.both else ""
        return f": {factor:.3g} times the temperature on paper, but {_NEAR} target{why}"
    than = "more" if factor > 1.0 else "less"
    unit = "" if factor == group.pessimism_factor else " in units of the advantage"
    at = f" ({effective:.3g}{' in units of the reward' if unit else ''})"
    return f": {than} conservative than nominal, as if at {factor:.3g} times the temperature{unit}{at}"


def distance(value: float) -> float:
    """A total variation, or a part of the mass, as a reader sees it: twelve decimals, below which it is rounding.

    Parameters
    ----------
    value : float
        The number.

    Returns
    -------
    float
        The number as it is shown.

    Examples
    --------
    >>> distance(1.1e-16), distance(0.25)
    (0.0, 0.25)
    """
    return round(value, 12)


def percent(part: float) -> str:
    """Write a part of the mass, never as 0% or 100% by rounding."""
    if part < 0.0005:
        return "less than 0.1%"
    return "more than 99.9%" if part > 0.9995 else f"{part:.1%}"


def temperatures(shift: float) -> str:
    """Write a shift of the baseline that is enough."""
    return f"{digits(shift, ROUND_CEILING)} times the temperature"


def digits(value: float, rounding: str) -> str:
    """Write a bound with three digits, rounded to the side on which it holds; its last digits are noise."""
    slack = value * (1.0 - 1e-12 if rounding == ROUND_CEILING else 1.0 + 1e-12)
    return f"{float(Context(prec=3, rounding=rounding).create_decimal_from_float(slack)):g}"


def _of(count: int, groups: int) -> str:
    return f"{count} of {groups} groups with a signal"


def read_unsolved(unsolved: int, groups: int) -> str:
    """Say on how many groups there is nothing to go by, before anything is said of the others."""
    what = f"{_of(unsolved, groups)} {'has' if unsolved == 1 else 'have'} no solution: {UNSOLVED}"
    return f"{what}." if unsolved == groups else f"{what}. Of the others: "


def read_positive(
    positive: int,
    giving_up: int,
    groups: int,
    *,
    lowering_helps: bool = False,
    less: int = 0,
    negative: int = 0,
    leak: float = 0.0,
    fresh: int = 0,
    theorem: str | None = None,
    settled: bool = True,
) -> str:
    """Say that enough groups are in the positive regime, and whether that is all.

    ``lowering_helps`` where a lower baseline keeps more of what ``giving_up`` groups give up; ``less`` of them are less
    conservative than nominal; ``negative`` groups remain, with a leak of up to ``leak``, and ``fresh`` that are
    positive in-sample, but not known to be so in the population. ``theorem`` is why no group could be otherwise, and
    ``settled`` says that the size of the step is nothing to change either.
    """
    text = f"{_of(positive, groups)} are in the positive regime"
    if theorem:
        text += f" (a theorem for this objective, not a finding of the log: {theorem})"
    notes = []
    if giving_up:
        notes.append(_giving_up(giving_up, lowering_helps))
    if less:
        notes.append(
            f"{less} {_are(less)} less conservative than nominal, with an effective temperature below the stated one"
        )
    if negative:
        notes.append(f"{negative} {_are(negative)} negative still{_up_to(leak)}")
    if fresh:
        notes.append(f"{fresh} {_are(fresh)} not known to be so in the population, over new groups of the same size")
    if notes:
        return f"{text}, but {'; and '.join(notes)}."
    return f"{text}: nothing needs to change." if settled else f"{text}."


def _giving_up(count: int, lowering_helps: bool) -> str:
    return f"in {count} {GIVES_UP}{': lower the baseline to keep more' if lowering_helps else ''}"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _have(count: int) -> str:
    return "has" if count == 1 else "have"


def read_same(same: int, groups: int) -> str:
    """Say that in many groups the objective and the nominal one are practically the same."""
    return (
        f" In {_of(same, groups)} the target is {_NEAR} target: the two objectives pull towards practically the same "
        "policy there."
    )


def read_undecided(
    without_target: int,
    boundary: int,
    nominal: int,
    several: int,
    giving_up: int,
    groups: int,
    *,
    lowering_helps: bool = False,
    kl: float = math.nan,
) -> str:
    """Say why no shift is recommended, and what is given up; or only that a lower baseline keeps more of it.

    ``nominal`` of the ``boundary`` groups have the nominal target, within 1e-3; ``several`` groups have many optimal
    policies, ``kl`` being the median distance of the nearest.
    """
    if without_target:
        advice = ": try a lower baseline." if lowering_helps else "."
        return f"The loss has no minimum on {_of(without_target, groups)}{advice}"
    if giving_up and lowering_helps:
        return f"In {_of(giving_up, groups)} {GIVES_UP}: lower the baseline to keep more."
    why = _why_no_shift(boundary, nominal, several, groups, kl)
    return why + (f" I{_giving_up(giving_up, False)[1:]}." if giving_up else "")


def _why_no_shift(boundary: int, nominal: int, several: int, groups: int, kl: float) -> str:
    if several:
        return (
            f"In {_of(several, groups)} many policies are optimal; the nearest is KL {kl:.3g} from the behavior "
            "(median): no shift can be recommended."
        )
    if nominal == groups:
        return (
            "Every group with a signal has the nominal target, with no implicit pessimism: a higher temperature makes "
            "it more conservative, a shift of the baseline need not."
        )
    if boundary == groups:
        return (
            f"Every group with a signal is at the boundary; in {nominal} of {groups} the target is {_NEAR} one: no "
            "shift can be recommended."
        )
    return "The baseline alone does not decide the regime of this objective: no shift can be recommended."


def read_boundary(boundary: int, nominal: int, groups: int) -> str:
    """Say what a shift does where the groups that are not positive yet are at the boundary."""
    target = ", with the nominal target and no implicit pessimism" if nominal == boundary else ""
    return (
        f"{_of(boundary, groups)} are at the boundary{target}: lowering the baseline by any shift "
        f"above 0 makes them positive{', more conservative than nominal' if target else ''}."
    )


def read_shift(
    shift: float, beta: float, beta1: float, share: float, temperature: float | None, name: str, *, fresh: int = 0
) -> str:
    """Say which shift or which temperature brings a share of the groups into the positive regime, in both readings.

    ``fresh`` groups are negative in the population only.
    """
    more = f"Lower the baseline by more than {temperatures(shift)}"
    if temperature is not None:
        more += f" (add more than {digits(shift * temperature, ROUND_CEILING)} to every advantage)"
    cooler = f", or use {name} below {digits(beta, ROUND_FLOOR)} (greedier)," if 0 < beta < math.inf else ""
    if 0 < beta1 < math.inf:
        cooler += f"{' or' if cooler else ', or use'} beta1 above {digits(beta1, ROUND_CEILING)},"
    text = f"{more}{cooler} to bring at least {100 * share:g}% of the groups with a signal into the positive regime."
    if not fresh:
        return text
    also = "it is" if fresh == 1 else "they are"
    return (
        f"{text} In-sample {fresh} of them {_are(fresh)} not negative, but in the population, over new groups of the "
        f"same size, {also}."
    )


def read_bolder(option: Any, name: str) -> str:
    """Say that a setting is in the positive regime, too, but farther from the behavior."""
    setting = f"{name if option.name == 'temperature' else option.name} {option.at:.3g}"
    kl = f"{option.before['kl']:.3g} -> {option.after['kl']:.3g}"
    return f" With {setting} they would be positive, too, but the target bolder (KL {kl}): that is not the safe side."


def read_unmeasured(gaining: int) -> str:
    """Say that single completions gain by what a log does not show, after what is said of the other groups."""
    if gaining == 1:
        return (
            " 1 group of a single completion with a positive advantage has no verdict: the completion gains on all "
            "that were not sampled, by how much it does not show."
        )
    return (
        f" {gaining} groups of a single completion with a positive advantage have no verdict: each of these "
        "completions gains on all that were not sampled, by how much it does not show."
    )


def read_no_signal(equal: int, single: int, gaining: int = 0) -> str:
    """Say why no group has a signal that can be measured."""
    if gaining:
        return "No group has a signal that the log can measure."
    if single and equal:
        alone = f"{single} {_have(single)} a single completion"
        return f"No group has a signal: in {equal} all rewards are equal, and {alone}."
    return "No group has a signal: " + (
        "each has a single completion." if single else "within each one all rewards are equal."
    )


def read_verdict(verdict: dict[str, Any], shares: dict[str, Any], few: int) -> str:
    """Say the verdict on a log, what it means, and what its groups are."""
    word, words = verdict["word"], verdict["words"]
    text = f"{word} ({MEANING[word]})"
    if not verdict["groups"]:
        return text
    if word == TOO_FEW:
        prompts = "1 prompt" if verdict["prompts"] == 1 else f"{verdict['prompts']} prompts"
        text = f"{word}: {prompts} with a signal, {few} are needed; by that alone it would be {verdict['alone']}"
    elif len(words) > 1:
        text += f"; the 95% interval over {verdict['prompts']} prompts leaves open {' or '.join(words)}"
    parts = [f"{name} {s:.0%} [{low:.0%}, {high:.0%}]" for name, (s, low, high) in shares.items()]
    return f"{text}. Groups with a signal: {', '.join(parts)}"


def _up_to(leak: float) -> str:
    """Name the largest leak of some groups; nothing where none of them leaks."""
    if not leak > 0:
        return ""
    return f", with a leak of {percent(leak)}" if not 0.0005 <= leak <= 0.9995 else f", with a leak of up to {leak:.1%}"
