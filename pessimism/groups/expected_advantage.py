r"""Expected advantages of a finite group where its compositions are too many to count: three routes, one question.

E[A_i | r_i = v] over G - 1 other completions of a reward law ``(D,)``: exact where the advantage is linear in the
rewards of the group; by quadrature of E log(sum) where the baseline is the group's optimal value; otherwise by seeded
Monte Carlo with its standard error. Derivations: docs/theory.md; arXiv 2605.28150.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import numpy as np
from scipy.special import gammaln, xlog1py, xlogy

from pessimism.arrays import Floats
from pessimism.baselines import optimal_value
from pessimism.core.objective import Objective
from pessimism.core.validation import check_amount
from pessimism.groups.reward_law import RewardLaw, expected_by_counts, few_groups, kept_given_value
from pessimism.groups.target import require_affine
from pessimism.losses.regression import OAPL, AStarPO, OptimalValue
from pessimism.progress import progress

_STEP = 0.25  # of the trapezoid in log t: its error is exp(-pi^2/0.25), 7e-18
_CHUNK = 2**22
Method = Literal["exact", "quadrature", "monte_carlo"]
_AT_ONCE = 2**26  # completions of one group around each reward, up to which they are worked on
_DRAWN = 2**34  # completions that are drawn for one problem
_COUNTED = 2**17  # compositions of a group up to which they are all summed
_NODES = 2**17  # of a quadrature


class Linear(NamedTuple):
    """A = own r_i + every sum_j r_j + constant over the group."""

    own: float
    every: float
    constant: float


def linear_in_rewards(objective: Objective, values: Floats, size: int) -> Linear | None:
    """Coefficients of an advantage that is linear in the rewards of groups of ``size``, None where it is not.

    Found on groups of the lowest and the highest value, and checked on others.
    """
    low, high = float(values.min()), float(values.max())
    rng = np.random.default_rng(0)
    checks = np.concatenate([values[rng.integers(len(values), size=(12, size))], np.full((2, size), low)])
    checks[-2, 0] = checks[-3, 1:] = high
    found = np.asarray(objective.advantage(checks))
    if size == 1 or high == low:
        return None
    one = found[-2]
    own, every = (one[0] - one[1]) / (high - low), (one[1] - found[-1, 0]) / (high - low)
    linear = Linear(float(own), float(every), float(found[-1, 0] - (own + size * every) * low))
    predicted = own * checks + every * checks.sum(axis=-1, keepdims=True) + linear.constant
    scale = np.abs(found).max() + np.abs(values).max()
    return linear if bool(np.all(np.abs(predicted - found) <= 1e-12 * scale)) else None


def expected_linear(linear: Linear, values: Floats, mass: Floats, size: int, *, kept: Floats | None = None) -> Floats:
    """Expected advantage ``(..., D)`` for a linear one, rewards and law ``(..., D)``; given ``kept`` where it is given.

    The others have the mean E[r], or r_v + (E[r] - r_v) / P(kept | v) given that they are not all of reward v.
    """
    gap = np.vecdot(mass, values)[..., None] - values
    others = values + (gap if kept is None else gap / np.where(kept > 0, kept, 1.0))
    return np.asarray(linear.own * values + linear.every * (values + (size - 1) * others) + linear.constant)


def optimal_value_temperature(objective: Objective) -> float | None:
    """The temperature of the group's optimal value, where that is what the objective subtracts, else None."""
    field = {OptimalValue: "beta", OAPL: "beta1", AStarPO: "beta1"}.get(type(objective))
    if field is None:
        return None
    beta = float(objective.settings[field])
    probe = beta * np.array([0.0, 0.25, 1.0, 3.0])
    same = np.allclose(objective.advantage(probe), probe - optimal_value(probe, beta), rtol=1e-12, atol=1e-12 * beta)
    return beta if same else None


def nodes_of_quadrature(spread: float, beta: float, size: int, step: float = _STEP) -> int:
    """How many nodes the quadrature of :func:`expected_log_sum` takes."""
    return math.ceil((spread / beta + 20.0 + 5.0 / step + math.log(size) + 4.0) / step)


