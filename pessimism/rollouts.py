"""Rollout logs, as trainers write them, to one tidy frame: which prompt, at which step, got which reward.

Files are streamed and prompts factorised on the fly: memory holds every distinct prompt once, and 20 bytes a row.
Columnar sources (parquet, frames) are taken a batch at a time as arrays; a batch with anything odd in it goes through
the row-by-row route of JSONL and CSV, which alone decides what is malformed and says so.
"""

import codecs
import csv
import json
import math
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from decimal import Decimal
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

PROMPT_COLUMNS = ("prompt", "input")
REWARD_COLUMNS = ("reward", "score")
STEP_COLUMNS = ("step",)
BATCH = 16_384
_Array = np.ndarray[tuple[int], np.dtype[Any]]
_TRL = {"prompt", "completion", "advantage"}
_JSON: dict[str, Any] = {"ensure_ascii": False, "sort_keys": True, "separators": (",", ":")}
_encode = json.JSONEncoder(**_JSON, default=lambda value: value.tolist()).encode


def read_rollouts(
    source: pd.DataFrame | str | PathLike[str],
    *,
    prompt_column: str | None = None,
    reward_column: str | None = None,
    step_column: str | None = None,
    skip_bad: bool = False,
) -> pd.DataFrame:
    """Rollout logs in, one row per completion out: its step, its prompt, its reward.

    Every trainer logs its completions in its own layout, and a study of the rewards needs the same three columns of all
    of them. TRL's completions parquet, verl's rollout JSONL and plain CSV, JSONL or parquet are read alike.

    Parameters
    ----------
    source : a frame already loaded, a file (`.parquet`, `.jsonl`, `.ndjson`, `.csv`), or a folder, of which every
        file with one of these suffixes is read in natural order (`2.jsonl` before `10.jsonl`), hidden files left out.
    prompt_column : default `prompt`, else `input`. Conversations (lists of messages) become canonical JSON.
    reward_column : default `reward`, else `score`, else the only reward-function column of a TRL log. Several names
        joined by commas are summed with TRL's default weights of 1; there a null means, as in TRL, that the function
        does not apply to this row, and a row is malformed where none applies.
    step_column : default `step`; without such a column every row is step 0.
    skip_bad : count malformed rows instead of stopping at the first one.

    Returns
    -------
    pandas.DataFrame
        Columns step (int64), prompt (categorical, in order of first appearance) and reward (float64, in the log's
        units). `attrs["skipped"]` counts the malformed lines left out, `attrs["files"]` lists the files read. Blank
        lines are no rows; an open quote in a CSV file counts as many lines as it swallows.

    Raises
    ------
    ValueError
        No such file, unknown suffix, empty folder, no usable row, a column neither given nor found. Without
        `skip_bad` also a malformed row (bad JSON, missing key, wrong number of fields, a reward that is not a finite
        number, a null prompt, a step that is not an integer), as `path:line: what is wrong` with the line on which
        the row starts; parquet files and frames have `row N` there, counted from 0.

    Examples
    --------
    >>> log = read_rollouts("examples/trl_completions")
    >>> len(log), log["prompt"].nunique(), log.attrs["skipped"]
    (3072, 192, 0)
    >>> log.groupby("step")["reward"].mean().round(3).to_dict()
    {16: 0.46, 32: 0.421, 48: 0.433}
    """
    options = _Options(prompt_column, reward_column, step_column)
    files: list[str] = []
    with tqdm(desc="reading rollouts", unit=" rows", unit_scale=True, delay=2, disable=None, leave=False) as bar:
        rows = _Rows(skip_bad, bar.update)
        if isinstance(source, pd.DataFrame):
            _read_frame(source, options, rows)
        else:
            for path in _files(Path(source)):
                files.append(str(path))
                try:
                    _READERS[path.suffix.lower()](path, options, rows)
                except OSError as error:
                    raise ValueError(f"{path}: cannot be read ({_one_line(error)})") from None
    return rows.frame("the frame" if isinstance(source, pd.DataFrame) else str(source), files)


class _Options(NamedTuple):
    prompt: str | None
    reward: str | None
    step: str | None


class _Columns(NamedTuple):
    prompt: str
    rewards: tuple[str, ...]
    step: str | None

    def names(self) -> list[str]:
        return list(dict.fromkeys([self.prompt, *self.rewards, *([self.step] if self.step else [])]))


