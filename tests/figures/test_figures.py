"""What every figure owes: the axes-level contract, and files that a rerun reproduces byte for byte."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from analysis.settings import CORE
from figures.__main__ import FIGURES, main, make
from figures.save import FORMATS, save, versions
from figures.style import LOOKS, context, look, new_axes, size

Drawing = tuple[Callable[..., Axes], pd.DataFrame]
ROOT = Path(__file__).resolve().parents[2]
NAMES = sorted(FIGURES)


@pytest.fixture(scope="module")
def frames() -> dict[str, pd.DataFrame]:
    return {name: entry.study(**{**entry.parameters, **entry.smoke}) for name, entry in FIGURES.items()}


@pytest.fixture(params=NAMES)
def drawing(request: pytest.FixtureRequest, frames: dict[str, pd.DataFrame]) -> Drawing:
    return FIGURES[request.param].plot, frames[request.param]


def test_draws_into_the_axes_it_is_given(drawing: Drawing) -> None:
    plot, frame = drawing
    figure = Figure()
    left, right = figure.subplots(1, 2)
    assert plot(frame, ax=right) is right
    assert figure.axes == [left, right]
    assert not left.has_data()
    assert right.get_title(loc="left") or right.get_title()
    assert right.get_xlabel()


def test_makes_axes_of_its_own_outside_pyplot(drawing: Drawing) -> None:
    import matplotlib.pyplot as plt

    plot, frame = drawing
    before, settings = frame.copy(), dict(mpl.rcParams)
    assert isinstance(plot(frame), Axes)
    assert plt.get_fignums() == []
    assert dict(mpl.rcParams) == settings
    pd.testing.assert_frame_equal(frame, before)


def test_no_text_is_cut_or_overlaps(drawing: Drawing) -> None:
    plot, frame = drawing
    with context():
        ax = plot(frame)
        figure = ax.figure
        figure.draw_without_rendering()
        renderer = FigureCanvasAgg(figure).get_renderer()
        texts = [t for t in (*ax.texts, ax.title, ax._left_title, ax.xaxis.label, ax.yaxis.label) if t.get_text()]
        boxes = {text.get_text(): text.get_window_extent(renderer) for text in texts}
        page = figure.bbox
        for text, box in boxes.items():
            assert page.contains(box.x0, box.y0), text
            assert page.contains(box.x1, box.y1), text
        items = [t.get_window_extent(renderer) for t in texts]
        overlapping = [
            (a.get_text(), b.get_text())
            for i, a in enumerate(texts)
            for j, b in enumerate(texts[:i])
            if items[i].shrunk(0.9, 0.8).overlaps(items[j].shrunk(0.9, 0.8))
        ]
        assert overlapping == []


@pytest.mark.parametrize("name", NAMES)
def test_a_rerun_in_a_new_process_is_byte_equal(name: str, tmp_path: Path) -> None:
    make(name, tmp_path / "a", smoke=True)
    command = [sys.executable, "-m", "figures", name, "--smoke", "--out", str(tmp_path / "b")]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stderr == ""  # no progress bar without a terminal
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == sorted(f"{name}.{ending}" for ending in (*FORMATS, "csv", "json"))
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file


@pytest.mark.parametrize("name", NAMES)
def test_data_and_parameters_are_saved_beside_the_picture(
    name: str, frames: dict[str, pd.DataFrame], tmp_path: Path
) -> None:
    make(name, tmp_path, ["svg"], smoke=True)
    saved = pd.read_csv(tmp_path / f"{name}.csv", keep_default_na=False, na_values=["", "nan"])
    pd.testing.assert_frame_equal(saved, frames[name].replace("", float("nan")), check_dtype=False)
    about = json.loads((tmp_path / f"{name}.json").read_text())
    assert about["versions"] == versions()
    assert about["parameters"]["beta"] == 0.1
    assert str(ROOT) not in (tmp_path / f"{name}.json").read_text()


def test_every_objective_has_a_look_of_its_own() -> None:
    assert set(LOOKS) == set(CORE)
    assert len({(entry.color, str(entry.linestyle)) for entry in LOOKS.values()}) == len(LOOKS)
    assert len({(entry.color, entry.marker) for entry in LOOKS.values()}) == len(LOOKS)
    assert all(to_rgb(entry.color) for entry in LOOKS.values())
    assert look("mine").color not in {entry.color for entry in LOOKS.values()}


def test_the_style_ends_with_its_context() -> None:
    before = dict(mpl.rcParams)
    with mpl.rc_context({"font.size": 30}), context():
        assert mpl.rcParams["font.size"] < 10
    assert dict(mpl.rcParams) == before


def test_sizes_are_those_of_a_two_column_paper() -> None:
    assert (size(1)[0], size(2)[0]) == (3.25, 6.75)


def test_an_unknown_format_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="format 'gif' is not one of pdf, svg, png"):
        save(new_axes().figure, pd.DataFrame(), {}, tmp_path / "new" / "x", ["png", "gif"])
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("arguments", [["nonsense"], ["--format", "pdf,gif"]])
def test_a_mistake_is_one_line_and_exit_code_2(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
