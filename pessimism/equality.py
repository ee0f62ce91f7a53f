"""Results compared by what they hold: two are equal where every number of one is that of the other, to the last bit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from pessimism.arrays import to_numpy


class ByValue:
    """Result that equals another one, such as its copy from another process, where all of its fields do."""

    def __eq__(self, other: object) -> bool:
        return same(self, other)

    __hash__ = None  # type: ignore[assignment]  # arrays have none


def same(one: Any, other: Any) -> bool:
    """Whether two values are of one type and hold the same numbers; nan is the same as nan.

    Parameters
    ----------
    one, other : object
        Numbers, arrays, frames, dataclasses, objects of one's own, or tuples, lists and dicts of them.

    Returns
    -------
    bool
        Whether they are the same.

    Examples
    --------
    >>> same({"x": np.array([1.0, math.nan])}, {"x": np.array([1.0, math.nan])}), same(1, 1.0)
    (True, False)
    """
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if is_dataclass(one):
        return all(same(getattr(one, field.name), getattr(other, field.name)) for field in fields(one))
    if isinstance(one, Mapping):
        return list(one) == list(other) and all(same(one[name], other[name]) for name in one)
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(same, one, other))
    if hasattr(one, "equals"):  # frames and their columns
        return bool(one.equals(other)) and same(one.attrs, other.attrs)
    if hasattr(one, "dtype") and hasattr(one, "shape"):
        return bool(one.dtype == other.dtype) and _same_arrays(to_numpy(one), to_numpy(other))
    if isinstance(one, float):
        return one == other or (math.isnan(one) and math.isnan(other))
    if type(one).__eq__ is not object.__eq__:  # type: ignore[comparison-overlap]
        return bool(one == other)
    return hasattr(one, "__dict__") and same(vars(one), vars(other))


def _same_arrays(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> bool:
    if one.shape != other.shape:
        return False
    return bool(np.array_equal(one, other, equal_nan=one.dtype.kind in "fc"))