class _Rows:
    """The rows read so far, as packed arrays, and the one definition of a well-formed row (`add`)."""

    def __init__(self, skip_bad: bool, progress: Callable[[int], object]) -> None:
        self.steps, self.codes, self.rewards = array("q"), array("i"), array("d")
        self.vocabulary: dict[str, int] = {}
        self.skip_bad, self.skipped, self.progress = skip_bad, 0, progress

    def add(self, record: Mapping[str, Any], columns: _Columns) -> None:
        """Append one row; raise ValueError saying what is wrong with it, and append nothing, where it is malformed."""
        try:
            if len(columns.rewards) == 1:
                reward = _number(record[columns.rewards[0]], columns.rewards[0])
            else:
                reward = _total({name: record[name] for name in columns.rewards})
            step = 0 if columns.step is None else _integer(record[columns.step], columns.step)
            code = self.code(record[columns.prompt], columns.prompt)
        except KeyError as error:
            raise ValueError(f"missing key {error}") from None
        self.rewards.append(reward)
        self.steps.append(step)
        self.codes.append(code)
        if len(self.codes) % BATCH == 0:
            self.progress(BATCH)

    def extend(self, steps: _Array, codes: _Array, rewards: _Array) -> None:
        """Append rows known to be well formed, as arrays of int64, intc and float64."""
        self.steps.frombytes(steps.tobytes())
        self.codes.frombytes(codes.tobytes())
        self.rewards.frombytes(rewards.tobytes())
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

    def bad(self, place: str, what: object, lines: int = 1) -> None:
        """Count a malformed row or, without `skip_bad`, raise."""
        if not self.skip_bad:
            raise ValueError(f"{place}: {what}") from None
        self.skipped += lines

    def frame(self, place: str, files: list[str]) -> pd.DataFrame:
        if not self.codes:
            raise ValueError(f"{place}: no usable row, {self.skipped} malformed")
        prompt = pd.Categorical.from_codes(
            np.frombuffer(self.codes, dtype=np.intc), categories=pd.Index(list(self.vocabulary), dtype="str")
        )
        steps, rewards = np.frombuffer(self.steps, dtype=np.int64), np.frombuffer(self.rewards, dtype=np.float64)
        frame = pd.DataFrame({"step": steps, "prompt": prompt, "reward": rewards})
        frame.attrs.update(skipped=self.skipped, files=files)
        return frame


def _number(value: object, name: str) -> float:
    if type(value) is float and math.isfinite(value):  # nearly always
        return value
    if not isinstance(value, int | float | Decimal | np.number | np.bool_):
        raise ValueError(f"{name} is {_show(value)}, not a number")
    try:
        number = float(value)
    except (OverflowError, TypeError):
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{name} is {_show(value)}, not a finite number")
    return number


def _total(rewards: Mapping[str, Any]) -> float:
    """TRL's total reward: the functions that apply (not null), summed with weights of 1."""
    given = [_number(value, name) for name, value in rewards.items() if not _null(value)]
    if not given:
        raise ValueError(f"every reward is null ({', '.join(rewards)})")
    return _number(sum(given), "the sum of rewards")


def _integer(value: object, name: str) -> int:
    number = value.item() if isinstance(value, np.number) else value
    if isinstance(value, str):
        try:
            number = int(value)
        except ValueError:
            number = _csv_value(value, True)
    if type(number) is float and number.is_integer():
        number = int(number)
    if type(number) is not int or not -(2**63) <= number < 2**63:
        raise ValueError(f"{name} is {_show(value)}, not an integer")
    return number


def _canonical(prompt: object, name: str) -> str:
    if _null(prompt):
        raise ValueError(f"{name} is null")
    if not isinstance(prompt, list | dict | tuple | int | float | np.ndarray | np.generic):
        raise ValueError(f"{name} is {_show(prompt)}, neither text nor a list of messages")
    try:
        return _encode(prompt)
    except (AttributeError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{name} cannot be written as JSON ({_one_line(error)})") from None


def _null(value: object) -> bool:
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value))


def _show(value: object) -> str:
    text = "null" if value is None else repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:120]


def _files(source: Path) -> list[Path]:
    if source.is_dir():
        found = [path for path in source.iterdir() if path.is_file() and path.suffix.lower() in _READERS]
        found = [path for path in found if not path.name.startswith(".")]
        if not found:
            raise ValueError(f"{source}: no file with a known suffix in this folder ({', '.join(_READERS)})")
        return sorted(found, key=_natural)
    if not source.exists():
        raise ValueError(f"{source}: no such file or folder")
    if source.suffix.lower() not in _READERS:
        raise ValueError(f"{source}: unknown suffix {source.suffix!r}; known are {', '.join(_READERS)}")
    return [source]


