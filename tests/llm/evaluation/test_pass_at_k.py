"""pass@k against its definition, and intervals against how often they hold what they should."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from scipy import stats

from llm.evaluation.pass_at_k import mean_interval, pass_at_k, share_interval
from tests.llm.marks import slow_but


@pytest.mark.parametrize("n", [1, 2, 5, 7])
def test_it_is_the_share_of_subsets_with_a_right_one(n: int) -> None:
    for k in range(1, n + 1):
        found = pass_at_k(range(n + 1), n, k)
        for c in range(n + 1):
            subsets = [any(i < c for i in chosen) for chosen in itertools.combinations(range(n), k)]
            assert found[c] == pytest.approx(np.mean(subsets), abs=1e-15)


@pytest.mark.parametrize(("n", "k"), [(200, 1), (200, 10), (1000, 100), (1000, 1000), (100_000, 3), (100_000, 50_000)])
def test_large_numbers_keep_their_digits(n: int, k: int) -> None:
    counts = [c for c in (0, 1, 2, 3, 17, 150, n // 2, n - k, n - k + 1, n - 1, n) if 0 <= c <= n]
    found = pass_at_k(counts, n, k)
    for c, value in zip(counts, found, strict=True):
        exact = float(1 - Fraction(math.comb(n - c, k), math.comb(n, k))) if n <= 1000 else _by_product(n, c, k)
        assert value == pytest.approx(exact, rel=1e-12, abs=0.0)
        assert value == pytest.approx(float(stats.hypergeom.sf(0, n, c, k)), rel=1e-8)


def _by_product(n: int, c: int, k: int) -> float:
    """The smaller of the two products of fractions that both are C(n - c, k) / C(n, k), in whole numbers."""
    few, many = min(c, k), max(c, k)
    if few > 1000:  # nothing of a share of one half to the power of a thousand is left
        return 1.0
    above = math.prod(n - many - i for i in range(few)) if many + few <= n else 0
    return float(1 - Fraction(above, math.prod(n - i for i in range(few))))


@pytest.mark.parametrize(("n", "k", "p"), [(4, 2, 0.3), (16, 8, 0.05), (64, 64, 0.9)])
def test_it_is_unbiased(n: int, k: int, p: float) -> None:
    weights = stats.binom.pmf(np.arange(n + 1), n, p)
    assert float(weights @ pass_at_k(range(n + 1), n, k)) == pytest.approx(1 - (1 - p) ** k, rel=1e-12)


def test_shapes_stay() -> None:
    assert pass_at_k([[0, 1], [2, 3]], 3, 1) == pytest.approx(np.array([[0, 1], [2, 3]]) / 3)
    assert pass_at_k(2, 3, 2).shape == ()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((1, 4, 5), "k must be an integer from 1 to n=4, got 5"),
        ((1, 4, 0), "k must be an integer from 1 to n=4, got 0"),
        ((1, 4, 1.5), "k must be an integer from 1 to n=4, got 1.5"),
        ((1, 4, True), "k must be an integer from 1 to n=4, got True"),
        ((0, 0, 1), "n must be an integer >= 1, got 0"),
        (([1, 5], 4, 1), "correct must be integers from 0 to n=4, got 5"),
        (([1, -1], 4, 1), "correct must be integers from 0 to n=4, got -1"),
        (([1, 0.5], 4, 1), "correct must be integers from 0 to n=4, got 0.5"),
        (([1, math.nan], 4, 1), "correct must be integers from 0 to n=4, got nan"),
    ],
)
def test_what_is_no_estimate(arguments: tuple[Any, ...], said: str) -> None:
    with pytest.raises(ValueError, match=f"^{said}$"):
        pass_at_k(*arguments)


Draw = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]
# Pass rates of prompts: middling, spread, mostly hopeless, nearly all hopeless, a tenth solved, mostly solved.
RATES: dict[str, tuple[Draw, float]] = {
    "middling": (lambda rng, shape: rng.beta(5, 5, shape), 0.5),
    "spread": (lambda rng, shape: rng.beta(0.3, 0.7, shape), 0.3),
    "hard": (lambda rng, shape: rng.beta(1, 9, shape), 0.1),
    "hopeless": (lambda rng, shape: rng.beta(0.05, 0.95, shape), 0.05),
    "tenth": (lambda rng, shape: 1.0 * (rng.random(shape) < 0.1), 0.1),
    "easy": (lambda rng, shape: rng.beta(9, 1, shape), 0.9),
}


def coverage(rates: str, prompts: int, samples: int, interval: Callable[..., Any]) -> float:
    draw, mean = RATES[rates]
    rng = np.random.default_rng(0)
    shares = rng.binomial(samples, draw(rng, (800, prompts))) / samples
    found = [interval(row) for row in shares]
    return float(np.mean([one.low <= mean <= one.high for one in found]))


@pytest.mark.parametrize("prompts", [5, 30])
@pytest.mark.parametrize("samples", slow_but([1], [1, 16]))
@pytest.mark.parametrize("rates", RATES)
def test_the_interval_holds_the_mean_as_often_as_it_says(rates: str, samples: int, prompts: int) -> None:
    """Within two points of 95 %, but for the hopeless: where the few prompts that decide are rarely seen, 88 %."""
    least = 0.86 if rates == "hopeless" else 0.93
    assert coverage(rates, prompts, samples, lambda row: share_interval(row, samples)) >= least


def test_students_interval_would_not() -> None:
    """Why shares have one of their own."""
    assert coverage("hopeless", 5, 16, mean_interval) < 0.6
    assert coverage("tenth", 5, 1, mean_interval) < 0.6


def test_one_level_is_wider_than_another_and_all_are_in_range() -> None:
    rng = np.random.default_rng(1)
    for _ in range(200):
        shares = rng.binomial(4, rng.beta(0.2, 0.5, 6)) / 4
        inner, outer = share_interval(shares, 4, 0.8), share_interval(shares, 4, 0.99)
        assert 0 <= outer.low <= inner.low <= inner.mean <= inner.high <= outer.high <= 1
        assert inner.mean == shares.mean()


def test_many_prompts_make_it_students() -> None:
    shares = np.random.default_rng(2).binomial(16, 0.4, 20_000) / 16
    assert share_interval(shares, 16)[1:] == pytest.approx(mean_interval(shares)[1:], abs=2e-5)


@pytest.mark.parametrize("prompts", [2, 30])
def test_without_any_success_it_is_the_exact_binomial_bound(prompts: int) -> None:
    """The largest share of prompts at which none of them being right has a chance of 2.5 %."""
    none, every = share_interval([0.0] * prompts, 64), share_interval([1.0] * prompts, 64)
    assert none.low == none.mean == 0.0
    assert (1 - none.high) ** prompts == pytest.approx(0.025)
    assert every == pytest.approx((1.0, 1 - none.high, 1.0))


def test_equal_shares_are_no_certainty() -> None:
    """Half of the samples right at each of eight prompts: the binomial of all of them, with t for so few prompts."""
    found = share_interval([0.5] * 8, 4)
    n = 32 * (stats.norm.ppf(0.975) / stats.t.ppf(0.975, 7)) ** 2
    assert found.low == pytest.approx(stats.beta.ppf(0.025, n / 2, n / 2 + 1))
    assert found.high == pytest.approx(1 - found.low)


def test_students_interval_is_scipys() -> None:
    values = [3.0, 4.5, -2.0, 8.0]
    expected = stats.ttest_1samp(values, 0.0).confidence_interval(0.9)
    assert mean_interval(values, 0.9) == pytest.approx((np.mean(values), expected.low, expected.high))


def test_one_prompt_says_nothing_of_others() -> None:
    for found in (share_interval([0.5], 8), mean_interval([0.5])):
        assert found.mean == 0.5
        assert math.isnan(found.low)
        assert math.isnan(found.high)


@pytest.mark.parametrize(
    ("values", "level", "said"),
    [
        ([], 0.95, "values must be a non-empty list, one per prompt, got shape (0,)"),
        ([[0.5]], 0.95, "values must be a non-empty list, one per prompt, got shape (1, 1)"),
        ([0.5, math.nan], 0.95, "values must be finite, got nan"),
        ([0.5, 1.5], 0.95, "values must be in [0, 1], got 1.5"),
        ([0.5, 0.5], 95, "level must be between 0 and 1, got 95"),
    ],
)
def test_what_has_no_interval(values: Any, level: float, said: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        share_interval(values, 4, level)
