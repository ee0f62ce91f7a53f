"""The inverse question: which setting of an objective gives a target that is so far from the behavior, or so good."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from numbers import Integral, Real
from os import PathLike
from typing import Any

import numpy as np

from pessimism.arrays import Floats, to_numpy_float
from pessimism.comparison.problems import Solve, Solved, measured, on_log, over_signal
from pessimism.comparison.search import Measure, ladders, nearest_crossing
from pessimism.core.bandit import make_bandit
from pessimism.core.objective import Objective, ObjectiveLike, OwnObjective
from pessimism.losses.registry import make_objective
from pessimism.rollouts.options import LogOptions, require_log, split_options
from pessimism.rollouts.read import LogLike
from pessimism.target.induced import induced_target
from pessimism.target.result import InducedTarget

_WORDS = {"kl": "KL", "value": "value", "max_ratio": "largest ratio"}
WANTED = (*_WORDS, "like")  # what may be wanted: a measure, or the KL of another objective
_JUMP = 1e-6  # relative to the wanted number: a measure that comes no nearer jumps over it


def match(
    behavior: Any = None,
    reward: Any = None,
    objective: str | ObjectiveLike | None = None,
    *,
    log: LogLike | None = None,
    kl: Any = None,
    value: Any = None,
    max_ratio: Any = None,
    like: str | ObjectiveLike | None = None,
    over: str | None = None,
    statistic: str | None = None,
    reference: Any = None,
    unseen: bool = False,
    check: bool = True,
    log_options: LogOptions | None = None,
    **hyper: Any,
) -> Any:
    r"""Setting of an objective whose induced target has a wanted distance from the behavior, value or largest ratio.

    With :math:`\pi_\theta` the target at the value :math:`\theta` of one hyper-parameter, it solves
    :math:`KL(\pi_\theta \| \mu) = c`, or the same for :math:`E_{\pi_\theta}[r]` or :math:`\max \pi_\theta / \mu`. So
    objectives are compared at equal conservatism.

    Parameters
    ----------
    behavior : array_like, shape (..., K), or None
        Probabilities of the policy that generated the data, as for :func:`pessimism.induced_target`.
    reward : array_like, shape (..., K)
        Rewards.
    objective : str or ObjectiveLike
        Name of a registered objective, with its other hyper-parameters in ``hyper``, or an objective.
    log : pandas.DataFrame, datasets.Dataset, path or list, optional
        Rollout log in place of ``behavior`` and ``reward``, as :func:`pessimism.read_rollouts` reads it or has read it.
        The wanted number is then that of a statistic over its groups with a signal, and completions are always the seen
        part of a larger space.
    kl : float or array_like, shape (...), optional
        Wanted KL(target || behavior), in nats. Just one of the wanted numbers is given.
    value : float or array_like, shape (...), optional
        Wanted mean reward of the target.
    max_ratio : float or array_like, shape (...), optional
        Wanted largest ratio target / behavior.
    like : str or ObjectiveLike, optional
        Another objective, such as ``"nominal:beta=0.1"``, whose KL is wanted.
    over : str, optional
        Hyper-parameter that moves; by default the temperature.
    statistic : {"mean", "median"}, optional
        One setting for the whole batch, at which this statistic of the problems with a signal, those whose rewards
        differ, is the wanted number. By default each problem gets a setting of its own, and a log its mean.
    reference : array_like, shape (..., K), optional
        Probabilities of the policy in the log-ratio, where it is not the behavior.
    unseen : bool, default False
        Whether the actions are only those seen in a larger space. What leaks is left out of the measures, and the rest
        renormalized.
    check : bool, default True
        Whether an objective of one's own is checked first, once for each object (:func:`pessimism.check`).
    log_options : LogOptions, optional
        How the log is read.
    **hyper : Any
        Hyper-parameters of a named objective, and options of the log as keywords, such as ``reward_column="score"``
        (see :class:`pessimism.LogOptions`). A hyper-parameter that is called ``value``, as a wanted number is, goes
        with the name: ``"constant_baseline:value=0.9"``.

    Returns
    -------
    Objective
        The objective at that setting, to be passed on; an object of one's own comes back as such. Over a batch of
        problems the hyper-parameter is an array ``(...)``.

    Raises
    ------
    ValueError
        If no setting gives the wanted number (with what is within reach), if the measure jumps over it, if not just one
        number is wanted, if the objective has no such hyper-parameter, or if a batch needs one that cannot be an array.

    Warns
    -----
    RuntimeWarning
        If problems with a signal have no target at the setting, and the statistic is that of the others.

    Notes
    -----
    Where several settings give the wanted number, it is the one found first on the way from the present setting, in
    steps of a factor of two to both sides, or in growing steps for a hyper-parameter that may be negative.

    References
    ----------
    .. [1] arXiv 2605.28150.

    Examples
    --------
    >>> import pessimism as ps
    >>> mu, r = [0.4, 0.3, 0.2, 0.1], [0.2, 0.4, 0.6, 0.8]
    >>> at = ps.match(mu, r, "kimi", kl=0.1)
    >>> round(at.beta, 4), round(float(ps.induced_target(mu, r, at).conservatism()["kl"][0]), 9)
    (0.4253, 0.1)
    >>> round(ps.match(mu, r, "shifted_mean", like="nominal:beta=0.5", over="shift", beta=0.25).shift, 4)
    0.8055
    >>> round(ps.match(log="examples/verl_rollouts", objective="kimi", kl=0.1).beta, 4)
    0.8971
    >>> ps.match(mu, r, "kimi", kl=3)
    Traceback (most recent call last):
    ...
    ValueError: kl=3 is out of reach: kimi has a KL of 1.654e-22 to 1.263 as beta moves between 9.095e-15 and 1.1e+10
    """
    require_no_log(behavior)
    if objective is None:
        raise ValueError("objective must be given: a name, or an object")
    options, hyper = split_options(log_options, hyper)
    made = make_objective(objective, check=check, **hyper)
    name, wanted = wanted_number(like, kl=kl, value=value, max_ratio=max_ratio)
    if log is not None:
        require_no_bandit(behavior, reward, reference)
        solve_log = on_log(log, options)
        if like is not None:
            wanted = solve_log(make_objective(like, check=check))
        return _told(*one_setting(made, solve_log, name, wanted, over=over, statistic=statistic or "mean"))
    require_log(options)
    bandit = make_bandit(behavior, reward, reference)
    given = {"reward": bandit.reward}
    given |= {} if behavior is None else {"behavior": bandit.behavior}
    given |= {} if reference is None else {"reference": bandit.reference}
    rows = {argument: to_numpy_float(values) for argument, values in given.items()}

    def solve(of: Objective, chosen: Any = slice(None)) -> InducedTarget:
        problems: dict[str, Any] = {"behavior": None} | {argument: values[chosen] for argument, values in rows.items()}
        return induced_target(**problems, objective=of, unseen=unseen, on_error="status", check=False)

    other = None if like is None else solve(make_objective(like, check=check))
    if statistic is not None:
        wanted = wanted if other is None else Solved([other])
        return _told(*one_setting(made, lambda of: Solved([solve(of)]), name, wanted, over=over, statistic=statistic))
    wanted = _of_each(name, wanted, bandit.shape) if other is None else measured(other, name)
    return as_given(_own_settings(made, solve, name, wanted, over, bandit.shape))


def require_no_log(behavior: Any) -> None:
    """Raise ``ValueError`` where a log stands in the place of a behavior."""
    if isinstance(behavior, str | PathLike) or hasattr(behavior, "columns"):  # of a frame
        raise ValueError("behavior must be probabilities; a log is given by its name, as log=...")


def require_no_bandit(*given: Any) -> None:
    """Raise ``ValueError`` where behavior, reward or reference are given beside a log."""
    if any(one is not None for one in given):
        raise ValueError("log stands in place of behavior, reward and reference: give one or the other")


def wanted_number(like: Any, **numbers: Any) -> tuple[str, Any]:
    """Return the measure that is wanted and its value; None for that of another objective, which is the KL.

    Parameters
    ----------
    like : str or ObjectiveLike or None
        Another objective.
    **numbers : Any
        Wanted numbers by the name of their measure, None where not wanted.

    Returns
    -------
    name : str
        The measure.
    wanted : Any
        Its value.

    Raises
    ------
    ValueError
        If not just one is given.

    Examples
    --------
    >>> wanted_number(None, kl=None, value=0.5)
    ('value', 0.5)
    """
    given = {name: wanted for name, wanted in numbers.items() if wanted is not None}
    if len(given) + (like is not None) != 1:
        named = ", ".join([*given, *(["like"] if like is not None else [])])
        raise ValueError(f"just one of {', '.join(numbers)} and like must be given, got {named or 'none'}")
    for name, least in (("kl", 0.0), ("max_ratio", 1.0)):
        if name in given and np.any(to_numpy_float(given[name]) < least):
            raise ValueError(f"{name} must be >= {least:g}, got {given[name]!r}")
    return given.popitem() if given else ("kl", None)


def one_setting(
    objective: Objective, solve: Solve, name: str, wanted: Any, *, over: str | None = None, statistic: str = "mean"
) -> tuple[Objective, str]:
    """Find the one setting at which a statistic of a measure over all problems with a signal is what is wanted.

    Parameters
    ----------
    objective : Objective
        The objective.
    solve : callable
        From an objective to its targets on all problems.
    name : str
        Name of the measure.
    wanted : float or Solved
        What the statistic has to be, or the targets whose statistic it has to be.
    over : str, optional
        Hyper-parameter that moves; by default the temperature.
    statistic : {"mean", "median"}, default "mean"
        The statistic.

    Returns
    -------
    found : Objective
        The objective at that setting.
    note : str
        That problems with a signal have no such measure there, so that the statistic is that of the others; else empty.

    Raises
    ------
    ValueError
        As `match`.
    """
    moved = _Moved(objective, over)

    @cache  # the search comes back to where it starts and to where it ends
    def summed_up(at: float) -> tuple[float, int, int]:
        return over_signal(solve(moved(at)), name, statistic)

    def measure(at: Floats, _: Any) -> Floats:
        return np.array([summed_up(float(x))[0] for x in at])

    several = summed_up(moved.start)[2] > 1
    goal = over_signal(wanted, name, statistic)[0] if isinstance(wanted, Solved) else _of_each(name, wanted, ()).item()
    (at,) = _found(moved, measure, name, np.array([goal]), lambda _: f"the {statistic} " if several else "")
    found = moved(float(at))
    _, known, all_of_them = summed_up(float(at))
    if known == all_of_them:
        return found, ""
    without = f"{found} has no {_WORDS[name]} in {all_of_them - known} of {all_of_them} problems with a signal"
    return found, f"{without}: the {statistic} is that of the others"


def _told(found: Objective, note: str) -> Any:
    """Warn the caller of `match` where there is a note; return the objective as it was given."""
    if note:
        warnings.warn(note, RuntimeWarning, stacklevel=3)
    return as_given(found)


def as_given(objective: Objective) -> Any:
    """Return an object of one's own as such."""
    return objective.own if isinstance(objective, OwnObjective) else objective


