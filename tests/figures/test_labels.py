"""Names beside curves: each once, clear of the others and nearest to its own."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from figures.labels import label_curves
from figures.style import context, new_axes


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
