"""One reader for each format of rollout logs, which hands its rows to ``Rows`` and keeps no whole file.

Columnar sources (parquet, frames) are taken a batch at a time as arrays; a batch with anything odd in it goes through
the row-by-row route of JSONL and CSV, which alone decides what is malformed and says so.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pessimism.files import require_regular
from pessimism.messages import names as listed_names
from pessimism.messages import one_line, plain, show
from pessimism.rollouts.columnar import Gathered, add_clean, add_records, is_numeric, is_text
from pessimism.rollouts.csv_files import csv_chunks
from pessimism.rollouts.json_files import JsonError, json_records
from pessimism.rollouts.layouts.base import Layout, Record, Where
from pessimism.rollouts.layouts.table import recognize
from pessimism.rollouts.lines import has_lines, json_object, read_lines
from pessimism.rollouts.options import LogOptions, several
from pessimism.rollouts.parquet_pages import unpacked
from pessimism.rollouts.rows import (
    COLUMNS,
    PROMPT_COLUMNS,
    REWARD_COLUMNS,
    Columns,
    ForeignError,
    Rows,
    choose_columns,
    read_before,
)
from pessimism.rollouts.sources import RATIO, UNPACKED
from pessimism.rollouts.torch_files import torch_samples

BATCH = 16_384  # rows of a columnar file taken at once
_FIRST = 1000  # records among whose keys the columns are chosen
_LONG = (str, list, dict)  # kinds of values that may take much memory
_ARROW_FILE = b"ARROW1"
_PLAIN = {"TRL": {"prompt", "completion", "advantage"}, "verl": {"input", "output", "score", "step"}}


# Of some columns, or of all, the rows.
Batches = Callable[[list[str] | None], Generator[pa.RecordBatch, None, None]]


class _Reading(NamedTuple):
    """The columns of the rows, and the layout of records that have to be taken apart first, None where none has."""

    columns: Columns
    layout: Layout | None


def _read_jsonl(path: Path, options: LogOptions, rows: Rows) -> None:
    columns, layout = reading = _reading(path, _parsed(path), options, rows)
    with Gathered(rows, columns, path) as waiting:
        for number, line in enumerate(read_lines(path), 1):
            if line.isspace():
                continue
            try:
                record = json_object(line)
            except ValueError as error:
                waiting.flush()
                rows.bad(f"{path}:{number}", error)
                continue
            if layout is None:
                waiting.one(record, number, len(line))
            else:
                _add_laid_out(record, reading, rows, f"{path}:{number}", Where(path, number))


def _parsed(path: Path) -> Iterator[dict[str, Any]]:
    for line in read_lines(path):
        with suppress(ValueError):
            yield json_object(line)


def _reading(path: Path, records: Iterable[Any], options: LogOptions, rows: Rows, place: str | None = None) -> _Reading:
    """Choose among the keys that the first thousand records have between them, or those of the layout that one has."""
    place = str(path) if place is None else place
    found: dict[str, bool] = {}
    inside: dict[str, None] = {}  # names of numbers in objects
    rows_seen: list[dict[str, Any]] = []
    layout = None
    for number, record in enumerate(records):
        if number >= _FIRST or len(found) > COLUMNS:
            break
        if not isinstance(record, Mapping):
            continue
        if layout is None:
            layout = recognize(record, Where(path))
        if layout is None or layout.rows is None:
            if len(inside) <= COLUMNS:
                inside |= dict.fromkeys(_numbers_inside(record))
            for name, value in record.items():
                found[str(name)] = found.get(str(name), False) or not isinstance(value, str | list | dict | None)
            continue
        with suppress(KeyError):
            try:
                laid_out = layout.rows(record, Where(path))
            except ForeignError:
                raise
            except ValueError:
                continue
            # Of texts and lists it counts that they are there: those of a thousand records may not fit the memory.
            rows_seen += [{n: "" if isinstance(v, _LONG) else v for n, v in row.items()} for row in laid_out]
            if len(rows_seen) >= _FIRST:
                break
    if rows_seen:
        found = {name: True for row in rows_seen for name in row}
        if not isinstance(options.length_column, str):  # of which each row needs one
            partly = {name for name in several(options.length_column) if any(name not in row for row in rows_seen)}
            found = {name: True for name in found if name not in partly}
        reading = _Reading(_columns(place, found, options, layout, rows_seen), layout)
    elif layout is not None and layout.rows is not None:  # every record is malformed, whatever the columns
        reading = _Reading(Columns(layout.prompt, (layout.reward,), None), layout)
    elif found:
        reading = _Reading(_columns(place, found, options, layout, inside=inside), None)
    else:
        rows.took_nothing()
        return _Reading(Columns(PROMPT_COLUMNS[0], REWARD_COLUMNS[:1], None), None)
    rows.took(reading.columns, _name(layout, found), _run(layout, path))
    return reading


def _columns(
    place: str,
    found: Mapping[str, bool],
    options: LogOptions,
    layout: Layout | None,
    laid_out: list[dict[str, Any]] | None = None,
    inside: Iterable[str] = (),
) -> Columns:
    """Choose columns, by default those that the layout names."""
    if layout is None:
        return choose_columns(place, found.items(), options, inside)
    parts = layout.parts(laid_out) if layout.parts is not None and laid_out else (layout.reward,)
    chosen = choose_columns(
        place,
        found.items(),
        replace(
            options,
            prompt_column=options.prompt_column or layout.prompt,
            reward_column=options.reward_column or parts or None,
            step_column=options.step_column or (layout.step if layout.step in found else None),
        ),
    )
    log_probs, versions = chosen.log_probs, chosen.versions
    asked = options.log_prob_columns
    if asked is not None and not isinstance(asked, str):
        if log_probs is None and layout.log_probs is not None and layout.log_probs.behavior in found:
            log_probs = layout.log_probs
        versions = versions or tuple(name for name in layout.versions if name in found)
    return chosen._replace(
        group=chosen.group or tuple(name for name in layout.group if name in found),
        problem=None,  # the layout knows
        passed_over=(),
        advantage=chosen.advantage or (layout.advantage if layout.advantage in found else None),
        log_probs=log_probs,
        versions=versions,
    )


def _numbers_inside(record: Mapping[Any, Any]) -> list[str]:
    """Name what the objects of a record have of numbers, as an option would."""
    objects = [(name, value) for name, value in record.items() if isinstance(value, Mapping)]
    return [f"{name}.{key}" for name, value in objects for key, one in value.items() if isinstance(one, int | float)]


def _run(layout: Layout | None, path: Path) -> str:
    return "" if layout is None or layout.run is None else layout.run(path)


def _name(layout: Layout | None, found: Iterable[str]) -> str:
    """Return the name of the layout, or of the trainer whose plain columns these are."""
    if layout is not None:
        return layout.name
    return next((name for name, keys in _PLAIN.items() if keys <= set(found)), "columns")


def _add_laid_out(record: Record, reading: _Reading, rows: Rows, place: str, where: Where) -> None:
    """Append the rows that a record stands for."""
    columns, layout = reading
    if layout is None or layout.rows is None:
        laid_out: list[Any] = [record]
    else:
        try:
            laid_out = layout.rows(record, where)
        except KeyError as error:
            return rows.bad(place, f"missing key {show(error.args[0])}")
        except ValueError as error:
            return rows.bad(place, error)
    for number, row in enumerate(laid_out):
        rows.take(row, columns, f"{place}: entry {number}" if len(laid_out) > 1 else place)
    return None


def _read_json(path: Path, options: LogOptions, rows: Rows) -> None:
    if has_lines(path):
        return _read_jsonl(path, options, rows)
    with closing(_until_error(path)) as records:
        some = any(isinstance(record, Mapping) for record in islice(records, _FIRST))
    if some:
        with closing(_until_error(path)) as records:
            reading = _reading(path, records, options, rows)
    number = -1
    try:
        for number, record in enumerate(json_records(path)):
            if some:
                _add_any(record, reading, rows, f"{path}: row {number}", Where(path, number))
    except JsonError as error:
        if not some:
            raise ValueError(f"{path}: row {number + 1}: {error}") from None
        rows.bad(f"{path}: row {number + 1}", error)
    if not some:
        raise ForeignError(f"{path}: has no JSON objects")
    return None


def _until_error(path: Path) -> Generator[Any, None, None]:
    with suppress(JsonError):
        yield from json_records(path)


def _add_any(record: Any, reading: _Reading, rows: Rows, place: str, where: Where) -> None:
    """Append what stands in the place of a record, which may be no record at all."""
    if isinstance(record, Mapping):
        _add_laid_out(record, reading, rows, place, where)
    else:
        rows.bad(place, record if isinstance(record, ValueError) else f"{show(record)} is no record")


def _read_torch(path: Path, options: LogOptions, rows: Rows) -> None:
    read_records(torch_samples(path), options, rows, path)


def read_records(records: Sequence[Any], options: LogOptions, rows: Rows, path: Path | None = None) -> None:
    """Read records that are already loaded: a list of mappings, or what a file at `path` has."""
    place = "the list" if path is None else str(path)
    where = Where(Path(place))
    if not any(isinstance(record, Mapping) for record in records[:_FIRST]):
        raise ForeignError(f"{place}: has no records")
    reading = _reading(where.path, records, options, rows, place)
    prefix = "" if path is None else f"{path}: "
    for number, record in enumerate(records):
        _add_any(record, reading, rows, f"{prefix}row {number}", where._replace(number=number))


def _read_csv(path: Path, options: LogOptions, rows: Rows) -> None:
    waiting: Gathered | None = None

    def bad(place: str, what: object, lines: int = 1) -> None:
        if waiting is not None:
            waiting.flush()
        rows.bad(place, what, lines)

    with csv_chunks(path, bad) as (header, chunks):
        columns = choose_columns(str(path), [(name, True) for name in header], options)
        rows.took(columns, _name(None, header))
        waiting = Gathered(rows, columns, path, texts=True)
        places, width = [header.index(name) for name in waiting.names], len(header)

        kept = [itemgetter(place) for place in places]
        with waiting:
            for lines, records, size in chunks:
                if set(map(len, records)) == {width}:
                    waiting.add([map(of, records) for of in kept], lines, size)
                    continue
                for line, fields in zip(lines, records, strict=True):
                    if len(fields) == width:
                        waiting.add([(of(fields),) for of in kept], (line,), sum(map(len, fields)))
                    elif fields:
                        bad(f"{path}:{line}", f"{len(fields)} fields, the header has {width}")


def _read_parquet(path: Path, options: LogOptions, rows: Rows) -> None:
    require_regular(path)
    done = [0]
    try:
        schema = pq.read_schema(path)

        def batches(names: list[str] | None) -> Generator[pa.RecordBatch, None, None]:
            texts = [
                field.name for field in schema if names is not None and field.name == names[0] and is_text(field.type)
            ]
            with pq.ParquetFile(path, read_dictionary=texts) as file:
                yield from file.iter_batches(require_bounded(path, names, texts), columns=names)

        _read_batches(path, schema, batches, options, rows, done)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read from row {done[0]} on ({one_line(error)})") from None


def _read_batches(
    path: Path,
    schema: pa.Schema,
    batches: Batches,
    options: LogOptions,
    rows: Rows,
    done: list[int],
    place: str | None = None,
) -> None:
    """Read a columnar source, and count in `done` how many of its rows were read."""
    where = str(path) if place is None else place
    prefix = f"{path}: " if place is None else ""
    found = {field.name: is_numeric(field.type) for field in schema}
    try:
        layout = recognize(dict.fromkeys(found), Where(path))
        plain = layout if layout is not None and layout.rows is None else None
        if len(found) < len(schema):  # a name stands there twice
            choose_columns(where, [(field.name, True) for field in schema], options)
        objects = [field for field in schema if pa.types.is_struct(field.type)]
        inside = [f"{field.name}.{one.name}" for field in objects for one in field.type if is_numeric(one.type)]
        columns = _columns(where, found, options, plain, inside=inside)
    except ForeignError:
        with closing(batches(None)) as first:  # a record may have to be taken apart
            head: list[Any] = next((batch.slice(0, _FIRST).to_pylist() for batch in first if batch.num_rows), [])
        if not any(recognize(record, Where(path)) for record in head[:1]):
            raise
        reading = _reading(path, head, options, rows, place)
        for batch in batches(None):
            for number, record in enumerate(batch.to_pylist(), done[0]):
                _add_any(record, reading, rows, f"{prefix}row {number}", Where(path, number))
            done[0] += batch.num_rows
        return
    _require_inside(where, schema, columns)
    rows.took(columns, _name(plain, found), _run(plain, path))
    for batch in batches(columns.tops()):
        if not add_clean(batch, columns, rows):
            add_records(batch.to_pylist(), columns, rows, prefix, done[0])
        done[0] += batch.num_rows


def _read_arrow(path: Path, options: LogOptions, rows: Rows) -> None:
    require_regular(path)
    done = [0]
    try:
        with pa.memory_map(str(path)) as file:
            if file.read(len(_ARROW_FILE)) == _ARROW_FILE:
                raise ValueError(f"{path}: is an Arrow file, not the stream that save_to_disk of datasets writes")
            _require_unpacked(path, file)
            file.seek(0)
            schema = pa.ipc.open_stream(file).schema

            def batches(names: list[str] | None) -> Generator[pa.RecordBatch, None, None]:
                file.seek(0)
                for batch in pa.ipc.open_stream(file):
                    batch.validate(full=True)  # offsets that a damaged file has would lead anywhere
                    for start in range(0, batch.num_rows, BATCH):
                        part = batch.slice(start, BATCH)
                        yield part if names is None else part.select(names)

            _read_batches(path, schema, batches, options, rows, done)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read from row {done[0]} on ({one_line(error)})") from None


def _require_unpacked(path: Path, file: Any) -> None:
    """Refuse batches that are compressed: what they unpack to is not bounded by the file, as that of all others is."""
    file.seek(0)
    for message in pa.ipc.MessageReader.open_stream(file):
        if message.type != "schema" and _compressed(message.metadata.to_pybytes()):
            raise ValueError(f"{path}: is compressed inside, as save_to_disk of datasets writes nothing")


def _compressed(metadata: bytes) -> bool:
    """Whether the header of a batch says so: field 3 of its table of flatbuffers, which is field 2 of the message's."""
    header = _field(metadata, int.from_bytes(metadata[:4], "little"), 2)
    if header is None:
        return False
    return _field(metadata, header + int.from_bytes(metadata[header : header + 4], "little"), 3) is not None


