r"""What the log-probabilities of a log say of its policy, beside what the objective predicts for the same groups.

The completions are those of the behavior mu; u = log(pi/mu) of a whole completion, w = e^u. Divergences are means over
completions: KL(mu || pi) directly, KL(pi || mu) with the weights w. Both have an estimator by tokens, too, exact in the
mean by the chain rule, that scatters less in long completions. Standard errors are over prompts.

What is predicted of a row is what its estimator gives for a policy at the target: log-ratios of the target as they are,
which add up to less than 1 where mass leaks, since those of a log are not normalized over the completions seen either.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pessimism.arrays import Floats
from pessimism.core.objective import Objective
from pessimism.diagnosis.clip import Clip, clip_of
from pessimism.diagnosis.logged_groups import LoggedGroups
from pessimism.diagnosis.readings import (
    Reading,
    clustered,
    has_kappa,
    mean_with_error,
    moments,
    readings,
    with_error,
)
from pessimism.diagnosis.sampled import Sampled
from pessimism.diagnosis.staleness import Lag, lag_of
from pessimism.diagnosis.summary import json_number
from pessimism.equality import ByValue

COLUMNS = ("measured", "error", "predicted", "population", "untrained", "estimator")
_FAR = 4.0  # standard errors of the mean ratio from 1
_ROUNDING = 1e-9
_FEW = 10.0  # completions that the weights leave


@dataclass(frozen=True, repr=False, eq=False)
class Measured(ByValue):
    """What is measured in a log beside what is predicted.

    Attributes
    ----------
    table : pandas.DataFrame
        A row for each measure, by its name: ``measured``, with its standard ``error`` over prompts; ``predicted``, the
        same of the target of the same groups, whose leak is ``missing`` and not normalized away, and ``population``, of
        new groups from their laws (kappa alone); ``untrained``, of a policy that is the behavior still; and the
        ``estimator`` in words. nan where there is no such number.
    completions, of : int
        Completions that have log-probabilities, and all.
    clusters : int
        Prompts over which the errors are; groups where there is one prompt alone.
    clustered_by : str
        "prompts" or "groups".
    lag : Lag or None
        How old the policy was that sampled, None where the log has no versions.
    notes : tuple of str
        What cannot be measured and why, and what speaks against the numbers.

    Examples
    --------
    >>> import pessimism as ps
    >>> q, reward = np.array([0.5, 0.5]), [0.0, 1.0] * 8
    >>> u = np.log(np.asarray(ps.induced_target(q, [0.0, 1.0], "kimi", beta=0.5).policy) / q)
    >>> log = pd.DataFrame({"prompt": "1+1=", "reward": reward, "mu": np.log(0.5), "pi": np.log(0.5) + np.tile(u, 8)})
    >>> report = ps.diagnose(log, "kimi", beta=0.5, log_prob_columns="mu,pi")
    >>> report.measured.table.loc[["kl", "kappa_fit"], ["measured", "predicted", "untrained"]].round(4)
               measured  predicted  untrained
    kl           0.2424     0.2424        0.0
    kappa_fit    0.2936     0.2936        0.0
    """

    table: pd.DataFrame
    completions: int
    of: int
    clusters: int
    clustered_by: str
    lag: Lag | None
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as JSON has it: None for a number that is undefined, the largest float for infinity.

        Returns
        -------
        dict
            The fields; the table as a dict of measures.
        """
        rows = self.table.to_dict("index")
        numbers = {
            str(name): {key: json_number(value) if isinstance(value, float) else value for key, value in row.items()}
            for name, row in rows.items()
        }
        return {
            "measures": numbers,
            "completions": self.completions,
            "of": self.of,
            "clusters": self.clusters,
            "clustered_by": self.clustered_by,
            "lag": None if self.lag is None else self.lag.to_dict(),
            "notes": list(self.notes),
        }

    def head(self) -> str:
        """Say in a line what was measured on."""
        if not len(self.table):
            return "measured: nothing of the policy"
        return (
            f"measured on {self.completions} of {self.of} completions, errors over {self.clusters} "
            f"{self.clustered_by}; predicted is where the objective leads on the same groups"
        )

    def lines(self) -> list[str]:
        """Say what stands beside the table: the lag, and the notes."""
        return ([] if self.lag is None else [str(self.lag)]) + [f"note: {note}" for note in self.notes]

    def __repr__(self) -> str:
        return f"Measured({self.completions} of {self.of} completions, {len(self.table)} measures)"

    def __str__(self) -> str:
        shown = self.table.drop(columns="estimator").to_string(na_rep="-", float_format="{:.4g}".format)
        return "\n".join([self.head(), *([shown] if len(self.table) else []), *self.lines()])


