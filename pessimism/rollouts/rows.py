"""The rows of a rollout log that were read so far, and what makes a row well formed."""

from __future__ import annotations

import json
import math
import re
from array import array
from collections.abc import Callable, Container, Iterable, Mapping, Sequence, Set
from contextlib import suppress
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pessimism.literals import real, whole
from pessimism.messages import cut, one_line, plain, show
from pessimism.messages import names as listed_names
from pessimism.rollouts.grouping import one_a_session, several_problems, several_prompts
from pessimism.rollouts.log_probs import Facts, LogProbs, Touched, choose_log_probs, facts_of
from pessimism.rollouts.options import LogOptions, several

_EXACT = 2.0**53  # beyond it a float is no longer one integer
_SHORT = 256  # characters of what tells problems apart
_FEW = 5  # names that a message writes as an option takes them
_TICK = 16_384  # rows between two updates of the progress bar
_Array = np.ndarray[tuple[int], np.dtype[Any]]
_encode = json.JSONEncoder(
    ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=lambda value: value.tolist()
).encode


PROMPT_COLUMNS = ("prompt", "input")
REWARD_COLUMNS = ("reward", "score")
STEP_COLUMNS = ("step", "global_step")
ADVANTAGE_COLUMNS = ("advantage", "advantages")
COLUMNS = 10_000  # more than any log has
LENGTH_COLUMNS = ("length", "completion_length", "response_length")
_LIKE_STEP = ("step", "global_step", "iteration", "iter", "epoch")
_TRL = {"prompt", "completion", "advantage"}
_VERL = {"input", "output", "uid"}
_LIKE_REWARD = re.compile(r"reward|score", re.IGNORECASE)
# What logs call the number or text that tells problems apart.
ID_COLUMNS = (
    *("uid", "group_id", "group_index", "group_idx", "prompt_id", "prompt_idx", "prompt_index", "problem_id"),
    *("question_id", "example_id", "task_id", "id"),
)


