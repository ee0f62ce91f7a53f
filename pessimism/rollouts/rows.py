"""The rows of a rollout log that were read so far, and what makes a row well formed."""

from __future__ import annotations

import json
import math
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pessimism.literals import real, whole
from pessimism.messages import names as listed_names
from pessimism.messages import one_line, show
from pessimism.rollouts.log_probs import Facts, LogProbs, Touched, choose_log_probs, facts_of

_EXACT = 2.0**53  # beyond it a float is no longer one integer
_FEW = 5  # names that a message writes as an option takes them
_TICK = 16_384  # rows between two updates of the progress bar
_Array = np.ndarray[tuple[int], np.dtype[Any]]
_encode = json.JSONEncoder(
    ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=lambda value: value.tolist()
).encode


PROMPT_COLUMNS = ("prompt", "input")
REWARD_COLUMNS = ("reward", "score")
STEP_COLUMNS = ("step",)
COLUMNS = 10_000  # more than any log has
LENGTH_COLUMNS = ("length", "completion_length", "response_length")
_LIKE_STEP = ("step", "global_step", "iteration", "iter", "epoch")
_TRL = {"prompt", "completion", "advantage"}


class ForeignError(ValueError):
    """A file that is no rollout log; beside others in a folder it is passed over."""


class Rows:
    """The rows read so far, as packed arrays, and the one definition of a well-formed row (`add`)."""

    def __init__(self, skip_bad: bool, progress: Callable[[int], object], touched: Touched | None = None) -> None:
        self.steps, self.codes, self.rewards, self.lengths = array("q"), array("i"), array("d"), array("d")
        self.roundings = array("d")  # of sums
        self.facts = Facts(touched)
        self.groups = array("i")  # numbers of groups, empty as long as no file says which group a row is of
        self.vocabulary: dict[str, int] = {}
        self.group_vocabulary: dict[tuple[str, ...] | int, int] = {}
        self.taken: list[Columns] = []
        self.layouts: list[str] = []  # of the same files
        self.skip_bad, self.skipped, self.progress = skip_bad, 0, progress

    def took(self, columns: Columns, layout: str = "columns") -> None:
        """Remember which columns the rows of a file come from, and in which layout it has them."""
        self.taken.append(columns)
        self.layouts.append(layout)

    def add(self, record: Mapping[str, Any], columns: Columns) -> None:
        """Append one row; raise ValueError saying what is wrong with it, and append nothing, where it is malformed."""
        try:
            if len(columns.rewards) == 1:
                reward = _number(record[columns.rewards[0]], columns.rewards[0])
            else:
                parts = {name: record[name] for name in columns.rewards}
                reward = _total(parts)
            step = 0 if columns.step is None else _integer(record[columns.step], columns.step)
            length = None if columns.length is None else _length(record[columns.length], columns.length)
            facts = facts_of(record, columns.log_probs, columns.versions)
            group = columns.group and tuple(_text(record[name], name) for name in columns.group)
            code = self.code(record[columns.prompt], columns.prompt)
        except KeyError as error:
            raise ValueError(f"missing key {show(error.args[0])}") from None
        self.rewards.append(reward)
        if len(columns.rewards) > 1:
            given = [np.array([float(part)]) for part in parts.values() if not _null(part)]
            self.roundings.append(float(rounding(*given)[0]))
        self.steps.append(step)
        self.codes.append(code)
        if length is not None:
            self.lengths.append(length)
        self.facts.append(facts)
        if group:
            self.of_prompts(len(self.codes) - 1)
            self.groups.append(self._group(group))
        if len(self.codes) % _TICK == 0:
            self.progress(_TICK)

    def extend(
        self, steps: _Array, codes: _Array, rewards: _Array, lengths: _Array | None, roundings: _Array | None
    ) -> None:
        """Append rows known to be well formed, as arrays of int64, intc and float64."""
        self.steps.frombytes(steps.tobytes())
        self.codes.frombytes(codes.tobytes())
        self.rewards.frombytes(rewards.tobytes())
        if lengths is not None:
            self.lengths.frombytes(lengths.tobytes())
        if roundings is not None:
            self.roundings.frombytes(roundings.tobytes())
        self.facts.skip(len(rewards))
        self.progress(len(rewards))

    def code(self, prompt: object, name: str) -> int:
        """Return the number of a prompt, in order of first appearance."""
        text = prompt if isinstance(prompt, str) else _canonical(prompt, name)
        code = self.vocabulary.get(text)
        if code is None:
            try:
                text.encode()
            except UnicodeEncodeError:
                raise ValueError(f"{name} is not valid Unicode text") from None
            code = self.vocabulary[text] = len(self.vocabulary)
        return code

    def of_prompts(self, end: int) -> None:
        """Give each row before `end` that has no group the one of its prompt."""
        for code in self.codes[len(self.groups) : end]:
            self.groups.append(self._group(code))

    def _group(self, key: tuple[str, ...] | int) -> int:
        return self.group_vocabulary.setdefault(key, len(self.group_vocabulary))

    def bad(self, place: str, what: object, lines: int = 1) -> None:
        """Count a malformed row or, without `skip_bad`, raise."""
        if not self.skip_bad:
            raise ValueError(f"{place}: {what}") from None
        self.skipped += lines

    def frame(self, place: str, files: list[str]) -> pd.DataFrame:
        """Return the rows as the frame of :func:`~pessimism.rollouts.read.read_rollouts`."""
        if not self.codes:
            raise ValueError(f"{place}: no usable row, {self.skipped} malformed")
        prompt = pd.Categorical.from_codes(
            np.frombuffer(self.codes, dtype=np.intc), categories=pd.Index(list(self.vocabulary), dtype="str")
        )
        steps, rewards = np.frombuffer(self.steps, dtype=np.int64), np.frombuffer(self.rewards, dtype=np.float64)
        frame = pd.DataFrame({"step": steps, "prompt": prompt, "reward": rewards})
        if len(self.lengths) == len(self.codes):  # not where a file of several has none
            frame["length"] = np.frombuffer(self.lengths, dtype=np.float64)
        if len(self.roundings) == len(self.codes):
            frame["rounding"] = np.frombuffer(self.roundings, dtype=np.float64)
        frame = frame.assign(**self.facts.columns())
        if self.groups:
            self.of_prompts(len(self.codes))
            frame["group"] = np.frombuffer(self.groups, dtype=np.intc).astype(np.int64)
        frame.attrs.update(skipped=self.skipped, step_note=step_note(self.taken), files=files)
        if self.groups:
            frame.attrs["grouped"] = True  # its column `group` is one of ours
        return frame


