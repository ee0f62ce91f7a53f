"""A diagnosis over all groups of a log: shares, medians, and what to change."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from pessimism.arrays import Floats
from pessimism.diagnosis.advice import (
    SETTLED,
    Option,
    Trial,
    about_size,
    always_positive,
    few,
    positive_options,
    read_lowered,
    tried,
)
from pessimism.diagnosis.intervals import median_interval, share_interval
from pessimism.diagnosis.report import Diagnosis
from pessimism.diagnosis.thresholds import SIGN
from pessimism.diagnosis.verdict import (
    SILENT,
    TOO_FEW,
    WORDS,
    VerdictRules,
    log_verdicts,
    signal,
    unmeasured,
    verdicts,
)
from pessimism.diagnosis.what_was_read import clusters
from pessimism.diagnosis.wording import (
    AS_CONSERVATIVE,
    SAME,
    UNTRIED,
    read_bolder,
    read_boundary,
    read_no_signal,
    read_positive,
    read_same,
    read_shift,
    read_undecided,
    read_unmeasured,
    read_unsolved,
    read_verdict,
)

_MEDIANS = (
    *("reward_mean", "pessimism_factor", "effective_temperature", "kappa", "kl", "nominal_kl", "tv_nominal"),
    *("value", "gain_share", "max_ratio", "leak", "advantage_factor"),
)
EFFECTS = ("reward_mean", "value", "gain_share", "kl", "max_ratio", "tv_nominal", "leak")
BANDS = ("hard", "middle", "easy")
_MAXIMA = ("kl", "max_ratio", "leak")
_NEEDED = (
    *(
        "step",
        "prompt",
        "n",
        "regime",
        *_MEDIANS,
        "pass_rate",
        "given_up",
        "all_equal",
        "only_advantage",
        "critical_shift",
    ),
    *("critical_beta", "status"),
)
_POPULATION = ("population_regime", "population_shift", "population_beta", "population_beta1")


def summarize(
    report: Diagnosis | pd.DataFrame, *, share: float = 0.9, rules: VerdictRules | None = None
) -> dict[str, Any]:
    """Sum up a report of :func:`~pessimism.diagnose` over its groups, and recommend a shift or a temperature.

    Parameters
    ----------
    report : Diagnosis or pandas.DataFrame
        What ``diagnose`` returned, or its frame, from a file for one, which knows neither objective nor temperature.
    share : float, default 0.9
        Part of the groups with a signal that the recommendation puts in the positive regime. A group has a signal where
        its rewards are not all equal, or where they are and mass leaks.
    rules : VerdictRules, optional
        Thresholds of the verdict; by default those that the report was made with.

    Returns
    -------
    dict
        Ready for JSON: None stands for undefined, the largest float 1.7976931348623157e308 for infinity.

        - objective, groups, rows (completions), skipped (malformed lines), step_note (says so where the log had no step
          column); read: what was read, a list of sentences in ``lines`` and ``warnings``, and the numbers in them,
          empty where only a frame is here;
        - share: of each regime, in-sample, among the share_of groups that the solver solved, with a signal or not;
        - population_share: of each regime, over new groups of their size, among all population_share_of groups;
          "undecided" and "undefined", too, for which population_note says why;
        - status: a count for each; all_equal, single, informative, unmeasured and giving_up: how many groups have equal
          rewards, one completion, a signal, one completion that gains by what a log does not show, and a signal with a
          target that gives up completions;
        - median_...: over the groups with a signal; a group that leaks has neither effective temperature nor pessimism
          factor. max_...: over all groups;
        - interval: the ends of the 95% interval over prompts of each share and median, groups of one prompt at several
          steps being one cluster: exact for independent groups (Clopper and Pearson; order statistics), and at the
          effective number of groups (Korn and Graubard; Woodruff) else. None where there are too few;
        - verdict: its word, see :class:`~pessimism.VerdictRules`; words, those that its interval leaves open; shares,
          of each word among the groups with a signal, with the ends of its interval; the rules; and text. With too few
          prompts ``alone`` is the word of the groups that there are;
        - effect: for all groups with a signal, and for hard, middle and easy ones, the verdict and the median of
          reward_mean, value, gain_share, kl, max_ratio, tv_nominal and leak, each with the ends of its interval;
          bands_by says what hard is taken from. by_step: the same for each step;
        - recommendation: share; extra_shift, such that every shift of the baseline by more than so many temperatures is
          enough, in-sample and in the population (see :func:`~pessimism.smallest_shift`); largest_beta, such that every
          temperature below it is enough (the largest float where any will do, 0 where none will, None where the
          temperature alone does not decide); smallest_beta1, of oapl and a_star_po with groups of two rewards (see
          :func:`~pessimism.smallest_beta1`); options, each with what it does before and after on the groups that were
          solved again, those alone that do what is said of them, and whether it is bolder; and text, which says all
          that. A setting that does not do it is None. Without its log nothing of a frame can be tried; it says so.

    Raises
    ------
    ValueError
        If ``share`` is not in (0, 1], or a frame lacks the columns of a report.

    Examples
    --------
    >>> from pessimism.diagnosis.diagnose import diagnose
    >>> report = diagnose("examples/trl_completions", "oapl", beta1=0.1, beta2=0.2)
    >>> summary = summarize(report)
    >>> summary["groups"], summary["share"]["negative"], summary["recommendation"]["extra_shift"]
    (192, 0.9895, 0.872)
    >>> print(summary["recommendation"]["text"])  # doctest: +NORMALIZE_WHITESPACE
    Lower the baseline by more than 0.873 times the temperature (add more than 0.175 to every advantage), or use beta1
    above 0.22, to bring at least 90% of the groups with a signal into the positive regime. With such a shift: leaking
    groups 100% -> 7%, positive groups 0% -> 93%, KL 0.775 -> 0.751, gain 98% -> 98% of what is possible, largest ratio
    2.27 -> 2.25, distance to nominal 0.333 -> 0.00434; verdict leaking -> greedy. With beta1 0.22: leaking groups 100%
    -> 0%, positive groups 0% -> 100%, KL 0.775 -> 0.772, gain 98% -> 98% of what is possible, largest ratio 2.27 ->
    2.26, distance to nominal 0.333 -> 0.000677; verdict leaking -> greedy. With beta2 0.091 they would be positive,
    too, but the target bolder (KL 0.775 -> 0.826): that is not the safe side.
    """
    if not 0.0 < share <= 1.0:
        raise ValueError(f"share must be in (0, 1], got {share!r}")
    report = report if isinstance(report, Diagnosis) else Diagnosis(report)
    rules = report.rules if rules is None else rules
    frame = report.frame
    missing = [name for name in (*_NEEDED, *_POPULATION) if name not in frame]
    if missing:
        raise ValueError(f"frame is not a report of diagnose: it has no column {', '.join(missing)}")
    unsolved = frame["status"] == "not_converged"  # whose regime and leak mean nothing
    moved = signal(frame)
    with_signal = frame[moved]
    solved = with_signal[with_signal["status"] != "not_converged"]
    prompt = clusters(frame)
    words = verdicts(frame, rules)
    population = _shares(frame["population_regime"])
    summary: dict[str, Any] = {
        "objective": report.objective,
        "groups": len(frame),
        "rows": int(frame["n"].sum()),
        "skipped": report.skipped,
        "step_note": report.step_note,
        "read": report.read,
        "share": {name: json_number((frame["regime"][~unsolved] == name).mean()) for name in SIGN},
        "share_of": int((~unsolved).sum()),
        "population_share": {str(k): json_number(v) for k, v in population.items()},
        "population_share_of": len(frame),
        "population_note": report.population_note,
        "status": {str(name): int(count) for name, count in frame["status"].value_counts().items()},
        "all_equal": int(frame["all_equal"].sum()),
        "single": int((frame["n"] == 1).sum()),
        "informative": len(with_signal),
        "unmeasured": int(unmeasured(frame).sum()),
        "giving_up": int((solved["given_up"] > 0).sum()),
    }
    summary |= {f"median_{name}": json_number(with_signal[name].median()) for name in _MEDIANS}
    summary |= {f"max_{name}": json_number(frame[name].max()) for name in _MAXIMA}
    summary["interval"] = {
        "share": _share_intervals(frame["regime"][~unsolved], prompt[~unsolved], SIGN),
        "population_share": _share_intervals(frame["population_regime"], prompt, population),
    } | {f"median_{name}": _ends(median_interval(_floats(with_signal[name]), prompt[moved])[0]) for name in _MEDIANS}
    summary["verdict"] = _verdict(words, prompt, rules)
    summary["effect"] = by_band(frame, words, prompt, moved & ~unsolved.to_numpy(), rules)
    summary["by_step"] = _by_step(frame, words, prompt, moved & ~unsolved.to_numpy(), rules)
    needs = {
        "shift": _stricter(np.fmax, solved["critical_shift"], solved["population_shift"]),
        "beta": _stricter(np.fmin, solved["critical_beta"], solved["population_beta"]),
        "beta1": solved["population_beta1"],
    }
    least = {
        "shift": _enough(needs["shift"], share),
        "beta": -_enough(-needs["beta"], share),
        "beta1": _enough(needs["beta1"], share),
    }
    text, options = _text(report, with_signal, solved, share, least, needs, summary["verdict"], rules)
    failed = {option.name for option in options if not option.holds}
    summary["recommendation"] = {
        "share": share,
        "extra_shift": None if "shift" in failed else json_number(least["shift"]),
        "largest_beta": None if "temperature" in failed else json_number(least["beta"]),
        "smallest_beta1": None if "beta1" in failed else json_number(least["beta1"]),
        "text": text,
        "options": [_for_json(asdict(option)) for option in options if option.holds],
    }
    return summary


def _for_json(value: Any) -> Any:
    """Dicts of numbers as JSON has them."""
    if isinstance(value, dict):
        return {name: _for_json(of) for name, of in value.items()}
    return json_number(value) if isinstance(value, float) else value


def _floats(column: pd.Series[float]) -> Floats:
    return np.asarray(column, dtype=np.float64)


def _ends(interval: Floats) -> list[float | None]:
    """The two ends of an interval, of which the first of three numbers is the middle."""
    return [json_number(end) for end in interval[1:]]


def _share_intervals(
    regime: pd.Series[str], prompt: NDArray[np.intp], names: Iterable[str]
) -> dict[str, list[float | None]]:
    values = regime.to_numpy(dtype=str)
    return {str(name): _ends(share_interval(values == name, prompt)[0]) for name in names}


def _verdict(words: NDArray[np.str_], prompt: NDArray[np.intp], rules: VerdictRules) -> dict[str, Any]:
    """Verdict on the log, the share of each word among the groups that have one, and the words themselves."""
    verdict = log_verdicts(words, prompt, np.zeros(len(words), dtype=np.intp), 1, rules)[0]
    judged = ~np.isin(words, SILENT)
    shares = {
        word: [json_number(x) for x in share_interval(words[judged] == word, prompt[judged])[0]]
        for word in WORDS
        if np.any(words[judged] == word)
    }
    return verdict | {"shares": shares, "rules": asdict(rules), "text": read_verdict(verdict, shares, rules.few)}


def _effects(
    frame: pd.DataFrame,
    words: NDArray[np.str_],
    prompt: NDArray[np.intp],
    part: NDArray[np.intp],
    parts: int,
    kept: NDArray[np.bool_],
    rules: VerdictRules,
) -> list[dict[str, Any]]:
    """What the targets of each part do: a verdict, and medians with their intervals over the groups that are kept."""
    medians = {name: median_interval(_floats(frame[name])[kept], prompt[kept], part[kept], parts) for name in EFFECTS}
    return [
        verdict | {name: [json_number(x) for x in medians[name][i]] for name in EFFECTS}
        for i, verdict in enumerate(log_verdicts(words, prompt, part, parts, rules))
    ]


def by_band(
    frame: pd.DataFrame,
    words: NDArray[np.str_],
    prompt: NDArray[np.intp],
    kept: NDArray[np.bool_],
    rules: VerdictRules,
) -> dict[str, Any]:
    """Effects on all groups with a signal, and on hard, middle and easy ones."""
    rate = _floats(frame["pass_rate"])[kept]
    of_pass_rate = not np.isnan(rate).any()
    if not of_pass_rate:
        mean = _floats(frame["reward_mean"])[kept]
        rate = (rankdata(mean) - 0.5) / max(1, mean.size)
    band = np.where(rate < rules.hard, 0, np.where(rate > rules.easy, 2, 1)).astype(np.intp)
    found, told, of, every = frame[kept], words[kept], prompt[kept], np.ones_like(band, dtype=bool)
    whole = _effects(frame, words, prompt, np.zeros_like(prompt), 1, kept, rules)
    parts = _effects(found, told, of, band, 3, every, rules)
    bands = dict(zip(BANDS, parts, strict=True))
    return {"all": whole[0], **bands, "bands_by": "pass rate" if of_pass_rate else "rank of the mean reward"}


def _by_step(
    frame: pd.DataFrame,
    words: NDArray[np.str_],
    prompt: NDArray[np.intp],
    kept: NDArray[np.bool_],
    rules: VerdictRules,
) -> list[dict[str, Any]]:
    """Effects on the groups with a signal of each step."""
    steps, part = np.unique(frame["step"].to_numpy(), return_inverse=True)
    found = _effects(frame, words, prompt, part.ravel().astype(np.intp), len(steps), kept, rules)
    return [{"step": step} | effect for step, effect in zip(steps.tolist(), found, strict=True)]


def json_number(value: float) -> float | None:
    """Return a float that JSON has: None for one that is undefined, the largest one for infinity.

    Parameters
    ----------
    value : float
        Any number.

    Returns
    -------
    float or None
        A finite number, None for nan.

    Examples
    --------
    >>> json_number(math.nan), json_number(math.inf)
    (None, 1.7976931348623157e+308)
    """
    largest = sys.float_info.max
    return None if math.isnan(value) else min(max(float(value), -largest), largest)


def _shares(regime: pd.Series[str]) -> dict[str, float]:
    """Return the share of each regime, of the three in any case."""
    shares = regime.value_counts(normalize=True)
    return {name: shares.get(name, 0.0) for name in [*SIGN, *(set(shares.index) - set(SIGN))]}


def _stricter(which: np.ufunc, in_sample: pd.Series[float], population: pd.Series[float]) -> pd.Series[float]:
    """Return the stricter need of the two readings; the in-sample one where the population has none."""
    stricter: pd.Series[float] = which(in_sample, population)
    return stricter.where(in_sample.notna())


def _enough(needs: pd.Series[float], share: float) -> float:
    """Return what meets the needs of a share of the groups; those that nothing meets (nan) come last."""
    last = math.ceil(share * len(needs) - 1e-9) - 1
    return float(np.sort(needs.to_numpy())[last]) if len(needs) else math.nan


def _text(
    report: Diagnosis,
    with_signal: pd.DataFrame,
    solved: pd.DataFrame,
    share: float,
    least: dict[str, float],
    needs: dict[str, pd.Series[float]],
    verdict: dict[str, Any],
    rules: VerdictRules,
) -> tuple[str, list[Option]]:
    unsolved, gaining = len(with_signal) - len(solved), int(unmeasured(report.frame).sum())
    first = read_unsolved(unsolved, len(with_signal)) if unsolved else ""
    if unsolved and solved.empty:
        return first, []
    near = (solved["tv_nominal"] < SAME) & (solved["regime"] != "boundary") & (solved["status"] != "set_valued")
    same = int(near.sum())
    trial = None
    if report.logged is not None and report.trained is not None and not solved.empty:
        trial = Trial(report.logged, report.trained, solved, rules)
    advice, options = _advice(report, solved, share, least, needs, verdict, trial)
    text = first + advice + (read_same(same, len(solved)) if same and 2 * same >= len(solved) else "")
    if len(solved) and verdict["word"] == TOO_FEW:
        text += few(verdict["prompts"], rules)
    if gaining:
        text += read_unmeasured(gaining)
    return text, options


def _why_silent(frame: pd.DataFrame) -> tuple[int, int, int]:
    """Groups of equal rewards, of one completion that nothing is said of, and of one that gains unseen."""
    gaining = unmeasured(frame)
    return int(frame["all_equal"].sum()), int(((frame["n"] == 1) & ~gaining).sum()), int(gaining.sum())


def _replaced(report: Diagnosis) -> bool:
    """Whether advantages of the log stand in place of those that a theorem is about."""
    return report.logged is not None and (report.logged.given is not None or report.logged.singleton == "reward")


def _advice(
    report: Diagnosis,
    signal: pd.DataFrame,
    share: float,
    least: dict[str, float],
    needs: dict[str, pd.Series[float]],
    verdict: dict[str, Any],
    trial: Trial | None,
) -> tuple[str, list[Option]]:
    """What to change, for groups with a signal and a solution, and what was tried for that."""
    groups = len(signal)
    positive, at_boundary, leaking = (signal["regime"] == name for name in SIGN)
    boundary, negative = int(at_boundary.sum()), int(leaking.sum())
    several = signal["status"] == "set_valued"
    nominal = int((at_boundary & ~several & (signal["tv_nominal"] < SAME)).sum())
    giving_up, without = int((signal["given_up"] > 0).sum()), int((signal["status"] == "no_target").sum())
    if not groups:
        return read_no_signal(*_why_silent(report.frame)), []
    lower, lowering_helps = "", False
    word, named = verdict.get("alone", verdict["word"]), report.temperature_name or "temperature"
    size, tries = ("", []) if trial is None else about_size(trial, word, named, groups)
    if trial is not None and report.lowering_helps and (giving_up or without):
        lowered, rungs = trial.lowered(share)
        lowering_helps = lowered is not None
        lower = read_lowered(lowered, rungs, groups, "" if report.temperature is None else named)
        tries = [*([lowered] if lowered is not None else []), *tries]
    both = positive & signal["population_regime"].isin(["positive", "undefined"])
    if both.sum() >= share * groups:
        text = read_positive(
            int(both.sum()),
            giving_up,
            groups,
            lowering_helps=lowering_helps,
            less=int((positive & (signal["advantage_factor"] < 1.0 - AS_CONSERVATIVE)).sum()),
            negative=negative,
            leak=float(signal["leak"].max()),
            fresh=int((positive & ~both).sum()),
            theorem=None if report.trained is None or _replaced(report) else always_positive(report.trained),
            settled=word in SETTLED,
        )
        return text + lower + size, tries
    if math.isnan(least["shift"]):
        kl = float(signal["kl"][several].median())
        text = read_undecided(
            without, boundary, nominal, int(several.sum()), giving_up, groups, lowering_helps=lowering_helps, kl=kl
        )
        return text + lower + size, tries
    options = [] if trial is None else positive_options(trial, share, *((least[k], needs[k]) for k in needs))
    done = {option.name: option for option in options if option.holds}
    if trial is not None and "shift" not in done:
        return read_undecided(0, boundary, nominal, int(several.sum()), giving_up, groups) + size, [*options, *tries]
    if least["shift"] == 0:
        text = read_boundary(boundary, nominal, groups)
        return text + "".join(f" {tried(o, groups)}" for o in done.values() if o.name == "shift"), options
    fresh = int(((signal["regime"] != "negative") & (signal["population_regime"] == "negative")).sum())
    safe = {name for name, option in done.items() if not option.bolder}
    beta = least["beta"] if trial is None or "temperature" in safe else math.nan
    beta1 = least["beta1"] if trial is None or "beta1" in safe else math.nan
    text = read_shift(least["shift"], beta, beta1, share, report.temperature, named, fresh=fresh)
    text += "".join(f" {tried(done[name], groups, named)}" for name in done if name in safe)
    text += "".join(read_bolder(done[name], named) for name in done if name not in safe)
    return text if trial is not None else text + UNTRIED, options
