"""HINT's Affinity: how much of a batch a clipped ratio still learns from, and how evenly."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from array_api_compat import array_namespace, is_array_api_obj

from pessimism.arrays import Array, to_numpy_float
from pessimism.display import as_call, html_table, median


class Affinity(NamedTuple):
    """Affinity of each group ``(...)`` and its parts.

    Attributes
    ----------
    value : Array, shape (...)
        Affinity, ``effective_update_ratio`` * exp(-``update_consistency`` / tau) with tau = log(1 + eps)/2.
    effective_update_ratio : Array, shape (...)
        Share of abs(advantage) on ratios inside the clip.
    update_consistency : Array, shape (...)
        Spread of the log-ratios of these; larger is worse.

    Examples
    --------
    >>> affinity([0.0, 0.0], [1.0, -1.0])
    Affinity(value=1, effective_update_ratio=1, update_consistency=0)
    """

    value: Array
    effective_update_ratio: Array
    update_consistency: Array

    def _facts(self) -> list[tuple[str, Any]]:
        """Return labels and values: the numbers of one group, the medians of several."""
        parts = {name: to_numpy_float(part) for name, part in self._asdict().items()}
        shape = parts["value"].shape
        if not shape:
            return list(parts.items())
        return [("shape", shape), *((f"median {name}", median(part)) for name, part in parts.items())]

    def __repr__(self) -> str:
        return as_call("Affinity", self._facts())

    def _repr_html_(self) -> str:
        return html_table(self._facts(), caption="Affinity")


def affinity(log_ratio: Any, advantage: Any, eps: float = 0.2) -> Affinity:
    r"""HINT's Affinity of samples to the policy in training, EUR exp(-UC/tau) (arXiv 2510.09388).

    .. math:: EUR = \frac{\sum |A| 1[1-\epsilon \le w \le 1+\epsilon]}{\sum |A|},\quad
              UC^2 = \mathrm{Var}_{|A|}[\log w \mid 1-\epsilon \le w \le 1+\epsilon],\quad \tau = \log(1+\epsilon)/2

    Parameters
    ----------
    log_ratio : array_like, shape (..., n)
        log(policy / behavior) of the samples: tokens, as published, or actions. Lists, numpy arrays, torch tensors or
        any array library of the Python array API standard.
    advantage : array_like, shape (..., n)
        Advantages, broadcast against the log-ratios; HINT's are those of GRPO, (r - mean)/(std + 1e-4).
    eps : float, default 0.2
        Clip of the ratio, 0 < eps < 1.

    Returns
    -------
    Affinity
        Between 0 and 1; 0, as in the authors' code, where no advantage is different from zero. Nothing carries a
        gradient: the loss is multiplied by the value as a constant (to a power, published 1).

    Raises
    ------
    ValueError
        If a value is not finite, shapes do not broadcast, or eps is not inside (0, 1).

    Examples
    --------
    >>> import numpy as np
    >>> found = affinity(np.log([1.0, 1.1, 2.0]), [1.0, -1.0, 2.0])
    >>> round(float(found.effective_update_ratio), 3), round(float(found.value), 3)
    (0.5, 0.296)
    """
    if not 0 < eps < 1:
        raise ValueError(f"eps must be a number inside (0, 1), got {eps!r}")
    xp, u, size = _arrays(log_ratio, advantage)
    size = xp.abs(size)
    inside = (u >= math.log1p(-eps)) & (u <= math.log1p(eps))
    held = xp.where(inside, size, xp.zeros_like(size))
    total, kept = xp.sum(size, axis=-1), xp.sum(held, axis=-1)
    ones = xp.ones_like(total)
    ratio = kept / xp.where(total > 0, total, ones)
    mass = xp.where(kept > 0, kept, ones)[..., None]
    mean = xp.sum(held * u, axis=-1, keepdims=True) / mass
    gap = xp.where(inside, u - mean, xp.zeros_like(u))
    spread = xp.sqrt(xp.sum(held / mass * gap * gap, axis=-1))
    return Affinity(ratio * xp.exp(-spread / (0.5 * math.log1p(eps))), ratio, spread)


def _arrays(log_ratio: Any, advantage: Any) -> tuple[Any, Array, Array]:
    """Both as floating arrays of one library and shape, cut from autograd."""
    import numpy as np

    given = {"log_ratio": log_ratio, "advantage": advantage}
    foreign = next((v for v in given.values() if is_array_api_obj(v) and not isinstance(v, np.ndarray)), np.empty(0))
    xp = array_namespace(foreign)
    arrays = {}
    for name, value in given.items():
        array = value.detach() if hasattr(value, "detach") else value
        array = array if is_array_api_obj(array) and array_namespace(array) is xp else xp.asarray(np.asarray(array))
        if not xp.isdtype(array.dtype, "real floating"):
            array = xp.astype(array, xp.float64)
        if array.ndim == 0 or not bool(xp.all(xp.isfinite(array))):
            rule = "must have at least one dimension" if array.ndim == 0 else "must be finite"
            raise ValueError(f"{name} {rule}")
        arrays[name] = array
    try:
        u, size = xp.broadcast_arrays(arrays["log_ratio"], arrays["advantage"])
    except (ValueError, RuntimeError):
        shapes = {name: tuple(a.shape) for name, a in arrays.items()}
        raise ValueError(f"log_ratio and advantage must broadcast against each other, got shapes {shapes}") from None
    return xp, u, size