def rounding(*parts: _Array) -> _Array:
    """Bound of the rounding of rewards that are sums of parts: what sums in another order, or of others, differ by.

    A part that has the many digits of a float32 was rounded as one, wherever it has been since.

    Parameters
    ----------
    *parts : ndarray, shape (N,)
        The parts, one at least.

    Returns
    -------
    ndarray, shape (N,)
        The bound for each row.

    Examples
    --------
    >>> bool(rounding(np.array([0.1]), np.array([0.2]))[0] < 1e-15)
    True
    >>> single = [np.array([x], dtype=np.float32).astype(float) for x in (0.1, 0.2)]
    >>> bool(3e-8 < rounding(*single)[0] < 1e-7)
    True
    """
    bound = np.zeros(len(parts[0]))
    for part in parts:
        with np.errstate(over="ignore"):
            near = np.abs(part.astype(np.float32) - part) <= 1e-14 * np.abs(part)  # written with 15 digits or more
            single = near & (np.round(part, 6) != part)
        bound += np.abs(part) * np.where(single, np.finfo(np.float32).eps, np.finfo(np.float64).eps)
    return bound * len(parts)


def _number(value: object, name: str) -> float:
    if type(value) is float and math.isfinite(value):  # nearly always
        return value
    if not isinstance(value, int | float | Decimal | np.number | np.bool_):
        raise ValueError(f"{name} is {show(value)}, not a number")
    try:
        number = float(value)
    except (OverflowError, TypeError):
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{name} is {show(value)}, not a finite number")
    return number


def _length(value: object, name: str) -> float:
    number = _number(value, name)
    if number < 1:
        raise ValueError(f"{name} is {show(value)}, not a number of tokens >= 1")
    return number


def _total(rewards: Mapping[str, Any]) -> float:
    """Return TRL's total reward: the sum, with weights of 1, of the functions that apply, which are not null."""
    given = [_number(value, name) for name, value in rewards.items() if not _null(value)]
    if not given:
        raise ValueError(f"every reward is null ({listed_names(rewards)})")
    return _number(sum(given), "the sum of rewards")


def _text(value: object, name: str) -> str:
    """Return an id as text: 7 and "7" are one, and so are equal lists."""
    if isinstance(value, str):
        return value
    return _canonical(value.item() if isinstance(value, np.generic) else value, name)


def _integer(value: object, name: str) -> int:
    number = value.item() if isinstance(value, np.number) else value
    if isinstance(value, str):
        try:
            number = whole(value)
        except ValueError:
            number = csv_value(value, True)
    if type(number) is float and number.is_integer() and abs(number) <= _EXACT:
        number = int(number)
    if type(number) is not int or not -(2**63) <= number < 2**63:
        raise ValueError(f"{name} is {show(value)}, not an integer")
    return number


def csv_value(text: str, numeric: bool) -> float | bool | str | None:
    """Return what a field of a CSV file says; an empty one says nothing."""
    if numeric:
        try:
            return real(text)
        except ValueError:
            return {"true": True, "false": False}.get(text.strip().lower(), text or None)
    return text or None


