"""The problem: one or many contexts with finite actions, a behavior, a reward and a reference policy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device, is_array_api_obj

Array = Any

SUM_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Bandit:
    """Validated problems, flattened to one row each: every array is float64 of shape ``(N, K)``.

    ``shape`` is the leading shape ``(...)`` and ``dtype`` the floating type that results are returned in;
    ``invalid`` maps the rows that failed validation to their message (only with ``on_error="status"``).
    """

    xp: Any
    behavior: Array
    reward: Array
    own_reference: Array | None  # None where the reference is the behavior
    sampled: bool
    shape: tuple[int, ...]
    dtype: Any
    invalid: dict[int, str]
    full_support: bool  # every action has positive probability, so that no mask is needed

    @property
    def reference(self) -> Array:
        """Probabilities of the policy in the log-ratio."""
        return self.behavior if self.own_reference is None else self.own_reference

    @cached_property
    def log_behavior(self) -> Array:
        """Its logarithm, -inf where it is zero."""
        return _log(self.xp, self.behavior)

    @cached_property
    def log_reference(self) -> Array:
        """Logarithm of the reference."""
        return self.log_behavior if self.own_reference is None else _log(self.xp, self.own_reference)

    @property
    def support(self) -> Array:
        """Boolean ``(N, K)``: the actions that the behavior can produce."""
        return self.behavior > 0

    @property
    def log_reference_ratio(self) -> Array | None:
        """log(reference / behavior) on the support, 0 elsewhere; None where the reference is the behavior."""
        if self.own_reference is None:
            return None
        return self.masked(self.log_reference, 0.0) - self.masked(self.log_behavior, 0.0)

    def masked(self, rows: Array, filler: float) -> Array:
        """The rows ``(N, K)`` with ``filler`` at the actions that the behavior cannot produce."""
        return rows if self.full_support else self.xp.where(self.support, rows, self.xp.full_like(rows, filler))

    @property
    def weights(self) -> Array | None:
        """Weights of the data: the behavior, None for a sampled group."""
        return None if self.sampled else self.behavior

    def baseline_weights(self, objective: Any) -> Array | None:
        """Weights of an objective's baseline: the reference where its paper takes it from there, else the data's."""
        if self.own_reference is not None and getattr(objective, "baseline_under_reference", False):
            return self.own_reference
        return self.weights

    def rows(self, chosen: Array) -> Bandit:
        """The problems that a mask ``(N,)`` chooses, as a flat batch."""
        where = self.xp.nonzero(chosen)[0]
        own = self.own_reference
        return replace(
            self,
            behavior=self.xp.take(self.behavior, where, axis=0),
            reward=self.xp.take(self.reward, where, axis=0),
            own_reference=None if own is None else self.xp.take(own, where, axis=0),
            shape=tuple(where.shape),
            invalid={},
        )

    def place(self, name: str, row: int) -> str:
        """Name of an argument with the caller's index of a row."""
        return _place(name, row, self.shape)

    def report(self, bad: Array, message: Callable[[int], str], on_error: str) -> None:
        """Raise for the first bad row ``(N,)``, or mark all of them invalid."""
        _report(bad, message, on_error, self.invalid)

    def shaped(self, rows: Array) -> Array:
        """Rows ``(N, ...)`` in the caller's shape and type, nan where the input was invalid."""
        if self.invalid:
            bad = np.zeros(rows.shape[0], dtype=bool)
            bad[list(self.invalid)] = True
            mask = self.xp.asarray(bad, device=device(rows))
            mask = mask if rows.ndim == 1 else mask[:, None]
            rows = self.xp.where(mask, self.xp.full_like(rows, self.xp.nan), rows)
        rows = self.xp.reshape(rows, self.shape + tuple(rows.shape[1:]))
        return self.xp.astype(rows, self.dtype, copy=False)


