from __future__ import annotations

import numpy as np

from analysis.shift_dial import shift_dial
from figures.shift_dial import PANELS
from figures.style import FAMILIES, rollouts_color


def test_dots_are_the_best_shifts() -> None:
    frame = shift_dial(rollouts=(32, 512), shifts=(0.0, 2.0, 10.0), seeds=30)
    for letter, world in (("A", "competent"), ("B", "uninformed")):
        dots = [line.get_xydata()[0] for line in PANELS[letter](frame).get_lines() if line.get_label() == "_best"]
        best = frame[frame["best"] & (frame["world"] == world)]
        np.testing.assert_array_equal(dots, best[["shift", "improvement"]])


def test_at_most_five_of_many_rollouts_are_drawn() -> None:
    frame = shift_dial(rollouts=tuple(2**k for k in range(3, 12)), shifts=(0.0, 2.0), seeds=4)
    labels = [str(line.get_label()) for line in PANELS["A"](frame).get_lines()]
    assert [label for label in labels if label.startswith("n = ")] == [f"n = {n}" for n in (8, 32, 128, 512, 2048)]


def test_a_number_of_rollouts_has_one_color_in_all_figures_and_no_objective_has_it() -> None:
    frame = shift_dial(rollouts=(64, 512), shifts=(0.0, 2.0), seeds=10)
    colors = {line.get_label(): line.get_color() for line in PANELS["A"](frame).get_lines()}
    assert (colors["n = 64"], colors["n = 512"]) == (rollouts_color(64), rollouts_color(512))
    for letter in "ABC":
        assert not {line.get_color() for line in PANELS[letter](frame).get_lines()} & set(FAMILIES)
    drawn = [rollouts_color(2**k) for k in range(2, 17)]
    assert len(set(drawn)) == len(drawn)