class ForeignError(ValueError):
    """A file that is no rollout log; beside others in a folder it is passed over, for a reason in a few words."""

    def __init__(self, message: str, reason: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason


class Rows:
    """The rows read so far, as packed arrays, and the one definition of a well-formed row (`add`)."""

    def __init__(self, skip_bad: bool, progress: Callable[[int], object], touched: Touched | None = None) -> None:
        self.steps, self.codes, self.rewards, self.lengths = array("q"), array("i"), array("d"), array("d")
        self.roundings = array("d")  # of sums
        self.facts = Facts(touched)
        self.groups = array("i")  # numbers of groups, empty as long as no file says which group a row is of
        self.advantages, self.baselines = array("d"), array("d")
        self.problems = array("i")  # codes of what may tell problems of one prompt apart
        self.vocabulary: dict[str, int] = {}
        self.group_vocabulary: dict[tuple[str, ...] | int, int] = {}
        self.problem_vocabulary: dict[str, int] = {}
        self.unscored = 0  # completions without a reward
        self.taken: list[Columns] = []
        self.layouts: list[str] = []  # of the same files
        self.run = ""  # what tells ids of groups of this file from those of other runs
        self.skip_bad, self.skipped, self.progress = skip_bad, 0, progress

    def took(self, columns: Columns, layout: str = "columns", run: str = "") -> None:
        """Remember which columns the rows of a file come from, their layout, and of which run they are."""
        self.taken.append(columns)
        self.layouts.append(layout)
        self.run = run

    def took_nothing(self) -> None:
        """Remember that a file has no record, and so no columns."""
        self.layouts.append("columns")
        self.run = ""

    def add(self, record: Mapping[str, Any], columns: Columns) -> None:
        """Append one row; raise ValueError saying what is wrong with it, and append nothing, where it is malformed."""
        record = columns.flat(record)
        bound = None
        try:
            if columns.abstains and all(_null(record[name]) for name in columns.rewards):
                self.unscored += 1
                return
            if len(columns.rewards) == 1 and not columns.weights:
                reward = _number(record[columns.rewards[0]], columns.rewards[0])
            else:
                reward, bound = _total({name: record[name] for name in columns.rewards}, columns.weights)
            step = 0 if columns.step is None else _integer(record[columns.step], columns.step)
            length = None if columns.length is None else _length(record[columns.length], columns.length)
            facts = facts_of(record, *columns.known_of(record))
            if columns.rounding is not None:
                bound = _number(record[columns.rounding], columns.rounding)
            advantage = None if columns.advantage is None else _advantage(record, columns.advantage, columns.strict)
            baseline = None if columns.baseline is None else _number(record[columns.baseline], columns.baseline)
            group = None if not columns.group else self.group_code([record[name] for name in columns.group], columns)
            code = self.code(record[columns.prompt], columns.prompt)
        except KeyError as error:
            raise ValueError(columns.missing(error.args[0], record)) from None
        if group is not None:
            self.of_prompts(len(self.codes))
        self._fill(len(self.codes), rounding=bound is not None, advantage=advantage is not None)
        self.rewards.append(reward)
        self.steps.append(step)
        self.codes.append(code)
        self.facts.append(facts)
        problem = None if columns.problem is None else self.problem_code(record.get(columns.problem))
        found = (length, bound, group, advantage, baseline, problem)
        for values, value in zip(self._optional(), found, strict=True):
            if value is not None:
                values.append(value)
        if len(self.codes) % _TICK == 0:
            self.progress(_TICK)

    def take(self, record: Mapping[str, Any], columns: Columns, place: str) -> None:
        """Append one row, or do with it what is done with malformed ones."""
        try:
            self.add(record, columns)
        except ValueError as error:
            self.bad(place, error)

    def extend(
        self,
        steps: _Array,
        codes: _Array,
        rewards: _Array,
        *,
        lengths: _Array | None = None,
        roundings: _Array | None = None,
        groups: _Array | None = None,
        advantages: _Array | None = None,
        baselines: _Array | None = None,
        problems: _Array | None = None,
    ) -> None:
        """Append rows known to be well formed, as arrays of int64, intc and float64."""
        if groups is not None:
            self.of_prompts(len(self.codes))
        self._fill(len(self.codes), rounding=roundings is not None, advantage=advantages is not None)
        for values, more in (
            (self.steps, steps),
            (self.codes, codes),
            (self.rewards, rewards),
            (self.lengths, lengths),
            (self.roundings, roundings),
            (self.groups, groups),
            (self.advantages, advantages),
            (self.baselines, baselines),
            (self.problems, problems),
        ):
            if more is not None:
                values.frombytes(more.tobytes())
        self.facts.skip(len(rewards))
        self.progress(len(rewards))

    def group_code(self, values: Sequence[object], columns: Columns) -> int:
        """Return the number of a group, known by the values of its columns."""
        return self._group(tuple(_text(value, name) for value, name in zip(values, columns.group, strict=True)))

    def problem_code(self, value: object) -> int:
        """Return the number of what may tell problems apart; whatever is neither text nor a number says nothing."""
        known = isinstance(value, str | int | np.integer)
        return _coded(self.problem_vocabulary, str(value)[:_SHORT], "") if known else -1

    def code(self, prompt: object, name: str) -> int:
        """Return the number of a prompt, in order of first appearance."""
        return _coded(self.vocabulary, prompt if isinstance(prompt, str) else _canonical(prompt, name), name)

    def mark(self) -> list[int]:
        """Return how much has been read so far, for `take_back`."""
        return [len(values) for values in self._packed()]

    def take_back(self, mark: list[int]) -> None:
        """Remove the rows that were read since a mark."""
        for values, count in zip(self._packed(), mark, strict=True):
            del values[count:]
        if not self.facts.values:
            self.facts.unknown = len(self.codes)

    def _packed(self) -> list[array[Any]]:
        return [self.steps, self.codes, self.rewards, *self._optional(), self.facts.values]

    def _optional(self) -> tuple[array[Any], ...]:
        return (self.lengths, self.roundings, self.groups, self.advantages, self.baselines, self.problems)

    def _fill(self, end: int, *, rounding: bool, advantage: bool) -> None:
        """Give rows before `end` what those of a file without have: a reward that is no sum no rounding, and so on."""
        for values, value, wanted in (self.roundings, 0.0, rounding), (self.advantages, math.nan, advantage):
            if wanted and len(values) < end:
                values.extend([value] * (end - len(values)))

    def of_prompts(self, end: int) -> None:
        """Give each row before `end` that has no group the one of its prompt."""
        for code in self.codes[len(self.groups) : end]:
            self.groups.append(self._group(code))

    def _group(self, key: tuple[str, ...] | int) -> int:
        key = (self.run, *key) if self.run and isinstance(key, tuple) else key
        return self.group_vocabulary.setdefault(key, len(self.group_vocabulary))

    def bad(self, place: str, what: object, lines: int = 1) -> None:
        """Count a malformed row or, without `skip_bad`, raise."""
        if not self.skip_bad:
            raise ValueError(f"{place}: {what}") from None
        self.skipped += lines

    def frame(self, place: str, files: list[str]) -> pd.DataFrame:
        """Return the rows as the frame of :func:`~pessimism.rollouts.read.read_rollouts`."""
        if not self.codes:
            without = f", {self.unscored} without a reward" if self.unscored else ""
            if not (self.skipped or without):
                what = "it is" if not files else "the file is" if len(files) == 1 else "the files are"
                raise ValueError(f"{place}: {what} empty, without a row")
            raise ValueError(f"{place}: no usable row, {self.skipped} malformed{without}")
        prompt = _categories(self.codes, self.vocabulary)
        steps, rewards = np.frombuffer(self.steps, dtype=np.int64), np.frombuffer(self.rewards, dtype=np.float64)
        frame = pd.DataFrame({"step": steps, "prompt": prompt, "reward": rewards})
        self._fill(len(self.codes), rounding=bool(self.roundings), advantage=bool(self.advantages))
        others = {"length": self.lengths, "rounding": self.roundings}
        others |= {"advantage": self.advantages, "baseline": self.baselines}
        for name, values in others.items():
            if len(values) == len(self.codes):  # not where a file of several has none
                frame[name] = np.frombuffer(values, dtype=np.float64)
        frame = frame.assign(**self.facts.columns())
        notes = []
        if self.groups:
            self.of_prompts(len(self.codes))
            frame["group"] = np.frombuffer(self.groups, dtype=np.intc).astype(np.int64)
            if all(columns.group == ("uid",) for columns in self.taken):
                frame, note = one_a_session(frame, [key[-1] for key in self.group_vocabulary if isinstance(key, tuple)])
                notes.append(note)
            known = next(columns for columns in self.taken if columns.group)
            if known.prompt not in known.group:
                notes.append(several_prompts(frame, known.group, known.prompt))
        elif len(self.problems) == len(self.codes):
            name = next(columns.problem for columns in self.taken if columns.problem)
            notes.append(several_problems(frame, np.frombuffer(self.problems, dtype=np.intc), name))
        notes += [self._of_rewards()]
        frame.attrs.update(
            skipped=self.skipped,
            step_note=step_note(self.taken),
            files=files,
            columns=_told(self.taken),
            unscored=self.unscored,
            notes=[note for note in notes if note],
        )
        if self.groups:
            frame.attrs["grouped"] = True  # its column `group` is one of ours
        return frame

    def _of_rewards(self) -> str | None:
        """Say which columns look like rewards, too, and were not read."""
        over = list(dict.fromkeys(name for columns in self.taken for name in columns.passed_over))
        if not over:
            return None
        read = ", ".join(dict.fromkeys(name for columns in self.taken for name in columns.rewards))
        looks, were = ("looks", "was") if len(over) == 1 else ("look", "were")
        sum_of = f"{plain(cut(read))}:1,{plain(cut(over[0]))}:0.5"
        return (
            f"{listed_names(over)} {looks} like a reward, too, and {were} passed over for {plain(read)}: "
            f"--reward-column reads another, or a sum as in {sum_of}"
        )


def _categories(codes: array[int], vocabulary: dict[str, int]) -> pd.Categorical:
    texts = pd.Index(list(vocabulary), dtype="str")
    return pd.Categorical.from_codes(np.frombuffer(codes, dtype=np.intc), categories=texts)


def _told(taken: list[Columns]) -> dict[str, str]:
    """What each kind of column was read from, as files have it; those of several ways with "or" between them."""
    found: dict[str, dict[str, None]] = {}
    for columns in taken:
        weights = columns.weights or [1.0] * len(columns.rewards)
        terms = [n if w == 1.0 else f"{w:g} {n}" for n, w in zip(columns.rewards, weights, strict=True)]
        said: dict[str, str | None] = {
            "prompt": columns.prompt,
            "reward": " + ".join(terms),
            "group": " and ".join(columns.group),
        }
        said |= {"step": columns.step, "length": columns.length, "advantage": columns.advantage}
        said |= {"baseline": columns.baseline}
        if columns.log_probs is not None:
            behavior, policy, _ = columns.log_probs
            said |= {"log-probabilities of the behavior": behavior, "of the policy": policy}
        said |= {"version": " and ".join(columns.versions)}
        for what, name in said.items():
            if name:
                found.setdefault(what, {})[name] = None
    return {what: " or ".join(names) for what, names in found.items()}


def _coded(vocabulary: dict[str, int], text: str, name: str) -> int:
    code = vocabulary.get(text)
    if code is None:
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError(f"{name} is not valid Unicode text") from None
        code = vocabulary[text] = len(vocabulary)
    return code


def rounding(*parts: _Array, weights: Sequence[float] = ()) -> _Array:
    """Bound of the rounding of rewards that are sums of parts: what sums in another order, or of others, differ by.

    A part that has the many digits of a float32 was rounded as one, wherever it has been since.

    Parameters
    ----------
    *parts : ndarray, shape (N,)
        The parts, one at least.
    weights : sequence of float, optional
        What each is multiplied by before the sum; 1 by default.

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
    for part, weight in zip(parts, weights or [1.0] * len(parts), strict=True):
        with np.errstate(over="ignore"):
            near = np.abs(part.astype(np.float32) - part) <= 1e-14 * np.abs(part)  # written with 15 digits or more
            single = near & (np.round(part, 6) != part)
        bound += np.abs(weight * part) * np.where(single, np.finfo(np.float32).eps, np.finfo(np.float64).eps)
    return bound * len(parts)


def _number(value: object, name: str) -> float:
    if type(value) is float and math.isfinite(value):  # nearly always
        return value
    if not isinstance(value, int | float | Decimal | np.number | np.bool_):
        raise ValueError(_no_number(value, name))
    try:
        number = float(value)
    except (OverflowError, TypeError):
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{name} is {show(value)}, not a finite number")
    return number


def _no_number(value: object, name: str) -> str:
    """Say what stands in the place of a number; of a text that looks like one, what to do about it."""
    if isinstance(value, str):
        with suppress(ValueError):
            real(value)
            return (
                f"{name} is the text {show(value)}, not a number: write it without quotes, or give its column a "
                "numeric type"
            )
    return f"{name} is {show(value)}, not a number"


def _length(value: object, name: str) -> float:
    number = _number(value, name)
    if number < 1:
        raise ValueError(f"{name} is {show(value)}, not a number of tokens >= 1")
    return number


def _total(rewards: Mapping[str, Any], weights: Sequence[float]) -> tuple[float, float]:
    """Return TRL's total reward and its rounding: the weighted sum of the functions that apply, which are not null."""
    pairs = zip(rewards.items(), weights or [1.0] * len(rewards), strict=True)
    given = [(_number(value, name), weight) for (name, value), weight in pairs if not _null(value)]
    if not given:
        raise ValueError(f"every reward is null ({listed_names(rewards)})")
    total = _number(sum(weight * value for value, weight in given), "the sum of rewards")
    parts = [np.array([value]) for value, _ in given]
    return total, float(rounding(*parts, weights=[weight for _, weight in given])[0])


def _advantage(record: Mapping[str, Any], name: str, strict: bool) -> float:
    """An advantage; nan where it is no number and nobody asked for it."""
    if strict:
        return _number(record[name], name)
    try:
        return _number(record.get(name), name)
    except ValueError:
        return math.nan


def _text(value: object, name: str) -> str:
    """Return an id as text: 7, 7.0 as a table with a null has it, and "7" are one, and so are equal lists."""
    if isinstance(value, str):
        return value
    value = value.item() if isinstance(value, np.generic) else value
    return _canonical(int(value) if isinstance(value, float) and value.is_integer() else value, name)


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
        text = _encode(prompt)
        return _encode(_without_nulls(prompt)) if ":null" in text else text
    except (AttributeError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{name} cannot be written as JSON ({one_line(error)})") from None


def _without_nulls(value: Any) -> Any:
    """Return a value without keys that hold null: a table gives every object all the keys that one of them has."""
    if isinstance(value, Mapping):
        return {key: _without_nulls(one) for key, one in value.items() if one is not None}
    if isinstance(value, list | tuple):
        return [_without_nulls(one) for one in value]
    if isinstance(value, np.ndarray) and value.dtype == object:
        return [_without_nulls(one) for one in value.tolist()]
    return value


def _null(value: object) -> bool:
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value))


