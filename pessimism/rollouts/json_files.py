"""JSON files of many values, such as arrays, one value at a time: no file is held as a whole."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from pessimism.messages import one_line, show
from pessimism.rollouts.lines import LINE, read_json_at
from pessimism.rollouts.rows import ForeignError
from pessimism.rollouts.sources import opened

_PIECE = 2**20  # characters, of which a value that is not whole yet is read anew
_NEAR = 16  # characters before the end of what is held at which an error may be one of a value that is cut there


class JsonError(ValueError):
    """What is wrong with a file from some place on: nothing after it can be read."""


class TooLargeError(JsonError):
    """A value is larger than any may be."""


class _Text:
    """The text of a file from a position on, of which never more than one value is held."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._decoder = file, codecs.getincrementaldecoder("utf-8-sig")()
        self._text, self._at, self._ended = "", 0, False

    def _more(self) -> bool:
        """Read on, twice as much as is held; False at the end."""
        if self._ended:
            return False
        held = len(self._text) - self._at
        if held > LINE:
            raise TooLargeError(f"a value of more than {LINE >> 20} MiB, the most that one may have")
        content = self._file.read(max(_PIECE, held))
        self._ended = not content
        try:
            self._text = self._text[self._at :] + self._decoder.decode(content, final=self._ended)
        except UnicodeDecodeError:
            raise JsonError("not valid UTF-8") from None
        self._at = 0
        return True

    def next(self) -> str:
        """Return the next character that is no blank, without taking it; empty at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in " \t\r\n":
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def take(self, expected: str) -> str:
        """Take the next character that is no blank, one of those expected."""
        found = self.next()
        if not found or found not in expected:
            wanted = " or ".join(map(repr, expected))
            raise JsonError(
                f"bad JSON, the file ends where {wanted} is due" if not found else f"bad JSON, {wanted} is due"
            )
        self._at += 1
        return found

    def value(self, read: Callable[[str, int], tuple[Any, int]] = read_json_at) -> Any:
        """Take the next value."""
        self.next()
        while True:
            try:
                value, end = read(self._text, self._at)
            except json.JSONDecodeError as error:
                cut = error.msg.startswith("Unterminated") or error.pos > len(self._text) - _NEAR
                if not cut or not self._more():
                    raise JsonError(f"bad JSON, {error.msg}") from None
            except RecursionError as error:
                raise JsonError(f"bad JSON, {one_line(error)}") from None
            else:
                # A number may go on beyond what is held.
                if isinstance(value, dict | list | str) or end + _NEAR < len(self._text) or not self._more():
                    self._at = end
                    return value

    def item(self) -> Any:
        """Take the next value, or in its place the error that makes it malformed though it has an end."""
        try:
            return self.value()
        except JsonError:
            raise
        except ValueError as error:
            self.value(json.JSONDecoder().raw_decode)
            return ValueError(f"bad JSON, {one_line(error)}")


def json_values(path: Path) -> Iterator[tuple[str | None, int, Any]]:
    """Yield the values of a JSON file: the entries of an array, or of an object its members and the entries of `data`.

    Parameters
    ----------
    path : Path
        The file; it is unpacked where its name says that it is packed.

    Yields
    ------
    key : str or None
        Name of the member of an object, None in an array.
    index : int
        Number of the entry, -1 for a member that is taken as a whole.
    value : Any
        The value, or a ``ValueError`` in the place of a malformed one.

    Raises
    ------
    JsonError
        Where nothing more can be read; it does not name the file.
    """
    with opened(path) as file:
        text = _Text(file)
        if text.take("[{") == "[":
            yield from ((None, index, value) for index, value in enumerate(_entries(text)))
        elif text.next() != "}":
            while True:
                key = text.value()
                if not isinstance(key, str):
                    raise JsonError("bad JSON, a key is no text")
                text.take(":")
                if key == "data" and text.next() == "[":
                    text.take("[")
                    yield from ((key, index, value) for index, value in enumerate(_entries(text)))
                else:
                    yield key, -1, text.item()
                if text.take(",}") == "}":
                    break
        else:
            text.take("}")
        if text.next():
            raise JsonError("bad JSON, the file goes on after its value")


def _entries(text: _Text) -> Iterator[Any]:
    """Yield the entries of an array whose beginning is taken."""
    if text.next() == "]":
        text.take("]")
        return
    while True:
        yield text.item()
        if text.take(",]") == "]":
            return


def json_records(path: Path) -> Iterator[Any]:
    """Yield the records of a JSON file: the objects of an array, the rows of a W&B table, or the one object itself.

    Parameters
    ----------
    path : Path
        The file.

    Yields
    ------
    Any
        What stands in the place of a record, a ``ValueError`` where it is malformed.

    Raises
    ------
    JsonError
        Where nothing more can be read.
    ForeignError
        If it is one object that is larger than a record can be.
    """
    columns: list[Any] | None = None
    members: dict[str, Any] = {}
    table = False
    try:
        for key, index, value in json_values(path):
            if key is None:
                yield value
            elif index >= 0:
                table = True
                yield value if columns is None else _row(columns, value)
            elif key == "columns" and isinstance(value, list):
                columns = value
            else:
                members[key] = value
    except TooLargeError:
        if not members:
            raise
        raise ForeignError(f"{path}: one JSON object of more than {LINE >> 20} MiB") from None
    if not table and members:
        yield members


def _row(columns: list[Any], value: Any) -> Any:
    if not isinstance(value, list):
        return value if isinstance(value, ValueError) else ValueError(f"{show(value)} is no row of the table")
    if len(value) != len(columns):
        return ValueError(f"{len(value)} fields, the table has {len(columns)} columns")
    return {str(name): field for name, field in zip(columns, value, strict=True)}
