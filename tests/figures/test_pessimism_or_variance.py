from __future__ import annotations

import numpy as np

from analysis.pessimism_or_variance import pessimism_or_variance
from figures.pessimism_or_variance import PANELS


def test_cells_are_drawn_by_target() -> None:
    frame = pessimism_or_variance(rollouts=(64,), caps=(0.1, 10.0), seeds=10)
    for line in PANELS["D"](frame).get_lines():
        cells = frame[frame["estimator"] == line.get_label()].set_index("target")["noise_halfway"]
        np.testing.assert_array_equal(line.get_ydata(), [cells["nominal"], cells["Lambert"]])


def test_one_number_of_rollouts_is_one_curve() -> None:
    frame = pessimism_or_variance(rollouts=(64,), caps=(0.1, 10.0), seeds=10)
    names = [text.get_text() for text in PANELS["C"](frame).texts]
    assert names == ["n = 64"]