class Columns(NamedTuple):
    """The columns to read; several rewards are summed. A name with dots may reach into an object."""

    prompt: str
    rewards: tuple[str, ...]
    step: str | None
    length: str | None = None
    like_step: str | None = None  # without a step column: one that looks like it
    weights: tuple[float, ...] = ()  # of the rewards; without them each has 1
    group: tuple[str, ...] = ()  # what says which rows belong together, in place of the prompt
    advantage: str | None = None
    baseline: str | None = None
    log_probs: LogProbs | None = None
    versions: tuple[str, ...] = ()  # of the policy that sampled, oldest first
    rounding: str | None = None  # of a frame that was read before
    problem: str | None = None  # a column that may tell problems of one prompt apart, which is not asked for
    strict: bool = False  # whether the advantages are asked for, and have to be numbers
    asked: bool = False  # whether the log-probabilities are asked for by name, so that no row may lack them
    abstains: bool = False  # whether a reward that is null says, as in TRL, that the completion has none
    nested: tuple[tuple[str, tuple[str, ...]], ...] = ()  # names that reach into objects, and the way to them
    passed_over: tuple[str, ...] = ()  # columns that look like rewards, too

    def names(self) -> list[str]:
        """Return each name once."""
        others = [self.step, self.length, self.advantage, self.baseline, self.rounding, self.problem]
        others += [*(self.log_probs or ()), *self.versions]
        return list(dict.fromkeys([self.prompt, *self.rewards, *self.group, *filter(None, others)]))

    def tops(self) -> list[str]:
        """Return the columns of a table that hold what is read, each once, that of the prompt first."""
        ways = dict(self.nested)
        return list(dict.fromkeys(ways.get(name, (name,))[0] for name in self.names()))

    def by_row(self) -> bool:
        """Return whether lists of tokens or versions are read, which arrays of a batch do not hold."""
        return self.log_probs is not None or bool(self.versions)

    def numbers(self) -> set[str]:
        """Return the names of columns of numbers."""
        others = [self.length, self.advantage, self.baseline, self.rounding, *(self.log_probs or ()), *self.versions]
        return {*self.rewards, *(name for name in others if name is not None)}

    def known_of(self, record: Mapping[str, Any]) -> tuple[LogProbs | None, tuple[str, ...]]:
        """Return the columns of log-probabilities and versions that a row has; those asked for, it must have."""
        found = self.log_probs
        if found is not None and not self.asked:
            behavior, policy, mask = found
            found = LogProbs(behavior, policy if policy in record else None, mask) if behavior in record else None
        return found, tuple(name for name in self.versions if name in record)

    def flat(self, record: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a record in which the names that reach into objects are keys."""
        if not self.nested:
            return record
        found = dict(record)
        for name, way in self.nested:
            value: Any = record
            for key in way:
                value = value[key] if isinstance(value, Mapping) and key in value else MISSING
            if value is not MISSING:
                found[name] = value
        return found

    def missing(self, name: str, record: Mapping[str, Any]) -> str:
        """Say that a record has no such key; of one inside an object, which keys there are."""
        at, where = dict(self.nested).get(name, (name,)), ""
        value: Any = record
        for depth, key in enumerate(at):
            if not isinstance(value, Mapping):
                text = isinstance(value, str)
                said = f"{'the text ' if text else ''}{show(value)}, not an object with keys"
                said += ": give what it says columns of their own" if text else ""
                return f"no {show(name)}: {plain(cut('.'.join(at[:depth])))} is {said}"
            elif key in value:
                value = value[key]
                continue
            elif depth:
                inside = f"the keys {listed_names(list(map(str, value)))}" if value else "no keys"
                where = f": {plain(cut('.'.join(at[:depth])))} has {inside}"
            break
        return f"missing key {show(name)}{where}"


MISSING = object()  # in the place of a key that is not there


def way_to(name: str, names: Container[str]) -> tuple[str, ...] | None:
    """The way that a name with dots takes into the object of a column; None where there is no such column.

    Parameters
    ----------
    name : str
        The name.
    names : container of str
        Columns that there are.

    Returns
    -------
    tuple of str or None
        The column, and the keys in it from the outside in.

    Examples
    --------
    >>> way_to("extra_info.score", {"extra_info"}), way_to("a.b.c", {"a.b"}), way_to("b.c", {"a"})
    (('extra_info', 'score'), ('a.b', 'c'), None)
    """
    parts = name.split(".")
    for count in range(len(parts) - 1, 0, -1):
        top = ".".join(parts[:count])
        if top in names:
            return (top, *parts[count:])
    return None


def choose_columns(
    place: str, columns: Iterable[tuple[str, bool]], options: LogOptions, inside: Iterable[str] = ()
) -> Columns:
    """Say which column holds what; `columns` are pairs of a name and whether it may hold numbers.

    The names `inside`, with dots, are those of numbers in objects, to be offered where there is no reward.
    """
    columns = list(columns)
    names = [name for name, _ in columns]
    if len(names) > COLUMNS:
        raise ValueError(f"{place}: {len(names)} columns, more than the {COLUMNS} that a log may have")
    listed, known = f"columns found in {place}: {listed_names(names)}", set(names)
    nested: dict[str, tuple[str, ...]] = {}

    def there(name: str) -> bool:
        if name in known:
            return True
        way = way_to(name, known)
        if way is not None:
            nested[name] = way
        return way is not None

    def pick(what: str, given: str | None, defaults: tuple[str, ...]) -> str | None:
        if given is not None and not there(given):
            prompts = PROMPT_COLUMNS if options.prompt_column is None else (options.prompt_column,)
            log = what not in ("prompt", "reward") and any(name in known for name in prompts)
            said = f"{what}_column {show(given)} is not a column; {listed}"
            raise ValueError(said) if log else ForeignError(said, f"no column {plain(cut(given))}")
        return given if given is not None else next((name for name in defaults if there(name)), None)

    numeric = {name for name, number in columns if number}
    prompt = pick("prompt", options.prompt_column, PROMPT_COLUMNS)
    step = pick("step", options.step_column, STEP_COLUMNS)
    lengths = several(options.length_column)
    length = pick("length", lengths[0] if isinstance(options.length_column, str) else None, lengths)
    weights = options.rewards(known)
    if weights is None:
        reward = _own_reward(place, columns)
        weights = {} if reward is None else {reward: 1.0}
    rewards = [str(pick("reward", name, ())) for name in weights]
    for what, chosen, defaults in ("prompt", prompt, PROMPT_COLUMNS), ("reward", rewards, REWARD_COLUMNS):
        if not chosen:
            said = f"{what}_column is required: there is no {' or '.join(defaults)} column; {listed}"
            offered = sorted(inside, key=lambda name: not _LIKE_REWARD.search(name)) if what == "reward" else []
            said += f"; numbers inside them: {listed_names(offered)}" if offered else ""
            raise ForeignError(said, f"no column of a {what}")
    asked = several(options.group_column) or (("uid",) if known >= _VERL else ())
    group = tuple(str(pick("group", name, ())) for name in asked)
    logged = tuple(name for name in ADVANTAGE_COLUMNS if name in numeric and name not in rewards)
    advantage = pick("advantage", options.advantage_column, logged)
    baseline = pick("baseline", options.baseline_column, ())
    like = min((n for n in names if n.lower() in _LIKE_STEP), key=lambda n: _LIKE_STEP.index(n.lower()), default=None)
    asked_for = options.log_prob_columns
    for name in several(asked_for) if isinstance(asked_for, str) else ():
        there(name)
    sampled = choose_log_probs([*names, *nested], asked_for, listed)
    taken = {prompt, step, length, advantage, baseline, *rewards, *group}
    found = Columns(
        str(prompt),
        tuple(rewards),
        step,
        length,
        None if step else like,
        weights=() if set(weights.values()) <= {1.0} else tuple(weights.values()),
        group=group,
        advantage=advantage,
        baseline=baseline,
        log_probs=sampled[0],
        versions=sampled[1],
        asked=isinstance(asked_for, str),
        problem=next((name for name in ID_COLUMNS if name in known and name not in taken), None) if not group else None,
        strict=options.advantage_column is not None,
        abstains=known >= _TRL,
        passed_over=tuple(n for n in names if n in numeric and n not in taken and _LIKE_REWARD.search(n)),
    )
    found = found._replace(nested=tuple((name, nested[name]) for name in found.names() if name in nested))
    for name in found.names():
        if names.count(name) > 1:
            raise ValueError(f"column {show(name)} appears {names.count(name)} times; {listed}")
    return found


def read_before(columns: Columns, attrs: Mapping[Any, Any], names: Set[str]) -> Columns:
    """Columns of a frame that was read before, with what that has of its own where no other column is asked for."""
    own = columns.prompt == "prompt" and columns.rewards == ("reward",) and not columns.weights
    if not own or "columns" not in attrs:
        return columns
    return columns._replace(
        group=columns.group or (("group",) if attrs.get("grouped") and "group" in names else ()),
        rounding="rounding" if "rounding" in names else None,
        baseline=columns.baseline or ("baseline" if attrs.get("used") == "baseline" and "baseline" in names else None),
        strict=columns.strict or attrs.get("used") == "advantage",
    )


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


def _own_reward(place: str, columns: list[tuple[str, bool]]) -> str | None:
    """Return the column of the reward that a log says itself, None where there is none.

    TRL has a column for each reward function beside whatever functions log of their own, which may be called `score`.
    """
    names = [name for name, _ in columns]
    trl = _TRL.issubset(names)
    usual = next((name for name in REWARD_COLUMNS if name in names), None)
    if usual is not None and not (trl and usual != REWARD_COLUMNS[0]):
        return usual
    apart = {*_TRL, *STEP_COLUMNS, *LENGTH_COLUMNS}
    numeric = [name for name, number in columns if number and name not in apart]
    rewards = [name for name in numeric if name not in REWARD_COLUMNS and "reward" in name.lower()]
    if usual is not None:
        return rewards[0] if len(rewards) == 1 else usual
    if not numeric or not trl:
        return None
    if len(numeric) > 1:
        raise ValueError(
            f"reward_column is required: {place} has one column per reward function ({listed_names(numeric)}); "
            f"name one, or {_joined(rewards if len(rewards) > 1 else numeric)} for their sum"
        )
    return numeric[0]
