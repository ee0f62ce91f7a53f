"""Arrays of any library to numpy, and rows picked from a batch and put back."""

from __future__ import annotations

from typing import Any

import array_api_strict
import numpy as np
import pytest
import torch
from array_api_compat import array_namespace

from pessimism.arrays import chunks, pick, put, to_numpy, to_numpy_float

LIBRARIES = [np, torch, array_api_strict]


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.__name__)
def test_values_reach_numpy(library: Any) -> None:
    found = to_numpy(library.asarray([[1.5, 2.0], [0.25, -1.0]]))
    assert type(found) is np.ndarray
    np.testing.assert_array_equal(found, [[1.5, 2.0], [0.25, -1.0]])


def test_numpy_is_not_copied_and_others_share_no_memory() -> None:
    own = np.arange(3.0)
    assert to_numpy(own) is own
    tensor = torch.arange(3.0, dtype=torch.float64, requires_grad=True)
    found = to_numpy(tensor)
    found[0] = 7.0
    assert tensor[0].item() == 0.0


def test_integers_and_lists_become_float64() -> None:
    for values in ([1, 2], np.array([1, 2]), torch.tensor([1, 2], dtype=torch.int32), np.float32([1, 2])):
        found = to_numpy_float(values)
        assert found.dtype == np.float64
        np.testing.assert_array_equal(found, [1.0, 2.0])


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.__name__)
@pytest.mark.parametrize("mask", [[True, False, True], [False] * 3, [True] * 3])
@pytest.mark.parametrize("width", [None, 2])
def test_what_is_picked_is_put_back_in_its_place(library: Any, mask: list[bool], width: int | None) -> None:
    plain = np.arange(3.0) if width is None else np.arange(6.0).reshape(3, 2)
    rows, keep = library.asarray(plain), library.asarray(mask)
    xp = array_namespace(rows)
    picked = pick(xp, rows, keep)
    np.testing.assert_array_equal(to_numpy(picked), plain[np.array(mask)])
    expected = plain.copy()
    expected[np.array(mask)] = -plain[np.array(mask)] - 1.0
    np.testing.assert_array_equal(to_numpy(put(xp, rows, keep, -picked - 1.0)), expected)
    np.testing.assert_array_equal(to_numpy(rows), plain)  # a new array


@pytest.mark.parametrize(("rows", "width"), [(0, 3), (1, 10**9), (7, 5), (10_000, 64), (65_537, 1)])
def test_chunks_cover_every_row_once(rows: int, width: int) -> None:
    found = [row for part in chunks(rows, width) for row in range(rows)[part]]
    assert found == list(range(rows))
    assert all(part.stop > part.start for part in chunks(rows, width))