def measure(logged: LoggedGroups, objective: Objective, frame: pd.DataFrame) -> Measured | None:
    """Measure the policy of a log, beside what an objective predicts for its groups.

    Parameters
    ----------
    logged : LoggedGroups
        The groups.
    objective : Objective
        The objective.
    frame : pandas.DataFrame
        Its diagnosis, a row for each group.

    Returns
    -------
    Measured or None
        None for a log that was read without log-probabilities and versions.
    """
    if logged.facts is None:
        return None
    sampled = Sampled(logged)
    table, notes, why = _Table(), list(sampled.notes), sampled.why_no_ratios()
    if why is not None:
        notes.append(why)
        if sampled.rows.size and sampled.log_ratio is None:
            _of_behavior(sampled, table, notes)
    else:
        clip = clip_of(objective)
        target = _target(sampled, objective, clip if objective.level == "sequence" else None)
        _of_completions(sampled, objective, frame, target, table, notes)
        _of_tokens(sampled, objective, clip, target, table, notes)
        if clip is None:
            notes.append(f"{objective.name} has no clip of single log-ratios")
    clusters = len(np.unique(sampled.cluster))
    return Measured(
        table.frame(),
        len(sampled.rows),
        len(logged.reward),
        clusters,
        sampled.clustered_by,
        lag_of(logged),
        tuple(notes),
    )


class _Table:
    """Rows of the table so far."""

    def __init__(self) -> None:
        self.rows: dict[str, tuple[Any, ...]] = {}

    def add(
        self,
        name: str,
        found: dict[str, float] | float,
        estimator: str,
        *,
        predicted: float = np.nan,
        population: float = np.nan,
        untrained: float = np.nan,
        of: str | None = None,
    ) -> None:
        """Add a measure; `found` is a number or holds it under `of`, by default its name, with its error."""
        value, error = (
            (found, np.nan) if not isinstance(found, dict) else (found[of or name], found[f"{of or name}_error"])
        )
        self.rows[name] = (float(value), float(error), float(predicted), float(population), float(untrained), estimator)

    def frame(self) -> pd.DataFrame:
        frame = pd.DataFrame.from_dict(self.rows, orient="index", columns=list(COLUMNS))
        return frame.astype(dict.fromkeys(COLUMNS[:-1], np.float64))


def _of_behavior(sampled: Sampled, table: _Table, notes: list[str]) -> None:
    """Measures of a log that has the behavior's log-probabilities alone."""
    tokens = sampled.column("tokens")
    terms = np.stack(
        [np.ones_like(sampled.behavior), -sampled.behavior, sampled.behavior if tokens is None else tokens], axis=1
    )
    products, names = clustered(terms, sampled.cluster), ("clusters", "n", "-log mu", "tokens")
    found = with_error("entropy", Reading({"-log mu": 1.0}, "n"), products, names)
    table.add("entropy", found, "mean of -log mu")
    if tokens is not None:
        found = with_error("token_entropy", Reading({"-log mu": 1.0}, "tokens"), products, names)
        table.add("token_entropy", found, "mean of -log mu over tokens")
    notes.append(
        "the entropy of the behavior is known; log-ratios, divergences, effective sample size, clipping and kappa need "
        "a second column"
    )
    each = sampled.behavior if tokens is None else sampled.behavior / tokens
    if len(each) > 1 and np.ptp(each) <= 1e-12 * np.abs(each[0]):
        notes.append(
            f"all {len(each)} completions have the same log-probability, {each[0]:.4g}"
            f"{'' if tokens is None else ' a token'}: that is a placeholder"
        )


