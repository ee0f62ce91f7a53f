"""What the two figures show, read back from their artists."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from analysis.pass_rate import pass_rate
from analysis.targets import headline, targets
from figures.labels import label_curves
from figures.pass_rate import plot_clipped, plot_first_step, plot_pass_rate, plot_regressions
from figures.style import context, new_axes
from figures.targets import plot_dots, plot_targets


def test_bars_are_the_policies_under_the_behavior() -> None:
    frame = targets(beta=0.1)
    ax = plot_targets(frame)
    widths = np.array([bar.get_width() for bar in ax.patches]).reshape(-1, 4)
    np.testing.assert_allclose(widths[0], [0.4, 0.3, 0.2, 0.1])
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names[:2] == ["reward", "behavior μ"]
    rows = [re.sub("[†‡]", "", name).replace("\n", " ").split(", ") for name in names[2:]]
    assert [name for row in rows for name in row] == list(frame["objective"].unique())
    assert len(rows) == len(widths) - 1
    policies = {str(name): rows["policy"].to_numpy() for name, rows in frame.groupby("objective")}
    for row, width in zip(rows, widths[1:], strict=True):
        for name in row:
            np.testing.assert_allclose(width, policies[name], atol=5e-6)


def test_marks_are_on_the_objectives_that_they_describe() -> None:
    frame = targets(beta=0.1)
    said = " ".join(label.get_text() for label in plot_targets(frame).get_yticklabels()).replace("\n", " ")
    names = {re.sub("[†‡]", "", name): name for name in re.split(r",? ", said)}
    for name, rows in frame.groupby("objective"):
        assert ("†" in names[str(name)]) == rows["beta"].isna().all()
        assert ("‡" in names[str(name)]) == (rows["status"] == "set_valued").all()


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


def curve(ax: Axes, name: str) -> tuple[np.ndarray, np.ndarray]:
    line = next(line for line in ax.get_lines() if line.get_label() == name)
    return line.get_xdata(), line.get_ydata()


def test_curves_and_points_are_those_of_the_frame() -> None:
    frame = pass_rate(n=19)
    ax = plot_pass_rate(frame)
    kimi = frame[(frame["kind"] == "curve") & (frame["objective"] == "kimi")]
    np.testing.assert_array_equal(curve(ax, "kimi"), kimi[["pass_rate", "pessimism_factor"]].to_numpy().T)
    drawn = np.concatenate([collection.get_offsets() for collection in ax.collections])
    points = frame[(frame["kind"] == "group") & frame["pessimism_factor"].notna()]
    np.testing.assert_array_equal(np.sort(drawn, axis=0), np.sort(points[["pass_rate", "pessimism_factor"]], axis=0))


def test_panels_of_a_round_are_those_of_the_frame() -> None:
    frame = pass_rate(logs=None, n=19)
    for ax, name in ((plot_regressions(frame), "tpo"), (plot_clipped(frame), "dapo")):
        rows = frame[frame["objective"] == name]
        np.testing.assert_array_equal(curve(ax, name), rows[["pass_rate", "logit_change"]].to_numpy().T)
    joined = [line.get_label() for line in plot_clipped(frame).get_lines()]
    assert joined == ["ppo, dr_grpo", "grpo", "dapo", "gspo"]
    note = plot_clipped(frame).texts[-1].get_text().replace("\n", " ")
    for name, rows in frame.groupby("objective"):
        assert (str(name) in re.split("[ ,]+", note)) == np.isinf(rows["logit_change"]).any()


def test_first_steps_are_named_by_what_divides_and_what_does_not() -> None:
    labels = [line.get_label() for line in plot_first_step(pass_rate(logs=None, n=19)).get_lines()]
    assert sorted(labels) == ["kimi, dr_grpo", "std_normalized, grpo"]


def test_curves_alone_need_no_logs() -> None:
    ax = plot_pass_rate(pass_rate(logs=None, n=9))
    assert len(ax.collections) == 0


def test_every_curve_is_named_once_clear_of_the_others() -> None:
    with context():
        ax = new_axes((6.0, 3.0))
        x = np.linspace(0, 1, 50)
        heights = {"low": 0.1 + 0 * x, "middle": 0.5 + 0 * x, "rising": 0.2 + 0.7 * x}
        for name, y in heights.items():
            ax.plot(x, y, label=name)
        ax.set(xlim=(0, 1), ylim=(0, 1))
        label_curves(ax, dict.fromkeys(heights, "black"))
        ax.figure.draw_without_rendering()
        renderer = FigureCanvasAgg(ax.figure).get_renderer()
        assert sorted(text.get_text() for text in ax.texts) == sorted(heights)
        for text in ax.texts:
            box = text.get_window_extent(renderer).transformed(ax.transData.inverted())
            for name, y in heights.items():
                inside = (x > box.x0) & (x < box.x1)
                assert not ((y[inside] > box.y0) & (y[inside] < box.y1)).any(), (text.get_text(), name)


def gap(ax: Axes, text: Text, x: np.ndarray, y: np.ndarray) -> float:
    """Distance in pixels of a drawn text and a curve in axes coordinates."""
    box = text.get_window_extent(FigureCanvasAgg(ax.figure).get_renderer())
    across, up = ax.transAxes.transform(np.column_stack([x, y])).T
    beside = np.maximum(np.maximum(box.x0 - across, across - box.x1), 0.0)
    return float(np.hypot(beside, np.maximum(np.maximum(box.y0 - up, up - box.y1), 0.0)).min())


def test_no_label_stands_on_a_line_across_the_axes_or_across_the_figure() -> None:
    """Such lines are given in axes coordinates along one axis, or along both."""
    with context():
        ax = new_axes((4.0, 2.0))
        x = np.linspace(0, 1000, 40)
        ax.plot(x, 0 * x + 5.0, label="flat")
        ax.axhline(5.8, label="_h")
        ax.axvline(650, label="_v")
        ax.plot([0.0, 0.5], [0.42, 0.42], transform=ax.transAxes, label="_axes")
        ax.set(xlim=(0, 1000), ylim=(0, 10))
        label_curves(ax, {"flat": "black"})
        ax.figure.draw_without_rendering()
        (text,) = ax.texts
        along = np.linspace(0, 1, 2000)
        assert gap(ax, text, along, 0 * along + 0.58) > 1
        assert gap(ax, text, along / 2, 0 * along + 0.42) > 1
        assert gap(ax, text, 0 * along + 0.65, along) > 1


def test_a_label_stands_nearest_to_its_own_curve() -> None:
    """Curves that come together at the right, where there is most room above them."""
    with context():
        ax = new_axes((3.4, 1.9))
        x = np.linspace(0, 1, 201)
        starts, ends = {"n = 4096": 0.93, "n = 256": 0.68, "n = 64": 0.42}, (0.3, 0.29, 0.26)
        heights = {name: end + (y - end) * (1 - x) ** 2 for (name, y), end in zip(starts.items(), ends, strict=True)}
        for name, y in heights.items():
            ax.plot(x, y, label=name)
        ax.set(xlim=(0, 1), ylim=(0, 1))
        label_curves(ax, dict.fromkeys(heights, "black"))
        ax.figure.draw_without_rendering()
        for text in ax.texts:
            far = {name: gap(ax, text, x, y) for name, y in heights.items()}
            assert min(far, key=far.__getitem__) == text.get_text(), far


def test_a_curve_without_room_stays_unnamed() -> None:
    ax = new_axes((6.0, 3.0))
    ax.plot([0, 1], [5, 5], label="outside")
    ax.set(xlim=(0, 1), ylim=(0, 1))
    label_curves(ax, {"outside": "black"})
    assert list(ax.texts) == []


def test_user_objectives_are_drawn_in_grey() -> None:
    frame = pass_rate(logs=None, n=9).replace({"objective": {"kimi": "mine"}})
    assert isinstance(frame, pd.DataFrame)
    assert "mine" in [text.get_text() for text in plot_pass_rate(frame).texts]
