"""What every sheet owes: panels that draw into axes, and text that is neither cut nor overlaps."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from analysis import studies
from figures.sheet import OTHERS, sheet
from figures.style import context
from tests.smoke import KEPT, headline, smoke

PANELS = [(name, letter) for name in (*studies.NAMES, *OTHERS) for letter in sheet(name).panels]


def draw(name: str) -> Figure:
    return sheet(name).draw(smoke(name), headline(name))


@pytest.mark.parametrize(("name", "letter"), PANELS)
def test_a_panel_draws_into_the_axes_it_is_given(name: str, letter: str) -> None:
    figure = Figure()
    left, right = figure.subplots(1, 2)
    panels = sheet(name).panels
    assert panels[letter](smoke(name), ax=right) is right
    assert figure.axes == [left, right]
    assert not left.has_data()
    assert right.has_data() or right.texts
    titled = right.get_title(loc="left") or right.get_title() or right.get_title(loc="right")
    assert titled or len(panels) == 1


@pytest.mark.parametrize(("name", "letter"), PANELS)
def test_a_panel_makes_axes_of_its_own_outside_pyplot(name: str, letter: str) -> None:
    import matplotlib.pyplot as plt

    before, settings = smoke(name).copy(), dict(mpl.rcParams)
    assert isinstance(sheet(name).panels[letter](smoke(name)), Axes)
    assert plt.get_fignums() == []
    assert dict(mpl.rcParams) == settings
    pd.testing.assert_frame_equal(smoke(name), before)


@pytest.mark.parametrize(("name", "letter"), PANELS)
def test_limits_hold_what_is_drawn(name: str, letter: str) -> None:
    """Only what falls without end may leave the axes: at most a tenth of the points of all lines."""
    ax = sheet(name).panels[letter](smoke(name))
    assert ax.get_lines() or ax.collections or ax.patches
    (left, right), (low, high) = sorted(ax.get_xlim()), sorted(ax.get_ylim())
    assert np.isfinite([left, right, low, high]).all()
    lines = [line for line in ax.get_lines() if line.get_transform() == ax.transData]
    points = np.concatenate([np.empty((0, 2)), *(np.asarray(line.get_xydata(), dtype=float) for line in lines)])
    x, y = points[np.isfinite(points).all(axis=1)].T
    outside = (x < left) | (x > right) | (y < low) | (y > high)
    assert outside.sum() <= 0.1 * len(outside)


@pytest.mark.parametrize("name", [*studies.NAMES, *OTHERS])
def test_no_text_is_cut_or_overlaps(name: str) -> None:
    with context():
        figure = draw(name)
        figure.draw_without_rendering()
        renderer = FigureCanvasAgg(figure).get_renderer()
        texts = [text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()]
        hidden = _hidden_labels(figure)
        texts = [text for text in texts if id(text) not in hidden]
        boxes = [text.get_window_extent(renderer) for text in texts]
        for text, box in zip(texts, boxes, strict=True):
            assert figure.bbox.x0 - 1 <= box.x0 <= box.x1 <= figure.bbox.x1 + 1, text.get_text()
            assert figure.bbox.y0 - 1 <= box.y0 <= box.y1 <= figure.bbox.y1 + 1, text.get_text()
        overlapping = [
            (texts[i].get_text(), texts[j].get_text())
            for i in range(len(texts))
            for j in range(i)
            if boxes[i].shrunk(0.9, 0.8).overlaps(boxes[j].shrunk(0.9, 0.8))
        ]
        assert overlapping == []


def _hidden_labels(figure: Figure) -> set[int]:
    """Tick labels outside the limits, which exist but are not drawn."""
    hidden: set[int] = set()
    for axis in figure.findobj(Axis):
        drawn = {id(label) for tick in axis._update_ticks() for label in (tick.label1, tick.label2)}
        ticks = [*axis.majorTicks, *axis.minorTicks]
        hidden |= {id(label) for tick in ticks for label in (tick.label1, tick.label2)} - drawn
    return hidden


ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_kept_says_how_it_was_made_and_what_it_found(name: str) -> None:
    about = json.loads((KEPT / f"{name}.json").read_text(encoding="utf-8"))
    assert about["scale"] != "smoke"
    assert {"torch", "transformers", "trl"} <= set(about["versions"])
    assert about["hardware"]["cores"] >= 1
    found = import_module(f"llm.validation.parts.{name.removeprefix('validate_')}").finding(smoke(name))
    assert about["finding"] == found
    assert found in (ROOT / "docs" / "language_models.md").read_text(encoding="utf-8").replace("\n", " ")
