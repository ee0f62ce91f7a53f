"""What an objective does to real rollouts: one row of numbers, and one line of plain English, per prompt group.

A group is the sampled completions of one prompt at one step. They are read as the whole seen support, equally likely;
the space of completions is far larger, so mass may leak to unseen ones (``unseen=True``).
Source: arXiv 2605.28150; docs/theory.md.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from pessimism import divergences
from pessimism.arrays import Floats
from pessimism.core.objective import Objective, ObjectiveLike
from pessimism.diagnosis import population as group_plugin
from pessimism.diagnosis.clip import clip_of
from pessimism.diagnosis.logged_groups import LoggedGroups, reads_lengths
from pessimism.diagnosis.report import Diagnosis
from pessimism.diagnosis.thresholds import given_up, lowering_helps, thresholds
from pessimism.diagnosis.verdict import VerdictRules, verdicts
from pessimism.diagnosis.what_was_read import what_was_read
from pessimism.diagnosis.wording import SAME, Group, read_group
from pessimism.losses.registry import make_objective
from pessimism.rollouts.log_probs import KNOWN
from pessimism.rollouts.options import LogOptions, split_options
from pessimism.rollouts.read import LogLike, read_rollouts
from pessimism.rollouts.rows import LENGTH_COLUMNS
from pessimism.target.result import InducedTarget

COLUMNS = (
    *("step", "prompt", "n", "reward_mean", "baseline", "Z", "regime", "kappa", "effective_temperature"),
    *("pessimism_factor", "advantage_factor", "kl", "nominal_kl", "tv_nominal", "max_ratio", "leak", "given_up"),
    *("value", "gain_share", "pass_rate", "all_equal", "only_advantage", "verdict"),
    *("critical_shift", "critical_beta", *group_plugin.COLUMNS, "status", "reading"),
)


def diagnose(
    source: LogLike,
    objective: str | ObjectiveLike,
    *,
    check: bool = True,
    rules: VerdictRules | None = None,
    log_options: LogOptions | None = None,
    **hyper: Any,
) -> Diagnosis:
    """Say which policy an objective pulls each prompt group of a rollout log towards, and how conservative it is.

    Parameters
    ----------
    source : pandas.DataFrame, datasets.Dataset, path or list
        Rollout log: a frame, a file or a folder, as :func:`~pessimism.read_rollouts` reads it.
    objective : str or ObjectiveLike
        Name of a registered objective, with its hyper-parameters in ``hyper``, or an objective.
    check : bool, default True
        Whether an objective of one's own is checked first, once for each object (:func:`pessimism.check`).
    rules : VerdictRules, optional
        Thresholds of the verdict; by default those of :class:`~pessimism.VerdictRules`.
    log_options : LogOptions, optional
        How the log is read, as one object in place of keywords.
    **hyper : Any
        Hyper-parameters of a named objective, and how the log is read: ``reward_column="score"``, ``singleton="zero"``
        and the others of :class:`~pessimism.LogOptions`. Lengths are read for objectives that know completions by their
        ``length``, unless it is given; by default from `length`, else `completion_length`, else `response_length`,
        where there is one. Log-probabilities are by default those that NeMo-RL, prime-rl and slime write, where there
        are such; what they say is in ``measured`` of the report.

    Returns
    -------
    Diagnosis
        A report that is used as its frame is, with a ``summary`` and a ``recommendation``. The frame has one row for
        each (step, prompt), sorted by step, then by first appearance of the prompt in the log:

        - step, prompt, group (its number, where something else than the prompt tells groups apart), n (completions),
          reward_mean, baseline (reward units); all_equal (of several completions no reward differs: no signal, as a
          group of one has none); only_advantage: the advantage of the only completion of a group where that is its
          reward or the log's, else nan;
          pass_rate, nan in a log of more than two rewards;
        - verdict: what the target does in a word, see :class:`~pessimism.VerdictRules`; value: its expected reward;
          gain_share: the part of the possible gain that this takes, 1 where only the best completions stay;
        - Z = E[exp(A/beta)], regime ("positive", "boundary", "negative"), kappa, status, leak (mass pulled to unseen
          completions), kl = KL(target || behavior) in nats, max_ratio = max target/behavior;
        - given_up: completions seen that lose all their mass, nan without a target. Where many policies are optimal
          (status "set_valued") every one of them gives these up, since the nearest keeps all that any of them keeps;
        - nominal_kl = KL(nominal target || behavior) and tv_nominal, the total variation between target (what leaks
          included) and nominal target: below 1e-3 the two are practically the same policy. nan without temperature;
        - effective_temperature (reward units): the one at which the nominal target is as far from the behavior;
          pessimism_factor: the same in units of the objective's own temperature, above 1 where the target is more
          conservative than nominal. Both are nan in a group that leaks, whose kl, max_ratio and value describe what
          stays, renormalized. advantage_factor: the factor in units of the advantage, for objectives that divide the
          rewards by their spread, so that their temperature does not have the unit of the reward: what is said of
          them, and nominal_kl and tv_nominal, are in that unit. For all others it is the pessimism factor;
        - critical_shift: every shift of the baseline by more than this many temperatures downwards makes the group
          positive, 0 where it is not negative; critical_beta (reward units): every temperature below it does, inf
          where all do, 0 where none does. nan where the baseline, or the temperature alone, does not decide;
        - population_regime, population_log_z (log Z) and population_kappa: the same objective, not on these n
          completions but on new groups of n drawn from their law (for 0/1 rewards, at the plug-in pass rate): the
          target of the expected advantage, see :func:`~pessimism.finite_group`. "undefined" and nan for objectives
          without one. Exact for groups of at most two rewards and for advantages linear in the rewards, to 1e-9 for an
          optimal value, and by a few seeded draws otherwise: population_error is then the standard error of log Z, and
          the regime is "undecided" within two of them;
        - population_shift, population_beta: as critical_shift and critical_beta, for the population; population_beta1:
          the least beta1 that makes it positive, for groups of at most two rewards under oapl and a_star_po, else nan;
        - reading: the row in a line of plain English.

        Written as JSON (``pessimism diagnose --json``), null is a number that is undefined (nan), and an infinite one,
        such as a critical_beta of "always", is the largest float, 1.7976931348623157e308.

    Raises
    ------
    ValueError
        If an objective or hyper-parameter is unknown, a hyper-parameter is out of range, or the log cannot be read
        (``path:line: why``).

    Examples
    --------
    >>> import pandas as pd
    >>> log = pd.DataFrame({"prompt": ["1+1="] * 4, "reward": [1.0, 0.0, 0.0, 0.0]})
    >>> report = diagnose(log, "kimi", beta=0.5)
    >>> report[["n", "reward_mean", "Z", "regime", "kappa", "pessimism_factor"]].round(3)
       n  reward_mean      Z    regime  kappa  pessimism_factor
    0  4         0.25  1.575  positive  0.257             1.319
    >>> print(report["reading"][0])
    positive: more conservative than nominal, as if at 1.32 times the temperature (0.659)
    """
    options, hyper = split_options(log_options, hyper)
    made = make_objective(objective, check=check, **hyper)
    lengths = (options.length_column or LENGTH_COLUMNS) if reads_lengths(made) else None
    options = replace(options, length_column=lengths, log_prob_columns=options.log_prob_columns or KNOWN)
    clip = clip_of(made)
    touched = None if clip is None or made.level != "token" else clip.of_tokens
    log = read_rollouts(source, log_options=options, touched=touched)
    logged, rules = LoggedGroups.of(log), VerdictRules() if rules is None else rules
    read, rows, about = what_was_read(log, logged), len(log), log.attrs
    del log  # of which the groups hold what follows, in a memory that is not to be filled twice
    frame, population_note, helps = _diagnosed(logged, made, rules)
    return Diagnosis(
        frame,
        objective=str(made),
        temperature=made.temperature,
        temperature_name=made.temperature_field,
        rows=rows,
        skipped=about["skipped"],
        step_note=about["step_note"],
        read=read,
        files=about["files"],
        population_note=population_note,
        lowering_helps=helps,
        rules=rules,
        trained=made,
        logged=logged,
    )


def _diagnosed(
    logged: LoggedGroups, objective: Objective, rules: VerdictRules
) -> tuple[pd.DataFrame, str | None, bool]:
    """Return the frame, why the population is undefined somewhere, and whether a lower baseline keeps more."""
    if logged.of_batch(objective):  # what surrounds a group matters
        some, like = logged, np.arange(len(logged.groups))
    else:
        some, like = logged.distinct()
    facts, undefined = _facts(some, objective)
    frame = pd.concat([logged.groups, facts.take(like).reset_index(drop=True)], axis=1)
    frame["pass_rate"] = _pass_rates(frame["reward_mean"], logged.reward)
    frame["verdict"] = verdicts(frame, rules)
    grouped = ["group"] if "group" in frame else []
    frame = frame[["step", "prompt", *grouped, *COLUMNS[2:]]]
    (lost,) = np.nonzero(((frame["given_up"] > 0) | (frame["status"] == "no_target")).to_numpy())
    found = bool(lost.size) and not objective.over_batch and logged.given is None
    helps = found and lowering_helps(logged, int(lost[0]), objective)
    return frame, undefined, helps


def _facts(logged: LoggedGroups, objective: Objective) -> tuple[pd.DataFrame, str | None]:
    """Return what is to be said of each group, and why the population is undefined somewhere."""
    parts = []
    with tqdm(
        total=len(logged.reward), desc="diagnosing", unit=" rows", unit_scale=True, delay=2, disable=None, leave=False
    ) as bar:
        for index, targets in logged.targets(objective):
            parts.append(_measure(targets).set_index(index))
            bar.update(logged.sizes[index].sum())
    population, undefined = group_plugin.population_reading(
        [(same, logged.reward[logged.rows(same)]) for same in logged.by_size(np.argsort(logged.sizes, kind="stable"))],
        logged.objective_on(objective, logged.rows(np.array([0]))[0]),
        why=logged.why_no_population,
    )
    alone = logged.sizes == 1
    if logged.singleton == "reward" and alone.any():
        population.loc[alone] = np.nan
        population["population_regime"] = population["population_regime"].where(~alone, "undefined")
        undefined = (
            undefined or "the advantage of the only completion of a group is its reward here, and not for new groups"
        )
    facts = pd.concat([pd.concat(parts).sort_index(), population], axis=1)
    if logged.singleton != "reward" and logged.given is None:
        facts["only_advantage"] = np.nan  # the objective's own is the same whatever the reward
    facts["all_equal"] &= logged.sizes > 1  # one completion has nothing to agree with
    rows = facts.assign(n=logged.sizes)[list(Group._fields)].astype(object).itertuples(index=False, name=None)
    facts["reading"] = [read_group(Group(*row)) for row in rows]
    return facts, undefined


def _pass_rates(mean: pd.Series[float], rewards: Floats) -> Any:
    """Pass rates of groups ``(G,)`` where the log has two rewards at most, else nan."""
    low, high = rewards.min(), rewards.max()
    two = high > low and np.all((rewards == low) | (rewards == high))
    return (mean - low) / (high - low) if two else np.nan


def _measure(targets: list[InducedTarget]) -> pd.DataFrame:
    """Facts of groups, in the rows of targets of groups of one size each."""
    target = InducedTarget.concatenate(targets)
    facts = target.conservatism()
    shift, beta = thresholds(target, facts["log_z"].to_numpy(dtype=float))
    with np.errstate(over="ignore"):
        z = np.exp(facts["log_z"])
    return facts.assign(
        both=_near_both(target),
        reward_mean=np.concatenate([same.reward.mean(axis=-1) for same in targets]),
        baseline=np.concatenate([same.baseline for same in targets]),
        Z=z,
        kappa=target.kappa,
        leak=target.leak,
        only_advantage=np.concatenate(
            [
                same.advantage[..., 0] if same.advantage.shape[-1] == 1 else np.full(len(same.advantage), np.nan)
                for same in targets
            ]
        ),
        given_up=given_up(target),
        all_equal=target.reward.max(axis=-1) == target.reward.min(axis=-1),
        critical_shift=shift,
        critical_beta=beta,
        status=target.status,
    )


def _near_both(target: InducedTarget) -> Any:
    """What is near the nominal target: the greedy policy, or the behavior."""
    nominal = target.nominal_rows
    best = target.reward == target.reward.max(axis=-1, keepdims=True)
    off_best = np.where(best, 0.0, nominal).sum(axis=-1)
    greedy, unmoved = off_best < SAME, divergences.total_variation(nominal, target.behavior) < SAME
    return np.select([greedy, unmoved], ["greedy", "the behavior"], "")
