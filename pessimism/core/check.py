"""An objective of somebody's own, looked at before anything is computed from it: its methods must fit together.

The induced target is found from the score weight, training follows the loss, and both take the advantage: where they
contradict each other, every number that follows is one of something else.
"""

from __future__ import annotations

import inspect
import sys
import weakref
from contextlib import suppress
from typing import Any, Literal, NamedTuple

import numpy as np

from pessimism.arrays import Array, to_numpy
from pessimism.core.objective import Objective, ObjectiveLike, OwnObjective, as_objective, frozen_stops, propensities
from pessimism.messages import one_line

_REWARD = np.array([[0.0, 1.0, 0.5, 1.0], [0.0, 0.25, 0.0, 1.0], [1.0, 1.0, 0.0, 0.75]])
_BINARY = np.array([[0.0, 1.0, 0.0, 1.0], [0.0, 0.0, 0.0, 1.0], [1.0, 1.0, 0.0, 1.0]])  # for who takes no other
_LOG_RATIO = np.array(  # away from the round numbers where losses are clipped
    [[-0.3127, 0.1193, 0.4731, -0.0713], [0.2339, -0.5817, 0.0427, 0.3613], [-0.1433, 0.2887, -0.4219, 0.0797]]
)
_WEIGHTS = np.array([[0.1, 0.2, 0.3, 0.4], [0.25, 0.3, 0.15, 0.3], [0.4, 0.1, 0.2, 0.3]])
_STEP = 1e-5  # of a central difference


class _Groups(NamedTuple):
    """Three groups of one size to try the methods on."""

    reward: Array
    log_ratio: Array
    weights: Array


def _groups(reward: Array, width: int) -> _Groups:
    weights = _WEIGHTS[:, :width]
    return _Groups(reward[:, :width], _LOG_RATIO[:, :width], weights / weights.sum(axis=-1, keepdims=True))


_PASSED: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()


def check(objective: ObjectiveLike, *, arrays: Literal["numpy", "torch"] | None = None) -> None:
    r"""Check that the three methods of an objective of one's own fit together, on three small groups.

    Every verb does this once for each object, unless it is called with ``check=False``. What must hold:

    * the methods leave what they are given as it is, keep its shape, and their numbers are finite;
    * ``score_weight`` is minus the derivative of ``loss`` in the log-ratio, of the mean over the group where actions
      are coupled; what ``loss`` passes through :func:`pessimism.stop_gradient` is held constant;
    * ``advantage`` honours ``weights``: an action cut in two halves of half the weight leaves all advantages as
      they are, unless the object declares ``prices_propensity = True``;
    * ``advantage`` of a group does not depend on other groups of the batch, unless the object declares
      ``over_batch = True``.

    Parameters
    ----------
    objective : ObjectiveLike
        An object with the methods ``advantage``, ``score_weight`` and ``loss``.
    arrays : {"numpy", "torch"}, optional
        Whether the derivative is taken numerically on numpy arrays or by autograd on torch tensors, which the methods
        must then accept. By default autograd is used where torch is loaded and the methods accept tensors.

    Raises
    ------
    ValueError
        Names the method, the point and both values where one of these does not hold.
    TypeError
        If it is no object with the three methods.

    Examples
    --------
    >>> import pessimism as ps
    >>> class Twice(ps.Kimi):
    ...     def loss(self, log_ratio, advantage, weights=None):
    ...         return 2.0 * super().loss(log_ratio, advantage, weights)
    >>> check(ps.Kimi(beta=0.5))
    >>> check(Twice(beta=0.5))
    Traceback (most recent call last):
    ...
    ValueError: objective kimi(beta=0.5): the derivative of loss in log_ratio must be -score_weight, is ...
    """
    if isinstance(objective, str):
        raise TypeError(f"check takes an object of one's own, not a name, got {objective!r}")
    if arrays not in (None, "numpy", "torch"):
        raise ValueError(f'arrays must be None, "numpy" or "torch", got {arrays!r}')
    made = as_objective(objective)
    _require_traits(made)
    made = made.each_swept(lambda values: next(map(float, to_numpy(values).flat), 1.0))  # at one point of a sweep
    groups = _accepted_groups(made)
    if not made.over_batch:
        _require_groups_apart(made, groups.reward)
    pairs = groups.reward.shape[-1] == 2  # where a third action is refused, none can be cut in two
    if not (made.takes_propensity or made.prices_propensity or pairs):
        _require_weights_honoured(made, groups)
    for weights in (groups.weights,) if made.takes_propensity else (None, groups.weights):
        _require_derivative(made, groups, weights, arrays)
    with suppress(TypeError):  # an object that cannot be referred to weakly is checked each time
        _PASSED[id(objective)] = objective


