"""Objectives side by side on the same problems: a row for each, at its own setting or at equal conservatism."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from pessimism.comparison.match import WANTED, one_setting, require_no_bandit, require_no_log, wanted_number
from pessimism.comparison.problems import Solve, Solved, on_log, spread_of
from pessimism.core.bandit import make_bandit
from pessimism.core.objective import Objective, ObjectiveLike
from pessimism.diagnosis.intervals import median_interval, share_interval
from pessimism.display import shares
from pessimism.losses.registry import find_class, make_objective, objectives, parse_objective, short_setting
from pessimism.progress import progress
from pessimism.rollouts.options import LogOptions, require_log, split_options
from pessimism.rollouts.read import LogLike
from pessimism.target.conservatism import numbers
from pessimism.target.induced import induced_target

_REGIMES = ("positive", "boundary", "negative")
_MEDIANS = (
    *("kappa", "pessimism_factor", "effective_temperature", "kl", "tv_nominal", "max_ratio", "value"),
    *("behavior_value", "gain_share", "leak"),
)
_SHARES = (*_REGIMES, "solved")
_COLUMNS = ("objective", "problems", "no_signal", *_SHARES, *_MEDIANS, "status", "note")


def compare(
    behavior: Any = None,
    reward: Any = None,
    objectives: Iterable[str | ObjectiveLike] | None = None,
    *,
    log: LogLike | None = None,
    beta: float | None = None,
    matched: Mapping[str, Any] | None = None,
    statistic: str = "mean",
    sort: str | None = None,
    reference: Any = None,
    unseen: bool = False,
    check: bool = True,
    log_options: LogOptions | None = None,
    **columns: Any,
) -> pd.DataFrame:
    """Compare the policies that several objectives induce on the same problems, a row for each objective.

    Parameters
    ----------
    behavior : array_like, shape (..., K), or None
        Probabilities of the policy that generated the data, as for :func:`pessimism.induced_target`.
    reward : array_like, shape (..., K)
        Rewards.
    objectives : iterable of str or ObjectiveLike, optional
        Names, with hyper-parameters after a colon where wanted ("oapl:beta1=1"), or objectives; by default all that
        are registered, and with a ``reference`` all that take one.
    log : pandas.DataFrame, datasets.Dataset, path or list, optional
        Rollout log in place of ``behavior`` and ``reward``, as :func:`pessimism.read_rollouts` reads it or has read it.
        Its groups are the problems, and completions are always the seen part of a larger space.
    beta : float, optional
        Temperature of every named objective that has one and does not set its own.
    matched : mapping of str to float, optional
        Brings all objectives to equal conservatism: ``{"kl": 0.1}``, or ``value``, ``max_ratio`` or ``like``, as for
        :func:`pessimism.match`, by the temperature of each. ``note`` says why one could not be brought there; its row
        is that of the setting that it has.
    statistic : {"mean", "median"}, default "mean"
        What is matched over a batch of problems.
    sort : str, optional
        Column to sort by, upwards; downwards with a minus before it, as in "-value". What could not be matched stands
        below what could.
    reference : array_like, shape (..., K), optional
        Probabilities of the policy in the log-ratio, where it is not the behavior.
    unseen : bool, default False
        Whether the actions are only those seen in a larger space.
    check : bool, default True
        Whether objectives of one's own are checked first, once for each object (:func:`pessimism.check`).
    log_options : LogOptions, optional
        How the log is read.
    **columns : Any
        The same as keywords, such as ``reward_column="score"``: see :class:`pessimism.LogOptions`.

    Returns
    -------
    pandas.DataFrame
        One row for each objective, in the columns

        * ``objective``: name and settings that are not the default, as every verb takes them;
        * ``problems``, and ``no_signal``, those of them whose rewards are all equal. What follows is of the others:
        * ``positive``, ``boundary``, ``negative``: shares of the regimes;
        * ``solved``: share of those with a target; the medians are over these;
        * ``kappa``, ``pessimism_factor``, ``effective_temperature``, ``kl``, ``tv_nominal``, ``max_ratio``, ``value``,
          ``behavior_value``, ``gain_share`` and ``leak``: medians of the measures of ``target.conservatism()``, over
          the problems where each is defined;
        * ``status``: how the searches ended, with shares;
        * ``note``: why there are no numbers, or why the objective is not matched; empty otherwise;
        * of a log also ``kl_low``, ``kl_high`` and so on: the 95 % intervals of all shares and medians over its
          prompts, of which it is a sample.

    Raises
    ------
    ValueError
        For an unknown objective, hyper-parameter, measure or column, problems that break a rule, or a log that cannot
        be read.

    See Also
    --------
    pessimism.match : The setting of one objective at a wanted conservatism.

    References
    ----------
    .. [1] arXiv 2605.28150.

    Examples
    --------
    >>> import pessimism as ps
    >>> mu, r = [0.4, 0.3, 0.2, 0.1], [0.2, 0.4, 0.6, 0.8]
    >>> table = ps.compare(mu, r, ["nominal", "kimi", "shifted_mean:shift=2"], beta=0.25, sort="-value")
    >>> table[["objective", "positive", "kl", "value"]].round(3)
                  objective  positive     kl  value
    0               nominal       0.0  0.357  0.577
    1                  kimi       1.0  0.222  0.539
    2  shifted_mean:shift=2       1.0  0.034  0.454
    >>> table = ps.compare(mu, r, ["nominal", "kimi", "chi2"], matched={"kl": 0.1})
    >>> table[["kl", "value", "max_ratio"]].round(4)
        kl   value  max_ratio
    0  0.1  0.4925     2.1167
    1  0.1  0.4925     2.0939
    2  0.1  0.4908     1.9082
    """
    chosen_options, others = split_options(log_options, columns)
    if others:
        raise TypeError(f"compare() has no option {next(iter(others))!r}")
    require_no_log(behavior)
    made = chosen(objectives, beta, reference is not None, check)
    options: dict[str, Any] = {"beta": beta, "matched": matched, "statistic": statistic, "sort": sort}
    if log is not None:
        require_no_bandit(behavior, reward, reference)
        return table(made, on_log(log, chosen_options), **options)
    require_log(chosen_options)
    make_bandit(behavior, reward, reference)  # what breaks a rule is no fact of an objective

    def solve(of: Objective) -> Solved:
        return Solved([induced_target(behavior, reward, of, reference=reference, unseen=unseen, check=False)])

    return table(made, solve, **options)


def chosen(
    named: Iterable[str | ObjectiveLike] | None, beta: float | None, with_reference: bool, check: bool
) -> list[Objective]:
    """Make the objectives of a comparison; by default all that make sense with or without another reference."""
    if isinstance(named, str):
        raise ValueError(f"objectives must be a list of names or objectives, got the text {named!r}: write [{named!r}]")
    if named is None:
        named = [name for name in objectives() if not with_reference or find_class(name).takes_reference]
    return [parse_objective(o, beta) if isinstance(o, str) else make_objective(o, check=check) for o in named]


def table(
    made: list[Objective],
    solve: Solve,
    *,
    beta: float | None = None,
    matched: Mapping[str, Any] | None = None,
    statistic: str = "mean",
    sort: str | None = None,
) -> pd.DataFrame:
    """Compare objectives on whatever a function solves them on; the rest is as for `compare`."""
    descending, column = sort is not None and sort.startswith("-"), None if sort is None else sort.removeprefix("-")
    if column is not None and column not in _COLUMNS:
        raise ValueError(f"sort must name a column, one of {', '.join(_COLUMNS)}, got {sort!r}")
    name, wanted = _wanted(matched, solve)
    rows = []
    for objective in progress(made, "comparing"):
        at, notes = objective, []
        if name is not None:
            try:
                at, note = one_setting(objective, solve, name, wanted, statistic=statistic)
                notes += [note] if note else []
                if "beta1" in at.settings:  # the published pairs: the baseline has a temperature of its own
                    notes.append(f"beta1 stays {at.settings['beta1']:g}, {at.temperature_field} alone is moved")
            except ValueError as error:
                notes.append(f"not matched: {error}")
        try:
            facts = _row(solve(at))
        except ValueError as error:
            facts, notes = {}, [str(error)]
        rows.append({"objective": as_written(at, beta), **facts, "note": "; ".join(notes)})
    ends = [end for name in (*_SHARES, *_MEDIANS) for end in (f"{name}_low", f"{name}_high")]
    of_a_log = any(ends[0] in row for row in rows)
    frame = pd.DataFrame(rows, columns=[*_COLUMNS, *(ends if of_a_log else ())])
    if column is not None:
        frame = frame.sort_values(column, ascending=not descending, kind="stable", ignore_index=True)
    if name is not None and column is not None:  # what is at equal conservatism stands together
        missed = frame["note"].str.startswith("not matched")
        frame = frame.iloc[np.argsort(missed, kind="stable")].reset_index(drop=True)
    return frame


def as_written(objective: Objective, beta: float | None = None) -> str:
    """Return an objective as every verb takes it, one that is not registered as it writes itself."""
    registered = objectives().get(objective.name) is type(objective)
    return short_setting(objective, beta) if registered else str(objective)


def rounded(spec: str) -> str:
    """Return a setting with numbers of a few digits."""
    return re.sub(r"\d+\.\d{5,}(e[-+]?\d+)?", lambda found: f"{float(found[0]):.4g}", spec)


def _wanted(matched: Mapping[str, Any] | None, solve: Solve) -> tuple[str | None, Any]:
    """Return the measure that is to be equal, None where nothing is, and its value or the targets that have it."""
    if matched is None:
        return None, None
    if not isinstance(matched, Mapping):
        raise ValueError(f'matched must be a dict such as {{"kl": 0.1}}, got {matched!r}')
    if unknown := sorted(matched.keys() - set(WANTED)):
        raise ValueError(f"matched must name one of {', '.join(WANTED)}, got {unknown[0]!r}")
    known = dict.fromkeys(WANTED) | dict(matched)
    name, wanted = wanted_number(known.pop("like"), **known)
    return name, solve(make_objective(matched["like"])) if wanted is None else wanted


def _row(solved: Solved) -> dict[str, Any]:
    """Sum up the targets of one objective."""
    signal = solved.each(spread_of(target) for target in solved.targets) > 0
    row: dict[str, Any] = {"problems": signal.size, "no_signal": int((~signal).sum())}
    if not signal.any():
        return row
    found = [numbers(target) for target in solved.targets]
    facts = {key: solved.each(one[key] for one in found)[signal] for key in (*_MEDIANS, "regime")}
    status = solved.each(target.status for target in solved.targets)[signal]
    has_target = ~np.isnan(facts["kl"]) & (status != "not_converged")
    shares_of = {regime: facts["regime"] == regime for regime in _REGIMES} | {"solved": has_target}
    values = {key: np.where(has_target, facts[key], np.nan) for key in _MEDIANS}
    row["status"] = status[0] if len(set(status)) == 1 else shares(status)
    if solved.prompt is None:
        row |= {name: float(np.mean(hit)) for name, hit in shares_of.items()}
        return row | {name: _median(of) for name, of in values.items()}
    prompt = solved.prompt[signal]
    known = {name: share_interval(hit, prompt)[0] for name, hit in shares_of.items()}
    known |= {name: median_interval(of, prompt)[0] for name, of in values.items()}
    for name, (at, low, high) in known.items():
        row |= {name: float(at), f"{name}_low": float(low), f"{name}_high": float(high)}
    return row


def _median(values: Any) -> float:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if known.size else np.nan