def _own_settings(
    objective: Objective,
    solve: Callable[..., InducedTarget],
    name: str,
    wanted: Floats,
    over: str | None,
    shape: tuple[int, ...],
) -> Objective:
    """Find the setting of each problem of a batch of a shape, or of one problem."""
    moved = _Moved(objective, over)
    if shape and (moved.over not in objective.sweeps or objective.over_batch):
        reason = "depends on the whole batch" if objective.over_batch else f"takes one {moved.over} for all problems"
        raise ValueError(f'objective {objective} {reason}: give statistic="mean", or match one problem at a time')

    def measure(at: Floats, rows: np.ndarray[Any, Any]) -> Floats:
        return measured(solve(moved(at if shape else float(at[0])), rows), name)

    def place(row: int) -> str:
        return f"problem {list(map(int, np.unravel_index(row, shape)))}: " if shape else ""

    at = _found(moved, measure, name, wanted, place)
    return moved(at.reshape(shape) if shape else float(at[0]))


class _Moved:
    """An objective as a function of one hyper-parameter."""

    def __init__(self, objective: Objective, over: str | None) -> None:
        settings, self.temperature = objective.settings, _temperature_of(objective)
        if self.temperature is not None and self.temperature not in settings:  # of an object that is no dataclass
            settings = settings | {self.temperature: objective.temperature}
        if over is None:
            over = self.temperature
            if over is None or objective.temperature is None:  # REBEL's is 1 / eta
                numbers = [key for key, setting in settings.items() if _is_number(setting)]
                others = f", one of {', '.join(numbers)}" if numbers else ", of which it has none"
                raise ValueError(f"{objective.name} has no temperature to move: over must name a number{others}")
        if over not in settings:
            raise ValueError(f"objective {objective} has no hyper-parameter {over!r}; it has {', '.join(settings)}")
        start = settings[over]
        if not _is_number(start):
            raise ValueError(f"over must name a number that can move, and {objective} has {over}={start!r}")
        self.objective, self.over, self.start = objective, over, float(start)

    def __call__(self, at: Any) -> Objective:
        return self.objective.replaced(self.over, at)

    def accepts(self, at: float) -> bool:
        """Whether the objective takes a value; an object of one's own may not say that a temperature is positive."""
        if self.over == self.temperature and not at > 0:
            return False
        try:
            self(at)
        except ValueError:
            return False
        return True


