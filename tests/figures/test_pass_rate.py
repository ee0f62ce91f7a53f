"""The figure of pass rates, read back from its artists."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.names import display_name
from analysis.pass_rate import pass_rate
from figures.pass_rate import plot_clipped, plot_first_step, plot_pass_rate, plot_regressions


def curve(ax: Axes, name: str) -> tuple[np.ndarray, np.ndarray]:
    line = next(line for line in ax.get_lines() if line.get_label() == name)
    return line.get_xdata(), line.get_ydata()


def test_curves_and_points_are_those_of_the_frame() -> None:
    frame = pass_rate(n=19)
    ax = plot_pass_rate(frame)
    kimi = frame[(frame["kind"] == "curve") & (frame["objective"] == "kimi")]
    np.testing.assert_array_equal(curve(ax, "Kimi"), kimi[["pass_rate", "pessimism_factor"]].to_numpy().T)
    drawn = np.concatenate([collection.get_offsets() for collection in ax.collections])
    points = frame[(frame["kind"] == "group") & frame["pessimism_factor"].notna()]
    np.testing.assert_array_equal(np.sort(drawn, axis=0), np.sort(points[["pass_rate", "pessimism_factor"]], axis=0))


def test_panels_of_a_round_are_those_of_the_frame() -> None:
    frame = pass_rate(logs=None, n=19)
    for ax, name in ((plot_regressions(frame), "tpo"), (plot_clipped(frame), "dapo")):
        rows = frame[frame["objective"] == name]
        np.testing.assert_array_equal(curve(ax, display_name(name)), rows[["pass_rate", "logit_change"]].to_numpy().T)
    joined = [line.get_label() for line in plot_clipped(frame).get_lines()]
    assert joined == ["PPO, Dr. GRPO", "GRPO", "DAPO", "GSPO"]
    note = plot_clipped(frame).texts[-1].get_text().replace("\n", " ")
    for name, rows in frame.groupby("objective"):
        named = re.search(rf"(: |, ){re.escape(display_name(name))}(,| from|$)", note)
        assert (named is not None) == np.isinf(rows["logit_change"]).any()


def test_first_steps_are_named_by_what_divides_and_what_does_not() -> None:
    labels = [line.get_label() for line in plot_first_step(pass_rate(logs=None, n=19)).get_lines()]
    assert sorted(labels) == ["Kimi, Dr. GRPO", "std-normalized, GRPO"]


def test_curves_alone_need_no_logs() -> None:
    ax = plot_pass_rate(pass_rate(logs=None, n=9))
    assert len(ax.collections) == 0


def test_user_objectives_are_drawn_in_grey() -> None:
    frame = pass_rate(logs=None, n=9).replace({"objective": {"kimi": "mine"}})
    assert isinstance(frame, pd.DataFrame)
    assert "mine" in [text.get_text() for text in plot_pass_rate(frame).texts]