def checked(objective: Objective) -> Objective:
    """The objective, after :func:`check` where it is not of this package and did not pass before."""
    own = _own(objective)
    if not type(own).__module__.startswith("pessimism.") and _PASSED.get(id(own)) is not own:
        check(own)
    return objective


def _own(objective: Objective) -> ObjectiveLike:
    return objective.own if isinstance(objective, OwnObjective) else objective


def _accepted_groups(objective: Objective) -> _Groups:
    """The first groups that the methods take: rewards of fractions, or of 0 and 1, of four actions, or of pairs."""
    every = [_groups(reward, width) for width in (4, 2) for reward in (_REWARD, _BINARY)]
    for groups in every:
        share = {"log_share": np.zeros_like(groups.reward)} if objective.takes_share else {}
        with suppress(Exception):  # of a method that takes none of them more is said below
            advantage = objective.advantage(groups.reward.copy(), groups.weights.copy())
            objective.score_weight(groups.log_ratio.copy(), np.copy(advantage), groups.weights.copy(), **share)
            return groups
    return every[0]


def _require_traits(objective: Objective) -> None:
    for trait, rule in (("temperature", "a number or None"), ("kinks", "a tuple of numbers")):
        try:
            value = getattr(objective, trait)
            if trait == "kinks":
                [float(kink) for kink in value]
        except (TypeError, ValueError) as error:
            raise ValueError(f"objective {objective}: {trait} must be {rule} ({one_line(error)})") from None
    try:
        for kink in objective.kinks_at(_WEIGHTS.copy()):
            np.broadcast_to(np.asarray(kink, dtype=np.float64), _WEIGHTS.shape)
    except Exception as error:  # of somebody else's code
        raise ValueError(
            f"objective {objective}: kinks_at must give a tuple of numbers or arrays like the probabilities it takes "
            f"({one_line(error)})"
        ) from error


def _require_groups_apart(objective: Objective, reward: Array) -> None:
    together = _call(objective, "advantage", reward, None)
    alone = np.concatenate([_call(objective, "advantage", row[None], None) for row in reward])
    if bad := _differ(together, alone):
        raise ValueError(
            f"objective {objective}: advantage of a group must not depend on other groups (over_batch = True says that "
            f"it may); of rewards {_list(reward[bad[0]])} it is {together[bad]:.3g} beside others, {alone[bad]:.3g} "
            "alone"
        )


def _require_weights_honoured(objective: Objective, groups: _Groups) -> None:
    reward, _, weights = groups
    whole = _call(objective, "advantage", reward, weights)
    halves = np.concatenate([weights[:, :-1], 0.5 * weights[:, -1:], 0.5 * weights[:, -1:]], axis=-1)
    cut = _call(objective, "advantage", np.concatenate([reward, reward[:, -1:]], axis=-1), halves)[:, :-1]
    if bad := _differ(whole, cut):
        raise ValueError(
            f"objective {objective}: advantage must honour weights, so that cutting an action in two changes nothing "
            "(prices_propensity = True says that an advantage depends on the weight of its own action); of reward "
            f"{reward[bad]:.3g} with weights {_list(weights[bad[0]])} it is {whole[bad]:.3g}, after the cut "
            f"{cut[bad]:.3g}"
        )


def _require_derivative(objective: Objective, groups: _Groups, weights: Array | None, arrays: str | None) -> None:
    log_ratio = groups.log_ratio
    advantage = _call(objective, "advantage", groups.reward, weights)
    weight = _call(objective, "score_weight", log_ratio, advantage, weights)
    slope, rounding = None, 0.0
    if arrays != "numpy" and (arrays == "torch" or "torch" in sys.modules):
        slope = _by_autograd(objective, groups, weights, required=arrays == "torch")
    if slope is None:
        slope, rounding = _by_differences(objective, log_ratio, advantage, weights)
    if bad := _differ(slope, -weight, absolute=max(1e-6 * float(np.abs(weight).max()), 1e-12) + rounding):
        raise ValueError(
            f"objective {objective}: the derivative of loss in log_ratio must be -score_weight, is {slope[bad]:.6g} "
            f"and not {-weight[bad]:.6g} at log_ratio {log_ratio[bad]:.4g}, advantage {advantage[bad]:.4g}"
        )


