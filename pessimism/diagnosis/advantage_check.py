"""What advantages that a log carries say of how it was read: they are those of some form on these groups, or of none.

The forms are those that TRL (`trl/trainer/grpo_trainer.py`), verl (`verl/trainer/ppo/core_algos.py`) and OpenRLHF
(`openrlhf/trainer/ppo_utils/experience_maker.py`) compute. What verl whitens by a variance of n - 1, OpenRLHF does by
n, and both over the tokens of a batch: without lengths they are known again where all completions are of one length.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pessimism.arrays import Floats
from pessimism.diagnosis.logged_groups import LoggedGroups
from pessimism.messages import counted, cut, plain
from pessimism.rollouts.prompts import last_user_turn

_TOLERANCE = 1e-5  # of an advantage: float32, and a unit of 1e-4 beside one of 1e-6 told apart
_DIGITS = range(2, 7)  # decimals that a log may be rounded to
_NOISE = 1e-14  # of double precision
_SHOWN = 4  # rewards of a group in a message


class AdvantageCheck(NamedTuple):
    """What was found.

    Attributes
    ----------
    form : str or None
        The form that most groups with a signal agree with; None where none agrees with any.
    agree, of : int
        Groups that agree with it, of those with several completions whose advantages are logged.
    error : float or None
        Largest difference in those that agree.
    text : str
        The sentence.
    fits : bool
        Whether all agree.
    """

    form: str | None
    agree: int
    of: int
    error: float | None
    text: str
    fits: bool


class _Group(NamedTuple):
    """Sums over groups and steps, each for every row."""

    reward: Floats
    n: Floats
    mean: Floats
    centered: Floats
    ss: Floats
    batch_std: Floats
    step: NDArray[np.intp]
    tokens: Floats | None


def check_advantages(logged: LoggedGroups) -> AdvantageCheck | None:
    """Compare the advantages of a log with those that its groups give; None where it has none.

    Parameters
    ----------
    logged : LoggedGroups
        The groups.

    Returns
    -------
    AdvantageCheck or None
        What was found.

    Examples
    --------
    >>> import pandas as pd
    >>> from pessimism.rollouts.read import read_rollouts
    >>> log = pd.DataFrame({"prompt": ["1+1="] * 4, "reward": [1.0, 0, 0, 0], "advantage": [0.75, -0.25, -0.25, -0.25]})
    >>> print(check_advantages(LoggedGroups.of(read_rollouts(log))).text)
    the logged advantages are those of dr_grpo, the reward minus the mean of the group, to rounding (1 group)
    """
    if logged.advantage is None:
        return None
    known = np.logical_and.reduceat(~np.isnan(logged.advantage), logged.start) & (logged.sizes > 1)
    if not known.any():
        return None
    group = np.repeat(np.arange(len(known)), logged.sizes)
    facts = _facts(logged, group)
    scale = np.maximum.reduceat(np.abs(np.nan_to_num(logged.advantage)), logged.start)
    signal, of = known & logged.differ, int(known.sum())
    if not signal.any():
        return _without_signal(scale, known, of)
    allowed = _TOLERANCE * np.maximum(1.0, scale) + _rounded_to(logged.advantage)
    best: tuple[int, float, str, NDArray[np.bool_], Floats] | None = None
    for name, values in _forms(facts):
        with np.errstate(invalid="ignore"):
            error = np.maximum.reduceat(np.abs(np.nan_to_num(logged.advantage - values, nan=np.inf)), logged.start)
        agrees = error <= allowed
        count = int((agrees & signal).sum())
        worst = float(error[agrees & known].max(initial=0.0))
        if count and (best is None or (count, -worst) > (best[0], -best[1])):
            best = count, worst, name, agrees, values
    if best is None:
        first = int(np.argmax(signal))
        zero = " are all 0 and" if not scale[known].any() else ""
        text = f"the logged advantages{zero} fit no form that is known here on these groups: {_told(logged, first)}"
        return AdvantageCheck(None, 0, of, None, text, fits=False)
    _, worst, name, agrees, values = best
    agree = int((agrees & known).sum())
    if agree == of:
        near = f"to {worst:.0e}" if worst > _NOISE else "to rounding"
        text = f"the logged advantages are those of {name}, {near} ({counted(of, 'group')})"
        return AdvantageCheck(name, agree, of, worst, text, fits=True)
    first = int(np.argmax(known & ~agrees))
    expected = _numbers(values[logged.start[first] :][: logged.sizes[first]])
    text = (
        f"the logged advantages are those of {name} in {agree} of {of} groups only; the first that disagrees: "
        f"{_told(logged, first)} where {expected} would be"
    )
    return AdvantageCheck(name, agree, of, worst, text, fits=False)


def _without_signal(scale: Floats, known: NDArray[np.bool_], of: int) -> AdvantageCheck:
    other = int((scale[known] > _TOLERANCE).sum())
    where = f"no group has a signal, and the logged advantages are 0{'' if other else ', as they have to be'}"
    if other:
        where = f"no group has a signal, but in {other} of {of} groups the logged advantages are not 0"
    return AdvantageCheck(None, of - other, of, 0.0, f"{where} ({counted(of, 'group')})", fits=not other)


def _facts(logged: LoggedGroups, group: NDArray[np.intp]) -> _Group:
    r, start, n = logged.reward, logged.start, logged.sizes.astype(float)
    mean = np.add.reduceat(r, start) / n
    centered = r - mean[group]
    step, which = np.unique(logged.groups["step"].to_numpy(), return_inverse=True)
    of = which.ravel()[group]
    count = np.bincount(of, minlength=len(step)).astype(float)
    square = np.bincount(of, weights=(r - (np.bincount(of, weights=r) / count)[of]) ** 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        batch_std = np.sqrt(square / (count - 1.0))
    ss = np.add.reduceat(centered**2, start)
    return _Group(r, n[group], mean[group], centered, ss[group], batch_std[of], of, logged.length)


def _forms(g: _Group) -> Iterator[tuple[str, Floats]]:
    """Names of forms and the advantages that they give; nan where one divides by 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        others = g.n / (g.n - 1.0)
        std = np.sqrt(g.ss / (g.n - 1.0))
        yield "dr_grpo, the reward minus the mean of the group", g.centered
        yield "rloo, the reward minus the mean of the other completions", others * g.centered
        for added, whose in ((1e-4, " (TRL)"), (1e-6, " (verl)"), (1e-8, ""), (0.0, "")):
            more = f" with {added:.0e} added" if added else ""
            yield f"grpo, the mean and std of the group{more}{whose}", _over(g.centered, std + added)
            spread = _over(g.centered, np.sqrt(g.ss / g.n) + added)
            yield f"grpo, the mean and std (of n, not n - 1) of the group{more}", spread
            yield (
                f"grpo, the mean of the group and std of the batch{more}{whose}",
                _over(g.centered, g.batch_std + added),
            )
            rest = np.sqrt(np.maximum(g.ss - others * g.centered**2, 0.0) / (g.n - 2.0))
            yield f"rloo over the std of the other completions{more}", _over(others * g.centered, rest + added)
            yield (
                f"max_rl, the reward minus the mean of the group over that mean{more}",
                _over(g.centered, g.mean + added),
            )
        for what, values in (
            ("reinforce_pp", g.reward),
            ("reinforce_pp with the mean of the group as baseline", g.centered),
        ):
            for tokens in (None,) if g.tokens is None else (None, g.tokens):
                over = "completions" if tokens is None else "tokens"
                name = f"{what}, whitened over the {over} of the batch"
                yield f"{name} (verl)", _whitened(values, g.step, tokens, freedom=1.0, added=1e-8)
                yield f"{name} with a variance of n, not n - 1 (OpenRLHF)", _whitened(values, g.step, tokens)
        yield "no baseline, the reward itself", g.reward


