"""What a parquet file really unpacks to, from the headers of its pages, which a reader allocates memory by.

The footer says it too, but nothing checks what it says: a file that understates its sizes there is read like any
other. Footer and headers are Thrift's compact protocol, of which a few lines suffice; pyarrow shows no headers, and
ends the process where facts of a column are damaged. Numbers of the fields: parquet-format, ``parquet.thrift``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from io import SEEK_END, BufferedReader
from pathlib import Path
from typing import Any, NamedTuple

_MAGIC = b"PAR1"
_DEEPEST = 16  # structs in structs; four are in use
_USUAL, _HEADER = 2**9, 2**24  # bytes of the header of a page: as good as ever, and at most, as in pyarrow
_PAGES = 2**20  # of a file; a page has a mebibyte as a rule
_VALUE = 8  # bytes of a value, which may take less than a bit in a file
_TEXTS = (6, 7)  # types of a column whose values have any length
_DICTIONARY = 2  # type of the page that holds the distinct values


class Unpacked(NamedTuple):
    """Bytes of the columns asked for, and of the largest dictionary page of each column of texts, by its name."""

    size: int
    dictionaries: dict[str, int]


def unpacked(path: Path, names: Iterable[str] | None = None) -> Unpacked:
    """Add up what the pages of a parquet file unpack to.

    Parameters
    ----------
    path : Path
        The file.
    names : iterable of str, optional
        Its columns that are to be read; all by default.

    Returns
    -------
    Unpacked
        A page counts as what its header says, at least 8 bytes a value. Each value of a dictionary may stand in
        any number of rows, which no header counts.

    Raises
    ------
    ValueError
        If footer or headers cannot be read.
    """
    wanted, size, pages = None if names is None else set(names), 0, 0
    dictionaries: dict[str, int] = {}
    with path.open("rb") as file:
        for name, texts, start, length in _chunks(_footer(file)):
            if wanted is not None and name not in wanted:
                continue
            for kind, page, values in _pages(file, start, length):
                size, pages = size + max(page, _VALUE * values), pages + 1
                if pages > _PAGES:
                    raise ValueError(f"more than {_PAGES} pages")
                if texts and kind == _DICTIONARY:
                    dictionaries[name] = max(dictionaries.get(name, 0), page)
    return Unpacked(size, dictionaries)


def _footer(file: BufferedReader) -> dict[int, Any]:
    end = file.seek(0, SEEK_END) - 8
    if end < 0:
        raise ValueError("no parquet footer")
    file.seek(end)
    length = int.from_bytes(file.read(4), "little")
    if file.read(4) != _MAGIC or length > end:
        raise ValueError("no parquet footer")
    file.seek(end - length)
    return _Cursor(file.read(length)).struct()


def _chunks(footer: dict[int, Any]) -> Iterator[tuple[str, bool, int, int]]:
    """Yield the column of every chunk, whether it holds texts, and place and length in the file."""
    for group in _list(footer.get(4)):
        for column in _list(_field(group, 1)):
            about = _field(column, 3)
            path = _list(_field(about, 3))
            name = path[0].decode(errors="replace") if path and isinstance(path[0], bytes) else ""
            start, first = _number(about, 9), _number(about, 11, 0)
            first = first if 0 < first < start else start
            yield name, _number(about, 1) in _TEXTS, first, _number(about, 7)


def _pages(file: BufferedReader, start: int, length: int) -> Iterator[tuple[int, int, int]]:
    """Yield kind, unpacked size and number of values of every page of a chunk."""
    if start < 0:
        raise ValueError("a chunk before the file")
    at, end = start, start + length
    while at < end:
        header, own = _header(file, at, end)
        packed, size = _number(header, 3), _number(header, 2)
        if packed < 0 or size < 0:
            raise ValueError("a page of a negative size")
        about: dict[int, Any] = next((header[kind] for kind in (5, 7, 8) if kind in header), {})
        yield _number(header, 1), size, max(_number(about, 1, 0), 0)
        at += own + packed


def _header(file: BufferedReader, at: int, end: int) -> tuple[dict[int, Any], int]:
    """Read the header of the page at a place, and its length in bytes."""
    most = _USUAL
    while True:
        file.seek(at)
        cursor = _Cursor(file.read(min(most, end - at)))
        try:
            return cursor.struct(), cursor.at
        except _TooShortError:
            if most >= min(_HEADER, end - at):
                raise
            most *= 16  # the least and the largest value of a page stand in its header, and may be long


def _field(struct: Any, number: int) -> Any:
    return struct.get(number) if isinstance(struct, dict) else None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _number(struct: Any, number: int, default: int | None = None) -> int:
    found = _field(struct, number)
    found = default if found is None else found
    if not isinstance(found, int):
        raise ValueError(f"field {number} of a header is missing")
    return found


class _TooShortError(ValueError):
    pass


class _Cursor:
    """A place in bytes of Thrift's compact protocol."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def struct(self, depth: int = 0) -> dict[int, Any]:
        """Read a struct as its fields by number."""
        found: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._signed()
            kind = head & 15
            found[number] = kind == 1 if kind in (1, 2) else self._value(kind, depth + 1)
        return found

    def _value(self, kind: int, depth: int) -> Any:
        if depth > _DEEPEST:
            raise ValueError("a header is nested too deeply")
        match kind:
            case 1 | 2 | 3:  # in a list a truth value is a byte as well
                return self._byte()
            case 4 | 5 | 6:
                return self._signed()
            case 7:
                return self._bytes(8)
            case 8:
                return self._bytes(self._unsigned())
            case 9 | 10:
                head = self._byte()
                count = self._unsigned() if head >> 4 == 15 else head >> 4
                return [self._value(head & 15, depth + 1) for _ in range(count)]
            case 11:
                count = self._unsigned()
                head = self._byte() if count else 0
                return [[self._value(part, depth + 1) for part in (head >> 4, head & 15)] for _ in range(count)]
            case 12:
                return self.struct(depth)
        raise ValueError(f"a header holds a value of type {kind}")

    def _byte(self) -> int:
        if self.at >= len(self.data):
            raise _TooShortError("a header ends too early")
        self.at += 1
        return self.data[self.at - 1]

    def _bytes(self, count: int) -> bytes:
        if self.at + count > len(self.data):
            raise _TooShortError("a header ends too early")
        self.at += count
        return self.data[self.at - count : self.at]

    def _unsigned(self) -> int:
        value = shift = 0
        while shift < 70:
            part = self._byte()
            value |= (part & 127) << shift
            if part < 128:
                return value
            shift += 7
        raise ValueError("a number of a header is too long")

    def _signed(self) -> int:
        value = self._unsigned()
        return (value >> 1) ^ -(value & 1)