def _by_differences(
    objective: Objective, log_ratio: Array, advantage: Array, weights: Array | None
) -> tuple[Array, float]:
    """Derivative of the loss in each log-ratio and its rounding, central differences; what the loss stops is held."""
    held: list[Array] = []
    with frozen_stops(held.append):
        loss = _call(objective, "loss", log_ratio, advantage, weights)
    share = propensities(log_ratio, weights)

    def total(at: Array) -> Array:
        stops = iter(held)
        with frozen_stops(lambda _: next(stops)):
            return np.sum(share * _call(objective, "loss", at, advantage, weights), axis=-1)

    steps = _STEP * np.eye(log_ratio.shape[-1])
    rises = [total(log_ratio + step) - total(log_ratio - step) for step in steps]
    digits = np.finfo(np.result_type(loss, np.float32)).eps
    return np.stack(rises, axis=-1) / (2.0 * _STEP) / share, float(20.0 * digits * np.abs(loss).max() / _STEP)


def _by_autograd(objective: Objective, groups: _Groups, weights: Array | None, *, required: bool) -> Array | None:
    """The same by torch's autograd; None where the methods do not take tensors and need not."""
    import torch

    u = torch.tensor(groups.log_ratio, requires_grad=True)
    given = None if weights is None else torch.tensor(weights)
    try:
        advantage = _call(objective, "advantage", torch.tensor(groups.reward), given)
        loss = _call(objective, "loss", u, advantage, given)
        _call(objective, "score_weight", u.detach(), advantage, given)
    except ValueError:
        if required:
            raise
        return None
    if not loss.requires_grad:
        if required:
            raise ValueError(f"objective {objective}: loss has no gradient in log_ratio")
        return None
    share = propensities(u.detach(), given)
    (slope,) = torch.autograd.grad((share * loss).sum(), u)
    return np.asarray((slope / share).detach())


def _call(objective: Objective, method: str, first: Any, *given: Any) -> Any:
    kind = "numpy arrays" if isinstance(first, np.ndarray) else "torch tensors"
    share = {"log_share": 0.1 + 0.0 * first} if objective.takes_share and method != "advantage" else {}
    try:
        inspect.signature(getattr(_own(objective), method)).bind(first, *given, **share)
    except TypeError as error:
        wanted = "reward" if method == "advantage" else "log_ratio, advantage"
        raise ValueError(
            f"objective {objective}: {method} must accept ({wanted}, weights=None): {one_line(error)}"
        ) from None
    except ValueError:  # a method without a signature, of an extension module
        pass
    copies = [None if a is None else a.clone() if hasattr(a, "clone") else a.copy() for a in (first, *given)]
    try:
        value = getattr(objective, method)(*copies, **share)
    except Exception as error:  # of somebody else's code
        raise ValueError(
            f"objective {objective}: {method} fails on {kind} ({type(error).__name__}: {one_line(error)}); operators "
            "and array_api_compat take numpy arrays and torch tensors; check=False leaves this check out"
        ) from error
    if not isinstance(value, type(first)) or value.shape != first.shape:
        shape = tuple(getattr(value, "shape", ()))
        got = f"one of shape {shape}" if shape else f"a {type(value).__name__}"
        raise ValueError(
            f"objective {objective}: {method} must give one number for each action, {kind} of shape "
            f"{tuple(first.shape)}, got {got}"
        )
    for a, copy in zip((first, *given), copies, strict=True):
        if a is not None and not np.array_equal(to_numpy(a), to_numpy(copy)):
            raise ValueError(f"objective {objective}: {method} must not change the arrays that it is given")
    finite = np.isfinite(to_numpy(value))
    if not finite.all():
        at = tuple(map(int, np.argwhere(~finite)[0]))
        argument = "reward" if method == "advantage" else "log_ratio"
        raise ValueError(
            f"objective {objective}: {method} must be finite, is {value[at]:.3g} at {argument} {first[at]:.3g}"
        )
    return value


def _differ(found: Array, expected: Array, absolute: float = 1e-9) -> tuple[int, ...] | None:
    """Where two arrays differ most, None where they agree."""
    gap = np.abs(found - expected)
    worst = np.unravel_index(np.argmax(gap - 1e-5 * np.abs(expected)), gap.shape)
    return tuple(map(int, worst)) if gap[worst] > absolute + 1e-5 * abs(expected[worst]) else None


def _list(row: Array) -> str:
    return "(" + ", ".join(f"{value:g}" for value in row) + ")"
