"""The rows of a batch are problems of their own, to the last bit: no row sees its neighbors."""

from __future__ import annotations

import numpy as np
import pytest

import pessimism as ps
from tests.helpers import Array, accepted, cases, having, make_problem

CASES = cases()
FIELDS = ("policy", "log_ratio", "kappa", "multiplier", "baseline", "advantage", "leak", "regime", "status")
# Their flows are followed, or their Newton searches differentiate numerically: seconds for some of these rows.
FOLLOWED = {"grpo", "cispo-floor", "chord", "chord-without_phi", "luffy", "prime_ipo", "sapo", "vespo"}
FOLLOWED |= {"kimi_k25", "dppo_tv", "constant_baseline-negative"}


def everyday(width: int) -> tuple[Array, Array]:
    """Rows that any solver finishes at its usual pace."""
    behaviors, rewards = zip(*(make_problem(seed, width) for seed in range(4)), strict=True)
    return np.stack(behaviors), np.stack(rewards)


def extreme(width: int) -> tuple[Array, Array]:
    """Valid rows on which solvers take other turns: equal, huge, hidden and next to no differences, faint actions."""
    even, first = np.full(width, 1.0 / width), np.arange(width) == 0
    faint = np.where(first, 1.0 - (width - 1) * 1e-9, 1e-9)
    half = np.where(np.arange(width) < 2, 0.5, 0.0)
    steps = np.linspace(1.0, -1.0, width)
    behaviors = (even, even, even, faint, half)
    return np.stack(behaviors), np.stack([0.0 * steps, 1000.0 * first, 1e-9 * steps, steps, steps + 5.0 * ~first])


def assert_same_bits(found: ps.InducedTarget, expected: ps.InducedTarget, order: Array) -> None:
    for field in FIELDS:
        ours, theirs = getattr(found, field), getattr(expected, field)[order]
        np.testing.assert_array_equal(ours, theirs, err_msg=field, strict=True)
        if ours.dtype.kind == "f":
            np.testing.assert_array_equal(np.signbit(ours), np.signbit(theirs), err_msg=field)


def check_rows(name: str, width: int) -> None:
    easy, hard = everyday(width), extreme(width)
    behavior, reward = (np.concatenate(pair) for pair in zip(easy, hard, strict=True))
    reward = accepted(name, reward)
    whole = ps.induced_target(behavior, reward, CASES[name])
    # Without the extreme rows, in another order; and these by themselves, the last of them alone.
    count = len(easy[0])
    for rows in (np.arange(count)[::-1], np.arange(count, len(reward) - 1), np.array([len(reward) - 1])):
        assert_same_bits(ps.induced_target(behavior[rows], reward[rows], CASES[name]), whole, rows)


def marked(width: int) -> list[object]:
    return [pytest.param(name, width, marks=pytest.mark.slow if name in FOLLOWED else ()) for name in having("batch")]


@pytest.mark.parametrize(("name", "width"), marked(3) + marked(40))
def test_extreme_neighbors_order_and_splits_do_not_show(name: str, width: int) -> None:
    check_rows(name, width)


@pytest.mark.parametrize(("rows", "width"), [(9001, 8), (1100, 64), (9, 70_000)])
@pytest.mark.parametrize("name", ["kimi", "oapl", "mixed_chi2_kl", "nominal"])
def test_chunks_do_not_show(name: str, rows: int, width: int) -> None:
    """Cuts that fall elsewhere, in batches of several chunks, of hard rows among them, and rows longer than a chunk."""
    rng = np.random.default_rng(0)
    behavior, reward = rng.dirichlet(np.ones(width), rows), rng.normal(size=(rows, width))
    reward[::7] *= 1e-7
    reward[::11] *= 1e4
    whole = ps.induced_target(behavior, reward, CASES[name])
    for part in (slice(0, rows // 3), slice(rows // 3, rows // 3 + 1), slice(rows // 3 + 1, rows)):
        found = ps.induced_target(behavior[part], reward[part], CASES[name])
        assert_same_bits(found, whole, np.arange(rows)[part])


@pytest.mark.parametrize(("width", "eps"), [(50, 2e-3), (20_000, 1e-4)])
def test_measures_against_the_nominal_target_do_not_see_neighbors(width: int, eps: float) -> None:
    """Of the second row the spread is hardly more than what is added to it, and its rewards are the larger ones."""
    first = np.arange(width) % 2.0
    second = 100.0 * (np.arange(width) == 0)
    alone, beside = (
        ps.induced_target(None, rows, "std_normalized", beta=1.0, eps=eps).conservatism().iloc[0]
        for rows in ([first], [first, second])
    )
    assert alone.equals(beside)
    assert alone["advantage_factor"] > 1.0