@dataclass(frozen=True, eq=False)
class _Target:
    """Target of the same groups, on the completions ``(N,)``: log-ratios and advantages."""

    log_ratio: Floats
    advantage: Floats
    touched: NDArray[np.bool_] | None  # by a clip of completions, at the policy of the log
    touched_at_target: NDArray[np.bool_] | None


def _target(sampled: Sampled, objective: Objective, clip: Clip | None) -> _Target:
    every = len(sampled.logged.reward)
    u, advantage, policy = (np.full(every, np.nan) for _ in range(3))
    at_policy, at_target = np.zeros(every, dtype=np.bool_), np.zeros(every, dtype=np.bool_)
    assert sampled.log_ratio is not None
    policy[sampled.rows] = sampled.log_ratio
    for index, targets in sampled.logged.targets(objective):
        for same, target in zip(sampled.logged.by_size(index), targets, strict=True):
            rows = sampled.logged.rows(same)
            u[rows], advantage[rows] = target.log_ratio, target.advantage
            if clip is not None:
                own = Clip(sampled.logged.objective_on(objective, rows), clip.rising, clip.falling)
                at_policy[rows] = own.touches(policy[rows], advantage[rows])
                at_target[rows] = own.touches(u[rows], advantage[rows])
    of_clip = (None, None) if clip is None else (at_policy[sampled.rows], at_target[sampled.rows])
    return _Target(u[sampled.rows], advantage[sampled.rows], *of_clip)


def _of_completions(
    sampled: Sampled, objective: Objective, frame: pd.DataFrame, at: _Target, table: _Table, notes: list[str]
) -> None:
    """Measures of whole completions."""
    u = sampled.log_ratio
    assert u is not None
    with_kappa = has_kappa(objective)
    scaled = at.advantage / objective.temperature if with_kappa else np.zeros_like(u)
    found = readings(moments(u, scaled, sampled.reward, cluster=sampled.cluster))
    plain = mean_with_error(u, sampled.cluster)
    known = ~np.isnan(at.log_ratio)
    there = _at_target(at.log_ratio[known], sampled.reward[known])
    kl, reverse = there["kl"], there["kl_reverse"]
    table.add("log_ratio", plain, "mean of u", of="mean", predicted=there["log_ratio"], untrained=0.0)
    for name, number, words in (("log_ratio_min", u.min(), "least u"), ("log_ratio_max", u.max(), "largest u")):
        table.add(name, number, words, predicted=there[name], untrained=0.0)
    table.add("kl", found, "KL(policy || behavior): mean of w u - w + 1", predicted=kl, untrained=0.0)
    table.add("kl_reverse", found, "KL(behavior || policy): mean of w - 1 - u (k3)", predicted=reverse, untrained=0.0)
    for name, of, words, predicted in (
        ("kl_by_tokens", "token_kl", "the same by tokens, weighted by the ratio of what precedes", kl),
        ("kl_reverse_by_tokens", "token_kl_reverse", "the same by tokens: sum of k3", reverse),
    ):
        if (values := sampled.column(of)) is not None:
            table.add(
                name, mean_with_error(values, sampled.cluster), words, of="mean", predicted=predicted, untrained=0.0
            )
    inside = mean_with_error(_kl_in_groups(u, sampled.group), sampled.cluster)
    words = "of the group as the whole support, renormalized: sum of v log(n v), v = w / sum w"
    of_group = {name: frame[name].to_numpy(dtype=float)[sampled.group] for name in ("kl", "leak")}
    table.add("kl_in_group", inside, words, of="mean", predicted=_mean(of_group["kl"]), untrained=0.0)
    table.add("ess", found["ess"], "(sum w)^2 / (n sum w^2), share", predicted=there["ess"], untrained=1.0)
    words = "reward under the policy: sum w r / sum w"
    table.add("value", found, words, predicted=there["value"], untrained=found["reward_mean"])
    leak = _mean(of_group["leak"])
    words = "1 - mean w: mass where the behavior does not sample"
    table.add("missing", found, words, predicted=leak, untrained=0.0)
    if leak > _ROUNDING:
        notes.append(
            f"{leak:.1%} of the predicted mass leaks to completions that the log does not show (missing): predicted is "
            "of the log-ratios as they are, as is measured; kl, max_ratio and value of a group are of what stays, "
            "renormalized, as kl_in_group is"
        )
    if not known.all():
        without = len(np.unique(sampled.group[~known]))
        notes.append(f"{without} of {len(np.unique(sampled.group))} groups have no target: predicted is of the others")
    if with_kappa:
        _kappa(sampled, scaled, found, frame, table, notes)
    else:
        notes.append(f"no kappa: targets of {objective} are not log w + kappa w = A/beta in its own advantage")
    if at.touched is not None and at.touched_at_target is not None:
        share = mean_with_error(at.touched.astype(float), sampled.cluster)
        predicted = _mean(at.touched_at_target.astype(float))
        table.add(
            "clipped",
            share,
            "share of completions that the clip touches",
            of="mean",
            predicted=predicted,
            untrained=0.0,
        )
    _speak_against(sampled, found, notes)


