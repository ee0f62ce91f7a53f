"""What the basins show, read back from their artists."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.three_regimes import SMOKE, three_regimes
from figures.three_regimes import plot_basins, plot_minima


def test_bars_stack_to_all_starts_and_diamonds_sit_on_the_basin_of_the_behavior() -> None:
    frame = three_regimes(low=-1.0, high=4.0, n=3, starts=20)
    ax = plot_basins(frame)
    for offset, rows in frame.groupby("offset"):
        bars = [bar for bar in ax.patches if abs(bar.get_x() + bar.get_width() / 2 - float(offset)) < 1e-9]
        assert np.isclose(sum(bar.get_height() for bar in bars), 1.0)
        diamonds = [y for c in ax.collections for x, y in c.get_offsets() if abs(x - float(offset)) < 1e-9]
        assert len(diamonds) == 1
        under = [bar for bar in bars if bar.get_y() < diamonds[0] < bar.get_y() + bar.get_height()]
        share = rows.loc[rows["from_behavior"], "share"].iloc[0]
        assert [bar.get_height() for bar in under] == [pytest.approx(share)]


def test_each_minimum_is_drawn_once() -> None:
    frame = three_regimes(**SMOKE)
    lines = [line for line in plot_minima(frame).get_lines() if line.get_marker() == "o"]
    drawn = np.concatenate([line.get_xydata() for line in lines])
    expected = frame[["offset", "loss"]].to_numpy()
    np.testing.assert_allclose(drawn[np.lexsort(drawn.T)], expected[np.lexsort(expected.T)], rtol=1e-12)
