"""One reader for each format of rollout logs, which hands its rows to ``Rows`` and keeps no whole file.

Columnar sources (parquet, frames) are taken a batch at a time as arrays; a batch with anything odd in it goes through
the row-by-row route of JSONL and CSV, which alone decides what is malformed and says so.
"""

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pessimism.files import require_regular
from pessimism.messages import one_line
from pessimism.rollouts.lines import LINE, json_object, read_lines
from pessimism.rollouts.parquet_pages import unpacked
from pessimism.rollouts.rows import (
    COLUMNS,
    PROMPT_COLUMNS,
    REWARD_COLUMNS,
    Columns,
    Options,
    Rows,
    choose_columns,
    csv_value,
    rounding,
)

BATCH = 16_384  # rows of a columnar file taken at once
UNPACKED = 2**30  # bytes that any parquet file may unpack to; a larger one to RATIO times its size
RATIO = 100


def _read_jsonl(path: Path, options: Options, rows: Rows) -> None:
    columns = _jsonl_columns(path, options)
    rows.took(columns)
    for number, line in enumerate(read_lines(path), 1):
        if not line.isspace():
            try:
                rows.add(json_object(line), columns)
            except ValueError as error:
                rows.bad(f"{path}:{number}", error)


def _jsonl_columns(path: Path, options: Options) -> Columns:
    """Choose among the keys that the first thousand lines have between them."""
    found: dict[str, bool] = {}
    for number, line in enumerate(read_lines(path)):
        if found and number >= 1000:
            break
        with suppress(ValueError):
            found.update(dict.fromkeys(json_object(line), True))
        if len(found) > COLUMNS:
            break
    if not found:  # no JSON object at all: every line is malformed, whatever the columns
        return Columns(PROMPT_COLUMNS[0], REWARD_COLUMNS[:1], None)
    return choose_columns(str(path), found.items(), options)


def _read_csv(path: Path, options: Options, rows: Rows) -> None:
    with csv_table(path, rows.bad) as (header, records):
        columns = choose_columns(str(path), [(name, True) for name in header], options)
        numbers = {*columns.rewards, columns.length, *(columns.log_probs or ()), *columns.versions}
        places = [(name, header.index(name), name in numbers) for name in columns.names()]
        rows.took(columns)
        for line, fields in records:
            try:
                if len(fields) != len(header):
                    raise ValueError(f"{len(fields)} fields, the header has {len(header)}")
                rows.add({name: csv_value(fields[i], numeric) for name, i, numeric in places}, columns)
            except ValueError as error:
                rows.bad(f"{path}:{line}", error)


@contextmanager
def csv_table(
    path: Path, bad: Callable[[str, object, int], None]
) -> Iterator[tuple[list[str], Iterator[tuple[int, list[str]]]]]:
    """Open a CSV file, every record of which has at most `LINE` bytes.

    Parameters
    ----------
    path : Path
        The file.
    bad : callable
        What to do about a record that is no CSV: it gets the place, the reason and the number of lines.

    Yields
    ------
    header : list of str
        The first record.
    records : iterator of (int, list of str)
        The others: the physical line on which each starts, and its fields. Bytes that are not UTF-8 are surrogates.
    """
    with closing(read_lines(path)) as lines, _long_fields():
        size = [0]  # bytes of the record so far
        reader = csv.reader(_bounded(path, lines, size), strict=True)
        yield _csv_header(reader, path), _csv_records(reader, path, bad, size)


def _bounded(path: Path, lines: Iterable[bytes], size: list[int]) -> Iterator[str]:
    """Decode lines, unless the record that they belong to grows beyond what one may have."""
    for number, line in enumerate(lines, 1):
        size[0] += len(line)
        if size[0] > LINE:
            raise ValueError(
                f"{path}:{number}: a record of more than {LINE >> 20} MiB, the most that one may have: is a quote open?"
            )
        yield line.decode(errors="surrogateescape")


def _csv_header(reader: Iterator[list[str]], path: Path) -> list[str]:
    try:
        header = next(reader, [])
    except csv.Error as error:
        raise ValueError(f"{path}:1: bad CSV header, {error}") from None
    if not header:
        raise ValueError(f"{path}:1: no header line")
    return header


def _csv_records(
    reader: Any, path: Path, bad: Callable[[str, object, int], None], size: list[int]
) -> Iterator[tuple[int, list[str]]]:
    """Yield every record that is CSV at all, as the physical line on which it starts and its fields."""
    while True:
        line, size[0] = reader.line_num + 1, 0
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:  # an open quote swallows the rest of the file: every line of it is counted
            bad(f"{path}:{line}", f"bad CSV, {error}", reader.line_num - line + 1)
        else:
            if fields:
                yield line, fields


@contextmanager
def _long_fields() -> Iterator[None]:
    """Lift the csv module's limit of 131,072 characters a field, which completions exceed."""
    limit = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(limit)


def _read_parquet(path: Path, options: Options, rows: Rows) -> None:
    start = 0
    require_regular(path)
    try:
        schema = pq.read_schema(path)
        columns = choose_columns(str(path), [(field.name, _numeric(field.type)) for field in schema], options)
        rows.took(columns)
        texts = [field.name for field in schema if field.name == columns.prompt and _text(field.type)]
        with pq.ParquetFile(path, read_dictionary=texts) as file:
            most = require_bounded(path, columns.names(), texts)
            for batch in file.iter_batches(most, columns=columns.names()):
                if not _add_clean(batch, columns, rows):
                    _add_records(batch.to_pylist(), columns, rows, f"{path}: ", start)
                start += batch.num_rows
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read from row {start} on ({one_line(error)})") from None


