from __future__ import annotations

import numpy as np

from analysis.group_size import group_size
from figures.group_size import PANELS
from figures.style import FAMILIES


def test_panels_are_the_rates_in_order_and_the_curves_the_frame() -> None:
    frame = group_size(sizes=(2, 8, 32))
    for letter, p in (("A", 0.1), ("B", 0.5), ("C", 0.9)):
        ax = PANELS[letter](frame)
        assert ax.get_title() == f"pass rate p = {p:g}"
        rows = frame[(frame["pass_rate"] == p) & (frame["baseline"] == "shifted mean")]
        line = next(line for line in ax.get_lines() if line.get_label() == "shifted mean")
        np.testing.assert_array_equal(line.get_xydata(), rows[["group_size", "pessimism_factor"]])


def test_rates_with_the_same_shares_are_one_curve() -> None:
    lines = PANELS["D"](group_size(sizes=(2, 8))).get_lines()
    assert sorted(line.get_label() for line in lines) == ["p = 0.1 or 0.9", "p = 0.5"]


def test_one_pass_rate_is_enough() -> None:
    frame = group_size(pass_rates=(0.3,), sizes=(2, 8))
    assert [PANELS[letter](frame).has_data() for letter in "ABCDEF"] == [True] * 6


def test_pass_rates_are_drawn_in_no_color_of_an_objective() -> None:
    frame = group_size(sizes=(2, 8))
    for letter in "DE":
        assert not {line.get_color() for line in PANELS[letter](frame).get_lines()} & set(FAMILIES)
