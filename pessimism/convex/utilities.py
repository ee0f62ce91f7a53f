"""Programs of concave surrogates of the ratio or the policy: likelihoods, smoothed and capped rewards, imitation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pessimism.arrays import Array
from pessimism.convex.penalties import cost
from pessimism.convex.program import Program, policies, policy_program


def likelihood_program(coefficients: Array, *, solvers: Sequence[str] | None = None) -> Program:
    r"""Weighted likelihood, :math:`\max_\pi \sum_a c_a \log \pi_a` with c >= 0; its multiplier is the sum of c.

    Parameters
    ----------
    coefficients : array_like, shape (K,)
        Weights c >= 0, some positive.
    solvers : sequence of str, optional
        Names of solvers in the order of trial. Default: those of :func:`pessimism.convex.program.solve`.

    Returns
    -------
    Program
        Policy, multiplier of the normalization and optimal value.

    Examples
    --------
    >>> likelihood_program([0.1, 0.3]).policy.round(6)
    array([0.25, 0.75])
    """
    (c,) = policies(coefficients=coefficients)
    if np.any(c < 0) or not np.any(c > 0):
        raise ValueError(f"coefficients must be >= 0 and some > 0, got {c.min()} to {c.max()}")
    some, unit = np.flatnonzero(c > 0), float(c.sum())

    def utility(cp: Any, policy: Any) -> Any:
        return (c[some] / unit) @ cp.log(policy[some])

    return policy_program("likelihood", len(c), utility, unit=unit, solvers=solvers)


def log_smoothing_program(
    behavior: Array,
    outcomes: Array,
    smoothing: float,
    *,
    chances: Array | None = None,
    kl: float = 0.0,
    solvers: Sequence[str] | None = None,
) -> Program:
    r"""Logarithmic smoothing (2405.14335), :math:`\max_\pi E_q[\log(1 + \lambda w R)] / \lambda - \beta KL(\pi \| q)`.

    Parameters
    ----------
    behavior : array_like, shape (K,)
        Probabilities q of the behavior, all positive.
    outcomes : array_like, shape (K,) or (M, K)
        Rewards R >= 0, M of them where an action has several outcomes.
    smoothing : float
        lambda > 0.
    chances : array_like, shape (M, K), optional
        Probabilities of the outcomes. Default: one outcome each.
    kl : float, default 0.0
        Temperature beta >= 0 of the divergence.
    solvers : sequence of str, optional
        Names of solvers in the order of trial. Default: those of :func:`pessimism.convex.program.solve`.

    Returns
    -------
    Program
        Policy, multiplier of the normalization and optimal value.

    Examples
    --------
    >>> log_smoothing_program([0.5, 0.5], [1.0, 0.5], 1.0).policy.round(6)
    array([0.75, 0.25])
    """
    (q,) = policies(behavior=behavior)
    outcomes = np.atleast_2d(np.asarray(outcomes, dtype=float))
    chances = np.ones_like(outcomes) if chances is None else np.atleast_2d(np.asarray(chances, dtype=float))
    if np.any(outcomes < 0):
        raise ValueError(f"outcomes must be >= 0, got {outcomes.min()}")
    unit = float(np.sum(q * chances * np.minimum(outcomes, 1.0 / smoothing))) + kl or 1.0

    def utility(cp: Any, policy: Any) -> Any:
        gain = 0.0
        for chance, outcome in zip(chances, outcomes, strict=True):
            smooth = cp.log(1.0 + cp.multiply(smoothing * outcome / q, policy)) / smoothing
            gain += (q * chance / unit) @ smooth
        return gain - cost(cp, policy, [("kl", kl, q)] if kl else [], unit)

    return policy_program("log_smoothing", len(q), utility, unit=unit, solvers=solvers)


def power_mean_program(
    behavior: Array, advantage: Array, power: float, *, solvers: Sequence[str] | None = None
) -> Program:
    r"""Power-mean correction, :math:`\max_\pi E_q[r\, w / (1 - \lambda + \lambda w)]` with r >= 0, 0 < lambda <= 1.

    Parameters
    ----------
    behavior, advantage : array_like, shape (K,)
        Probabilities q of the behavior, all positive, and advantages A.
    power : float
        lambda in (0, 1].
    solvers : sequence of str, optional
        Names of solvers in the order of trial. Default: those of :func:`pessimism.convex.program.solve`.

    Returns
    -------
    Program
        Policy, multiplier of the normalization and optimal value.

    Examples
    --------
    >>> power_mean_program([0.5, 0.5], [1.0, 0.25], 0.5).policy.round(5)
    array([0.83333, 0.16667])
    """
    q, advantage = policies(behavior=behavior, advantage=advantage)
    if np.any(advantage < 0):
        raise ValueError(f"advantage must be >= 0, got {advantage.min()}")
    if not 0 < power <= 1:
        raise ValueError(f"power must be in (0, 1], got {power}")
    unit = float(q @ advantage) / power or 1.0

    def utility(cp: Any, policy: Any) -> Any:
        # w / (1 - l + l w) = (1 - (1 - l) / (1 - l + l w)) / l.
        missing = (1.0 - power) * cp.inv_pos(1.0 - power + cp.multiply(power / q, policy))
        return (q * advantage / power / unit) @ (1.0 - missing)

    return policy_program("power_mean", len(q), utility, unit=unit, solvers=solvers)


def capped_score_program(
    behavior: Array, advantage: Array, cap: float, *, solvers: Sequence[str] | None = None
) -> Program:
    r"""Weights min(w, cap) that are not differentiated: their population gradient is that of a concave function.

    :math:`\max_\pi E_q[A (\min(w, c) + c \log \max(w / c, 1))]`, whose derivative in pi is A min(w, c)/w. Actions with
    A <= 0 only lose by having mass, where some other has A > 0, so that they have none (CISPO, arXiv 2506.13585).

    Parameters
    ----------
    behavior, advantage : array_like, shape (K,)
        Probabilities q of the behavior, all positive, and advantages A.
    cap : float
        Largest weight c.
    solvers : sequence of str, optional
        Names of solvers in the order of trial. Default: those of :func:`pessimism.convex.program.solve`.

    Returns
    -------
    Program
        Policy, multiplier of the normalization and optimal value.

    Examples
    --------
    >>> capped_score_program([0.5, 0.5], [0.9, 1.0], 1.5).policy.round(5)
    array([0.16667, 0.83333])
    """
    q, advantage = policies(behavior=behavior, advantage=advantage)
    good = np.maximum(advantage, 0.0)
    unit = float(q @ good)
    if not unit:
        raise ValueError(f"advantage must be > 0 for some action, got {advantage.max()} at most")
    free = np.flatnonzero(good > 0)

    def utility(cp: Any, policy: Any) -> Any:
        # Mass up to the cap earns A, mass beyond it A c / w: the best split fills the first part first.
        straight = cp.Variable(len(free))
        room, weight = cap * q[free], good[free] / unit
        beyond = cp.multiply(weight * room, cp.log(1.0 + cp.multiply(1.0 / room, policy[free] - straight)))
        further = {"cap": straight <= room, "split": straight <= policy[free], "sign": straight >= 0}
        if len(free) < len(q):
            further["bad"] = policy[np.flatnonzero(good <= 0)] == 0
        return weight @ straight + cp.sum(beyond), further

    def value_of(log_policy: Array) -> float:
        ratio = np.exp(log_policy) / q
        return float((q * advantage) @ (np.minimum(ratio, cap) + cap * np.log(np.maximum(ratio / cap, 1.0))))

    return policy_program("capped_score", len(q), utility, unit=unit, value_of=value_of, solvers=solvers)


def truncated_program(
    behavior: Array,
    advantage: Array,
    beta: float,
    kappa: float,
    cap: float,
    *,
    solvers: Sequence[str] | None = None,
) -> Program:
    r"""Penalty of curvature kappa whose pull stays at the cap below it: beta (KL + kappa E_q[c w + (w - c)_+^2 / 2]).

    Its optimality reads log w + kappa max(w, c) = (A - s)/beta: the target of truncated importance weights is the one
    kappa >= 0 for which the multiplier s is zero (arXiv 2605.28150).

    Parameters
    ----------
    behavior, advantage : array_like, shape (K,)
        Probabilities q of the behavior, all positive, and advantages A.
    beta : float
        Temperature, > 0.
    kappa : float
        Curvature, >= 0.
    cap : float
        Ratio c below which the pull stays the same.
    solvers : sequence of str, optional
        Names of solvers in the order of trial. Default: those of :func:`pessimism.convex.program.solve`.

    Returns
    -------
    Program
        Policy, multiplier of the normalization and optimal value.

    Examples
    --------
    >>> found = truncated_program([0.5, 0.5], [0.0, 1.0], 0.5, 1.0, 1.2)
    >>> found.policy.round(4), round(found.dual, 4)
    (array([0.1751, 0.8249]), -0.0753)
    """
    q, advantage = policies(behavior=behavior, advantage=advantage)
    top, unit = float(advantage.max()), beta * (1.0 + kappa)

    def utility(cp: Any, policy: Any) -> Any:
        ratio = cp.multiply(1.0 / q, policy)
        pull = beta * kappa / unit * (cap * cp.sum(policy) + 0.5 * q @ cp.square(cp.pos(ratio - cap)))
        return policy @ ((advantage - top) / unit) - cost(cp, policy, [("kl", beta, q)], unit) - pull

    return policy_program("truncated", len(q), utility, unit=unit, shift=top / unit, solvers=solvers)


def projection_program(point: Array, *, solvers: Sequence[str] | None = None) -> Program:
    r"""Euclidean projection, :math:`\max_\pi -\|\pi - p\|^2 / 2`; pi = (p - dual)_+.

    Parameters
    ----------
    point : array_like, shape (K,)
        The point p.
    solvers : sequence of str, optional
        Names of solvers in the order of trial. Default: those of :func:`pessimism.convex.program.solve`.

    Returns
    -------
    Program
        Policy, multiplier of the normalization and optimal value.

    Examples
    --------
    >>> found = projection_program([0.7, 0.5, -0.2])
    >>> found.policy.round(6), round(found.dual, 6)
    (array([0.6, 0.4, 0. ]), 0.1)
    """
    (point,) = policies(point=point)
    unit = max(1.0, float(np.abs(point).max()))

    def utility(cp: Any, policy: Any) -> Any:
        return -0.5 / unit * cp.sum_squares(policy - point)

    return policy_program("projection", len(point), utility, unit=unit, solvers=solvers)


def shaped_program(
    behavior: Array, advantage: Array, gamma: float, share: float, *, solvers: Sequence[str] | None = None
) -> Program:
    r"""Shaped expert samples, :math:`\max_\pi (1 - s) \langle \pi, A \rangle + s \sum q A \pi / (\pi + \gamma)`.

    Concave where A > 0; actions with A <= 0 only lose by having mass, where some other has A > 0, so that they have
    none (LUFFY, arXiv 2504.14945).

    Parameters
    ----------
    behavior, advantage : array_like, shape (K,)
        Probabilities q of the behavior, all positive, and advantages A.
    gamma : float
        Shape of the expert's weight, > 0.
    share : float
        Share s of expert samples.
    solvers : sequence of str, optional
        Names of solvers in the order of trial. Default: those of :func:`pessimism.convex.program.solve`.

    Returns
    -------
    Program
        Policy, multiplier of the normalization and optimal value.

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

    Parameters
    ----------
    behavior, advantage : array_like, shape (K,)
        Probabilities q of the behavior, all positive, and advantages A.
    mu : float
        Weight of the imitation, in [0, 1].
    bounded : bool
        Whether the likelihood is weighted by p (1 - p).
    solvers : sequence of str, optional
        Names of solvers in the order of trial. Default: those of :func:`pessimism.convex.program.solve`.

    Returns
    -------
    Program
        Policy, multiplier of the normalization and optimal value.

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
