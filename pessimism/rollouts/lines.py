"""The lines of JSONL and CSV files, one at a time, and what makes one of them a JSON object."""

from __future__ import annotations

import codecs
import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

from pessimism.messages import one_line, show


def read_lines(path: Path) -> Generator[bytes, None, None]:
    """Yield the lines of a file, with their ends, without a byte order mark; only newlines end a line."""
    with path.open("rb") as file:
        for number, line in enumerate(file):
            yield line if number else line.removeprefix(codecs.BOM_UTF8)


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
        If the line is not UTF-8, not JSON, or not an object; it says what is wrong, and in which column.

    Examples
    --------
    >>> json_object(b'{"reward": 1}')
    {'reward': 1}
    """
    try:
        record = json.loads(line.rstrip().decode())  # without its end: an error there is in this line, not the next
    except UnicodeDecodeError as error:
        raise ValueError(f"not valid UTF-8 (byte {error.start + 1})") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"bad JSON, {error.msg} (column {error.colno})") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"bad JSON, {one_line(error)}") from None
    if not isinstance(record, dict):
        raise ValueError(f"expected a JSON object, found {show(record)}")
    return record