def _kappa(
    sampled: Sampled, scaled: Floats, found: dict[str, float], frame: pd.DataFrame, table: _Table, notes: list[str]
) -> None:
    """Kappa by fit, for which a group counts by its squared ratios, and by identity, for which by its completions."""
    assert sampled.log_ratio is not None
    untrained = _mean(scaled)
    with np.errstate(over="ignore"):
        square = np.exp(2.0 * sampled.log_ratio)
    for name, weight, words in (
        ("kappa_fit", square, "least squares of A/beta - u on w"),
        ("kappa_identity", np.ones_like(square), "E[A]/beta - mean of u"),
    ):
        by_group = [frame[column].to_numpy(dtype=float)[sampled.group] for column in ("kappa", "population_kappa")]
        predicted, population = (_mean(kappa, weight) for kappa in by_group)
        table.add(name, found, words, predicted=predicted, population=population, untrained=untrained)
    groups = np.unique(sampled.group)
    for column, of in ("kappa", "kappa"), ("population_kappa", "kappa of the population"):
        lost = int(frame[column].isna().to_numpy()[groups].sum())
        if lost:
            notes.append(f"the predicted {of} is over {len(groups) - lost} of {len(groups)} groups")


def _of_tokens(
    sampled: Sampled, objective: Objective, clip: Clip | None, at: _Target, table: _Table, notes: list[str]
) -> None:
    """Measures of tokens, where the log has a list of them."""
    tokens = sampled.column("tokens")
    parts = [
        sampled.column(name) for name in ("token_kl_local", "token_kl_reverse", "token_ratio", "token_ratio_square")
    ]
    clip = clip if objective.level == "token" else None
    if tokens is None or any(part is None for part in parts):
        of_clip = f", and the clip of {objective.name} is one of tokens" if clip is not None else ""
        notes.append(f"the log has no list for the tokens of every completion: nothing is measured by tokens{of_clip}")
        return
    assert sampled.log_ratio is not None
    up, down = sampled.column("touched_up"), sampled.column("touched_down")
    touched = None
    if clip is not None and up is not None and down is not None:
        touched = np.where(at.advantage > 0, up, np.where(at.advantage < 0, down, 0.0))
    columns = [tokens, sampled.log_ratio, *parts, np.zeros_like(tokens) if touched is None else touched]
    products = clustered(np.stack([np.asarray(column) for column in columns], axis=1), sampled.cluster)
    names = ("clusters", "tokens", "u", "local", "k3", "w", "w^2", "touched")

    def ratio(term: str) -> dict[str, float]:
        return with_error("mean", Reading({term: 1.0}, "tokens"), products, names)

    least, most = sampled.column("token_log_ratio_min"), sampled.column("token_log_ratio_max")
    table.add("tokens", mean_with_error(tokens, sampled.cluster), "tokens of a completion that count", of="mean")
    table.add("token_log_ratio", ratio("u"), "mean of u over tokens", of="mean", untrained=0.0)
    if least is not None and most is not None:
        table.add("token_log_ratio_min", least.min(), "least u of a token", untrained=0.0)
        table.add("token_log_ratio_max", most.max(), "largest u of a token", untrained=0.0)
    words = "KL(policy || behavior) of a token where the behavior goes: w u - w + 1"
    table.add("token_kl", ratio("local"), words, of="mean", untrained=0.0)
    table.add(
        "token_kl_reverse", ratio("k3"), "KL(behavior || policy) of a token: w - 1 - u (k3)", of="mean", untrained=0.0
    )
    total = dict(zip(names, products.T @ np.eye(len(names))[0], strict=True))
    with np.errstate(invalid="ignore", divide="ignore"):
        ess = total["w"] ** 2 / (total["tokens"] * total["w^2"])
    table.add("token_ess", float(ess), "effective sample size of tokens, share", untrained=1.0)
    if touched is not None:
        table.add("token_clipped", ratio("touched"), "share of tokens that the clip touches", of="mean", untrained=0.0)
        some = mean_with_error((touched > 0).astype(float), sampled.cluster)
        table.add("clipped", some, "share of completions with a token that it touches", of="mean", untrained=0.0)
    elif clip is not None:
        notes.append(
            "the tokens that the clip touches were not counted: give the log itself, not a frame that was read"
        )


