from __future__ import annotations

import numpy as np

from analysis.pessimism_or_variance import pessimism_or_variance
from figures.pessimism_or_variance import PANELS
from figures.style import FAMILIES, rollouts_color


def test_cells_are_drawn_by_target() -> None:
    frame = pessimism_or_variance(rollouts=(64,), caps=(0.1, 10.0), seeds=10)
    for line in PANELS["D"](frame).get_lines():
        cells = frame[frame["estimator"] == line.get_label()].set_index("target")["noise_halfway"]
        np.testing.assert_array_equal(line.get_ydata(), [cells["nominal"], cells["Lambert"]])


def test_one_number_of_rollouts_is_one_curve() -> None:
    frame = pessimism_or_variance(rollouts=(64,), caps=(0.1, 10.0), seeds=10)
    names = [text.get_text() for text in PANELS["C"](frame).texts]
    assert names == ["n = 64"]


def test_nothing_is_drawn_in_the_color_of_an_objective() -> None:
    frame = pessimism_or_variance(rollouts=(64, 512), caps=(0.1, 10.0), seeds=10)
    for draw in PANELS.values():
        assert not {line.get_color() for line in draw(frame).get_lines()} & set(FAMILIES)


def test_a_number_of_rollouts_has_one_color_in_all_figures() -> None:
    frame = pessimism_or_variance(rollouts=(64, 512), caps=(0.1, 10.0), seeds=10)
    colors = {line.get_label(): line.get_color() for line in PANELS["A"](frame).get_lines()}
    assert (colors["n = 64"], colors["n = 512"]) == (rollouts_color(64), rollouts_color(512))


def test_titles_conclude_nothing() -> None:
    frame = pessimism_or_variance(rollouts=(64,), caps=(0.1, 10.0), seeds=10)
    assert not any("decides" in draw(frame).get_title() for draw in PANELS.values())
