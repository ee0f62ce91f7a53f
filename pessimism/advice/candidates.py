"""Other objectives at the conservatism of the present one: what each would do to easy, middle and hard prompts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from pessimism.advice.sample import Sample
from pessimism.comparison.compare import as_written, rounded
from pessimism.comparison.match import WANTED, one_setting, wanted_number
from pessimism.comparison.problems import over_signal
from pessimism.core.objective import Objective, ObjectiveLike
from pessimism.diagnosis.report import Diagnosis
from pessimism.diagnosis.summary import BANDS, by_band
from pessimism.diagnosis.verdict import VerdictRules, signal, verdicts
from pessimism.diagnosis.what_was_read import clusters
from pessimism.losses.registry import make_objective
from pessimism.progress import progress
from pessimism.target.conservatism import effect
from pessimism.target.result import InducedTarget

CANDIDATES = {
    "nominal": "the KL-regularized optimum that most derivations name, with the ratio to the behavior as a weight",
    "kimi": "a squared loss about the mean of the group: no ratios, and never negative while all groups are kept",
    "shifted_mean": "the same with a lower baseline, the dial of implicit pessimism",
    "oapl": "the optimal value of the group as baseline, with a temperature of its own",
    "std_normalized": "the advantage divided by the spread of the group, as in GRPO",
}
OWN = "that of the present objective"
USUAL_KL = 0.1  # nats, where the present target has no distance worth keeping
COLUMNS = ("objective", "role", "verdict", "kl", "value", "gain_share", "max_ratio", "leak", "why", "note")
_SETTLED = ("too timid", "conservative", "nominal", "bold", "moderate")


def wanted_of(
    matched: Mapping[str, Any] | None, word: str, current: Objective | None, sample: Sample
) -> tuple[str, float, str]:
    """Return the measure that all candidates are brought to, its value, and why it is that.

    Parameters
    ----------
    matched : mapping or None
        What the caller wants, as for :func:`~pessimism.compare`.
    word : str
        Verdict on the present objective.
    current : Objective or None
        The present objective.
    sample : Sample
        The groups.

    Returns
    -------
    name : str
        The measure.
    value : float
        Its wanted mean over the groups with a signal.
    why : str
        Why this one.
    """
    if matched is not None:
        if not isinstance(matched, Mapping) or len(matched) != 1 or not matched.keys() <= set(WANTED):
            raise ValueError(
                f'matched must be a dict with one of {", ".join(WANTED)}, such as {{"kl": 0.1}}, got {matched!r}'
            )
        known = dict.fromkeys(WANTED) | dict(matched)
        name, wanted = wanted_number(known.pop("like"), **known)
        if wanted is None:
            wanted = over_signal(sample.solve(make_objective(matched["like"])), "kl", "mean")[0]
            return name, float(wanted), f"that of {matched['like']}"
        return name, float(wanted), "as asked for"
    if current is not None and word in _SETTLED:
        kl = over_signal(sample.solve(current), "kl", "mean")[0]
        if kl > 0:
            return "kl", float(kl), OWN
    present = {"no target": "loss has no minimum", "no solution": "target was not found"}.get(word, f"target is {word}")
    return "kl", USUAL_KL, f"a usual one, since the present {present}: a log does not say how far to go"


def candidates(
    report: Diagnosis,
    sample: Sample,
    current: Objective,
    named: Mapping[str, str] | Iterable[ObjectiveLike],
    wanted: tuple[str, float],
    rules: VerdictRules,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Bring candidates to equal conservatism, and measure them beside the present objective.

    Parameters
    ----------
    report : Diagnosis
        That of the present objective.
    sample : Sample
        The groups, with the advantages that each candidate itself gives them.
    current : Objective
        The present objective.
    named : mapping of str to str, or iterable
        Candidates, with the reason for each.
    wanted : tuple of str and float
        Measure and value that all are brought to.
    rules : VerdictRules
        Thresholds of the verdict.

    Returns
    -------
    table : pandas.DataFrame
        A row for each objective: medians over the groups with a signal.
    bands : pandas.DataFrame
        A row for each objective and band of pass rates.
    """
    reasons = dict(named) if isinstance(named, Mapping) else dict.fromkeys(named, "asked for")
    base = report.frame.iloc[sample.index]
    assert report.logged is not None
    present = sample if report.logged.given is None else Sample(report.logged)
    rows, parts = [], []
    first = [(current, "present", "as it is set")]
    made = [*first, *((make_objective(of), "candidate", why) for of, why in reasons.items())]
    for objective, role, why in progress(made, "trying candidates"):
        at, note = objective, ""
        try:
            if role == "candidate":
                at, note = one_setting(objective, sample.solve, *wanted)
            (target,) = (sample if role == "candidate" else present).solve(at).targets
        except ValueError as error:
            rows.append({"objective": _named(objective), "role": role, "why": why, "note": f"not matched: {error}"})
            continue
        effects = _effects(base, target, rules)
        if role == "candidate" and _same(at, current):
            continue
        row = {"objective": _named(at), "role": role, "why": why, "note": note}
        rows.append(row | _flat(effects["all"]))
        for band in BANDS:
            counted = {"objective": row["objective"], "role": role, "band": band, "groups": effects[band]["groups"]}
            empty = {} if counted["groups"] else {"verdict": "no groups"}
            parts.append(counted | _flat(effects[band]) | empty)
    bands = pd.DataFrame(parts, columns=["objective", "role", "band", "groups", *COLUMNS[2:8]])
    return pd.DataFrame(rows, columns=list(COLUMNS)), bands


