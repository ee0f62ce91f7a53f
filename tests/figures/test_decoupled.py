from __future__ import annotations

import re

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from analysis.decoupled import decoupled
from figures.decoupled import PANELS, plot_factor, plot_kappa, plot_on_policy
from figures.sheet import sheet
from figures.style import context

FRAME = decoupled(n=17)


def test_cells_are_the_values_of_the_frame() -> None:
    kappa, leak = (mesh.get_array() for mesh in plot_kappa(FRAME).collections[:2])
    grid = FRAME[FRAME["kind"] == "grid"].sort_values(["beta2", "beta1"])
    kept = (grid["beta1"] >= grid["beta2"]).to_numpy()
    np.testing.assert_array_equal(kappa.compressed(), grid["kappa"][kept])
    np.testing.assert_array_equal(leak.compressed(), grid["leak"][~kept])


@pytest.mark.parametrize("panel", PANELS)
def test_published_pairs_are_marked_where_they_are(panel: str) -> None:
    ax = PANELS[panel](FRAME)
    marks = {line.get_label(): (line.get_xdata()[0], line.get_ydata()[0]) for line in ax.get_lines()[1:]}
    np.testing.assert_allclose(marks["oapl"], (1.0, 1e-3))
    np.testing.assert_allclose(marks["a_star_po"], (0.5, 1e-3))
    filled = {line.get_label() for line in ax.get_lines()[1:] if line.get_markerfacecolor() != "white"}
    assert filled == ({"a_star_po"} if panel == "C" else {"oapl"})


def test_names_of_contours_are_where_the_frame_has_their_values() -> None:
    grid = FRAME[FRAME["kind"] == "grid"]
    table = grid.pivot(index="beta2", columns="beta1", values="pessimism_factor")
    named = [text for text in plot_factor(FRAME).texts if re.fullmatch(r"[\d.]+×", text.get_text())]
    assert len(named) >= 4
    for text in named:
        x, y = text.get_position()
        row = table.iloc[int(np.abs(np.log(table.index / y)).argmin())].dropna()
        assert np.interp(x, row.index, row) == pytest.approx(float(text.get_text()[:-1]), rel=1e-9)


@pytest.mark.parametrize("panel", ["A", "B"])
def test_names_of_contours_hide_neither_boundary_nor_mark_and_end_in_the_axes(panel: str) -> None:
    with context():
        figure = sheet("decoupled").draw(decoupled(), "a finding")
        figure.draw_without_rendering()
        renderer = FigureCanvasAgg(figure).get_renderer()
        ax = figure.axes["AB".index(panel)]
        _, *marks = ax.get_lines()
        x = np.geomspace(1e-4, 10, 2001)
        kept = [
            ax.transData.transform(np.column_stack([x, x])),
            *(ax.transData.transform(m.get_xydata()) for m in marks),
        ]
        named = [text for text in ax.texts if text.get_bbox_patch() is not None]
        assert len(named) >= 5
        for text in named:
            assert text.get_bbox_patch().get_alpha() in (None, 1.0)
            box = text.get_bbox_patch().get_window_extent(renderer)
            assert ax.bbox.x0 < box.x0 < box.x1 < ax.bbox.x1, text.get_text()
            assert not box.count_contains(np.concatenate(kept)), text.get_text()


def test_a_flat_panel_says_so_and_one_that_is_not_says_its_range() -> None:
    assert plot_on_policy(FRAME).texts[0].get_text().startswith("1× everywhere")
    bent = FRAME.assign(on_policy_factor=np.linspace(1.0, 1.5, len(FRAME)))
    assert re.match(r"1× to 1\.\d+×", plot_on_policy(bent).texts[0].get_text())
