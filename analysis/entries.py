"""Entries of a cache: a value as data, with what it was made of and a hash of it all; nothing is run on reading.

The first line is the hash of the rest in hexadecimal digits; the second is JSON, which says what the value was made of
and how it is built; a zip archive of the arrays (npy) and frames (parquet) in it follows.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from pessimism.messages import one_line

Types = Sequence[type[tuple[Any, ...]]]


class DamagedError(ValueError):
    """An entry is not as it was written, or not one of what is asked for."""


def packed(value: Any, made_of: dict[str, str], types: Types = (), about: str = "") -> bytes:
    """Put a value into an entry.

    Parameters
    ----------
    value : object
        None, bool, number, text, array, frame with text as names of columns, or list, tuple, named tuple or dict (with
        text as keys) of such. Numbers of numpy become those of Python.
    made_of : dict of str to str
        What it was made of, which `unpacked` compares.
    types : sequence of type
        The named tuples that may be in it.
    about : str, default ""
        Anything else, for who looks into the entry.

    Returns
    -------
    bytes
        The entry.

    Raises
    ------
    TypeError
        If the value holds anything else.

    Examples
    --------
    >>> unpacked(packed({"a": (1, None)}, {"by": "hand"}), {"by": "hand"})
    {'a': (1, None)}
    """
    into = io.BytesIO()
    with zipfile.ZipFile(into, "w") as archive:
        built = _built(value, archive, {one.__name__ for one in types})
    rest = json.dumps({"made_of": made_of, "about": about, "value": built}).encode() + b"\n" + into.getvalue()
    return hashlib.sha256(rest).hexdigest().encode() + b"\n" + rest


def _built(value: Any, archive: zipfile.ZipFile, types: set[str]) -> Any:
    """Say in JSON how a value is built, and put its arrays and frames into the archive."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.bool | np.number):
        return value.item()
    if isinstance(value, list | tuple):
        kind = type(value).__name__
        if type(value) not in (list, tuple) and kind not in types:
            raise TypeError(f"a result with a {kind} cannot be kept: its type must be named")
        return {kind: [_built(one, archive, types) for one in value]}
    if isinstance(value, dict) and all(isinstance(name, str) for name in value):
        return {"dict": {name: _built(one, archive, types) for name, one in value.items()}}
    name, into = str(len(archive.namelist())), io.BytesIO()
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufcU":
        np.save(into, value, allow_pickle=False)
        kind = "array"
    elif isinstance(value, pd.DataFrame) and all(isinstance(column, str) for column in value):
        value.to_parquet(into)
        kind = "frame"
    else:
        raise TypeError(f"a result with a {type(value).__name__} cannot be kept: it must be data")
    archive.writestr(zipfile.ZipInfo(name), into.getvalue())  # which has a fixed date
    return {kind: name}


def unpacked(entry: bytes, made_of: dict[str, str], types: Types = ()) -> Any:
    """Take the value out of an entry.

    Parameters
    ----------
    entry : bytes
        As `packed` returns it.
    made_of : dict of str to str
        What the value that is asked for is made of.
    types : sequence of type
        The named tuples that may be in it.

    Returns
    -------
    object
        The value.

    Raises
    ------
    DamagedError
        If it is not as it was written, or is made of something else, or cannot be read with the packages of today.
    """
    digest, _, rest = entry.partition(b"\n")
    if hashlib.sha256(rest).hexdigest().encode() != digest:
        raise DamagedError("it is not as it was written")
    said, _, archived = rest.partition(b"\n")
    try:
        about = json.loads(said)
        if about["made_of"] != made_of:
            raise DamagedError("it is of something else")
        with zipfile.ZipFile(io.BytesIO(archived)) as archive:
            return _value(about["value"], archive, {one.__name__: one for one in types})
    except DamagedError:
        raise
    except Exception as error:  # of any reader, whose formats change
        raise DamagedError(one_line(error)) from error


def _value(built: Any, archive: zipfile.ZipFile, types: dict[str, type[tuple[Any, ...]]]) -> Any:
    """Build what `_built` says."""
    if not isinstance(built, dict):
        return built
    ((kind, parts),) = built.items()
    if kind == "array":
        return np.load(io.BytesIO(archive.read(parts)), allow_pickle=False)
    if kind == "frame":
        return pd.read_parquet(io.BytesIO(archive.read(parts)))
    if kind == "dict":
        return {name: _value(one, archive, types) for name, one in parts.items()}
    values = [_value(one, archive, types) for one in parts]
    return values if kind == "list" else tuple(values) if kind == "tuple" else types[kind](*values)