def _canonical(prompt: object, name: str) -> str:
    if _null(prompt):
        raise ValueError(f"{name} is null")
    if not isinstance(prompt, list | dict | tuple | int | float | np.ndarray | np.generic):
        raise ValueError(f"{name} is {show(prompt)}, neither text nor a list of messages")
    try:
        return _encode(prompt)
    except (AttributeError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{name} cannot be written as JSON ({one_line(error)})") from None


def _null(value: object) -> bool:
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value))


class Options(NamedTuple):
    """The columns that the caller asked for; None leaves the choice to the log."""

    prompt: str | None
    reward: str | None
    step: str | None
    length: str | Sequence[str] | None = None  # several: the first that is there, if one is
    log_probs: str | Sequence[LogProbs] | None = None  # several: the first that is there, if one is


class Columns(NamedTuple):
    """The columns to read; several rewards are summed."""

    prompt: str
    rewards: tuple[str, ...]
    step: str | None
    length: str | None = None
    like_step: str | None = None  # without a step column: one that looks like it
    group: tuple[str, ...] = ()  # what tells the groups of a step from each other; without it, the prompt
    advantage: str | None = None
    log_probs: LogProbs | None = None
    versions: tuple[str, ...] = ()  # of the policy that sampled, oldest first

    def names(self) -> list[str]:
        """Return each name that a row needs once."""
        sampled = filter(None, [*(self.log_probs or ()), *self.versions])
        optional = filter(None, [self.step, self.length])
        return list(dict.fromkeys([self.prompt, *self.rewards, *optional, *self.group, *sampled]))


def choose_columns(place: str, columns: Iterable[tuple[str, bool]], options: Options) -> Columns:
    """Say which column holds what; `columns` are pairs of a name and whether it may hold numbers."""
    columns = list(columns)
    names = [name for name, _ in columns]
    if len(names) > COLUMNS:
        raise ValueError(f"{place}: {len(names)} columns, more than the {COLUMNS} that a log may have")
    listed = f"columns found in {place}: {listed_names(names)}"

    def pick(what: str, given: str | None, defaults: tuple[str, ...]) -> str | None:
        if given is not None and given not in names:
            prompts = PROMPT_COLUMNS if options.prompt is None else (options.prompt,)
            log = what in ("step", "length") and any(name in names for name in prompts)
            raise (ValueError if log else ForeignError)(f"{what}_column {show(given)} is not a column; {listed}")
        return given if given is not None else next((name for name in defaults if name in names), None)

    prompt, step = pick("prompt", options.prompt, PROMPT_COLUMNS), pick("step", options.step, STEP_COLUMNS)
    named = options.length if isinstance(options.length, str) else None
    length = pick("length", named, () if named else tuple(options.length or ()))
    if options.reward is not None and options.reward not in names:
        rewards = [pick("reward", name.strip(), ()) for name in options.reward.split(",")]
    else:
        rewards = [pick("reward", options.reward, REWARD_COLUMNS) or _trl_reward(place, columns)]
    for what, chosen, defaults in ("prompt", prompt, PROMPT_COLUMNS), ("reward", rewards[0], REWARD_COLUMNS):
        if chosen is None:
            raise ForeignError(f"{what}_column is required: there is no {' or '.join(defaults)} column; {listed}")
    like = min((n for n in names if n.lower() in _LIKE_STEP), key=lambda n: _LIKE_STEP.index(n.lower()), default=None)
    sampled = choose_log_probs(names, options.log_probs, listed)
    found = Columns(str(prompt), tuple(map(str, rewards)), step, length, None if step else like)
    found = found._replace(log_probs=sampled[0], versions=sampled[1])
    for name in found.names():
        if names.count(name) > 1:
            raise ValueError(f"column {show(name)} appears {names.count(name)} times; {listed}")
    return found


def _joined(rewards: list[str]) -> str:
    return repr(",".join(rewards)) if len(rewards) <= _FEW else "several with commas between them"


def step_note(taken: list[Columns]) -> str | None:
    """Say so where files of a log had no step column, so that their steps were merged; None where all had one."""
    without = [columns for columns in taken if columns.step is None]
    if not without:
        return None
    where, what = ("", "all rows are one step")
    if len(without) < len(taken):
        where, what = f" in {len(without)} of {len(taken)} files", "their rows are all step 0"
    like = next((columns.like_step for columns in without if columns.like_step), None)
    hint = "" if like is None else f" (column {like!r} looks like one: step_column, or --step-column {like})"
    return f"no step column{where}: {what}{hint}"


def _trl_reward(place: str, columns: list[tuple[str, bool]]) -> str | None:
    """Return the only reward-function column of a TRL log, if it is one and has one."""
    rewards = [name for name, numeric in columns if numeric and name not in {*_TRL, *STEP_COLUMNS, *LENGTH_COLUMNS}]
    if not rewards or not _TRL.issubset(name for name, _ in columns):
        return None
    if len(rewards) > 1:
        raise ValueError(
            f"reward_column is required: {place} has one column per reward function ({listed_names(rewards)}); "
            f"name one, or {_joined(rewards)} for their sum"
        )
    return rewards[0]