def require_bounded(path: Path, names: Iterable[str] | None = None, encoded: Iterable[str] = ()) -> int:
    """Refuse a small file that unpacks to a huge one, before anything is unpacked, whatever its footer says.

    Parameters
    ----------
    path : Path
        The parquet file.
    names : iterable of str, optional
        The columns that are to be read; all by default.
    encoded : iterable of str, optional
        Those of them that stay numbers of the entries of a dictionary.

    Returns
    -------
    int
        How many rows to take at once, so that texts that a dictionary holds once do not fill the memory.

    Raises
    ------
    ValueError
        In one line, if they unpack to more than `UNPACKED` bytes and to more than `RATIO` times the file, or the file
        is damaged.
    """
    try:
        found = unpacked(path, names)
    except ValueError as error:
        raise ValueError(f"{path}: cannot be read ({error})") from None
    if found.size > at_most(path):
        raise ValueError(
            f"{path}: {path.stat().st_size} bytes that unpack to {found.size / 2**30:.3g} GiB, more than "
            f"{UNPACKED >> 30} GiB and {RATIO} times as many"
        )
    kept = set(encoded)
    longest = max((size for name, size in found.dictionaries.items() if name not in kept), default=1)
    return max(1, min(BATCH, UNPACKED // max(longest, 1)))


def at_most(path: Path) -> int:
    """Bytes that a parquet file may unpack to."""
    return max(UNPACKED, RATIO * path.stat().st_size)


def read_frame(frame: pd.DataFrame, options: Options, rows: Rows) -> None:
    """Read a frame that is already loaded."""
    grouped = frame.attrs.get("grouped", False)
    frame = frame.set_axis(frame.columns.map(str), axis=1)
    found = [(str(name), pd.api.types.is_numeric_dtype(dtype)) for name, dtype in zip(frame, frame.dtypes, strict=True)]
    columns = choose_columns("the frame", found, options)
    if grouped and "group" in frame:  # read from a log before
        columns = columns._replace(group=("group",))
    rows.took(columns)
    frame = frame[columns.names()]
    for start in range(0, len(frame), 16 * BATCH):
        chunk = frame.iloc[start : start + 16 * BATCH]
        try:
            clean = _add_clean(pa.RecordBatch.from_pandas(chunk, preserve_index=False), columns, rows)
        except (pa.ArrowException, OverflowError, TypeError, ValueError):  # mixed types: row by row
            clean = False
        if not clean:
            _add_records(chunk.to_dict("records"), columns, rows, "", start)


def _add_clean(batch: pa.RecordBatch, columns: Columns, rows: Rows) -> bool:
    """Append a whole batch as arrays, if every row of it is beyond doubt; otherwise append nothing and say False."""
    if columns.group or columns.log_probs is not None or columns.versions:  # which the other route reads
        return False
    prompt, rewards = batch.column(columns.prompt), [batch.column(name) for name in columns.rewards]
    steps = [] if columns.step is None else [batch.column(columns.step)]
    lengths = [] if columns.length is None else [batch.column(columns.length)]
    if any(column.null_count for column in [prompt, *rewards, *steps, *lengths]) or not _text(prompt.type):
        return False
    if not all(_numeric(c.type) for c in [*rewards, *lengths]) or not all(
        pa.types.is_signed_integer(c.type) for c in steps
    ):
        return False
    parts = [column.cast(pa.float64()).to_numpy(zero_copy_only=False) for column in rewards]
    reward = sum(parts)
    length = lengths[0].cast(pa.float64()).to_numpy(zero_copy_only=False) if lengths else None
    whole = np.isfinite(reward).all() and (length is None or bool(np.all(np.isfinite(length) & (length >= 1))))
    codes = _codes(prompt, columns.prompt, rows) if whole else None
    if codes is None:
        return False
    step = steps[0].cast(pa.int64()).to_numpy() if steps else np.zeros(len(reward), dtype=np.int64)
    rows.extend(step, codes, reward, length, rounding(*parts) if len(parts) > 1 else None)
    return True


def _codes(prompt: pa.Array, name: str, rows: Rows) -> np.ndarray[tuple[int], np.dtype[Any]] | None:
    """Return the numbers of a column of prompts, None where one of them is null."""
    encoded = prompt if pa.types.is_dictionary(prompt.type) else prompt.dictionary_encode()
    indices = encoded.indices.to_numpy()
    used = pd.unique(indices)
    texts = encoded.dictionary.take(pa.array(used)).to_pylist()
    if None in texts:
        return None
    lookup = np.zeros(len(encoded.dictionary), dtype=np.intc)
    lookup[used] = [rows.code(text, name) for text in texts]
    codes: np.ndarray[tuple[int], np.dtype[Any]] = lookup[indices]
    return codes


def _add_records(records: Iterable[Mapping[Any, Any]], columns: Columns, rows: Rows, place: str, start: int) -> None:
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


READERS: dict[str, Callable[[Path, Options, Rows], None]] = {
    ".parquet": _read_parquet,
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".csv": _read_csv,
}
