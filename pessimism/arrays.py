"""Arrays of any library: their type, their way to numpy, and rows picked from a batch and put back."""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

Array = Any  # of numpy, torch or any library of the array API standard
Floats = NDArray[np.float64]

LOG_OF_NO_MASS = -700.0  # stands for log 0 in weights that carry the ratio: its exponential is still a float


_IN_CACHE = 1 << 16  # elements of a float64 array of which several stay in the processor's cache


def chunks(rows: int, width: int) -> list[slice]:
    """Slices of ``rows`` problems of ``width`` actions that are fast to work on one after the other."""
    size = max(1, _IN_CACHE // max(1, width))
    return [slice(first, min(first + size, rows)) for first in range(0, rows, size)]


def to_numpy(array: Array) -> np.ndarray[Any, Any]:
    """Copy an array of any library, on any device, to numpy, detached from autograd; a numpy array is not copied."""
    if isinstance(array, np.ndarray | np.generic):
        return np.asarray(array)
    if hasattr(array, "detach"):
        array = array.detach().cpu()
    return np.from_dlpack(array).copy()


def to_numpy_float(values: Any) -> np.ndarray[Any, Any]:
    """Convert any array or nested list to a float64 numpy array."""
    return (
        to_numpy(values).astype(np.float64) if hasattr(values, "__dlpack__") else np.asarray(values, dtype=np.float64)
    )


def per_row(value: Any) -> Any:
    """A hyper-parameter beside quantities of one number a row: a column ``(N, 1)`` as ``(N,)``, a number as it is."""
    return value[..., 0] if getattr(value, "ndim", 0) else value


def pick(xp: Any, rows: Array, mask: Array) -> Array:
    """Rows ``(N, ...)`` where the mask ``(N,)`` holds."""
    return xp.take(rows, xp.nonzero(mask)[0], axis=0)


def put(xp: Any, rows: Array, mask: Array, values: Array) -> Array:
    """Copy of the rows ``(N, ...)`` with ``values``, in order, where the mask ``(N,)`` holds."""
    if values.shape[0] == 0:
        return rows
    place = xp.maximum(xp.cumulative_sum(xp.astype(mask, xp.int64)) - 1, 0)
    mask = mask if rows.ndim == 1 else mask[:, None]
    return xp.where(mask, xp.take(values, place, axis=0), rows)


def finite_log(log_ratio: Array) -> Array:
    """Log-ratios with ``LOG_OF_NO_MASS`` in the place of minus infinity."""
    xp = array_namespace(log_ratio)
    return xp.where(xp.isinf(log_ratio) & (log_ratio < 0), xp.full_like(log_ratio, LOG_OF_NO_MASS), log_ratio)