def _speak_against(sampled: Sampled, found: dict[str, float], notes: list[str]) -> None:
    """Add what makes the numbers doubtful."""
    assert sampled.log_ratio is not None
    if not np.any(sampled.log_ratio):
        notes.append("both columns hold the same numbers: the policy is the behavior, or one is a copy of the other")
    if sampled.log_ratio.max() > np.log(np.finfo(np.float64).max):
        notes.append(
            f"a log-ratio of {sampled.log_ratio.max():.4g} is beyond what a ratio can be: what it enters is undefined"
        )
    error, off = found["missing_error"], found["missing"]
    if abs(off) > _FAR * error + _ROUNDING:
        notes.append(
            f"the mean ratio is {1.0 - off:.4g} +- {error:.2g}; it is 1 on what the behavior samples, so that the log "
            "has other log-probabilities than those sampled from (a temperature, top-p, masked tokens), or the policy "
            "has mass where the behavior hardly samples"
        )
    left = found["ess"] * found["n"]
    if left < _FEW:
        notes.append(
            f"weighted by w, {len(sampled.log_ratio)} completions count for {left:.3g}: kl, value and kappa_fit "
            "hang on few"
        )


def _kl_in_groups(u: Floats, group: NDArray[np.intp]) -> Floats:
    """KL(policy || behavior) of each completion's group, as if it were all there is."""
    _, number = np.unique(group, return_inverse=True)
    most = np.full(int(number.max()) + 1, -np.inf)
    np.maximum.at(most, number, u)
    w = np.exp(u - most[number])
    total, size = np.bincount(number, weights=w), np.bincount(number)
    mean = np.bincount(number, weights=w * (u - most[number])) / total
    kl = mean - np.log(total / size)
    return np.asarray(kl[number])


def _mean(values: Floats, weight: Floats | None = None) -> float:
    """Mean over what is not nan, nan where nothing is."""
    known = ~np.isnan(values)
    if not known.any():
        return float("nan")
    with np.errstate(invalid="ignore"):
        return float(np.average(values[known], weights=None if weight is None else weight[known]))


def _at_target(u: Floats, reward: Floats) -> dict[str, float]:
    """What the estimators give for a policy with log-ratios u of a target, some of which may be -inf; nan without."""
    names = ("log_ratio", "log_ratio_min", "log_ratio_max", "kl", "kl_reverse", "ess", "value")
    if not u.size:
        return dict.fromkeys(names, float("nan"))
    w, excess = np.exp(u), np.expm1(u)
    stays = np.where(w > 0.0, u, 0.0)
    kl, reverse = np.mean(w * stays - excess), np.mean(excess - u)
    share, value = w.sum() ** 2 / (len(w) * (w @ w)), w @ reward / w.sum()
    return dict(zip(names, map(float, (u.mean(), u.min(), u.max(), kl, reverse, share, value)), strict=True))