def _field(buffer: bytes, table: int, number: int) -> int | None:
    """Where a field of a table of flatbuffers is, None where it is not set."""
    vtable = table - int.from_bytes(buffer[table : table + 4], "little", signed=True)
    if 4 + 2 * number >= int.from_bytes(buffer[vtable : vtable + 2], "little"):
        return None
    offset = int.from_bytes(buffer[vtable + 4 + 2 * number : vtable + 6 + 2 * number], "little")
    return table + offset if offset else None


def read_dataset(source: Any, options: LogOptions, rows: Rows) -> None:
    """Read a `Dataset` of Hugging Face's datasets, a batch at a time."""

    def batches(names: list[str] | None) -> Generator[pa.RecordBatch, None, None]:
        chosen = source if names is None else source.select_columns(names)
        for table in chosen.with_format("arrow").iter(BATCH):
            yield from table.combine_chunks().to_batches()

    _read_batches(Path("the data set"), source.features.arrow_schema, batches, options, rows, [0], "the data set")


def _require_inside(place: str, schema: pa.Schema, columns: Columns) -> None:
    """Refuse names that reach into an object of another kind, or to a key that it does not have."""
    for name, (top, *way) in columns.nested:
        kind = schema.field(top).type
        for key in way:
            found = [field.name for field in kind] if pa.types.is_struct(kind) else []
            if key not in found:
                raise ValueError(
                    f"{place}: no column {show(name)}: {plain(top)} holds {listed_names(found, 'no object')}"
                )
            kind = kind.field(key).type


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
    if found.size > _at_most(path):
        raise ValueError(
            f"{path}: {path.stat().st_size} bytes that unpack to {found.size / 2**30:.3g} GiB, more than "
            f"{UNPACKED >> 30} GiB and {RATIO} times as many"
        )
    kept = set(encoded)
    longest = max((size for name, size in found.dictionaries.items() if name not in kept), default=1)
    return max(1, min(BATCH, UNPACKED // max(longest, 1)))


def parquet_table(path: Path) -> pa.Table:
    """Read a parquet file whole.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    pyarrow.Table
        Its rows.

    Raises
    ------
    ValueError
        As `require_bounded`; also where its texts, of which the file may hold each once, unpack to too much.
    """
    batches, size = [], 0
    rows = require_bounded(path)
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(rows):
            batches.append(batch)
            size += batch.nbytes
            if size > _at_most(path):
                raise ValueError(f"{path}: unpacks to more than {size / 2**30:.3g} GiB, too much for its size")
        return pa.Table.from_batches(batches, file.schema_arrow)


def _at_most(path: Path) -> int:
    """Bytes that a parquet file may unpack to."""
    return max(UNPACKED, RATIO * path.stat().st_size)


def read_frame(frame: pd.DataFrame, options: LogOptions, rows: Rows) -> None:
    """Read a frame that is already loaded."""
    before, frame = frame.attrs, frame.set_axis(frame.columns.map(str), axis=1)
    found = [(str(name), pd.api.types.is_numeric_dtype(dtype)) for name, dtype in zip(frame, frame.dtypes, strict=True)]
    inside = _numbers_inside(frame.iloc[0].to_dict()) if len(frame) else []
    try:
        columns = choose_columns("the frame", found, options, inside)
    except ForeignError:  # a record may have to be taken apart
        try:
            records = pa.Table.from_pandas(frame, preserve_index=False).to_pylist()
        except (pa.ArrowException, OverflowError, TypeError, ValueError):
            records = []
        if not any(recognize(record, Where(Path("the frame"))) for record in records[:1]):
            raise
        return read_records(records, options, rows)
    columns = read_before(columns, before, dict(found).keys())
    rows.took(columns, _name(None, dict(found)))
    frame = frame[columns.tops()]
    for start in range(0, len(frame), 16 * BATCH):
        chunk = frame.iloc[start : start + 16 * BATCH]
        try:
            clean = add_clean(pa.RecordBatch.from_pandas(chunk, preserve_index=False), columns, rows)
        except (pa.ArrowException, OverflowError, TypeError, ValueError):  # mixed types: row by row
            clean = False
        if not clean:
            add_records(chunk.to_dict("records"), columns, rows, "", start)
    return None


READERS: dict[str, Callable[[Path, LogOptions, Rows], None]] = {
    ".parquet": _read_parquet,
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".csv": _read_csv,
    ".json": _read_json,
    ".arrow": _read_arrow,
    ".pt": _read_torch,
}
