"""The figure of all targets, read back from its artists."""

from __future__ import annotations

import re

import numpy as np

from analysis.names import display_name
from analysis.targets import headline, targets
from figures.targets import plot_dots, plot_targets


def test_bars_are_the_policies_under_the_behavior() -> None:
    frame = targets(beta=0.1)
    ax = plot_targets(frame)
    widths = np.array([bar.get_width() for bar in ax.patches]).reshape(-1, 4)
    np.testing.assert_allclose(widths[0], [0.4, 0.3, 0.2, 0.1])
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names[:2] == ["reward", "behavior μ"]
    rows = [re.sub("[†‡]", "", name).replace("\n", " ").replace("\xa0", " ").split(", ") for name in names[2:]]
    shown = {display_name(name): str(name) for name in frame["objective"].unique()}
    assert [name for row in rows for name in row] == list(shown)
    assert len(rows) == len(widths) - 1
    policies = {str(name): rows["policy"].to_numpy() for name, rows in frame.groupby("objective")}
    for row, width in zip(rows, widths[1:], strict=True):
        for name in row:
            np.testing.assert_allclose(width, policies[shown[name]], atol=5e-6)


def test_marks_are_on_the_objectives_that_they_describe() -> None:
    frame = targets(beta=0.1)
    said = " ".join(label.get_text() for label in plot_targets(frame).get_yticklabels()).replace("\n", " ")
    names = {re.sub("[†‡]", "", name).replace("\xa0", " "): name for name in re.split(r",? ", said)}
    for name, rows in frame.groupby("objective"):
        assert ("†" in names[display_name(name)]) == rows["beta"].isna().all()
        assert ("‡" in names[display_name(name)]) == (rows["status"] == "set_valued").all()


def test_dots_are_the_measures_beside_their_bars() -> None:
    frame = targets(beta=0.1)
    one, bars = frame.drop_duplicates("target"), plot_targets(frame)
    panels = {"B": ("kl", 0.0), "C": ("chi_square", 0.0), "D": ("value", 0.4), "E": ("max_ratio", 1.0)}
    for panel, (column, behavior) in panels.items():
        ax = plot_dots(frame, panel=panel)
        dots, line = ax.get_lines()
        np.testing.assert_allclose(dots.get_xdata(), [behavior, *one[column]])
        np.testing.assert_allclose(dots.get_ydata(), bars.get_yticks()[1:])
        nominal = frame.loc[frame["objective"] == "nominal", column].iloc[0]
        np.testing.assert_allclose(line.get_xdata(), [nominal, nominal])
        assert ax.get_ylim() == bars.get_ylim()


def test_a_row_without_a_target_says_so() -> None:
    ax = plot_targets(targets(reward=(-0.8, -0.6, -0.4, -0.2), objectives=["roirl", "kimi"]))
    assert "no target: the loss is unbounded" in [text.get_text() for text in ax.texts]
    assert len(ax.patches) == 8


def test_bars_grow_darker_to_lighter_with_the_reward() -> None:
    ax = plot_targets(targets(beta=0.1, reward=(0.9, 0.1, 0.5, 0.3)))
    light = [float(np.dot(bar.get_facecolor()[:3], (0.299, 0.587, 0.114))) for bar in ax.patches[:4]]
    assert np.argsort(light).tolist() == [1, 3, 2, 0]


def test_title_counts_what_the_frame_says() -> None:
    assert headline(targets(beta=0.1, objectives=["nominal", "kimi"])).startswith(
        "Set to the same β = 0.1, 1 of 2 objectives lead elsewhere"
    )
