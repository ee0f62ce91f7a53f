"""Rules that a problem must obey: every refusal names the argument, the place and the rule.

``xp`` is the array library, ``shape`` the caller's leading shape. A check of rows ``(N, K)`` raises for the first bad
one or, with ``on_error="status"``, notes every bad one in ``invalid`` and puts something harmless in its place.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device, is_array_api_obj

from pessimism.arrays import Array

SUM_TOLERANCE = 1e-6
LARGEST = 1e100  # size of rewards, advantages and hyper-parameters: squares, and ratios of two, are floats still
FAINTEST = 1e-301  # positive probability: its reciprocal is a float still, and so is a ratio of a policy to it


def to_common_arrays(given: dict[str, Any]) -> tuple[Any, dict[str, Array], Any]:
    """Bring the arguments to float64 on one array library and device, and remember the type to return."""
    foreign = [v for v in given.values() if is_array_api_obj(v) and not isinstance(v, np.ndarray | np.generic)]
    xp = array_namespace(*foreign) if foreign else array_namespace(np.empty(0))
    where = {"device": device(foreign[0])} if foreign else {}
    arrays = {
        name: value if any(value is f for f in foreign) else xp.asarray(as_numpy(name, value), **where)
        for name, value in given.items()
    }
    for name, a in arrays.items():
        _check_type(xp, name, a)
    # A plain list takes the type of the arrays beside it, as a Python scalar does; integers have no say.
    types = [str(value.dtype) for value in given.values() if is_array_api_obj(value)]
    floats = [name for name in types if "float" in name]
    single = bool(floats) and all(name.endswith("float32") for name in floats)
    return (
        xp,
        {k: xp.astype(a, xp.float64, copy=False) for k, a in arrays.items()},
        xp.float32 if single else xp.float64,
    )


def _check_type(xp: Any, name: str, a: Array) -> None:
    if a.dtype not in (xp.float32, xp.float64):
        if xp.isdtype(a.dtype, "complex floating"):
            raise ValueError(f"{name} must be real numbers, got values of type {a.dtype}")
        if xp.isdtype(a.dtype, "real floating"):
            raise ValueError(f"{name} must be float32 or float64, got {a.dtype}: cast it and normalize again")
    if name != "reward" and getattr(a, "requires_grad", False):
        raise ValueError(f"{name} must not require gradients, which are taken with respect to reward only: detach it")


def as_numpy(name: str, value: Any) -> np.ndarray[Any, Any]:
    """Numbers that are no array of another library as a numpy array of float64, or of float32 where they are it."""
    try:
        array = np.asarray(value)
    except ValueError:
        raise ValueError(f"{name} must be a rectangular array of numbers: rows differ in length") from None
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} must be real numbers, got values of type {array.dtype}")
    return array.astype(np.float64) if array.dtype.kind in "iub" or array.dtype.itemsize > 8 else array


def check_integer(name: str, value: Any, least: int, why: str = "", most: int | None = None) -> None:
    """Raise ``ValueError`` unless the value is an integer of at least so much, and at most so much."""
    integer = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not integer or value < least:
        raise ValueError(f"{name} must be an integer >= {least}{why}, got {' '.join(repr(value).split())}")
    if most is not None and value > most:
        raise ValueError(f"{name} must be at most {most:,}, got {value:,}")


def check_amount(what: str, amount: int, most: int) -> None:
    """Raise ``ValueError`` where what the arguments ask for is more than is worked on.

    Parameters
    ----------
    what : str
        The arguments and what they make together, a plural: "rounds and runs: rows of the table".
    amount, most : int
        How many they make, and how many may be.
    """
    if amount > most:
        raise ValueError(f"{what} must be at most {most:,}, got {amount:,}")


def broadcast_shape(arrays: dict[str, Array], batch: tuple[int, ...] = ()) -> tuple[int, ...]:
    """Common shape of the arguments, which must agree in their last axis, the actions, and of a batch ``(...)``."""
    for name, a in arrays.items():
        if a.ndim == 0:
            raise ValueError(f"{name} must have at least one dimension (the actions), got a scalar")
        if a.shape[-1] == 0:
            raise ValueError(f"{name} has an empty group: the last axis must hold at least one action")
    widths = {name: int(a.shape[-1]) for name, a in arrays.items()}
    if len(set(widths.values())) > 1:
        raise ValueError(f"last axes must agree in the number of actions, got {widths}")
    try:
        return np.broadcast_shapes(*(tuple(a.shape) for a in arrays.values()), (*batch, 1))
    except ValueError:
        shapes = {name: tuple(a.shape) for name, a in arrays.items()} | ({"hyper-parameters": batch} if batch else {})
        raise ValueError(f"leading shapes must broadcast against each other, got {shapes}") from None


def place(name: str, row: int, shape: tuple[int, ...], action: int | None = None) -> str:
    """Name of an argument with the caller's index of a row, and of an action in it."""
    index = tuple(int(i) for i in np.unravel_index(row, shape)) if shape else ()
    if action is not None:
        index = (*index, action)
    return f"{name}[{', '.join(map(str, index))}]" if index else name


