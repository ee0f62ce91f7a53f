"""What the bars show, read back from their artists."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import to_hex

from analysis.kl_estimators import kl_estimators, named
from figures.kl_estimators import _FACES, plot_distance, plot_where


def test_bars_cover_all_temperatures_in_the_color_of_where_they_lead() -> None:
    frame = kl_estimators(low=0.1, high=0.9, n=3)
    ax = plot_where(frame)
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert sorted(names) == sorted(named(frame).unique())
    kinds = {color.lower(): kind for kind, color in _FACES.items()}
    for y, name in enumerate(names):
        bars = [bar for bar in ax.patches if abs(bar.get_y() + bar.get_height() / 2 - y) < 1e-9]
        for beta, kind in frame.loc[named(frame) == name, ["beta", "leads_to"]].itertuples(index=False):
            at = min(max(beta, 0.1001), 0.8999)
            over = [bar for bar in bars if bar.get_x() <= at <= bar.get_x() + bar.get_width()]
            assert [kinds[to_hex(bar.get_facecolor())] for bar in over] == [kind]


def test_curves_are_those_that_keep_all_actions() -> None:
    frame = kl_estimators(low=0.1, high=0.9, n=3)
    lines = plot_distance(frame).get_lines()
    assert [line.get_label() for line in lines] == ["k2 loss, off", "k3 loss, on", "k3 loss, off"]
    row = frame[named(frame) == "k3 in loss, on-policy"]
    np.testing.assert_array_equal(lines[1].get_xydata(), row[["beta", "tv"]])
