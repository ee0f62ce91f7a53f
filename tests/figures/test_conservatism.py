from __future__ import annotations

import numpy as np
import pytest

from analysis.conservatism import BEHAVIOR, REWARD, conservatism
from figures.conservatism import plot_measure

FRAME = conservatism(n=9)


@pytest.mark.parametrize(("panel", "column"), [("A", "kl"), ("B", "entropy"), ("C", "value"), ("D", "max_ratio")])
def test_curves_are_those_of_the_frame(panel: str, column: str) -> None:
    ax = plot_measure(FRAME, panel=panel)
    kimi = FRAME[FRAME["objective"] == "kimi"].drop_duplicates("beta")
    line = next(line for line in ax.get_lines() if line.get_label() == "Kimi")
    np.testing.assert_array_equal(line.get_xydata(), kimi[["beta", column]])
    assert {text.get_text() for text in ax.texts} <= {"nominal, V*", "OAPL, β₁ = 10 β", "Kimi", "shifted mean"}
    assert len(ax.get_lines()) == FRAME["objective"].nunique()


def test_inset_shows_the_behavior_and_both_limits() -> None:
    (inset,) = plot_measure(FRAME).child_axes
    heights = np.array([bar.get_height() for bar in inset.patches]).reshape(3, -1)
    mu, r = np.array(BEHAVIOR), np.array(REWARD)
    gain = mu * np.maximum(r - mu @ r, 0)
    np.testing.assert_allclose(heights, [mu, [0, 0, 0, 0, 1], gain / gain.sum()])


def test_curves_differ_in_marker_and_show_it() -> None:
    lines = plot_measure(FRAME).get_lines()
    assert len({line.get_marker() for line in lines}) == len(lines)
    assert all(len(line.get_xdata()[line.get_markevery()]) >= 2 for line in lines)
