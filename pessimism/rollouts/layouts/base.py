"""What a layout is: how to tell the records of one project's writer, and the rows that one of them holds."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pessimism.messages import show
from pessimism.rollouts.log_probs import LogProbs

Record = Mapping[str, Any]


class Where(NamedTuple):
    """The file that a record is from, and its number there."""

    path: Path
    number: int = 0

    def unique(self) -> str:
        """Return what no other record has."""
        return f"{self.path}:{self.number}"

    def step(self, pattern: str) -> dict[str, int]:
        """Return the step that a path tells as the row has it: the number that a pattern finds last, if it does."""
        found = re.findall(pattern, self.path.as_posix())
        return {"step": int(found[-1])} if found else {}


class Layout(NamedTuple):
    """How a project's writer lays out a record.

    Attributes
    ----------
    name : str
        Name of the project.
    writer : str
        Its source file that writes such records.
    recognize : callable
        Whether a record is one of them; it may look at the keys, the kinds of values and the place of the file.
    rows : callable or None
        The rows that a record stands for, each with the columns below, and further ones under names of their own. It
        raises ``ValueError`` that says what is wrong with a record, or ``KeyError`` with a missing key. None where a
        record is its own row.
    prompt, reward, step : str
        Names of these columns of the rows; a step may be missing.
    group : tuple of str
        Columns that tell the groups of a step apart; by default the prompt does.
    run : callable or None
        From the path of a file to what tells its run from others, whose ids of groups start anew.
    advantage : str or None
        Column of the advantage that the trainer computed.
    log_probs : LogProbs or None
        Columns of the log-probabilities of the sampled tokens, where their names alone do not tell.
    versions : tuple of str
        Columns of the versions of the policy that sampled, oldest first, likewise.
    parts : callable or None
        From the rows of a record to the names of the columns whose sum is the reward, where those are not fixed.
    """

    name: str
    writer: str
    recognize: Callable[[Record, Where], bool]
    rows: Callable[[Record, Where], list[dict[str, Any]]] | None = None
    prompt: str = "prompt"
    reward: str = "reward"
    step: str = "step"
    group: tuple[str, ...] = ()
    run: Callable[[Path], str] | None = None
    advantage: str | None = None
    log_probs: LogProbs | None = None
    versions: tuple[str, ...] = ()
    parts: Callable[[list[dict[str, Any]]], tuple[str, ...]] | None = None


def above(folders: int) -> Callable[[Path], str]:
    """Return what tells a run by the folder so many above that of a file."""

    def run(path: Path) -> str:
        parents = path.absolute().parents
        return str(parents[min(folders, len(parents) - 1)])

    return run


def has_keys(record: Record, *keys: str) -> bool:
    """Return whether a record has all of some keys."""
    return all(key in record for key in keys)


def list_of(record: Record, key: str) -> list[Any]:
    """Return the list under a key; a ``KeyError`` or a ``ValueError`` says that there is none."""
    value = record[key]
    if not isinstance(value, list):
        raise ValueError(f"{key} is {show(value)}, not a list")
    return value


def spread(record: Record, names: Iterable[str]) -> list[dict[str, Any]]:
    """Return the rows of columns that stand in a record as lists, all of one length.

    Parameters
    ----------
    record : mapping
        The record.
    names : iterable of str
        The columns.

    Returns
    -------
    list of dict
        A row for each entry of the lists.

    Raises
    ------
    ValueError
        If one of them is no list, or longer than another.

    Examples
    --------
    >>> spread({"prompt": ["a", "b"], "reward": [0, 1]}, ["prompt", "reward"])
    [{'prompt': 'a', 'reward': 0}, {'prompt': 'b', 'reward': 1}]
    """
    columns = {name: list_of(record, name) for name in names}
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        first, *_ = lengths
        other = next(name for name in lengths if lengths[name] != lengths[first])
        raise ValueError(f"{first} has {lengths[first]} entries, but {other} has {lengths[other]}")
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def sampled(values: object, mask: list[Any], name: str) -> list[Any]:
    """Return the entries of a list at which a mask of the same length is set: those of the sampled tokens."""
    if not isinstance(values, list):
        raise ValueError(f"{name} is {show(values)}, not a list")
    if len(values) != len(mask):
        raise ValueError(f"{name} has {len(values)} entries, but the mask of tokens has {len(mask)}")
    return [value for value, on in zip(values, mask, strict=True) if on]


def number(value: object, name: str) -> float:
    """Return a number as a float that can be reckoned with."""
    if not isinstance(value, int | float):
        raise ValueError(f"{name} is {show(value)}, not a number")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{name} is {show(value)}, not a finite number") from None


def constant(values: list[Any]) -> Any:
    """Return the value that all entries of a list are, None where they differ or there are none."""
    return values[0] if values and all(value == values[0] for value in values) else None