def make_bandit(behavior: Any, reward: Any, reference: Any = None, *, on_error: str = "raise") -> Bandit:
    """Validate and flatten a problem or a batch of problems.

    Parameters
    ----------
    behavior : probabilities ``(..., K)``, or None: the actions are a group of sampled completions, equally likely.
    reward : rewards ``(..., K)``; broadcast against ``behavior``.
    reference : probabilities ``(..., K)`` in the log-ratio, positive wherever the behavior is. Default: behavior.
    on_error : "raise", or "status" to mark bad rows and keep the rest of the batch.

    Raises
    ------
    ValueError
        Names the argument, the place and the rule: shape, negative or non-finite probability, sum not within 1e-6 of
        one, NaN or infinite reward, empty group, reference without mass where the behavior has some.

    Examples
    --------
    >>> make_bandit([0.5, 0.5], [[0.0, 1.0], [1.0, 3.0]]).reward.shape
    (2, 2)
    >>> make_bandit([0.5, 0.6], [0.0, 1.0])
    Traceback (most recent call last):
    ...
    ValueError: behavior must sum to 1 within 1e-06, got 1.1
    """
    if on_error not in ("raise", "status"):
        raise ValueError(f'on_error must be "raise" or "status", got {on_error!r}')
    if reward is None:
        raise ValueError("reward must be given, got None")
    named = {"behavior": behavior, "reward": reward, "reference": reference}
    xp, arrays, dtype = _to_common_arrays({k: v for k, v in named.items() if v is not None})
    shape = _broadcast_shape(arrays)
    rows = {k: xp.reshape(xp.broadcast_to(v, shape), (-1, shape[-1])) for k, v in arrays.items()}
    invalid: dict[int, str] = {}
    for name, check in (("reward", _check_reward), ("behavior", _check_policy), ("reference", _check_policy)):
        if name in rows:
            rows[name] = check(xp, name, rows[name], shape[:-1], on_error, invalid)
    if "behavior" not in rows:
        rows["behavior"] = xp.full_like(rows["reward"], 1.0 / shape[-1])
    if "reference" in rows:
        _check_reference_support(xp, rows, shape[:-1], on_error, invalid)
    return Bandit(
        xp=xp,
        behavior=rows["behavior"],
        reward=rows["reward"],
        own_reference=rows.get("reference"),
        sampled=behavior is None,
        shape=shape[:-1],
        dtype=dtype,
        invalid=invalid,
        full_support=bool(xp.all(rows["behavior"] > 0)),
    )


def _to_common_arrays(given: dict[str, Any]) -> tuple[Any, dict[str, Array], Any]:
    """Bring the arguments to float64 on one array library and device; remember the type to return."""
    foreign = [v for v in given.values() if is_array_api_obj(v) and not isinstance(v, np.ndarray | np.generic)]
    xp = array_namespace(*foreign) if foreign else array_namespace(np.empty(0))
    place = {"device": device(foreign[0])} if foreign else {}
    arrays = {
        name: value if any(value is f for f in foreign) else xp.asarray(_as_numpy(name, value), **place)
        for name, value in given.items()
    }
    for name, a in arrays.items():
        _check_type(xp, name, a)
    # A plain list takes the type of the arrays beside it, as a Python scalar does; integers have no say.
    typed = [value for value in given.values() if is_array_api_obj(value)]
    floats = [str(v.dtype) for v in typed if array_namespace(v).isdtype(v.dtype, "real floating")]
    single = bool(floats) and all(name.endswith("float32") for name in floats)
    return (
        xp,
        {k: xp.astype(a, xp.float64, copy=False) for k, a in arrays.items()},
        xp.float32 if single else xp.float64,
    )


def _check_type(xp: Any, name: str, a: Array) -> None:
    if xp.isdtype(a.dtype, "complex floating"):
        raise ValueError(f"{name} must be real numbers, got values of type {a.dtype}")
    if xp.isdtype(a.dtype, "real floating") and a.dtype not in (xp.float32, xp.float64):
        raise ValueError(f"{name} must be float32 or float64, got {a.dtype}: cast it and normalize again")
    if name != "reward" and getattr(a, "requires_grad", False):
        raise ValueError(f"{name} must not require gradients, which are taken with respect to reward only: detach it")


def _as_numpy(name: str, value: Any) -> np.ndarray[Any, Any]:
    try:
        array = np.asarray(value)
    except ValueError:
        raise ValueError(f"{name} must be a rectangular array of numbers: rows differ in length") from None
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} must be real numbers, got values of type {array.dtype}")
    return array.astype(np.float64) if array.dtype.kind in "iub" or array.dtype.itemsize > 8 else array


def _broadcast_shape(arrays: dict[str, Array]) -> tuple[int, ...]:
    for name, a in arrays.items():
        if a.ndim == 0:
            raise ValueError(f"{name} must have at least one dimension (the actions), got a scalar")
        if a.shape[-1] == 0:
            raise ValueError(f"{name} has an empty group: the last axis must hold at least one action")
    widths = {name: int(a.shape[-1]) for name, a in arrays.items()}
    if len(set(widths.values())) > 1:
        raise ValueError(f"last axes must agree in the number of actions, got {widths}")
    try:
        return np.broadcast_shapes(*(tuple(a.shape) for a in arrays.values()))
    except ValueError:
        shapes = {name: tuple(a.shape) for name, a in arrays.items()}
        raise ValueError(f"leading shapes must broadcast against each other, got {shapes}") from None


