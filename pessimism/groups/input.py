"""What a finite group is asked for: its size and options checked, its sampler and rewards read."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pessimism.core.bandit import make_bandit, to_numpy

Floats = NDArray[np.float64]


def check_setting(group_size: Any, *, leave_one_out: bool, drop_equal: bool) -> None:
    """Raise ``ValueError`` unless the group size is an integer that the options make sense for."""
    least = 2 if leave_one_out or drop_equal else 1
    check_integer("group_size", group_size, least, " with leave_one_out or drop_equal" if least == 2 else "")


def check_integer(name: str, value: Any, least: int, why: str = "") -> None:
    """Raise ``ValueError`` unless the value is an integer of at least so much."""
    integer = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not integer or value < least:
        raise ValueError(f"{name} must be an integer >= {least}{why}, got {_line(value)}")


def _line(value: Any) -> str:
    return " ".join(repr(value).split())


def sampler(behavior: Any, reward: Any, pass_rate: Any) -> tuple[Floats, Floats]:
    """Behavior and rewards ``(..., K)`` in numpy from either way to give them."""
    if pass_rate is None:
        bandit = make_bandit(behavior, reward)
        return tuple(to_numpy(a).reshape(*bandit.shape, -1) for a in (bandit.behavior, bandit.reward))  # type: ignore[return-value]
    if behavior is not None or reward is not None:
        raise ValueError("give pass_rate, or reward (and behavior), not both")
    try:
        p = np.asarray(pass_rate)
        if p.dtype.kind not in "fiubO":
            raise TypeError
        p = p.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"pass_rate must be real numbers in [0, 1], got {_line(pass_rate)}") from None
    outside = ~((p >= 0) & (p <= 1))
    if outside.any():
        index = tuple(np.argwhere(outside)[0].tolist())
        place = f"[{', '.join(map(str, index))}]" if index else ""
        raise ValueError(f"pass_rate{place} must be in [0, 1], got {p[index]}")
    return np.stack([1.0 - p, p], axis=-1), np.broadcast_to(np.array([0.0, 1.0]), (*p.shape, 2))