def expected_log_sum(exponents: Floats, mass: Floats, others: int, *, own: bool, step: float = _STEP) -> Floats:
    r"""E log(e^{x_v} + X), X the sum of e^x over ``others`` i.i.d. draws of a law; without ``own``, E log X.

    :math:`\log s = \int_0^\infty (e^{-t} - e^{-s t})\, dt/t`, so that the expectation only needs the Laplace transform
    of one draw, to the power of their number. In log t the integrand is analytic in a strip of half-width pi/2, where
    the trapezoidal rule errs by exp(-pi^2/step).

    Parameters
    ----------
    exponents : ndarray, shape (..., D)
        x, at most 0.
    mass : ndarray, shape (..., D)
        Probabilities of the exponents.
    others : int
        Number of draws.
    own : bool
        Whether the sum has the term e^{x_v} of its own.
    step : float, optional
        Step of the trapezoidal rule in log t.

    Returns
    -------
    ndarray, shape (..., D) with ``own``, else (...)
        The expectations.

    Examples
    --------
    >>> x, half = np.log([0.25, 1.0]), np.array([0.5, 0.5])
    >>> np.exp(expected_log_sum(x, half, 1, own=True) * 2).round(12)  # (1/4 + 1/4)(1/4 + 1), (1 + 1/4)(1 + 1)
    array([0.625, 2.5  ])
    """
    deepest = float(-exponents.min())
    low = -20.0 - 5.0 / step - math.log(others + 1)
    tau = low + step * np.arange(nodes_of_quadrature(deepest, 1.0, others + 1, step) + 1)
    t = np.exp(np.minimum(tau, 7.0))  # beyond exp(7) nothing is left of exp(-t)
    total = np.zeros(exponents.shape if own else exponents.shape[:-1])
    part = max(1, _CHUNK // exponents.size)
    for first in range(0, len(tau), part):
        chunk = slice(first, first + part)
        decay = np.exp(np.minimum(exponents[..., None] + tau[chunk], 7.0))
        gone = np.minimum(np.vecdot(mass[..., None, :], -np.expm1(np.moveaxis(-decay, -1, -2))), 1.0)
        with np.errstate(divide="ignore"):
            log_rest = others * np.log1p(-gone)
        exponent = log_rest[..., None, :] - decay if own else log_rest
        total += step * np.sum(np.expm1(-t[chunk]) - np.expm1(exponent), axis=-1)
    return total


def expected_under_optimal_value(
    values: Floats, mass: Floats, size: int, beta: float, *, leave_one_out: bool = False, step: float = _STEP
) -> Floats:
    """Expected advantage ``(..., D)`` against the group's optimal value at ``beta``, by quadrature."""
    top = values.max(axis=-1, keepdims=True)
    others = size - 1
    logs = expected_log_sum((values - top) / beta, mass, others, own=not leave_one_out, step=step)
    logs = logs[..., None] - math.log(others) if leave_one_out else logs - math.log(size)
    return np.asarray((values - top) - beta * logs)


def expected_by_draws(
    objective: Objective,
    values: Floats,
    mass: Floats,
    size: int,
    *,
    leave_one_out: bool,
    drop_equal: bool,
    draws: int,
    seed: int,
) -> tuple[Floats, Floats, tuple[float, float]]:
    """Mean advantage ``(D,)`` over groups around each value, its standard error, and the range of advantages seen.

    The same others serve every value, except where groups are dropped: then they are drawn given that one differs.
    """
    rng, law = np.random.default_rng(seed), mass / mass.sum()
    width, lowest, highest = len(values), np.inf, -np.inf
    first, second = np.zeros(width), np.zeros(width)
    anchor: Floats | None = None
    part = max(1, _CHUNK // (width * size))
    for done in progress(range(0, draws, part), "drawing groups"):
        count = min(part, draws - done)
        if drop_equal:
            others = np.stack([_others_that_differ(rng, values, law, size, v, count) for v in range(width)], axis=1)
        else:
            shared = values[rng.choice(width, size=(count, 1, size - 1), p=law)]
            others = np.broadcast_to(shared, (count, width, size - 1))
        if leave_one_out:
            advantage = (values - others[..., 0]) + np.asarray(objective.advantage(others))[..., 0]
        else:
            own = np.broadcast_to(values[:, None], (count, width, 1))
            advantage = np.asarray(objective.advantage(np.concatenate([own, others], axis=-1)))[..., 0]
        anchor = advantage.mean(axis=0) if anchor is None else anchor
        first += (advantage - anchor).sum(axis=0)
        second += ((advantage - anchor) ** 2).sum(axis=0)
        lowest, highest = min(lowest, float(advantage.min())), max(highest, float(advantage.max()))
    assert anchor is not None
    variance = np.maximum(second / draws - (first / draws) ** 2, 0.0) * draws / (draws - 1)
    return anchor + first / draws, np.sqrt(variance / draws), (lowest, highest)


def _others_that_differ(rng: Any, values: Floats, law: Floats, size: int, v: int, count: int) -> Floats:
    """Others ``(count, G - 1)`` of a member with value v, given that at least one has another value."""
    others, rest = size - 1, np.delete(law, v)
    differing = np.arange(1, size)
    chance = min(float(rest.sum()), 1.0)
    ways = -gammaln(differing + 1.0) - gammaln(others - differing + 1.0)  # up to a constant
    share = ways + xlogy(differing, chance) + xlog1py(others - differing, -chance)
    share = np.exp(share - share.max())
    number = rng.choice(differing, size=count, p=share / share.sum())
    drawn = np.delete(values, v)[rng.choice(len(rest), size=(count, others), p=rest / rest.sum())]
    return np.where(np.arange(others) < number[:, None], drawn, values[v])


def given_kept(advantage: Floats, of_equal: Floats, mass: Floats, size: int) -> Floats:
    """Expected advantage given that the group is kept, from the one over all groups and that in an all-equal group."""
    kept = kept_given_value(mass, size)
    return np.asarray(of_equal + (advantage - of_equal) / np.where(kept > 0, kept, 1.0))


def advantage_when_equal(objective: Objective, values: Floats, size: int) -> Floats:
    """Advantage ``(D,)`` in a group whose rewards are all the same value."""
    return np.asarray(objective.advantage(np.broadcast_to(values[:, None], (len(values), size)).copy()))[:, 0]


class Expected(NamedTuple):
    """Expected advantage ``(P, D)`` of each value, its standard error, and the route that found it."""

    advantage: Floats
    error: Floats
    method: Method


def expected(
    objective: Objective,
    laws: list[RewardLaw],
    size: int,
    leave_one_out: bool,
    drop_equal: bool,
    *,
    draws: int,
    seed: int,
) -> Expected:
    """Expected advantage of problems that share their values, by the first route that there is."""
    values, mass = laws[0].values, np.stack([law.mass for law in laws])
    check_amount("group_size times the number of distinct rewards", size * len(values), _AT_ONCE)
    equal = advantage_when_equal(objective, values, size - leave_one_out)
    exact = np.zeros_like(mass)
    if len(values) == 1:
        return Expected(np.broadcast_to(0.0 * equal if drop_equal else equal, mass.shape), exact, "exact")
    if few_groups(size, len(values), _COUNTED):
        found, ends = expected_by_counts(
            objective, values[None], mass, size, leave_one_out=leave_one_out, drop_equal=drop_equal
        )
        require_affine(objective, *ends)
        return Expected(found, exact, "exact")
    sample = np.random.default_rng(seed).choice(values, size=(64, size))
    seen = np.append(np.ravel(objective.advantage(sample)), equal)
    require_affine(objective, float(seen.min()), float(seen.max()))
    kept = kept_given_value(mass, size) if drop_equal else None
    linear = linear_in_rewards(objective, values, size - leave_one_out)
    if linear is not None:
        return Expected(_linear(linear, values, mass, size, kept, leave_one_out), exact, "exact")
    beta = optimal_value_temperature(objective)
    spread = float(np.ptp(values))
    if beta is not None and nodes_of_quadrature(spread, beta, size) <= _NODES:
        wide = np.broadcast_to(values, mass.shape)
        found = expected_under_optimal_value(wide, mass, size, beta, leave_one_out=leave_one_out)
        return Expected(given_kept(found, equal, mass, size) if drop_equal else found, exact, "quadrature")
    check_amount("draws times group_size times the number of distinct rewards", draws * size * len(values), _DRAWN)
    options = {"leave_one_out": leave_one_out, "drop_equal": drop_equal, "draws": draws, "seed": seed}
    rows = progress(mass, "problems")
    drawn = [expected_by_draws(objective, values, row, size, **options) for row in rows]  # type: ignore[arg-type]
    require_affine(objective, min(ends[0] for *_, ends in drawn), max(ends[1] for *_, ends in drawn))
    return Expected(np.stack([d[0] for d in drawn]), np.stack([d[1] for d in drawn]), "monte_carlo")


def _linear(
    linear: Linear, values: Floats, mass: Floats, size: int, kept: Floats | None, leave_one_out: bool
) -> Floats:
    if not leave_one_out:
        return expected_linear(linear, values, mass, size, kept=kept)
    # A_i = r_i - V with V = -every (sum of the others) - constant; the others' mean is that of expected_linear.
    apart = Linear(0.0, linear.every, linear.constant)
    return values + expected_linear(apart, values, mass, size, kept=kept) - linear.every * values
