"""What the groups of a log have in common, and what to change, in plain English: the recommendation of a summary."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR

from pessimism.diagnosis.wording import GIVES_UP, UNSOLVED, digits, percent, temperatures


def read_unsolved(unsolved: int, groups: int) -> str:
    """Say on how many groups there is nothing to go by, before anything is said of the others."""
    what = f"{unsolved} of {groups} groups with a signal {'has' if unsolved == 1 else 'have'} no solution: {UNSOLVED}"
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
) -> str:
    """Say that enough groups are in the positive regime, and whether that is all.

    ``lowering_helps`` where a lower baseline keeps more of what ``giving_up`` groups give up; ``less`` of them are less
    conservative than nominal; ``negative`` groups remain, with a leak of up to ``leak``, and ``fresh`` that are
    positive in-sample, but not known to be so in the population.
    """
    text = f"{positive} of {groups} groups with a signal are in the positive regime"
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
    return f"{text}, but {'; and '.join(notes)}." if notes else f"{text}: nothing needs to change."


def _giving_up(count: int, lowering_helps: bool) -> str:
    return f"in {count} {GIVES_UP}{': lower the baseline to keep more' if lowering_helps else ''}"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def read_same(same: int, groups: int) -> str:
    """Say that in many groups the objective and the nominal one are practically the same."""
    return (
        f" In {same} of {groups} groups with a signal the target is within 1e-3 (total variation) of the nominal "
        "target: the two objectives pull towards practically the same policy there."
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
    """Say why no shift is recommended, and what is given up.

    ``nominal`` of the ``boundary`` groups have the nominal target, within 1e-3; ``several`` groups have many optimal
    policies, ``kl`` being the median distance of the nearest.
    """
    if without_target:
        advice = ": try a lower baseline." if lowering_helps else "."
        return f"The loss has no minimum on {without_target} of {groups} groups with a signal{advice}"
    why = _why_no_shift(boundary, nominal, several, groups, kl)
    return why + (f" I{_giving_up(giving_up, lowering_helps)[1:]}." if giving_up else "")


def _why_no_shift(boundary: int, nominal: int, several: int, groups: int, kl: float) -> str:
    if several:
        return (
            f"In {several} of {groups} groups with a signal many policies are optimal; the nearest is KL {kl:.3g} from "
            "the behavior (median): no shift can be recommended."
        )
    if nominal == groups:
        return (
            "Every group with a signal has the nominal target, with no implicit pessimism: a higher temperature makes "
            "it more conservative, a shift of the baseline need not."
        )
    if boundary == groups:
        return (
            f"Every group with a signal is at the boundary; in {nominal} of {groups} the target is within 1e-3 (total "
            "variation) of the nominal one: no shift can be recommended."
        )
    return "The baseline alone does not decide the regime of this objective: no shift can be recommended."


def read_boundary(boundary: int, nominal: int, groups: int) -> str:
    """Say what a shift does where the groups that are not positive yet are at the boundary."""
    target = ", with the nominal target and no implicit pessimism" if nominal == boundary else ""
    return (
        f"{boundary} of {groups} groups with a signal are at the boundary{target}: lowering the baseline by any shift "
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


def _up_to(leak: float) -> str:
    """Name the largest leak of some groups; nothing where none of them leaks."""
    if not leak > 0:
        return ""
    return f", with a leak of {percent(leak)}" if not 0.0005 <= leak <= 0.9995 else f", with a leak of up to {leak:.1%}"
