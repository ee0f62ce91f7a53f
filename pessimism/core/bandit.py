"""The problem: one or many contexts with finite actions, a behavior, a reward and a reference policy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device

from pessimism.arrays import Array
from pessimism.core.validation import (
    broadcast_shape,
    check_policy,
    check_reference_support,
    check_reward,
    place,
    report,
    to_common_arrays,
)


@dataclass(frozen=True, eq=False)
class Bandit:
    """Validated problems, flattened to one row each: every array is float64 of shape ``(N, K)``.

    Attributes
    ----------
    behavior, reward : Array, shape (N, K)
        Probabilities of the behavior, and rewards.
    own_reference : Array, shape (N, K), or None
        Probabilities of the reference, None where it is the behavior.
    sampled : bool
        Whether the actions are a group of samples.
    shape : tuple of int
        Leading shape ``(...)`` of the caller's arrays.
    dtype : Any
        Floating type that results are returned in.
    invalid : dict of int to str
        Messages of the rows that failed validation (only with ``on_error="status"``).
    full_support : bool
        Whether every action has positive probability.
    """

    behavior: Array
    reward: Array
    own_reference: Array | None  # None where the reference is the behavior
    sampled: bool
    shape: tuple[int, ...]
    dtype: Any
    invalid: dict[int, str]
    full_support: bool  # every action has positive probability, so that no mask is needed

    @property
    def xp(self) -> Any:
        """Array namespace; not a field, since a module cannot be pickled."""
        return array_namespace(self.behavior)

    @property
    def reference(self) -> Array:
        """Probabilities of the policy in the log-ratio."""
        return self.behavior if self.own_reference is None else self.own_reference

    @cached_property
    def log_behavior(self) -> Array:
        """Logarithm of the behavior; -inf where the behavior is zero."""
        return _log(self.xp, self.behavior)

    @cached_property
    def log_reference(self) -> Array:
        """Logarithm of the reference; -inf where the reference is zero."""
        return self.log_behavior if self.own_reference is None else _log(self.xp, self.own_reference)

    @property
    def support(self) -> Array:
        """Mask ``(N, K)`` of the actions that the behavior can produce."""
        return self.behavior > 0

    @property
    def log_reference_ratio(self) -> Array | None:
        """Log-ratio log(reference / behavior) on the support, 0 elsewhere; None where the reference is the behavior."""
        if self.own_reference is None:
            return None
        return self.masked(self.log_reference, 0.0) - self.masked(self.log_behavior, 0.0)

    def masked(self, rows: Array, filler: float) -> Array:
        """Rows ``(N, K)`` with ``filler`` at the actions that the behavior cannot produce."""
        return rows if self.full_support else self.xp.where(self.support, rows, self.xp.full_like(rows, filler))

    @property
    def weights(self) -> Array | None:
        """Weights of the data: the behavior, None for a sampled group."""
        return None if self.sampled else self.behavior

    def baseline_weights(self, objective: Any) -> Array | None:
        """Weights of an objective's baseline: the reference where its paper says so, else those of the data."""
        if self.own_reference is not None and objective.baseline_under_reference:
            return self.own_reference
        return self.weights

    def rows(self, chosen: Array) -> Bandit:
        """Problems that a mask ``(N,)`` chooses, as a flat batch."""
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
        return place(name, row, self.shape)

    def report(self, bad: Array, message: Callable[[int], str], on_error: str) -> None:
        """Raise for the first bad row ``(N,)``, or mark all of them invalid."""
        report(bad, message, on_error, self.invalid)

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


def make_bandit(
    behavior: Any, reward: Any, reference: Any = None, *, on_error: str = "raise", batch: tuple[int, ...] = ()
) -> Bandit:
    """Validate and flatten a problem or a batch of problems.

    Parameters
    ----------
    behavior : array_like, shape (..., K), or None
        Probabilities. None means that the actions are a group of sampled completions, equally likely.
    reward : array_like, shape (..., K)
        Rewards, broadcast against ``behavior``.
    reference : array_like, shape (..., K), optional
        Probabilities of the policy in the log-ratio, positive wherever the behavior is; by default the behavior.
    on_error : {"raise", "status"}, default "raise"
        Whether a bad row raises, or is marked while the rest of the batch is kept.
    batch : tuple of int, optional
        Leading shape ``(...)`` to broadcast against, too.

    Returns
    -------
    Bandit
        The problems, one row each.

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
    xp, arrays, dtype = to_common_arrays({k: v for k, v in named.items() if v is not None})
    shape = broadcast_shape(arrays, batch)
    rows = {k: xp.reshape(xp.broadcast_to(v, shape), (-1, shape[-1])) for k, v in arrays.items()}
    invalid: dict[int, str] = {}
    for name, check in (("reward", check_reward), ("behavior", check_policy), ("reference", check_policy)):
        if name in rows:
            rows[name] = check(xp, name, rows[name], shape[:-1], on_error, invalid)
    if "behavior" not in rows:
        rows["behavior"] = xp.full_like(rows["reward"], 1.0 / shape[-1])
    if "reference" in rows:
        check_reference_support(xp, rows, shape[:-1], on_error, invalid)
    return Bandit(
        behavior=rows["behavior"],
        reward=rows["reward"],
        own_reference=rows.get("reference"),
        sampled=behavior is None,
        shape=shape[:-1],
        dtype=dtype,
        invalid=invalid,
        full_support=bool(xp.all(rows["behavior"] > 0)),
    )


def _log(xp: Any, p: Array) -> Array:
    with np.errstate(divide="ignore"):
        return xp.log(p)
