"""Arguments of an evaluation as float64 arrays and numbers; every refusal is one line: argument, place, rule."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
from array_api_compat import is_array_api_obj
from numpy.typing import NDArray

from pessimism.arrays import Floats, to_numpy

if TYPE_CHECKING:
    import pandas as pd

IntArray = NDArray[np.int64]


def as_array(name: str, value: Any) -> NDArray[Any]:
    """Any array, series or nested list as numpy, detached from autograd, not copied where that can be avoided."""
    try:
        return to_numpy(value) if is_array_api_obj(value) else np.asarray(value)
    except ValueError:
        raise ValueError(f"{name} must be a rectangular array: rows differ in length") from None


def real_array(name: str, value: Any) -> Floats:
    """Finite real numbers as float64."""
    array = as_array(name, value)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} must be real numbers, got values of type {array.dtype}")
    numbers = np.asarray(array, dtype=np.float64)
    refuse(name, numbers, ~np.isfinite(numbers), "must be finite")
    return numbers


def column(name: str, value: Any, n: int | None = None) -> Floats:
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
    if array.dtype.kind not in "iubUS":  # the others may have missing entries
        import pandas as pd

        refuse(name, array, np.asarray(pd.isna(array)), "must not be missing")
    return array


def sortable_labels(name: str, value: Any, n: int) -> NDArray[Any]:
    """Identifiers ``(n,)`` that have an order: numbers or strings, say, not both."""
    array = labels(name, value, n)
    if array.dtype.kind == "O" or (array.dtype.kind in "US" and isinstance(value, list | tuple)):
        comparable(name, value)  # of a list with both, numpy makes strings
    return array


def comparable(name: str, values: Iterable[Any]) -> None:
    """Raise for the first label that cannot be compared with the first of all."""
    entries = list(values)
    for place, entry in enumerate(entries):
        try:
            bool(entry < entries[0])
        except (TypeError, ValueError):
            of = f"{type(entry).__name__} and {type(entries[0]).__name__}"
            raise ValueError(f"{name}[{place}] must be comparable with {name}[0], got {of}") from None


def number(name: str, value: Any, *, above: float = -np.inf, below: float = np.inf) -> float:
    """A finite number strictly between two limits."""
    if isinstance(value, bool) or not isinstance(value, Real) or not np.isfinite(float(value)):
        raise ValueError(f"{name} must be a finite number, got {shown(value)}")
    if not above < float(value) < below:
        if np.isinf(below):
            raise ValueError(f"{name} must be greater than {above:g}, got {value!r}")
        raise ValueError(f"{name} must be strictly between {above:g} and {below:g}, got {value!r}")
    return float(value)


def whole(name: str, value: Any, *, none: bool = False) -> int:
    """A positive integer; a float that is a whole number counts. ``none``: the message says that None is allowed."""
    integral = isinstance(value, Integral) or (isinstance(value, Real) and float(value).is_integer())
    if isinstance(value, bool) or not integral or value < 1:
        raise ValueError(f"{name} must be a positive integer{' or None' if none else ''}, got {shown(value)}")
    return int(value)


def choice(name: str, value: Any, names: Iterable[str]) -> str:
    """One of the names."""
    known = list(names)
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, got {shown(value)}")
    return value


def is_frame(value: Any) -> TypeGuard[pd.DataFrame]:
    """Whether a value is a frame, without importing pandas for one that is not."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(value, pandas.DataFrame)


def function(name: str, value: Any, of: str) -> None:
    """Raise unless the value can be called."""
    if not callable(value):
        raise ValueError(f"{name} must be a function of {of}, got {shown(value)}")


def shown(value: Any) -> str:
    """Any value on one short line."""
    line = " ".join(repr(value).split())
    return line if len(line) <= 60 else f"{line[:57]}..."


def refuse(name: str, array: NDArray[Any], bad: NDArray[np.bool_], rule: str) -> None:
    """Raise for the first bad entry, naming its place."""
    if not bad.any():
        return
    index = tuple(int(i) for i in np.argwhere(bad)[0])
    place = f"[{', '.join(map(str, index))}]" if index else ""
    raise ValueError(f"{name}{place} {rule}, got {array[index]}")


def refuse_overflow(reward: Floats, estimator: str, also: str = "") -> None:
    """Raise for the reward farthest from zero, the numbers of an estimator being too large for float64."""
    farthest = np.arange(len(reward)) == np.abs(reward).argmax()
    others = f"and {also} " if also else ""
    refuse("reward", reward, farthest, f"{others}must be closer to zero: estimator {estimator} overflows")


def _one_per_round(name: str, array: NDArray[Any], n: int | None) -> NDArray[Any]:
    if array.ndim != 1:
        raise ValueError(f"{name} must have one entry per round, shape (n_rounds,), got shape {array.shape}")
    if len(array) == 0:
        raise ValueError(f"{name} is empty: logs must hold at least one round")
    if n is not None and len(array) != n:
        raise ValueError(f"{name} must have one entry per round, got {len(array)} entries for {n} rounds")
    return array
