"""Intervals over prompts: textbook ones where prompts are independent, and their coverage where they are not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from pessimism.diagnosis.intervals import median_interval, share_interval


@pytest.mark.parametrize(("hits", "groups"), [(0, 7), (3, 7), (7, 7), (1, 200), (90, 180)])
def test_a_share_of_independent_groups_has_the_exact_interval(hits: int, groups: int) -> None:
    exact = stats.binomtest(hits, groups).proportion_ci(method="exact")
    found = share_interval(np.arange(groups) < hits, np.arange(groups))[0]
    assert found == pytest.approx([hits / groups, exact.low, exact.high], abs=1e-12)


@pytest.mark.parametrize("groups", [1, 5, 6, 9, 30, 101, 1000])
def test_a_median_of_independent_groups_has_the_exact_interval(groups: int) -> None:
    """The narrowest symmetric pair of order statistics that encloses the median with 95 %, by the binomial law."""
    values = np.random.default_rng(groups).normal(size=groups)
    rank = max((k for k in range(1, groups + 1) if stats.binom.cdf(k - 1, groups, 0.5) <= 0.025), default=0)
    ordered = np.sort(values)
    ends = (ordered[rank - 1], ordered[groups - rank]) if rank else (np.nan, np.nan)
    found = median_interval(values, np.arange(groups))[0]
    np.testing.assert_array_equal(found, [np.median(values), *ends])


@pytest.mark.parametrize(("prompts", "steps", "alike"), [(12, 4, 0.9), (30, 5, 0.5), (60, 3, 0.0), (40, 8, 1.0)])
def test_ninety_five_percent_of_the_intervals_cover(prompts: int, steps: int, alike: float) -> None:
    """Groups of one prompt are alike; taken for independent, they would be covered far less often."""
    rng = np.random.default_rng(prompts)
    prompt = np.repeat(np.arange(prompts), steps)
    covered = np.zeros((600, 3), dtype=bool)
    truth = stats.norm.sf(0.8)
    for trial in covered:
        own = rng.normal(size=(prompts, 1))
        x = (np.sqrt(alike) * own + np.sqrt(1 - alike) * rng.normal(size=(prompts, steps))).ravel()
        _, low, high = share_interval(x > 0.8, prompt)[0]
        trial[0] = low <= truth <= high
        _, low, high = median_interval(x, prompt)[0]
        trial[1] = low <= 0 <= high
        _, low, high = median_interval(x, np.arange(x.size))[0]
        trial[2] = low <= 0 <= high
    assert (covered[:, :2].mean(axis=0) > 0.925).all()
    assert alike < 0.9 or covered[:, 2].mean() < 0.85


def test_parts_are_what_they_are_alone() -> None:
    rng = np.random.default_rng(3)
    part, prompt, x = rng.integers(0, 4, 90), rng.integers(0, 20, 90), rng.integers(0, 3, 90).astype(float)
    x[rng.random(90) < 0.1] = np.nan
    part[part == 2] = 1  # a part without groups
    shares, medians = share_interval(x > 1, prompt, part, 4), median_interval(x, prompt, part, 4)
    assert np.isnan(shares[2]).all()
    assert np.isnan(medians[2]).all()
    for i in (0, 1, 3):
        here = part == i
        np.testing.assert_array_equal(shares[i], share_interval(x[here] > 1, prompt[here])[0])
        np.testing.assert_array_equal(medians[i], median_interval(x[here], prompt[here])[0])


def test_one_prompt_tells_next_to_nothing() -> None:
    once, often = np.zeros(1, dtype=int), np.zeros(50, dtype=int)
    assert share_interval(np.ones(50, dtype=bool), often)[0] == pytest.approx([1.0, 0.025, 1.0])
    assert np.isnan(median_interval(np.arange(50.0), often)[0, 1:]).all()
    assert np.isnan(median_interval(np.ones(1), once)[0, 1:]).all()


def test_between_the_steps_of_a_scale_is_nothing() -> None:
    levels, prompt = np.array([0.0, 0.0, 4.0, 4.0]), np.arange(4)
    assert median_interval(levels, prompt)[0, 0] == 2.0
    assert median_interval(levels, prompt, ordinal=True)[0, 0] == 0.0
