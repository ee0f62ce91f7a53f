"""A sample of what `make verify` measures in full."""

from __future__ import annotations

import numpy as np
import pytest

import pessimism as ps
from analysis import verification
from analysis.atlas import atlas, seeded_bandit


@pytest.mark.parametrize("name", list(ps.objectives()))
@pytest.mark.parametrize(("bandits", "most"), [(1, 4), pytest.param(3, 6, marks=pytest.mark.slow)])
def test_routes_agree_on_a_sample(name: str, bandits: int, most: int) -> None:
    frame = atlas([name], bandits=bandits, betas=(0.3,), most=most)
    assert len(frame) == 3 * bandits
    wrong = verification.disagreements(frame)
    assert wrong.empty, wrong.to_string()
    assert frame["certificate"].max() <= 1e-9
    assert frame["error"].notna().any(), "no route applies"


def test_seeded_bandits_range_from_two_to_64_actions() -> None:
    widths = [len(seeded_bandit(seed)[0]) for seed in range(50)]
    assert widths[0] == 2
    assert widths[-1] == 64
    assert widths == sorted(widths)
    np.testing.assert_array_equal(seeded_bandit(7)[1], seeded_bandit(7)[1])
