"""A check of an objective from outside the registry, before it trains: its loss must move as its score weight says.

The induced target is found from the score weight, but training follows the loss. Where the two differ, a measured
conservatism would be compared with the theory of something else.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from pessimism.messages import one_line, show

METHODS = ("advantage", "score_weight", "loss")
_REWARD = np.array([[0.0, 1.0, 0.0, 1.0], [0.0, 0.0, 0.0, 1.0], [1.0, 1.0, 0.0, 1.0]])
_LOG_RATIO = np.array([[-0.31, 0.12, 0.47, -0.07], [0.23, -0.58, 0.04, 0.36], [-0.14, 0.29, -0.42, 0.08]])


def require_methods(objective: Any) -> None:
    """Refuse what is not an object with the three methods of an objective.

    Parameters
    ----------
    objective : object
        What is to be an objective.

    Raises
    ------
    ValueError
        If it is a class, or lacks a method.

    Examples
    --------
    >>> import pessimism as ps
    >>> require_methods(ps.Kimi)
    Traceback (most recent call last):
    ...
    ValueError: objective must be an object, got the class Kimi: write Kimi()
    """
    if isinstance(objective, type):
        raise ValueError(
            f"objective must be an object, got the class {objective.__name__}: write {objective.__name__}()"
        )
    for name in METHODS:
        if not callable(getattr(objective, name, None)):
            raise ValueError(f"objective {_name(objective)} has no method {name}: it needs {', '.join(METHODS)}")


def require_consistent(objective: Any) -> None:
    """Try the three methods on three groups of four: on numpy arrays, as solvers call them, and on torch tensors.

    Parameters
    ----------
    objective : object
        An object with the three methods.

    Raises
    ------
    ValueError
        If a method fails or gives another shape than it was given; if the derivative of the loss in the log-ratio is
        not minus the score weight; if the advantage of a group depends on other groups.

    Examples
    --------
    >>> import pessimism as ps
    >>> class Twice(ps.Kimi):
    ...     def loss(self, log_ratio, advantage, weights=None):
    ...         return 2.0 * super().loss(log_ratio, advantage, weights)
    >>> require_consistent(ps.Kimi(beta=0.5))
    >>> require_consistent(Twice(beta=0.5))
    Traceback (most recent call last):
    ...
    ValueError: objective kimi: the derivative of loss in log_ratio must be -score_weight, is 0.69 and not 0.345 at ...
    """
    together = _called(objective, _REWARD, _LOG_RATIO)[0]
    alone = np.concatenate([_call(objective, "advantage", row[None]) for row in _REWARD])
    if not np.allclose(together, alone, equal_nan=True):
        raise ValueError(f"objective {_name(objective)}: advantage of a group must not depend on other groups")
    u = torch.tensor(_LOG_RATIO, requires_grad=True)
    advantage, weight, loss = _called(objective, torch.tensor(_REWARD), u)
    if not loss.requires_grad:
        raise ValueError(f"objective {_name(objective)}: loss has no gradient in log_ratio")
    (slope,) = torch.autograd.grad(loss.sum(), u)
    expected = -weight.detach()
    wrong = ~torch.isclose(slope, expected, rtol=1e-5, atol=1e-7)
    if wrong.any():
        at = tuple(wrong.nonzero()[0].tolist())
        raise ValueError(
            f"objective {_name(objective)}: the derivative of loss in log_ratio must be -score_weight, is "
            f"{slope[at]:.3g} and not {expected[at]:.3g} at log_ratio {u[at]:.3g}, advantage {advantage[at]:.3g}"
        )


def _called(objective: Any, reward: Any, log_ratio: Any) -> tuple[Any, Any, Any]:
    """Advantage, score weight and loss."""
    share = {"log_share": 0.1 + 0.0 * reward} if getattr(objective, "takes_share", False) else {}
    advantage = _call(objective, "advantage", reward)
    return advantage, *(_call(objective, name, log_ratio, advantage, **share) for name in ("score_weight", "loss"))


def _call(objective: Any, name: str, first: Any, *given: Any, **options: Any) -> Any:
    kind = "numpy arrays" if isinstance(first, np.ndarray) else "torch tensors"
    try:
        value = getattr(objective, name)(first, *given, None, **options)
    except Exception as error:  # of somebody else's code
        raise ValueError(
            f"objective {_name(objective)}: {name} fails on {kind} ({type(error).__name__}: {one_line(error)}); "
            "operators and array_api_compat take both numpy and torch"
        ) from error
    if not isinstance(value, type(first)) or value.shape != first.shape:
        raise ValueError(
            f"objective {_name(objective)}: {name} must give {kind} of the shape given, {tuple(first.shape)}, "
            f"got {tuple(getattr(value, 'shape', ())) or show(value)}"
        )
    return value


def _name(objective: Any) -> str:
    return str(getattr(objective, "name", type(objective).__name__))
