"""What the panels show, read back from their artists."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from analysis.names import display_name
from analysis.value_from_logs import value_from_logs
from figures.value_from_logs import PANELS


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return value_from_logs(rounds=(50, 500, 2000), logs=6)


def line(ax: Axes, name: str) -> Line2D:
    return next(line for line in ax.get_lines() if line.get_label() == name)


@pytest.mark.parametrize(("letter", "objective"), [("A", "nominal"), ("B", "kimi"), ("C", "shifted_mean")])
def test_a_panel_for_each_target_with_its_bounds_and_value(letter: str, objective: str, frame: pd.DataFrame) -> None:
    ax = PANELS[letter](frame)
    assert ax.get_title(loc="left") == display_name(objective)
    mine = frame[(frame["objective"] == objective) & (frame["constants"] == "ratios")]
    for name in ("el", "ls", "ix", "clipped"):
        np.testing.assert_array_equal(line(ax, name).get_xydata(), mine.loc[mine["estimator"] == name, ["n", "mean"]])
    heights = [float(drawn.get_ydata()[0]) for drawn in ax.get_lines()[:2]]
    assert heights == mine[["value", "behavior_value"]].iloc[0].tolist()


def test_the_largest_bounds_with_and_without_those_for_large_n(frame: pd.DataFrame) -> None:
    ax, fair = PANELS["D"](frame), frame[frame["constants"] == "ratios"]
    for objective, el_first in (("nominal", True), ("shifted_mean", False)):
        mine = fair[fair["objective"] == objective]
        every = mine.groupby("n")["mean"].max()
        sure = mine[mine["estimator"] != "el"].groupby("n")["mean"].max()
        named, other = (every, sure) if el_first else (sure, every)
        np.testing.assert_array_equal(line(ax, display_name(objective)).get_ydata(), named)
        np.testing.assert_array_equal(line(ax, f"_{objective}").get_ydata(), other)
    assert {"nominal", "Kimi", "shifted mean"} <= {text.get_text() for text in ax.texts}


def test_choices_are_those_of_the_boldest_target(frame: pd.DataFrame) -> None:
    ax = PANELS["E"](frame)
    bold = frame[frame["objective"] == "nominal"]
    for (name, how), rows in bold.groupby(["estimator", "constants"]):
        drawn = line(ax, name if how == "ratios" else f"_{name}")
        np.testing.assert_array_equal(drawn.get_ydata(), rows["chosen"])


def test_rates_are_means_over_the_targets(frame: pd.DataFrame) -> None:
    ax, fair = PANELS["F"](frame), frame[frame["constants"] == "ratios"]
    for name, rows in fair.groupby("estimator"):
        np.testing.assert_allclose(line(ax, str(name)).get_ydata(), rows.groupby("n")["violations"].mean())


def test_panels_for_targets_that_are_not_there_are_hidden() -> None:
    frame = value_from_logs(objectives=("kimi",), rounds=(50, 500), logs=2)
    assert [PANELS[letter](frame).axison for letter in "ABCDEF"] == [True, False, False, True, True, True]
