"""The first route to the expected advantage of a finite group that there is, and that it is enough.

All groups are summed where they can be counted; else a linear advantage is exact, an optimal value takes a quadrature,
and the rest seeded Monte Carlo. Source: arXiv 2605.28150; docs/theory.md.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pessimism.groups import expected_advantage as routes
from pessimism.groups.reward_law import RewardLaw, expected_by_counts, few_groups, kept_given_value
from pessimism.groups.target import require_affine
from pessimism.losses.registry import ObjectiveLike
from pessimism.progress import progress

Floats = NDArray[np.float64]
Method = Literal["exact", "quadrature", "monte_carlo"]

_COUNTED = 2**17  # compositions of a group up to which they are all summed
_NODES = 2**17  # of a quadrature


class Expected(NamedTuple):
    """Expected advantage ``(P, D)`` of each value, its standard error, and the route that found it."""

    advantage: Floats
    error: Floats
    method: Method


def expected(
    objective: ObjectiveLike,
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
    equal = routes.advantage_when_equal(objective, values, size - leave_one_out)
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
    linear = routes.linear_in_rewards(objective, values, size - leave_one_out)
    if linear is not None:
        return Expected(_linear(linear, values, mass, size, kept, leave_one_out), exact, "exact")
    beta = routes.optimal_value_temperature(objective)
    spread = float(np.ptp(values))
    if beta is not None and routes.nodes_of_quadrature(spread, beta, size) <= _NODES:
        wide = np.broadcast_to(values, mass.shape)
        found = routes.expected_under_optimal_value(wide, mass, size, beta, leave_one_out=leave_one_out)
        return Expected(routes.given_kept(found, equal, mass, size) if drop_equal else found, exact, "quadrature")
    options = {"leave_one_out": leave_one_out, "drop_equal": drop_equal, "draws": draws, "seed": seed}
    rows = progress(mass, "problems")
    drawn = [routes.expected_by_draws(objective, values, row, size, **options) for row in rows]  # type: ignore[arg-type]
    require_affine(objective, min(ends[0] for *_, ends in drawn), max(ends[1] for *_, ends in drawn))
    return Expected(np.stack([d[0] for d in drawn]), np.stack([d[1] for d in drawn]), "monte_carlo")


def _linear(
    linear: routes.Linear, values: Floats, mass: Floats, size: int, kept: Floats | None, leave_one_out: bool
) -> Floats:
    if not leave_one_out:
        return routes.expected_linear(linear, values, mass, size, kept=kept)
    # A_i = r_i - V with V = -every (sum of the others) - constant; the others' mean is that of expected_linear.
    apart = routes.Linear(0.0, linear.every, linear.constant)
    return values + routes.expected_linear(apart, values, mass, size, kept=kept) - linear.every * values
