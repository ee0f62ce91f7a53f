"""A verdict in words: how far a target moves, group by group and for a whole log, with the thresholds that say so."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pessimism.arrays import Floats
from pessimism.diagnosis.intervals import median_interval, share_interval

SCALE = ("too timid", "conservative", "nominal", "bold", "greedy")
APART = ("no target", "leaking", "worse")  # what is said first, where enough groups have it
NO_SIGNAL, UNSOLVED, TOO_FEW, MODERATE = "no signal", "no solution", "too few groups", "moderate"
UNMEASURED = "unmeasured"
SILENT = (UNSOLVED, UNMEASURED, NO_SIGNAL)  # of a group without a verdict; a log is the first that some group is
WORDS = (*SCALE, MODERATE, *APART, *SILENT)
MEANING = {
    "too timid": "practically the behavior",
    "conservative": "nearer the behavior than the nominal target",
    "nominal": "practically the nominal target",
    "bold": "farther from the behavior than the nominal target, short of greedy",
    "greedy": "practically the best completions alone",
    MODERATE: "neither the behavior nor greedy; there is no temperature, and no nominal target to compare with",
    "no target": "the loss has no minimum",
    "leaking": "mass moves to completions that the log does not show",
    "worse": "earns less than the behavior",
    TOO_FEW: "no verdict",
    UNSOLVED: "the solver did not converge",
    UNMEASURED: "a single completion gains on all that were not sampled, by how much it does not show",
    NO_SIGNAL: "no group says which completion is better",
}


@dataclass(frozen=True)
class VerdictRules:
    """Thresholds of the words for what a target does, all of them free of the unit of the reward.

    A group without a signal, or without a solution, has no verdict, nor has a single completion with a positive
    advantage: it gains on all that were not sampled, by an amount that it does not show. Of the others a group
    is, the first that holds:
    *no target*; *leaking*; *worse*, its target earning less than the behavior; *too timid*, practically the behavior;
    *greedy*, practically the best completions alone; *nominal*; *conservative*, nearer the behavior than the nominal
    target; *bold*, farther. Without a temperature there is no nominal target, and the last three are one, *moderate*.

    A log is what more than ``leaking_share`` of its groups are, for the first three; else the median of its other
    groups on the scale from too timid to greedy.

    Attributes
    ----------
    timid_kl : float, default 0.01
        Too timid are targets with a KL from the behavior below this, in nats, and ``timid_gain``. No event then changes
        its probability by more than sqrt(0.01/2) = 7 % (Pinsker); it is what TRPO allows a single step.
    timid_gain : float, default 0.1
        And with less than this part of the possible gain in reward, that of the best completions over the mean.
    greedy_gain : float, default 0.95
        Greedy are targets with this part of the possible gain, or more.
    nominal_tv : float, default 0.05
        Nominal are targets within this total variation of the nominal target: no event differs by more than that.
    leak : float, default 0.01
        Leaking are groups of which this part of the mass, or more, moves to completions that the log does not show.
    leaking_share : float, default 0.1
        Part of the groups that may leak, earn less or have no target without the log being called so.
    few : int, default 10
        Prompts with a signal below which there is no verdict on the log. With ten, a share is known to 30 points.
    hard : float, default 0.25
        Hard are groups with a pass rate below this. For rewards of more than two values: with a mean reward in this
        lowest part of the log.
    easy : float, default 0.75
        Easy are groups with a pass rate above this, or a mean reward above this part of the log.

    Examples
    --------
    >>> VerdictRules(greedy_gain=0.99).greedy_gain
    0.99
    """

    timid_kl: float = 0.01
    timid_gain: float = 0.1
    greedy_gain: float = 0.95
    nominal_tv: float = 0.05
    leak: float = 0.01
    leaking_share: float = 0.1
    few: int = 10
    hard: float = 0.25
    easy: float = 0.75

    def __post_init__(self) -> None:
        for name in (field.name for field in fields(self)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(f"{name} must be a number, got {value!r}")
            if name == "few":
                if not (isinstance(value, int) and value >= 1):
                    raise ValueError(f"few must be an integer >= 1, got {value!r}")
            elif not value >= 0 or (name != "timid_kl" and value > 1):
                raise ValueError(f"{name} must be {'>= 0' if name == 'timid_kl' else 'in [0, 1]'}, got {value!r}")
        for low, high in (("timid_gain", "greedy_gain"), ("hard", "easy")):
            if getattr(self, low) > getattr(self, high):
                raise ValueError(f"{low} must be <= {high}, got {getattr(self, low)!r} and {getattr(self, high)!r}")


def signal(frame: pd.DataFrame) -> NDArray[np.bool_]:
    """Groups of which a log shows what they move: with rewards that differ, or with mass that leaks."""
    leaks = (frame["regime"] == "negative") & (frame["leak"] > 0) & (frame["status"] != "not_converged")
    return ((~frame["all_equal"] & (frame["n"] > 1)) | leaks).to_numpy(dtype=bool)


def unmeasured(frame: pd.DataFrame) -> NDArray[np.bool_]:
    """Groups of a single completion that gains on all that were not sampled: nobody sees by how much."""
    return ((frame["n"] == 1) & (frame["only_advantage"] > 0) & ~signal(frame)).to_numpy(dtype=bool)


def verdicts(frame: pd.DataFrame, rules: VerdictRules) -> NDArray[np.str_]:
    """Verdict on each group of a report.

    Parameters
    ----------
    frame : pandas.DataFrame
        Columns n, all_equal, only_advantage, regime, status, leak, kl, nominal_kl, tv_nominal and gain_share of a
        report.
    rules : VerdictRules
        The thresholds.

    Returns
    -------
    ndarray of str, shape (N,)
        One of ``WORDS`` for each group.
    """
    kl, nominal_kl, tv = (frame[name].to_numpy(dtype=float) for name in ("kl", "nominal_kl", "tv_nominal"))
    gain = np.nan_to_num(frame["gain_share"].to_numpy(dtype=float))  # where no reward differs, none is gained
    status = frame["status"].to_numpy(dtype=str)
    cases = [
        (status == "not_converged", UNSOLVED),
        (unmeasured(frame) & (status != "no_target"), UNMEASURED),
        (~signal(frame) & (status != "no_target"), NO_SIGNAL),
        (status == "no_target", "no target"),
        (frame["leak"].to_numpy(dtype=float) >= max(rules.leak, 5e-324), "leaking"),
        (gain < -1e-9, "worse"),
        ((kl < rules.timid_kl) & (gain < rules.timid_gain), "too timid"),
        (gain >= rules.greedy_gain, "greedy"),
        (tv < rules.nominal_tv, "nominal"),
        (kl < nominal_kl, "conservative"),
        (kl >= nominal_kl, "bold"),
    ]
    return np.select([of for of, _ in cases], [word for _, word in cases], MODERATE).astype("U12")


def log_verdicts(
    words: NDArray[np.str_], prompt: NDArray[np.intp], part: NDArray[np.intp], parts: int, rules: VerdictRules
) -> list[dict[str, Any]]:
    """Verdict on each part of a log from those on its groups, and which words its 95 % interval over prompts has.

    Parameters
    ----------
    words : ndarray of str, shape (N,)
        What :func:`verdicts` says of each group.
    prompt, part : ndarray of int, shape (N,)
        Number of the prompt of each group, and of the part of the log that it is in.
    parts : int
        Number of the parts.
    rules : VerdictRules
        The thresholds.

    Returns
    -------
    list of dict
        For each part its word; words, all that the interval leaves open, from the most timid on, of those that some
        group has or lies between; groups and prompts with a verdict. With too few prompts ``alone`` is the word of the
        groups that there are.
    """
    judged = ~np.isin(words, SILENT)
    has, of, at = words[judged], prompt[judged], part[judged]
    groups = np.bincount(at, minlength=parts)
    width = int(of.max(initial=-1)) + 1
    prompts = np.bincount(np.unique(at * width + of) // max(1, width), minlength=parts)
    none = np.stack([np.zeros(parts), np.zeros(parts), np.ones(parts)], axis=-1)
    apart = {w: share_interval(has == w, of, at, parts) if (has == w).any() else none for w in APART}
    on_scale = ~np.isin(has, APART)
    levels = np.array([_level(word) for word in has[on_scale]], dtype=float)
    middle = median_interval(levels, of[on_scale], at[on_scale], parts, ordinal=True)
    without = np.zeros(parts, dtype=bool)
    without[at[has == MODERATE]] = True
    return [
        _one(
            {word: apart[word][i] for word in APART},
            middle[i],
            bool(without[i]),
            _silent(words[part == i]) if not prompts[i] else "",
            rules,
            int(prompts[i]),
        )
        | {"groups": int(groups[i]), "prompts": int(prompts[i])}
        for i in range(parts)
    ]


def word_of(words: NDArray[np.str_], rules: VerdictRules) -> str:
    """Verdict on a log from those on its groups, however few they are."""
    has = words[~np.isin(words, SILENT)]
    if not has.size:
        return _silent(words)
    for word in APART:
        if (has == word).mean() > rules.leaking_share:
            return word
    levels = np.sort([_level(word) for word in has if word not in APART])
    word = SCALE[levels[(len(levels) - 1) // 2]]
    return MODERATE if word == "nominal" and np.any(has == MODERATE) else word


def _silent(words: NDArray[np.str_]) -> str:
    """Word of a log, or a part of one, in which no group has a verdict."""
    return next((word for word in SILENT if np.any(words == word)), NO_SIGNAL)


def _level(word: str) -> int:
    return SCALE.index("nominal" if word == MODERATE else word)


def _one(
    apart: dict[str, Floats], middle: Floats, moderate: bool, silent: str, rules: VerdictRules, prompts: int
) -> dict[str, Any]:
    """Word and words of one part."""
    if not prompts:
        return {"word": silent, "words": [silent]}
    called = [word for word, (share, _, _) in apart.items() if share > rules.leaking_share]
    surely = any(low > rules.leaking_share for _, low, _ in apart.values())
    maybe = [word for word, (_, _, high) in apart.items() if high > rules.leaking_share and apart[word][0] > 0]
    level, low, high = middle
    open_levels: list[str] = []
    if not np.isnan(level) and not surely:
        ends = (0, len(SCALE) - 1) if np.isnan(low) else (int(low), int(high))
        open_levels = list(SCALE[ends[0] : ends[1] + 1])
    scale = "" if np.isnan(level) else SCALE[int(level)]
    names = {"nominal": MODERATE} if moderate else {}
    if moderate:
        open_levels = [word for word in open_levels if word not in ("conservative", "bold")]
    word = names.get(scale, scale) if not called else called[0]
    words = [names.get(w, w) for w in open_levels] + [w for w in APART if w in maybe or w in called]
    if prompts < rules.few:
        return {"word": TOO_FEW, "words": words or [word], "alone": word}
    return {"word": word, "words": words or [word]}
