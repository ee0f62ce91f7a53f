"""Arguments of an evaluation as float64 arrays and numbers; every refusal is one line: argument, place, rule."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
from array_api_compat import is_array_api_obj
from numpy.typing import NDArray

from pessimism.bandit import to_numpy

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def as_array(name: str, value: Any) -> NDArray[Any]:
    """Any array, series or nested list as numpy, detached from autograd, not copied where that can be avoided."""
    try:
        return to_numpy(value) if is_array_api_obj(value) else np.asarray(value)
    except ValueError:
        raise ValueError(f"{name} must be a rectangular array: rows differ in length") from None


def real_array(name: str, value: Any) -> FloatArray:
    """Finite real numbers as float64."""
    array = as_array(name, value)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} must be real numbers, got values of type {array.dtype}")
    numbers = np.asarray(array, dtype=np.float64)
    refuse(name, numbers, ~np.isfinite(numbers), "must be finite")
    return numbers


def column(name: str, value: Any, n: int | None = None) -> FloatArray:
    """Finite real numbers ``(n,)``, one per round."""
    return _one_per_round(name, real_array(name, value), n)


def integers(name: str, value: Any, n: int | None = None) -> IntArray:
    """Integers ``(n,)``; floats that are whole numbers count."""
    numbers = column(name, value, n)
    refuse(name, numbers, numbers != np.floor(numbers), "must be an integer")
    return numbers.astype(np.int64)


def labels(name: str, value: Any, n: int) -> NDArray[Any]:
    """Identifiers ``(n,)`` of any kind, none missing."""
    array = _one_per_round(name, as_array(name, value), n)
    refuse(name, array, np.asarray(pd.isna(array)), "must not be missing")
    return array


def number(name: str, value: Any, *, above: float = -np.inf, below: float = np.inf) -> float:
    """A finite number strictly between two limits."""
    if isinstance(value, bool) or not isinstance(value, Real) or not np.isfinite(float(value)):
        raise ValueError(f"{name} must be a finite number, got {value!r}")
    if not above < float(value) < below:
        if np.isinf(below):
            raise ValueError(f"{name} must be greater than {above:g}, got {value!r}")
        raise ValueError(f"{name} must be strictly between {above:g} and {below:g}, got {value!r}")
    return float(value)


def refuse(name: str, array: NDArray[Any], bad: NDArray[np.bool_], rule: str) -> None:
    """Raise for the first bad entry, naming its place."""
    if not bad.any():
        return
    index = tuple(int(i) for i in np.argwhere(bad)[0])
    place = f"[{', '.join(map(str, index))}]" if index else ""
    raise ValueError(f"{name}{place} {rule}, got {array[index]}")


def _one_per_round(name: str, array: NDArray[Any], n: int | None) -> NDArray[Any]:
    if array.ndim != 1:
        raise ValueError(f"{name} must have one entry per round, shape (n_rounds,), got shape {array.shape}")
    if len(array) == 0:
        raise ValueError(f"{name} is empty: logs must hold at least one round")
    if n is not None and len(array) != n:
        raise ValueError(f"{name} must have one entry per round, got {len(array)} entries for {n} rounds")
    return array
