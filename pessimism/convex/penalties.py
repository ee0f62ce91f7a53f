r"""Programs of a reward against divergences: :math:`\max_\pi \langle \pi, A \rangle - \sum_f c_f D_f(\pi \| \cdot)`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from pessimism.arrays import Array
from pessimism.convex.program import Program, policies, policy_program

Penalties = Mapping[str, float | tuple[float, Array]]


def _kl(cp: Any, policy: Any, base: Array) -> Any:
    """p log(p/b) - p + b: its derivative is log(p/b)."""
    return -cp.sum(cp.entr(policy)) - policy @ (np.log(base) + 1.0) + base.sum()


def _forward_kl(cp: Any, policy: Any, base: Array) -> Any:
    """b log(b/p) - b + p: its derivative is 1 - b/p."""
    return -base @ cp.log(policy) + cp.sum(policy) + base @ np.log(base) - base.sum()


def _chi_square(cp: Any, policy: Any, base: Array) -> Any:
    """(p - b)^2 / (2 b): its derivative is p/b - 1."""
    return 0.5 * cp.sum_squares(cp.multiply(policy - base, 1.0 / np.sqrt(base)))


def _hellinger(cp: Any, policy: Any, base: Array) -> Any:
    """(sqrt p - sqrt b)^2: its derivative is 1 - sqrt(b/p)."""
    return cp.sum(policy) + base.sum() - 2.0 * np.sqrt(base) @ cp.sqrt(policy)


def _inf(cp: Any, policy: Any, base: Array) -> Any:
    """(sqrt p - sqrt b)^2 / sqrt b: its derivative is b^(-1/2) - p^(-1/2)."""
    return policy @ (1.0 / np.sqrt(base)) + np.sqrt(base).sum() - 2.0 * cp.sum(cp.sqrt(policy))


def _total_variation(cp: Any, policy: Any, base: Array) -> Any:
    """b abs(p - b) / 2: its derivative is b sign(p - b) / 2."""
    return 0.5 * base @ cp.abs(policy - base)


PENALTIES: dict[str, Callable[[Any, Any, Array], Any]] = {
    "kl": _kl,
    "forward_kl": _forward_kl,
    "chi_square": _chi_square,
    "hellinger": _hellinger,
    "inf": _inf,
    "total_variation": _total_variation,
}


def penalized_program(
    behavior: Array,
    advantage: Array,
    penalties: Penalties,
    *,
    reference: Array | None = None,
    max_ratio: float = float("inf"),
    clip: tuple[float, float] | None = None,
    ratio_bounds: tuple[float, float] = (0.0, float("inf")),
    name: str = "penalized",
    solvers: Sequence[str] | None = None,
) -> Program:
    r"""Maximize :math:`\sum_a q_a \min(w_a, M) A_a - \sum_f c_f D_f(\pi, \nu)` over policies, w = pi/q.

    Parameters
    ----------
    behavior, advantage : array_like, shape (K,)
        Probabilities q of the behavior, all positive, and advantages A.
    penalties : mapping
        Coefficients c_f > 0 of the divergences from the reference: "kl", KL(pi || nu); "forward_kl", KL(nu || pi);
        "chi_square", half of chi^2(pi || nu); "hellinger", sum (sqrt pi - sqrt nu)^2; "inf", the same over sqrt nu;
        "total_variation", sum nu abs(pi - nu)/2. A pair (c_f, base) takes it from another base ``(K,)``, which need not
        sum to one (all ones: the entropy).
    reference : array_like, shape (K,), optional
        Probabilities nu, all positive. Default: the behavior.
    max_ratio : float, optional
        M, the largest ratio that carries reward; then advantages must be >= 0. Default: none.
    clip : tuple of two floats, optional
        Ratios at which PPO clips: w A becomes A min(w, upper) where A > 0, A max(w, lower) where A < 0. Default: none.
    ratio_bounds : tuple of two floats, optional
        Least and largest ratio that are allowed at all. Default: any.
    name : str, default "penalized"
        What the result calls the program.
    solvers : sequence of str, optional
        Names of solvers in the order of trial. Default: those of :func:`pessimism.convex.program.solve`.

    Returns
    -------
    Program
        ``dual`` is the common value of A - sum c_f f'(w), each f written so that f'(1) = 0.

    Raises
    ------
    ValueError
        An unknown penalty; a cap on ratios with a negative advantage, which is not concave.

    Examples
    --------
    >>> found = penalized_program([0.5, 0.5], [0.0, 1.0], {"kl": 0.5})
    >>> found.policy.round(4), round(found.dual, 4)
    (array([0.1192, 0.8808]), 0.7169)
    """
    q, advantage = policies(behavior=behavior, advantage=advantage)
    nu = q if reference is None else policies(advantage=advantage, reference=reference)[1]
    for key in penalties:
        if key not in PENALTIES:
            raise ValueError(f"penalties: unknown divergence {key!r}, known: {', '.join(PENALTIES)}")
    capped = np.isfinite(max_ratio)
    if capped and np.any(advantage < 0):
        raise ValueError(f"max_ratio needs advantages >= 0, got {advantage.min()}")
    # A constant on all advantages moves value and dual alone; from the best one the solver sees small numbers.
    top = 0.0 if capped or clip is not None else float(advantage.max())
    weighed = [(key, *(entry if isinstance(entry, tuple) else (entry, nu))) for key, entry in penalties.items()]
    for key, c, _ in weighed:
        if not c > 0:
            raise ValueError(f"penalties[{key!r}] must be > 0, got {c}")
    unit = sum(c for _, c, _ in weighed) or float(np.ptp(advantage)) or 1.0
    least, most = ratio_bounds

    def utility(cp: Any, policy: Any) -> Any:
        if clip is None:
            held = cp.minimum(policy, max_ratio * q) if capped else policy
            gain = held @ ((advantage - top) / unit)
        else:
            edges = np.where(advantage > 0, clip[1], clip[0]) * q
            up, down = np.maximum(advantage, 0.0) / unit, np.maximum(-advantage, 0.0) / unit
            gain = up @ cp.minimum(policy, edges) - down @ cp.maximum(policy, edges)
        gain -= cost(cp, policy, weighed, unit)
        bounds = {}
        if least > 0:
            bounds["least"] = policy >= least * q
        if np.isfinite(most):
            bounds["most"] = policy <= most * q
        return gain, bounds

    return policy_program(name, len(q), utility, unit=unit, shift=top / unit, solvers=solvers)


def cost(cp: Any, policy: Any, weighed: Iterable[tuple[str, float, Array]], unit: float = 1.0) -> Any:
    """Sum of (name, coefficient, base), in multiples of ``unit``."""
    return sum(c / unit * PENALTIES[key](cp, policy, base) for key, c, base in weighed)
