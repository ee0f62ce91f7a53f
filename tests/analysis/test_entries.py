"""What an entry gives back is what was put in; any byte that is not as it was is found, and nothing in it is run."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import random
import zipfile
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

from analysis.entries import DamagedError, packed, unpacked

OF = {"function": "f", "arguments": "1"}


class Pair(NamedTuple):
    a: Any
    b: Any


VALUES: list[Any] = [
    *(None, True, 3, -2.5, 1e-300, "ö\n", [], (), {}, [1, (2, [3.0, None])], {"a": {"b": ("c",)}}),
    Pair(1, [Pair("x", None)]),
]


@pytest.mark.parametrize("value", VALUES, ids=str)
def test_data_comes_back(value: Any) -> None:
    found = unpacked(packed(value, OF, [Pair]), OF, [Pair])
    assert found == value
    assert repr(found) == repr(value)  # the types too


def test_arrays_and_frames_come_back() -> None:
    arrays = [np.arange(6.0).reshape(2, 3), np.array([np.nan, -0.0, np.inf]), np.float32([1]), np.array(["a", "bc"])]
    frame = pd.DataFrame({"x": [1.5, np.nan], "n": [1, 2], "s": ["a", None], "b": [True, False]}, index=[4, 2])
    frame["whole"] = pd.array([1, None], dtype="Int64")
    more = frame.iloc[:0]
    value = {"arrays": arrays, "frames": (frame, more), "scalar": np.float64(0.1)}
    found = unpacked(packed(value, OF), OF)
    for one, other in zip(found["arrays"], arrays, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    for one, other in zip(found["frames"], value["frames"], strict=True):
        pd.testing.assert_frame_equal(one, other)
    assert found["scalar"] == 0.1
    assert np.isnan(unpacked(packed(np.nan, OF), OF))
    assert packed(value, OF) == packed(value, OF)


@pytest.mark.parametrize(
    "value", [object(), {1: 2}, np.array([object()]), pd.DataFrame({0: [1]}), Pair(1, 2), {1, 2}, [print]], ids=type
)
def test_what_is_no_data_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="a result with a .* cannot be kept"):
        packed(value, OF)


def test_another_entry_is_refused() -> None:
    entry = packed(1, OF)
    with pytest.raises(DamagedError, match="it is of something else"):
        unpacked(entry, OF | {"arguments": "2"})
    with pytest.raises(DamagedError, match="Pair"):
        unpacked(packed(Pair(1, 2), OF, [Pair]), OF)


def test_every_byte_counts() -> None:
    entry = packed({"a": np.arange(3.0), "b": pd.DataFrame({"x": [1.0]})}, OF, about="x = 1")
    chance = random.Random(0)
    spoiled = [entry[:at] + bytes([entry[at] ^ 1 << chance.randrange(8)]) + entry[at + 1 :] for at in range(len(entry))]
    spoiled += [entry[:at] for at in range(0, len(entry), 7)] + [entry + b"x", b"", b"\n", b"\0" * 99]
    for one in spoiled:
        with pytest.raises(DamagedError):
            unpacked(one, OF)


class Evil:
    ran = False

    def __reduce__(self) -> Any:
        return (setattr, (Evil, "ran", True))


def test_nothing_in_it_is_run() -> None:
    """Not even where the hash is right, which anybody can compute."""
    array, into = io.BytesIO(), io.BytesIO()
    np.save(array, np.array([Evil()], dtype=object), allow_pickle=True)
    with zipfile.ZipFile(into, "w") as archive:
        archive.writestr("0", array.getvalue())
    rests = [pickle.dumps(Evil()), b'{"made_of": %b, "value": {"%b": "0"}}\n' % (json.dumps(OF).encode(), b"array")]
    rests[1] += into.getvalue()
    rests.append(rests[1].replace(b'"array"', b'"frame"'))
    for rest, said in zip(rests, ("Expecting value|decode", "allow_pickle=False", "Parquet"), strict=True):
        with pytest.raises(DamagedError, match=said):
            unpacked(hashlib.sha256(rest).hexdigest().encode() + b"\n" + rest, OF)
    assert not Evil.ran
    np.load(io.BytesIO(array.getvalue()), allow_pickle=True)
    assert Evil.ran
