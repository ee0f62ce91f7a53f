"""A sample of what `make verify` measures in full."""

from __future__ import annotations

import numpy as np
import pytest

import pessimism as ps
from analysis import verification
from analysis.atlas import atlas, seeded_bandit


@pytest.mark.parametrize("name", list(ps.objectives()))
def test_routes_agree_on_a_sample(name: str) -> None:
    frame = atlas([name], bandits=3, betas=(0.3,), most=6)
    assert len(frame) == 9
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
