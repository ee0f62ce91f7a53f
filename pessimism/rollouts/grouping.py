"""What makes completions one group, and one completion of several rows: what a log says of it, and what it leaves open.

verl since 0.9 writes a row for each output of an agent's session, under the key SAMPLE_ROLLOUT_OUTPUT; the score of the
last output is that of the session (`verl/experimental/agent_loop`). Such rows are one completion here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pessimism.messages import counted
from pessimism.rollouts.log_probs import FACTS, joined_facts

_SESSION = re.compile(r"(.+)_(\d{1,9})_(\d{1,9})", re.DOTALL)


class Sessions(NamedTuple):
    """What uids say, by the number of the uid: their sample, the rollout of it, and the output of the rollout."""

    sample: NDArray[np.int64]
    rollout: NDArray[np.int64]
    output: NDArray[np.int64]


def sessions_of(uids: Iterable[str]) -> Sessions | None:
    """Read uids as SAMPLE_ROLLOUT_OUTPUT, None where one of them has another form.

    Parameters
    ----------
    uids : iterable of str
        The uids.

    Returns
    -------
    Sessions or None
        What they say, None where they say nothing of sessions.

    Examples
    --------
    >>> found = sessions_of(["a_0_0", "a_0_1", "b_1_0"])
    >>> [part.tolist() for part in found]
    [[0, 0, 1], [0, 0, 1], [0, 1, 0]]
    >>> sessions_of(["a", "a_1_0"]) is None
    True
    """
    parts = [_SESSION.fullmatch(uid) for uid in uids]
    found = [part for part in parts if part is not None]
    if not found or len(found) < len(parts):
        return None
    number: dict[str, int] = {}
    sample = [number.setdefault(part[1], len(number)) for part in found]
    return Sessions(np.array(sample), *(np.array([int(part[i]) for part in found]) for i in (2, 3)))


def one_a_session(log: pd.DataFrame, uids: Sequence[str]) -> tuple[pd.DataFrame, str | None]:
    """Make one row of those of each session: the first prompt, the reward of the last output, the tokens of all.

    Parameters
    ----------
    log : pandas.DataFrame
        Rows of a log, with the number of their uid in ``group``.
    uids : sequence of str
        The uids.

    Returns
    -------
    log : pandas.DataFrame
        The log with a row for each session; as it is where the uids have another form.
    note : str or None
        What is to be said of that.
    """
    found = sessions_of(uids)
    if found is None:
        return log, None
    uid = log["group"].to_numpy()
    log = log.assign(group=found.sample[uid])
    step, sample, rollout = log["step"].to_numpy(), found.sample[uid], found.rollout[uid]
    order = np.lexsort((found.output[uid], rollout, sample, step))
    same = np.all([np.diff(of[order]) == 0 for of in (step, sample, rollout)], axis=0)
    first = np.flatnonzero(np.append(True, ~same))
    if len(first) == len(log):
        return log, None
    last = np.append(first[1:], len(order)) - 1
    kept = log.iloc[order[last]].reset_index(drop=True)
    kept["prompt"] = log["prompt"].array[order[first]]
    if "length" in log:
        kept["length"] = np.add.reduceat(log["length"].to_numpy()[order], first)
    known = [name for name in FACTS if name in log]
    if known:
        kept[known] = joined_facts(log[known].iloc[order].reset_index(drop=True), first)
    reward = log["reward"].to_numpy()[order]
    differ = int((np.minimum.reduceat(reward, first) < np.maximum.reduceat(reward, first)).sum())
    rows, sessions = counted(len(log), "row"), counted(len(first), "session")
    note = f"{rows} are the outputs of {sessions} by their uid: one completion each"
    if differ:
        note += f"; in {differ} of them the outputs have different rewards, and that of the last one counts"
    return kept, note


def several_problems(log: pd.DataFrame, problem: NDArray[np.int32], name: str) -> str | None:
    """Say so where a column tells apart what groups by prompt take for one, None where it does not.

    Parameters
    ----------
    log : pandas.DataFrame
        Rows of a log, grouped by their prompts.
    problem : ndarray of int, shape (rows,)
        Code of each row's problem, -1 where it has none.
    name : str
        The column.

    Returns
    -------
    str or None
        The sentence, with the option that changes it.
    """
    known = problem >= 0
    if not known.all():
        return None
    groups = pd.DataFrame({"step": log["step"], "prompt": log["prompt"].cat.codes, "problem": problem})
    sizes = groups.groupby(["step", "prompt", "problem"]).size()
    apart = sizes.groupby(level=["step", "prompt"]).agg(["size", "min"])
    split = apart[(apart["size"] > 1) & (apart["min"] > 1)]
    if split.empty:  # one row each: a name of the row, not of its problem
        return None
    problems = int(split["size"].sum())
    return (
        f"{counted(len(split), 'group')} of one prompt {'has' if len(split) == 1 else 'have'} {problems} values of "
        f"column {name!r} between them, each on several completions: if these are different problems with one text, "
        f"--group-column {name} keeps them apart"
    )


def several_prompts(log: pd.DataFrame, names: Sequence[str], prompt: str) -> str | None:
    """Say so where groups that are known by their ids hold completions of several prompts, None where none does.

    Parameters
    ----------
    log : pandas.DataFrame
        Rows of a log, with the number of their group in ``group``.
    names : sequence of str
        The columns of the ids.
    prompt : str
        The column of the prompt.

    Returns
    -------
    str or None
        The sentence, with the option that changes it.

    Examples
    --------
    >>> log = pd.DataFrame({"step": 1, "prompt": pd.Categorical(["a", "b"]), "group": [0, 0]})
    >>> several_prompts(log, ["id"], "prompt")[:60]
    '1 of 1 groups by id has completions of several prompts: if t'
    """
    group, code = log["group"].to_numpy(), log["prompt"].cat.codes.to_numpy()
    some = np.zeros(int(group.max()) + 1, dtype=code.dtype)
    some[group] = code
    if (some[group] == code).all():  # at all steps together: nearly always, and at once
        return None
    found = pd.DataFrame({"step": log["step"], "group": group, "code": code}).groupby(["step", "group"])["code"]
    several = found.min() < found.max()
    count, by = int(several.sum()), " and ".join(names)
    if not count:
        return None
    return (
        f"{count} of {len(several)} groups by {by} {_has(count)} completions of several prompts: if these are "
        "different problems, as where ids start anew in each file, "
        f"--group-column {','.join([*names, prompt])} keeps them apart"
    )


def size_notes(sizes: NDArray[np.int64], by: str) -> list[str]:
    """Say what sizes of groups are suspicious: many of one, and multiples of the usual one.

    Parameters
    ----------
    sizes : ndarray of int, shape (groups,)
        Completions of each group.
    by : str
        What the groups are known by.

    Returns
    -------
    list of str
        A sentence for each.

    Examples
    --------
    >>> size_notes(np.array([4, 4, 4, 8]), "prompt")[0][:52]
    '1 of 4 groups has a multiple of the usual 4 completi'
    """
    count, notes = len(sizes), []
    single = int((sizes == 1).sum())
    if single * 2 >= count:
        notes.append(
            f"{single} of {count} groups {_has(single)} one completion, which has nothing to be compared with: is "
            f"the {by} what completions of one problem share? --group-column names what they do, --step-column "
            "the step"
        )
    elif single:
        notes.append(
            f"{single} of {count} groups {_has(single)} a single completion, which has nothing to be compared with: "
            "were others of it left out?"
        )
    values, times = np.unique(sizes[sizes > 1], return_counts=True)
    if not len(values):
        return notes
    usual = int(values[np.argmax(times)])
    merged = int(((sizes > usual) & (sizes % usual == 0)).sum())
    if merged:
        notes.append(
            f"{merged} of {count} groups {_has(merged)} a multiple of the usual {usual} completions, up to "
            f"{int(sizes.max())}: a {by} that was sampled more than once at a step stands for several groups, which "
            "--group-column keeps apart"
        )
    return notes


def distribution(sizes: NDArray[np.int64], most: int = 4) -> str:
    """Say how many groups have how many completions, the most frequent first.

    Parameters
    ----------
    sizes : ndarray of int, shape (groups,)
        Completions of each group.
    most : int, default 4
        Sizes that are named one by one.

    Returns
    -------
    str
        One line.

    Examples
    --------
    >>> distribution(np.array([4, 4, 4, 8]))
    '3 of 4, 1 of 8'
    """
    values, times = np.unique(sizes, return_counts=True)
    order = np.lexsort((values, -times))
    told = [f"{times[i]} of {values[i]}" for i in order[:most]]
    left = int(times[order[most:]].sum())
    return ", ".join(told) + (
        f", {left} of {len(values) - most} other sizes ({values[0]} to {values[-1]})" if left else ""
    )


def taken_for(columns: Mapping[str, Any]) -> str:
    """Say which columns were taken for what.

    Parameters
    ----------
    columns : mapping of str to str
        Name of the column for each kind of what is read, None where there is none.

    Returns
    -------
    str
        One line.

    Examples
    --------
    >>> taken_for({"prompt": "input", "reward": "0.1 format_reward", "step": None})
    'prompt: input, reward: 0.1 format_reward'
    """
    return ", ".join(f"{what}: {name}" for what, name in columns.items() if name)


def _has(count: int) -> str:
    return "has" if count == 1 else "have"
