"""CSV files, a few records at a time, none of them larger than a record may be."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from io import BytesIO, TextIOWrapper
from itertools import accumulate, chain, islice
from pathlib import Path
from typing import Any

from pessimism.rollouts.lines import LINE, line_blocks

_TOGETHER = 64  # records taken at once, of which each may be long


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
    with csv_chunks(path, bad) as (header, chunks):
        yield header, ((n, fields) for *many, _ in chunks for n, fields in zip(*many, strict=True) if fields)


@contextmanager
def csv_chunks(
    path: Path, bad: Callable[[str, object, int], None]
) -> Iterator[tuple[list[str], Iterator[tuple[Sequence[int], list[list[str]], int]]]]:
    """Open a CSV file as `csv_table` does, with records a few at a time.

    Parameters
    ----------
    path : Path
        As for `csv_table`.
    bad : callable
        As for `csv_table`.

    Yields
    ------
    header : list of str
        The first record.
    chunks : iterator of (sequence of int, list of list of str, int)
        The line on which each of some records starts, and their fields; a blank line is a record without any. And how
        many bytes have been read for them, which come a block at a time.
    """
    read = _Read()
    with closing(_texts(path, read)) as texts, _long_fields():
        reader = csv.reader(chain.from_iterable(texts), strict=True)
        yield _header(reader, path), _records(reader, path, bad, read)


class _Read:
    """Records of CSV that were read so far: those of the present chunk, one by one, and how many there were before."""

    def __init__(self) -> None:
        self.records: deque[list[str]] = deque()
        self.before = 0
        self.size = 0  # bytes that no chunk has been charged with yet

    @property
    def count(self) -> int:
        """All of them."""
        return self.before + len(self.records)

    def taken(self) -> list[list[str]]:
        """Hand over those of the chunk."""
        records = list(self.records)
        self.before += len(records)
        self.records.clear()
        return records

    def charged(self) -> int:
        """Return the bytes that were read since the last chunk."""
        size, self.size = self.size, 0
        return size


def _texts(path: Path, read: _Read) -> Generator[list[str], None, None]:
    """Decode lines, unless the record that they belong to grows beyond what one may have by more than a block."""
    number, size, before = 1, 0, 0
    for block in line_blocks(path):
        if size > LINE:
            raise ValueError(
                f"{path}:{number}: a record of more than {LINE >> 20} MiB, the most that one may have: is a quote open?"
            )
        lines = list(TextIOWrapper(BytesIO(block), encoding="utf-8", errors="surrogateescape", newline="\n"))
        yield lines
        number += len(lines)
        read.size += len(block)
        # All of these lines belong to one record where none ended in them.
        size, before = size + len(block) if read.count == before else 0, read.count


def _header(reader: Iterator[list[str]], path: Path) -> list[str]:
    try:
        header = next(reader, None)
    except csv.Error as error:
        raise ValueError(f"{path}:1: bad CSV header, {error}") from None
    if header is None:
        raise ValueError(f"{path}: the file is empty, without a header line")
    if not header:
        raise ValueError(f"{path}:1: no header line")
    return header


def _records(
    reader: Any, path: Path, bad: Callable[[str, object, int], None], read: _Read
) -> Iterator[tuple[Sequence[int], list[list[str]], int]]:
    """Yield every record that is CSV at all, a few at a time, and the physical line on which each starts."""
    more = True
    while more:
        first, error = reader.line_num + 1, None
        try:
            read.records.extend(islice(reader, _TOGETHER))
            more = bool(read.records)
        except csv.Error as found:
            error = found
        records = read.taken()
        lines: list[int] | range = range(first, first + len(records))
        if error is not None or reader.line_num - first + 1 != len(records):  # some are of several lines
            counts = (1 + sum(field.count("\n") for field in fields) for fields in records)
            *lines, first = accumulate(counts, initial=first)
        if records:
            yield lines, records, read.charged()
        if error is not None:  # an open quote swallows the rest of the file: every line of it is counted
            bad(f"{path}:{first}", f"bad CSV, {error}", reader.line_num - first + 1)


@contextmanager
def _long_fields() -> Iterator[None]:
    """Lift the csv module's limit of 131,072 characters a field, which completions exceed."""
    limit = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(limit)