def _natural(path: Path) -> list[Any]:
    return [int(part) if i % 2 else part for i, part in enumerate(re.split(r"(\d+)", path.name))]


def _choose(place: str, columns: Iterable[tuple[str, bool]], options: _Options) -> _Columns:
    """Say which column holds what; `columns` are pairs of a name and whether it may hold numbers."""
    columns = list(columns)
    names = [name for name, _ in columns]
    listed = f"columns found in {place}: {', '.join(names) or 'none'}"

    def pick(what: str, given: str | None, defaults: tuple[str, ...]) -> str | None:
        if given is not None and given not in names:
            raise ValueError(f"{what}_column {given!r} is not a column; {listed}")
        return given if given is not None else next((name for name in defaults if name in names), None)

    prompt, step = pick("prompt", options.prompt, PROMPT_COLUMNS), pick("step", options.step, STEP_COLUMNS)
    if options.reward is not None and options.reward not in names:
        rewards = [pick("reward", name.strip(), ()) for name in options.reward.split(",")]
    else:
        rewards = [pick("reward", options.reward, REWARD_COLUMNS) or _trl_reward(place, columns)]
    for what, chosen, defaults in ("prompt", prompt, PROMPT_COLUMNS), ("reward", rewards[0], REWARD_COLUMNS):
        if chosen is None:
            raise ValueError(f"{what}_column is required: there is no {' or '.join(defaults)} column; {listed}")
    for name in filter(None, [prompt, *rewards, step]):
        if names.count(name) > 1:
            raise ValueError(f"column {name!r} appears {names.count(name)} times; {listed}")
    return _Columns(str(prompt), tuple(map(str, rewards)), step)


def _trl_reward(place: str, columns: list[tuple[str, bool]]) -> str | None:
    """Return the only reward-function column of a TRL log, if it is one and has one."""
    rewards = [name for name, numeric in columns if numeric and name not in {*_TRL, *STEP_COLUMNS}]
    if not rewards or not _TRL.issubset(name for name, _ in columns):
        return None
    if len(rewards) > 1:
        raise ValueError(
            f"reward_column is required: {place} has one column per reward function ({', '.join(rewards)}); "
            f"name one, or {','.join(rewards)!r} for their sum"
        )
    return rewards[0]


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        for number, line in enumerate(file):
            yield line if number else line.removeprefix(codecs.BOM_UTF8)


def _read_jsonl(path: Path, options: _Options, rows: _Rows) -> None:
    found: dict[str, bool] = {}
    for number, line in enumerate(_lines(path)):  # keys that the first thousand lines have between them
        if found and number >= 1000:
            break
        with suppress(ValueError):
            found.update(dict.fromkeys(_json_object(line), True))
    columns = _Columns(PROMPT_COLUMNS[0], REWARD_COLUMNS[:1], None)  # no JSON object at all: any columns do
    if found:
        columns = _choose(str(path), found.items(), options)
    for number, line in enumerate(_lines(path), 1):
        if not line.isspace():
            try:
                rows.add(_json_object(line), columns)
            except ValueError as error:
                rows.bad(f"{path}:{number}", error)


def _json_object(line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(line.decode())
    except UnicodeDecodeError as error:
        raise ValueError(f"not valid UTF-8 (byte {error.start + 1})") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"bad JSON, {error.msg} (column {error.colno})") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"bad JSON, {_one_line(error)}") from None
    if not isinstance(record, dict):
        raise ValueError(f"expected a JSON object, found {_show(record)}")
    return record


def _read_csv(path: Path, options: _Options, rows: _Rows) -> None:
    with _long_fields():  # bytes that are not UTF-8 matter in the columns read only, where they are malformed
        reader = csv.reader((line.decode(errors="surrogateescape") for line in _lines(path)), strict=True)
        try:
            header = next(reader, [])
        except csv.Error as error:
            raise ValueError(f"{path}:1: bad CSV header, {error}") from None
        if not header:
            raise ValueError(f"{path}:1: no header line")
        columns = _choose(str(path), [(name, True) for name in header], options)
        places = [(name, header.index(name), name in columns.rewards) for name in columns.names()]
        for line, fields in _csv_records(reader, path, rows):
            try:
                if len(fields) != len(header):
                    raise ValueError(f"{len(fields)} fields, the header has {len(header)}")
                rows.add({name: _csv_value(fields[i], numeric) for name, i, numeric in places}, columns)
            except ValueError as error:
                rows.bad(f"{path}:{line}", error)