def _whitened(
    values: Floats, step: NDArray[np.intp], tokens: Floats | None, *, freedom: float = 0.0, added: float = 0.0
) -> Floats:
    """Values less their mean over the batch, over their spread; something may be added to the variance."""
    weight = np.ones_like(values) if tokens is None else tokens
    count = np.bincount(step, weights=weight)
    centered = values - (np.bincount(step, weights=weight * values) / count)[step]
    variance = np.bincount(step, weights=weight * centered**2) / (count - freedom)
    return _over(centered, np.sqrt(variance + added)[step])


def _over(top: Floats, below: Floats) -> Floats:
    return np.where((top == 0.0) & (below == 0.0), 0.0, top / below)


def _rounded_to(advantage: Floats) -> float:
    """What rounding to the decimals of a log takes, 0 where it has more than a few."""
    values = advantage[~np.isnan(advantage)]
    for digits in _DIGITS:
        if np.array_equal(np.round(values, digits), values):
            return 0.0 if np.array_equal(np.round(values), values) else 0.5 * 10.0**-digits
    return 0.0


def _told(logged: LoggedGroups, group: int) -> str:
    rows = slice(logged.start[group], logged.start[group] + logged.sizes[group])
    assert logged.advantage is not None
    step, prompt = logged.groups["step"].iloc[group], last_user_turn(str(logged.groups["prompt"].iloc[group]))
    return (
        f"step {step}, prompt {plain(cut(prompt, 40))!r} with rewards {_numbers(logged.reward[rows])} has advantages "
        f"{_numbers(logged.advantage[rows])}"
    )


def _numbers(values: Floats) -> str:
    more = f" and {len(values) - _SHOWN} more" if len(values) > _SHOWN else ""
    return ", ".join(f"{value:.4g}" for value in values[:_SHOWN]) + more
