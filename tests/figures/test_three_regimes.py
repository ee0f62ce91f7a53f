"""What the basins show, read back from their artists."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from analysis.targets import targets
from analysis.three_regimes import SMOKE, three_regimes
from figures.targets import plot_targets
from figures.three_regimes import plot_basins, plot_minima

GRAY = (0.299, 0.587, 0.114)


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


def test_the_better_action_is_the_lighter_one_as_in_the_figure_of_targets() -> None:
    frame = three_regimes(low=3.5, high=4.0, n=2, starts=1)
    lines = {
        line.get_color(): line.get_ydata()[-1]
        for line in plot_minima(frame).get_lines()
        if line.get_marker() == "o" and len(line.get_ydata())
    }
    rewards = dict(frame[["loss", "surplus_reward"]].itertuples(index=False, name=None))
    drawn = sorted((rewards[loss], np.dot(to_rgb(color), GRAY)) for color, loss in lines.items() if loss in rewards)
    bars = sorted((bar.get_x(), np.dot(bar.get_facecolor()[:3], GRAY)) for bar in plot_targets(targets()).patches[:4])
    assert [reward for reward, _ in drawn] == [0.2, 0.4, 0.6, 0.8]
    assert (np.diff([light for _, light in drawn]) > 0.05).all()
    assert (np.diff([light for _, light in bars]) > 0.05).all()


def test_each_minimum_is_drawn_once() -> None:
    frame = three_regimes(**SMOKE)
    lines = [line for line in plot_minima(frame).get_lines() if line.get_marker() == "o"]
    drawn = np.concatenate([line.get_xydata() for line in lines])
    expected = frame[["offset", "loss"]].to_numpy()
    np.testing.assert_allclose(drawn[np.lexsort(drawn.T)], expected[np.lexsort(expected.T)], rtol=1e-12)