def _place(name: str, row: int, shape: tuple[int, ...], action: int | None = None) -> str:
    index = tuple(int(i) for i in np.unravel_index(row, shape)) if shape else ()
    if action is not None:
        index = (*index, action)
    return f"{name}[{', '.join(map(str, index))}]" if index else name


def _report(bad: Array, message: Callable[[int], str], on_error: str, invalid: dict[int, str]) -> None:
    """Raise for the first bad row, or note every one."""
    for row in to_numpy(bad).nonzero()[0]:
        if on_error == "raise":
            raise ValueError(message(int(row)))
        invalid.setdefault(int(row), message(int(row)))


def _check_reward(
    xp: Any, name: str, a: Array, shape: tuple[int, ...], on_error: str, invalid: dict[int, str]
) -> Array:
    # The sum of a row is finite exactly if its entries are (and do not overflow together).
    with np.errstate(over="ignore", invalid="ignore"):
        if bool(xp.all(xp.isfinite(xp.sum(a, axis=-1)))):
            return a
    finite = xp.isfinite(a)

    def message(row: int) -> str:
        action = int(xp.argmin(xp.astype(finite[row, :], xp.int8)))
        return f"{_place(name, row, shape, action)} must be finite, got {float(to_numpy(a[row, action]))}"

    bad = ~xp.all(finite, axis=-1)
    _report(bad, message, on_error, invalid)
    return xp.where(bad[:, None], xp.zeros_like(a), a)


def _check_policy(
    xp: Any, name: str, a: Array, shape: tuple[int, ...], on_error: str, invalid: dict[int, str]
) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):
        total = xp.sum(a, axis=-1)
    off = ~(xp.abs(total - 1) <= SUM_TOLERANCE)
    if bool(xp.all(a >= 0)) and not bool(xp.any(off)):
        return _normalized(xp, a, total)

    bad = off | ~xp.all(a >= 0, axis=-1)

    def message(row: int) -> str:
        wrong = ~(a[row, :] >= 0)
        if bool(xp.any(wrong)):
            action = int(xp.argmax(xp.astype(wrong, xp.int8)))
            return (
                f"{_place(name, row, shape, action)} must be a probability >= 0, got {float(to_numpy(a[row, action]))}"
            )
        return (
            f"{_place(name, row, shape)} must sum to 1 within {SUM_TOLERANCE:g}, got {float(to_numpy(total[row])):.9g}"
        )

    _report(bad, message, on_error, invalid)
    uniform = xp.full_like(a, 1.0 / a.shape[-1])
    return xp.where(bad[:, None], uniform, _normalized(xp, a, xp.where(bad, xp.ones_like(total), total)))


def _normalized(xp: Any, a: Array, total: Array) -> Array:
    """Rows that sum to one; those that rounding alone keeps from it are left as they are, no solver needs more."""
    exact = xp.abs(total - 1) <= 4 * xp.finfo(a.dtype).eps
    return a if bool(xp.all(exact)) else a / xp.where(exact, xp.ones_like(total), total)[:, None]


def _check_reference_support(
    xp: Any, rows: dict[str, Array], shape: tuple[int, ...], on_error: str, invalid: dict[int, str]
) -> None:
    missing = (rows["behavior"] > 0) & (rows["reference"] == 0)
    bad = xp.any(missing, axis=-1)
    if not bool(xp.any(bad)):
        return

    def message(row: int) -> str:
        action = int(xp.argmax(xp.astype(missing[row, :], xp.int8)))
        return f"{_place('reference', row, shape, action)} must be positive wherever behavior is (infinite log-ratio)"

    _report(bad, message, on_error, invalid)
    rows["reference"] = xp.where(bad[:, None], rows["behavior"], rows["reference"])


def to_numpy(array: Array) -> np.ndarray[Any, Any]:
    """An array of any library, on any device, as numpy, detached from autograd; numpy is not copied."""
    if isinstance(array, np.ndarray | np.generic):
        return np.asarray(array)
    if hasattr(array, "detach"):
        array = array.detach().cpu()
    return np.from_dlpack(array).copy()


def _log(xp: Any, p: Array) -> Array:
    with np.errstate(divide="ignore"):
        return xp.log(p)
