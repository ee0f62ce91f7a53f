"""Linear surrogates and what bounds them: PPO's clip, TRPO's divergence, or nothing; the nearest of many optima."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pessimism.arrays import Array
from pessimism.convex.penalties import cost
from pessimism.convex.program import Program, policies, policy_program

_ON_SLOPE = 1e-6  # a multiplier this close to a slope of the surrogate, relative to the largest one, is on it


def ppo_program(
    behavior: Array,
    advantage: Array,
    low: float = 0.2,
    high: float = 0.2,
    *,
    length: Any = 1.0,
    by_length: bool = False,
    reference: Array | None = None,
    solvers: Sequence[str] | None = None,
) -> Program:
    r"""PPO's surrogate, :math:`\max_\pi E_q[\min(s A, \mathrm{clip}(s, 1 - l, 1 + h) A)]`, s = w (arXiv 1707.06347).

    A linear program whose solutions are many; of them, the one nearest to ``reference`` in KL(pi || reference), default
    the behavior, is found by a second program on the optimal face, which the multiplier of the first describes.

    ``length`` L > 1 clips s = w^(1/L) instead (GSPO, arXiv 2507.18071). That is concave where A > 0. Actions with A < 0
    are kept below their clip, where they lose nothing: above it they would, and those with A > 0 take mass for free.

    Parameters
    ----------
    behavior, advantage : array_like, shape (K,)
        Probabilities q of the behavior, all positive, and advantages A.
    low, high : float, default 0.2
        Clip of the ratio below and above one.
    length : float or array_like, shape (K,), default 1.0
        Number L of tokens of each completion, >= 1.
    by_length : bool, default False
        Whether the surrogate of a completion is multiplied by its length (LUSPO, arXiv 2602.05261).
    reference : array_like, shape (K,), optional
        Probabilities nu, all positive. Default: the behavior.
    solvers : sequence of str, optional
        Names of solvers in the order of trial. Default: those of :func:`pessimism.convex.program.solve`.

    Returns
    -------
    Program
        Policy, multiplier of the normalization and optimal value.

    Examples
    --------
    >>> ppo_program([0.4, 0.3, 0.3], [1.0, 0.0, -1.0]).policy.round(6)
    array([0.48, 0.28, 0.24])
    """
    q, advantage = policies(behavior=behavior, advantage=advantage)
    nu = q if reference is None else policies(advantage=advantage, reference=reference)[1]
    tokens = np.broadcast_to(np.asarray(length, dtype=float), q.shape)
    rooted = bool(np.any(tokens > 1.0))
    advantage = advantage * tokens if by_length else advantage
    gain, loss = np.maximum(advantage, 0.0), np.maximum(-advantage, 0.0)
    unit = float(np.abs(advantage).max()) or 1.0
    least = max(1.0 - low, 0.0)
    edges = np.where(advantage > 0, (1.0 + high) ** tokens, least**tokens) * q

    def utility(cp: Any, policy: Any) -> Any:
        if not rooted:
            return (gain / unit) @ cp.minimum(policy, edges) - (loss / unit) @ cp.maximum(policy, edges)
        good, bad = np.flatnonzero(gain > 0), np.flatnonzero(loss > 0)
        weight, lost = gain[good] * q[good] / unit, float(loss @ q) * least / unit
        ratio = cp.multiply(1.0 / q[good], policy[good])
        root = cp.hstack([cp.power(ratio[i], 1.0 / tokens[a], approx=False) for i, a in enumerate(good)])
        further = {"bad": policy[bad] <= edges[bad]} if bad.size else {}
        return (weight @ cp.minimum(root, 1.0 + high) if good.size else 0.0 * cp.sum(policy)) - lost, further

    best = policy_program("ppo_clip", len(q), utility, unit=unit, solvers=solvers)
    near = _ON_SLOPE * unit
    tight = best.dual > near
    if not best.solved or (tight and bool(np.all(tokens[advantage > 0] > 1.0))):
        return best
    before, after = np.maximum(advantage, 0.0), np.minimum(advantage, 0.0)  # slopes below and above the edge
    floor = np.where(best.dual < before - near, edges, 0.0)
    ceiling = np.where(best.dual > before + near, 0.0, np.where(best.dual > after + near, edges, np.inf))
    if tight:  # a root has one optimum, and what is linear shares the rest
        floor, ceiling = (np.where((tokens > 1.0) & (advantage > 0), best.policy, bound) for bound in (floor, ceiling))
    return _nearest(best, nu, floor, ceiling, solvers)


def linear_program(
    behavior: Array, advantage: Array, reference: Array | None = None, *, solvers: Sequence[str] | None = None
) -> Program:
    r"""No penalty at all, :math:`\max_\pi \langle \pi, A \rangle`: of several optima the one nearest to the reference.

    Parameters
    ----------
    behavior, advantage : array_like, shape (K,)
        Probabilities q of the behavior, all positive, and advantages A.
    reference : array_like, shape (K,), optional
        Probabilities nu, all positive. Default: the behavior.
    solvers : sequence of str, optional
        Names of solvers in the order of trial. Default: those of :func:`pessimism.convex.program.solve`.

    Returns
    -------
    Program
        Policy, multiplier of the normalization and optimal value.

    Examples
    --------
    >>> linear_program([0.6, 0.3, 0.1], [0.0, 1.0, 1.0]).policy.round(6)
    array([0.  , 0.75, 0.25])
    """
    q, advantage = policies(behavior=behavior, advantage=advantage)
    nu = q if reference is None else policies(advantage=advantage, reference=reference)[1]
    kept = np.arange(len(q))
    while True:  # what is far below the best hides differences among the others
        own = advantage[kept]
        top, unit = float(own.max()), float(np.ptp(own)) or 1.0
        slope = (own - top) / unit

        def utility(cp: Any, policy: Any, slope: Array = slope) -> Any:
            return policy @ slope

        best = policy_program("linear", len(kept), utility, unit=unit, shift=top / unit, solvers=solvers)
        good = best.dual <= own + _ON_SLOPE * unit
        if not best.solved or good.all():
            break
        kept = kept[good]

    def value_of(log_policy: Array) -> float:
        return float(advantage @ np.exp(log_policy))

    if not best.solved:
        return replace(best, policy=np.full(len(q), np.nan))
    ceiling = np.zeros(len(q))
    ceiling[kept] = np.inf
    return _nearest(replace(best, value_of=value_of), nu, np.zeros(len(q)), ceiling, solvers)


def _nearest(best: Program, nu: Array, floor: Array, ceiling: Array, solvers: Sequence[str] | None) -> Program:
    """The optimal policy nearest to nu in KL(pi || nu), on a face that is a box."""
    policy, free = floor.copy(), np.flatnonzero(ceiling > floor)
    if not free.size:
        return replace(best, policy=policy)
    # In shares of the mass that the others leave: without the fixed ones the program has an interior.
    mass = 1.0 - float(policy.sum() - policy[free].sum())
    base, least, most = nu[free] / nu[free].sum(), floor[free] / mass, ceiling[free] / mass
    bounded = np.flatnonzero(np.isfinite(most))

    def nearness(cp: Any, share: Any) -> Any:
        further = {"floor": share >= least}
        if bounded.size:
            further["ceiling"] = share[bounded] <= most[bounded]
        return -cost(cp, share, [("kl", 1.0, base)]), further

    found = policy_program(best.name, len(free), nearness, solvers=solvers)
    policy[free] = mass * found.policy
    return replace(
        found,
        policy=policy,
        value=best.value,
        dual=best.dual,
        accuracy=max(best.accuracy, found.accuracy),
        duals={},
        value_of=best.value_of,
    )


def trpo_program(behavior: Array, advantage: Array, radius: float, *, solvers: Sequence[str] | None = None) -> Program:
    r"""TRPO's trust region, :math:`\max_\pi \langle \pi, A \rangle` s.t. KL(q || pi) <= radius (arXiv 1502.05477).

    ``duals["trust_region"]`` is the multiplier eta of the divergence, sum q log(q/pi): pi = eta q / (dual - A).

    Parameters
    ----------
    behavior, advantage : array_like, shape (K,)
        Probabilities q of the behavior, all positive, and advantages A.
    radius : float
        Largest divergence, > 0.
    solvers : sequence of str, optional
        Names of solvers in the order of trial. Default: those of :func:`pessimism.convex.program.solve`.

    Returns
    -------
    Program
        Policy, multiplier of the normalization and optimal value.

    Examples
    --------
    >>> found = trpo_program([0.5, 0.5], [0.0, 1.0], 0.1)
    >>> found.policy.round(4), round(found.duals["trust_region"], 4)
    (array([0.2871, 0.7129]), 0.9614)
    """
    q, advantage = policies(behavior=behavior, advantage=advantage)
    if not radius > 0:
        raise ValueError(f"radius must be > 0, got {radius}")
    top, unit = float(advantage.max()), float(np.ptp(advantage)) or 1.0

    def utility(cp: Any, policy: Any) -> Any:
        # In units of the radius, so that a small one does not drown in tolerances.
        divergence = cost(cp, policy, [("forward_kl", 1.0, q)], radius)
        return policy @ ((advantage - top) / unit), {"trust_region": divergence <= 1}

    found = policy_program("trust_region", len(q), utility, unit=unit, shift=top / unit, solvers=solvers)
    # The penalty's divergence holds pi - q as well, whose slope is one.
    eta = found.duals.get("trust_region", float("nan")) / radius
    return replace(found, dual=found.dual + eta, duals={"trust_region": eta})
