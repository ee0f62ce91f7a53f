"""Logs of decisions: Open Bandit Pipeline's dictionary, a frame, or parallel arrays, validated once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from pessimism.arrays import Floats
from pessimism.equality import ByValue
from pessimism.evaluation.checks import (
    IntArray,
    as_array,
    column,
    integers,
    is_frame,
    labels,
    real_array,
    refuse,
    sortable_labels,
    whole,
)

if TYPE_CHECKING:
    import pandas as pd

# What each argument may be called in a dictionary or a frame, its own name first.
NAMES: dict[str, tuple[str, ...]] = {
    "action": ("action",),
    "reward": ("reward",),
    "pscore": ("pscore", "propensity"),
    "context": ("context", "context_id", "problem"),
    "weight": ("weight",),
    "episode": ("episode",),
    "step": ("step",),
    "position": ("position",),
    "n_actions": ("n_actions",),
}


@dataclass(frozen=True, eq=False, repr=False)
class Logs(ByValue):
    """Validated rounds, one entry each; made by :func:`make_logs`. Inputs are kept as they are, never written to.

    Attributes
    ----------
    reward : ndarray, shape (n,)
        What each round earned.
    action : ndarray, shape (n,), or None
        What was done: indices 0, ..., K - 1 of finite actions, or real numbers.
    pscore : ndarray, shape (n,), or None
        Probability (density for continuous actions) with which the behavior did it.
    context : ndarray, shape (n,) or (n, d), or None
        Identifiers ``(n,)`` or features ``(n, d)``.
    weight : ndarray, shape (n,), or None
        Ratios of target to behavior, where they are logged instead of actions.
    episode, step : ndarray, shape (n,), or None
        Episode and place in it, for decisions in sequence.
    n_actions : int or None
        K, where it is known.

    Examples
    --------
    >>> make_logs(action=[0, 1], reward=[0.0, 1.0], pscore=[0.5, 0.5])
    Logs(2 rounds: reward, action, pscore)
    """

    reward: Floats
    action: Floats | None = None
    pscore: Floats | None = None
    context: NDArray[Any] | None = None
    weight: Floats | None = None
    episode: NDArray[Any] | None = None
    step: IntArray | None = None
    n_actions: int | None = None

    @property
    def n(self) -> int:
        """Number of rounds."""
        return len(self.reward)

    def __repr__(self) -> str:
        held = ", ".join(f.name for f in fields(self) if f.name != "n_actions" and getattr(self, f.name) is not None)
        return f"Logs({self.n} rounds: {held})"

    @property
    def context_ids(self) -> NDArray[Any] | None:
        """The contexts where they are identifiers: one integer or string a round."""
        identifiers = self.context is not None and self.context.ndim == 1 and self.context.dtype.kind != "f"
        return self.context if identifiers else None


def make_logs(
    source: Logs | Mapping[str, Any] | pd.DataFrame | None = None,
    *,
    reward: Any = None,
    action: Any = None,
    pscore: Any = None,
    context: Any = None,
    weight: Any = None,
    episode: Any = None,
    step: Any = None,
    position: Any = None,
    n_actions: int | None = None,
) -> Logs:
    """Validate logged decisions.

    Parameters
    ----------
    source : Logs, mapping or DataFrame, optional
        Open Bandit Pipeline's ``bandit_feedback``, any mapping of names to arrays, or a frame. Columns: action, reward,
        pscore (or propensity), context (or context_id, problem), weight, episode, step; others are ignored. None: the
        keywords below are the arrays.
    reward : array_like, shape (n,)
        What each round earned, finite.
    action : array_like, shape (n,), optional
        Integers 0, ..., K - 1; real numbers for the kernel estimator.
    pscore : array_like, shape (n,), optional
        Propensity > 0 of the logged action under the behavior.
    context : array_like, shape (n,) or (n, d), optional
        Integers or strings that identify contexts, or features ``(n, d)``.
    weight : array_like, shape (n,), optional
        Ratios >= 0 of target to behavior, in the place of a policy.
    episode, step : array_like, shape (n,), optional
        Episode that a row belongs to, and its time there. Without ``step`` the rows of an episode stand together, in
        order.
    position : array_like, shape (n,), optional
        None or zeros: one action a round (``len_list=1``).
    n_actions : int, optional
        K, to check actions and policies against.

    Returns
    -------
    Logs
        The validated rounds.

    Raises
    ------
    ValueError
        Names the argument, the place and the rule. Nothing is dropped, clipped or filled in.

    References
    ----------
    arXiv 2008.07146 (Open Bandit Pipeline's conventions).

    Examples
    --------
    >>> make_logs(action=[0, 1], reward=[0.0, 1.0], pscore=[0.5, 0.5]).n
    2
    >>> make_logs({"action": [0, 1], "reward": [0.0, 1.0], "pscore": [0.5, 0.0]})
    Traceback (most recent call last):
    ...
    ValueError: pscore[1] must be positive, got 0.0
    """
    given = {"reward": reward, "action": action, "pscore": pscore, "context": context, "weight": weight}
    given |= {"episode": episode, "step": step, "position": position, "n_actions": n_actions}
    if source is None:
        return _validated(given)
    doubled = [name for name, value in given.items() if value is not None]
    if doubled:
        raise ValueError(f"{doubled[0]} must be in logs or a keyword, not both ways: give arrays as keywords only")
    if isinstance(source, Logs):
        return source
    if not (isinstance(source, Mapping) or is_frame(source)):
        raise ValueError(f"logs must be a mapping, a frame or made by make_logs, got {type(source).__name__}")
    logs = _validated({name: _find(source, name, known) for name, known in NAMES.items()})
    rounds = source.get("n_rounds") if isinstance(source, Mapping) else None
    if rounds is not None and whole("n_rounds", rounds) != logs.n:
        raise ValueError(f"n_rounds must be the number of rewards, got {rounds} for {logs.n} rewards")
    return logs


def _find(source: Mapping[str, Any] | pd.DataFrame, name: str, known: tuple[str, ...]) -> Any:
    found = [key for key in known if key in source]
    if len(found) > 1:
        raise ValueError(f"logs must hold one of {' and '.join(found)}: both mean {name}")
    value = source[found[0]] if found else None
    if is_frame(value):
        raise ValueError(f"logs must hold column {found[0]!r} once, got {value.shape[1]} columns of that name")
    if value is None and name == "reward":
        raise ValueError(f"logs must hold reward, found {', '.join(map(str, source)) or 'nothing'}")
    if is_frame(source) and name == "n_actions":
        return None  # a column of that name says nothing about all rounds
    return value


def _validated(given: dict[str, Any]) -> Logs:
    if given["reward"] is None:
        raise ValueError("reward must be given, got None")
    reward = column("reward", given["reward"])
    n = len(reward)
    action, pscore, weight = (
        None if given[name] is None else column(name, given[name], n) for name in ("action", "pscore", "weight")
    )
    if pscore is not None:
        refuse("pscore", pscore, pscore <= 0, "must be positive")
    if weight is not None:
        refuse("weight", weight, weight < 0, "must not be negative")
    if given["position"] is not None:
        position = integers("position", given["position"], n)
        refuse("position", position, position != 0, "must be 0 (one action a round, len_list=1)")
    n_actions = None if given["n_actions"] is None else whole("n_actions", given["n_actions"])
    if given["step"] is not None and given["episode"] is None:
        raise ValueError("step needs episode: logs must say which episode a row belongs to")
    return Logs(
        reward=reward,
        action=action,
        pscore=pscore,
        context=None if given["context"] is None else _context(given["context"], n),
        weight=weight,
        episode=None if given["episode"] is None else sortable_labels("episode", given["episode"], n),
        step=None if given["step"] is None else integers("step", given["step"], n),
        n_actions=n_actions,
    )


def _context(value: Any, n: int) -> NDArray[Any]:
    context = as_array("context", value)
    if context.ndim == 1 and context.dtype.kind != "f":
        return labels("context", context, n)
    features = real_array("context", context)
    if len(features.shape) == 0 or len(features) != n:
        raise ValueError(f"context must have one row per round, got shape {features.shape} for {n} rounds")
    return features