def _csv_records(reader: Any, path: Path, rows: _Rows) -> Iterator[tuple[int, list[str]]]:
    """(physical line on which it starts, fields) of every record that is CSV at all."""
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:  # an open quote swallows the rest of the file: every line of it is counted
            rows.bad(f"{path}:{line}", f"bad CSV, {error}", lines=reader.line_num - line + 1)
        else:
            if fields:
                yield line, fields


def _csv_value(text: str, numeric: bool) -> float | bool | str | None:
    if numeric:
        try:
            return float(text)
        except ValueError:
            return {"true": True, "false": False}.get(text.strip().lower(), text or None)
    return text or None


@contextmanager
def _long_fields() -> Iterator[None]:
    """Completions are longer than the csv module's default limit of 131,072 characters a field."""
    limit = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(limit)


def _read_parquet(path: Path, options: _Options, rows: _Rows) -> None:
    start = 0
    try:
        schema = pq.read_schema(path)
        columns = _choose(str(path), [(field.name, _numeric(field.type)) for field in schema], options)
        texts = [field.name for field in schema if field.name == columns.prompt and _text(field.type)]
        with pq.ParquetFile(path, read_dictionary=texts) as file:
            for batch in file.iter_batches(BATCH, columns=columns.names()):
                if not _add_clean(batch, columns, rows):
                    _add_records(batch.to_pylist(), columns, rows, f"{path}: ", start)
                start += batch.num_rows
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read from row {start} on ({_one_line(error)})") from None


def _read_frame(frame: pd.DataFrame, options: _Options, rows: _Rows) -> None:
    frame = frame.set_axis(frame.columns.map(str), axis=1)
    found = [(str(name), pd.api.types.is_numeric_dtype(dtype)) for name, dtype in zip(frame, frame.dtypes, strict=True)]
    columns = _choose("the frame", found, options)
    frame = frame[columns.names()]
    for start in range(0, len(frame), 16 * BATCH):
        chunk = frame.iloc[start : start + 16 * BATCH]
        try:
            clean = _add_clean(pa.RecordBatch.from_pandas(chunk, preserve_index=False), columns, rows)
        except (pa.ArrowException, OverflowError, TypeError, ValueError):  # mixed types: row by row
            clean = False
        if not clean:
            _add_records(chunk.to_dict("records"), columns, rows, "", start)


def _add_clean(batch: pa.RecordBatch, columns: _Columns, rows: _Rows) -> bool:
    """Append a whole batch as arrays, if every row of it is beyond doubt; otherwise append nothing and say False."""
    prompt, rewards = batch.column(columns.prompt), [batch.column(name) for name in columns.rewards]
    steps = [] if columns.step is None else [batch.column(columns.step)]
    if any(column.null_count for column in [prompt, *rewards, *steps]) or not _text(prompt.type):
        return False
    if not all(_numeric(c.type) for c in rewards) or not all(pa.types.is_signed_integer(c.type) for c in steps):
        return False
    reward = sum(column.cast(pa.float64()).to_numpy(zero_copy_only=False) for column in rewards)
    if not np.isfinite(reward).all():
        return False
    encoded = prompt if pa.types.is_dictionary(prompt.type) else prompt.dictionary_encode()
    indices = encoded.indices.to_numpy()
    used = pd.unique(indices)
    texts = encoded.dictionary.take(pa.array(used)).to_pylist()
    if None in texts:
        return False
    lookup = np.zeros(len(encoded.dictionary), dtype=np.intc)
    lookup[used] = [rows.code(text, columns.prompt) for text in texts]
    step = steps[0].cast(pa.int64()).to_numpy() if steps else np.zeros(len(reward), dtype=np.int64)
    rows.extend(step, lookup[indices], reward)
    return True


def _add_records(records: Iterable[Mapping[Any, Any]], columns: _Columns, rows: _Rows, place: str, start: int) -> None:
    for number, record in enumerate(records, start):
        try:
            rows.add(record, columns)
        except ValueError as error:
            rows.bad(f"{place}row {number}", error)


def _numeric(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_decimal(kind))


def _text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


_READERS: dict[str, Callable[[Path, _Options, _Rows], None]] = {
    ".parquet": _read_parquet,
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".csv": _read_csv,
}