def report(bad: Array, message: Callable[[int], str], on_error: str, invalid: dict[int, str]) -> None:
    """Raise for the first bad row, or note every one."""
    rows = array_namespace(bad).nonzero(bad)[0]
    for row in (int(rows[i]) for i in range(rows.shape[0])):
        if on_error == "raise":
            raise ValueError(message(row))
        invalid.setdefault(row, message(row))


def check_reward(xp: Any, name: str, a: Array, shape: tuple[int, ...], on_error: str, invalid: dict[int, str]) -> Array:
    """Check that all rewards are finite and no larger than float64 can work with; rows that are not become zeros."""
    if a.shape[0] == 0 or bool((xp.max(a) <= LARGEST) & (xp.min(a) >= -LARGEST)):
        return a
    fine = xp.abs(a) <= LARGEST

    def message(row: int) -> str:
        action = int(xp.argmin(xp.astype(fine[row, :], xp.int8)))
        value = a[row, action]
        value = float(value.detach() if hasattr(value, "detach") else value)
        rule = f"be at most {LARGEST:g} in size" if math.isfinite(value) else "be finite"
        return f"{place(name, row, shape, action)} must {rule}, got {value}"

    bad = ~xp.all(fine, axis=-1)
    report(bad, message, on_error, invalid)
    return xp.where(bad[:, None], xp.zeros_like(a), a)


def check_policy(xp: Any, name: str, a: Array, shape: tuple[int, ...], on_error: str, invalid: dict[int, str]) -> Array:
    """Check probabilities and normalize their rows; rows that are no probabilities become uniform."""
    with np.errstate(over="ignore", invalid="ignore"):
        total = xp.sum(a, axis=-1)
    fair = xp.abs(total - 1) <= SUM_TOLERANCE
    lowest = FAINTEST if a.shape[0] == 0 else xp.min(a)
    known = bool(lowest >= FAINTEST) or (bool(lowest >= 0) and not bool(xp.any((a > 0) & (a < FAINTEST))))
    if known and bool(xp.all(fair)):
        return _normalized(xp, a, total)

    bad = ~(fair & xp.all((a >= FAINTEST) | (a == 0), axis=-1))

    def message(row: int) -> str:
        wrong = ~(a[row, :] >= 0)
        if bool(xp.any(wrong)):
            action = int(xp.argmax(xp.astype(wrong, xp.int8)))
            return f"{place(name, row, shape, action)} must be a probability >= 0, got {float(a[row, action])}"
        faint = (a[row, :] > 0) & (a[row, :] < FAINTEST)
        if bool(xp.any(faint)):
            action = int(xp.argmax(xp.astype(faint, xp.int8)))
            rule = f"must be 0 or at least {FAINTEST:g}: a ratio to less overflows"
            return f"{place(name, row, shape, action)} {rule}, got {float(a[row, action])}"
        return f"{place(name, row, shape)} must sum to 1 within {SUM_TOLERANCE:g}, got {float(total[row]):.9g}"

    report(bad, message, on_error, invalid)
    uniform = xp.full_like(a, 1.0 / a.shape[-1])
    return xp.where(bad[:, None], uniform, _normalized(xp, a, xp.where(bad, xp.ones_like(total), total)))


def _normalized(xp: Any, a: Array, total: Array) -> Array:
    """Rows that sum to one; those that only rounding keeps from it are left as they are, which is exact enough."""
    exact = xp.abs(total - 1) <= 4 * xp.finfo(a.dtype).eps
    return a if bool(xp.all(exact)) else a / xp.where(exact, xp.ones_like(total), total)[:, None]


def check_reference_support(
    xp: Any, rows: dict[str, Array], shape: tuple[int, ...], on_error: str, invalid: dict[int, str]
) -> None:
    """Check that a reference has mass wherever the behavior has some; rows without it become the behavior."""
    missing = (rows["behavior"] > 0) & (rows["reference"] == 0)
    bad = xp.any(missing, axis=-1)
    if not bool(xp.any(bad)):
        return

    def message(row: int) -> str:
        action = int(xp.argmax(xp.astype(missing[row, :], xp.int8)))
        return f"{place('reference', row, shape, action)} must be positive wherever behavior is (infinite log-ratio)"

    report(bad, message, on_error, invalid)
    rows["reference"] = xp.where(bad[:, None], rows["behavior"], rows["reference"])