def kl_by_band(report: Diagnosis, sample: Sample, target: InducedTarget) -> dict[str, float]:
    """Median KL of hard and easy prompts in units of that of middle ones, nan where one of them is not there.

    Parameters
    ----------
    report : Diagnosis
        A report on the groups.
    sample : Sample
        Those that are taken.
    target : InducedTarget
        Their targets.

    Returns
    -------
    dict of str to float
        For ``"hard"`` and ``"easy"``.
    """
    found = _effects(report.frame.iloc[sample.index], target, report.rules)
    hard, middle, easy = (np.nan if (kl := found[band]["kl"][0]) is None else float(kl) for band in BANDS)
    unit = middle if middle > 0 else np.nan
    return {"hard": hard / unit, "easy": easy / unit}


def _named(objective: Objective) -> str:
    return rounded(as_written(objective))


def _same(one: Objective, other: Objective) -> bool:
    """Whether two objectives are one, up to the rounding of a search for the temperature."""
    if type(one) is not type(other) or one.temperature is None or other.temperature is None:
        return one == other
    if one.temperature_field is None or not np.isclose(one.temperature, other.temperature, rtol=1e-6, atol=0.0):
        return False
    return one.at_temperature(other.temperature) == other


def _flat(of: Mapping[str, Any]) -> dict[str, Any]:
    """Word and medians of an effect."""
    numbers = {name: of[name][0] for name in COLUMNS[3:8]}
    word = of["alone"] if of.get("alone") else of["word"]
    return {"verdict": word} | {name: np.nan if value is None else value for name, value in numbers.items()}


def _effects(base: pd.DataFrame, target: InducedTarget, rules: VerdictRules) -> dict[str, Any]:
    """What a target does to the groups of a report, by band."""
    kept = base[["step", "prompt", "n", "reward_mean", "pass_rate", "all_equal", "only_advantage"]].reset_index(
        drop=True
    )
    facts = pd.DataFrame(effect(target) | {"regime": target.regime, "status": target.status})
    frame = pd.concat([kept, facts], axis=1)
    counts = signal(frame) & (frame["status"] != "not_converged").to_numpy()
    return by_band(frame, verdicts(frame, rules), clusters(base), counts, rules)
