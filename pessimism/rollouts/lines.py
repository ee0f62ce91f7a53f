"""The lines of JSONL and CSV files, one at a time, and what makes one of them a JSON object."""

from __future__ import annotations

import codecs
import json
from collections.abc import Generator
from contextlib import closing, suppress
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

from pessimism.messages import one_line, show
from pessimism.rollouts.sources import opened

LINE = 2**24  # bytes of a line, and of a record of CSV, that are read at most
_BLOCK = 2**16  # bytes read at once


def read_lines(path: Path) -> Generator[bytes, None, None]:
    """Yield the lines of a regular file, with their ends, without a byte order mark; only newlines end a line.

    Parameters
    ----------
    path : Path
        The file; it is unpacked where its name says that it is packed.

    Yields
    ------
    bytes
        A line of at most `LINE` bytes.

    Raises
    ------
    ValueError
        If it is no regular file, or a line is longer, as ``path:line: reason``.
    """
    with closing(line_blocks(path)) as blocks:
        for block in blocks:
            yield from BytesIO(block)


def line_blocks(path: Path) -> Generator[bytes, None, None]:
    """Yield what `read_lines` does, as many lines in a piece as one read gives: calls cost more than what they do.

    Parameters
    ----------
    path : Path
        As for `read_lines`.

    Yields
    ------
    bytes
        Whole lines, one at least.

    Raises
    ------
    ValueError
        As `read_lines`.
    """
    number, rest, mark = 1, b"", codecs.BOM_UTF8
    with opened(path) as file:
        while more := file.read(_BLOCK):
            more, mark = rest + more.removeprefix(mark), b""
            end = more.rfind(b"\n") + 1
            block, rest = more[:end], more[end:]
            if len(block) > LINE:
                lines = BytesIO(block).readlines()
                long = next((i for i, line in enumerate(lines) if len(line) > LINE), None)
                if long is not None:
                    block, rest = b"".join(lines[:long]), lines[long]
            if block:
                yield block
            number += block.count(b"\n")
            if len(rest) > LINE:
                raise ValueError(f"{path}:{number}: longer than {LINE >> 20} MiB, the most that a line may have")
    if rest:
        yield rest


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object whose keys all stand there once; of two, each reader of JSON would believe another one."""
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {show(twice)} stands there twice")
    return found


_decoder = json.JSONDecoder(object_pairs_hook=_once)
read_json, read_json_at = _decoder.decode, _decoder.raw_decode


def json_object(line: bytes) -> dict[str, Any]:
    """Return the object that a line of JSON holds.

    Parameters
    ----------
    line : bytes
        The line, with or without its end.

    Returns
    -------
    dict
        The object.

    Raises
    ------
    ValueError
        If the line is not UTF-8, not JSON, not an object, or one in which a key stands twice; it says what is wrong,
        and in which column.

    Examples
    --------
    >>> json_object(b'{"reward": 1}')
    {'reward': 1}
    """
    try:
        record = read_json(line.rstrip().decode())  # without its end: an error there is in this line, not the next
    except UnicodeDecodeError as error:
        raise ValueError(f"not valid UTF-8 (byte {error.start + 1})") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"bad JSON, {error.msg} (column {error.colno})") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"bad JSON, {one_line(error)}") from None
    if not isinstance(record, dict):
        raise ValueError(f"expected a JSON object, found {show(record)}")
    return record


def has_lines(path: Path) -> bool:
    """Whether a file has an object on each line, whatever it is called."""
    with opened(path) as file:
        lines = (line for line in iter(partial(file.readline, LINE + 1), b"") if line.strip())
        first, second = next(lines, b""), next(lines, b"")
    with suppress(ValueError):
        return second.lstrip().startswith(b"{") and bool(json_object(first.removeprefix(codecs.BOM_UTF8)))
    return False
