"""Programs of mixed data: own samples, whose gain is linear in the policy, beside an expert's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pessimism.convex.program import Program, policies, policy_program

Array = Any


def shaped_program(
    behavior: Array, advantage: Array, gamma: float, share: float, *, solvers: Sequence[str] | None = None
) -> Program:
    r"""Shaped expert samples, :math:`\max_\pi (1 - s) \langle \pi, A \rangle + s \sum q A \pi / (\pi + \gamma)`.

    Concave where A > 0; actions with A <= 0 only lose by having mass, where some other has A > 0, so that they have
    none (LUFFY, arXiv 2504.14945).

    Examples
    --------
    >>> shaped_program([0.5, 0.5], [0.3, 0.2], 0.1, 0.5).policy.round(4)
    array([0.8, 0.2])
    """
    q, advantage = policies(behavior=behavior, advantage=advantage)
    good, bad = np.flatnonzero(advantage > 0), np.flatnonzero(advantage <= 0)
    if not good.size:
        raise ValueError(f"advantage must be > 0 for some action, got {advantage.max()} at most")
    unit = float(advantage.max())
    gain = advantage[good] / unit

    def utility(cp: Any, policy: Any) -> Any:
        own = (1.0 - share) * gain @ policy[good]
        expert = share * (q[good] * gain) @ (1.0 - gamma * cp.inv_pos(policy[good] + gamma))
        return own + expert, {"bad": policy[bad] == 0} if bad.size else {}

    def value_of(log_policy: Array) -> float:
        policy = np.exp(log_policy)
        return float(advantage @ ((1.0 - share) * policy + share * q * policy / (policy + gamma)))

    return policy_program("shaped", len(q), utility, unit=unit, value_of=value_of, solvers=solvers)


def imitation_program(
    behavior: Array, advantage: Array, mu: float, bounded: bool, *, solvers: Sequence[str] | None = None
) -> Program:
    r"""Own samples and imitation, :math:`\max_\pi (1 - \mu) \langle \pi, A \rangle + \mu E_q[f(\pi)]`.

    f = log, or if ``bounded`` f(p) = p - p^2/2, whose gradient is that of the expert's likelihood weighted by p (1 - p)
    without differentiating the weight (CHORD, arXiv 2508.11408).

    Examples
    --------
    >>> imitation_program([0.5, 0.5], [-1.0, 1.0], 0.9, True).policy.round(4)
    array([0.3, 0.7])
    """
    q, advantage = policies(behavior=behavior, advantage=advantage)
    top = float(advantage.max()) * (1.0 - mu)
    unit = mu + (1.0 - mu) * float(np.ptp(advantage))

    def utility(cp: Any, policy: Any) -> Any:
        own = policy @ (((1.0 - mu) * advantage - top) / unit)
        if not bounded:
            return own + (mu / unit * q) @ cp.log(policy)
        return own + mu / unit * (q @ policy - 0.5 * cp.sum_squares(cp.multiply(np.sqrt(q), policy)))

    return policy_program("imitation", len(q), utility, unit=unit, shift=top / unit, solvers=solvers)
