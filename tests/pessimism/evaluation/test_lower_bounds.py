"""Formulas of the lower bounds: how often they fail on a known bandit, and that failures would be seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pessimism.evaluation.lower_bounds import bernstein_lower, ix_lower, ls_lower, moments_lower
from tests.helpers import Array
from tests.pessimism.evaluation.simulate import BEHAVIOR, CHANCE, POLICY, VALUE, draw

PAGE = (Path(__file__).parents[3] / "docs" / "evaluation.md").read_text(encoding="utf-8")


def _bounds(lam: float, cap: float, delta: float, seed: int) -> dict[str, Array]:
    action, reward = draw(seed, 2000, 500)
    weight, q = (POLICY / BEHAVIOR)[action], BEHAVIOR[action]
    terms = weight * reward
    return {
        "ls": ls_lower(terms, lam, delta),
        "ix": ix_lower(terms * q / (q + lam / 2), lam, delta),
        "es": moments_lower(terms * q**0.25, lam, delta),
        "moments": moments_lower(np.minimum(terms, 1 / lam), lam, delta),
        "clipped": bernstein_lower(np.minimum(weight, cap) * reward, cap, delta),
    }


@pytest.mark.parametrize("delta", [0.05, 0.5])
def test_bounds_fail_as_rarely_as_they_say(delta: float) -> None:
    """2,000 logs of 500 rounds, at the published lam, at a bolder one, and at the tightest valid cap."""
    for lam, cap in ((1 / np.sqrt(500), np.sqrt(500)), (0.1, 5.0)):
        for label, bounds in _bounds(lam, cap, delta, seed=11).items():
            assert np.mean(bounds > VALUE) <= delta, label
            assert bounds.mean() > 0.1, label
    assert pytest.approx(POLICY @ CHANCE) == VALUE


def test_the_rates_that_the_page_quotes() -> None:
    """docs/evaluation.md, "What the interval means"."""
    bounds = _bounds(1 / np.sqrt(500), np.sqrt(500), 0.05, seed=11)
    failures = {label: int((bound > VALUE).sum()) for label, bound in bounds.items()}
    assert failures == {"ls": 5, "ix": 0, "es": 0, "moments": 3, "clipped": 0}
    rates = {label: f"{100 * count / 2000:g}%" for label, count in failures.items()}
    assert f"in {rates['ls']} (`ls`), {rates['moments']} (`moments`) and {rates['ix']} of the logs" in " ".join(
        PAGE.split()
    )


def test_the_failures_would_be_seen() -> None:
    """Not paying for the confidence breaks them."""
    bounds = _bounds(0.001, 5.0, 1.0, seed=11)
    for label in ("ls", "ix", "moments"):
        assert np.mean(bounds[label] > VALUE) > 0.3, label