def _temperature_of(objective: Objective) -> str | None:
    """Name of what holds the temperature; an object of one's own may hold it without saying so."""
    if objective.temperature_field is not None or not isinstance(objective, OwnObjective):
        return objective.temperature_field
    return next((name for name in ("temperature", "beta") if hasattr(objective.own, name)), None)


def _is_number(setting: Any) -> bool:
    """Whether a hyper-parameter is a number that can move; a count cannot."""
    return isinstance(setting, Real) and not isinstance(setting, Integral)


def _of_each(name: str, wanted: Any, shape: tuple[int, ...]) -> Floats:
    """A wanted number for each problem ``(N,)``."""
    numbers = to_numpy_float(wanted)
    if np.isnan(numbers).any():
        raise ValueError(f"{name} must be a number, got nan")
    try:
        return np.broadcast_to(numbers, shape or (1,)).reshape(-1)
    except ValueError:
        raise ValueError(f"{name} must be one number, or one for each problem {shape}, got {numbers.shape}") from None


def _found(moved: _Moved, measure: Measure, name: str, wanted: Floats, place: Callable[[int], str]) -> Floats:
    """Search, and say what is within reach where there is nothing to be found."""
    below, above = ladders(moved.start, moved.accepts, abs(moved.start) or 1.0)
    found = nearest_crossing(measure, wanted, moved.start, below, above)
    over, what = moved.over, moved.objective.name
    missing = np.isnan(found.at)
    if missing.any():
        row = int(np.argmax(missing))
        low, high = found.reach[row]
        ends = " and ".join(f"{end:.4g}" for end in found.ends)
        met = "no target" if np.isnan(low) else f"a {_WORDS[name]} of {low:.4g} to {high:.4g}"
        why = "met only where there is no target" if low <= wanted[row] <= high else "out of reach"
        raise ValueError(
            f"{place(row)}{name}={wanted[row]:.4g} is {why}: {what} has {met} as {over} moves between {ends}"
        )
    jumps = np.abs(found.jump - wanted[:, None]).min(axis=-1) > _JUMP * np.maximum(np.abs(wanted), _JUMP)
    if jumps.any():
        row = int(np.argmax(jumps))
        low, high = found.jump[row]
        raise ValueError(
            f"{place(row)}{name}={wanted[row]:.4g} is jumped over: at {over}={found.at[row]:.4g} the "
            f"{_WORDS[name]} of {what} goes from {low:.4g} to {high:.4g}"
        )
    return found.at
