"""What every figure owes: the axes-level contract, and files that a rerun reproduces byte for byte."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

import pessimism as ps
from analysis import studies
from figures.__main__ import main
from figures.save import FORMATS, save, versions
from figures.sheet import OTHERS, sheet
from figures.style import FAMILIES, LOOKS, context, look, new_axes, size
from tests.smoke import headline, smoke

ROOT = Path(__file__).resolve().parents[2]
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


def test_a_rerun_in_a_new_process_is_byte_equal(tmp_path: Path) -> None:
    """All figures with their data and parameters, made here and by the command, which share nothing."""
    here, there = tmp_path / "here", tmp_path / "there"
    command = [sys.executable, "-m", "figures", "--smoke", "--out", str(there), "--cache", str(tmp_path / "cache")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        for name in studies.NAMES:
            with context():
                save(draw(name), smoke(name), studies.parameters(name, smoke=True), here / name)
        out, error = run.communicate()
    assert (run.returncode, error) == (0, "")  # no progress bar without a terminal
    files = sorted(f"{name}.{ending}" for name in studies.NAMES for ending in (*FORMATS, "csv", "json"))
    assert sorted(path.name for path in there.iterdir()) == files
    assert sorted(Path(line).name for line in out.splitlines()) == files
    different = [file for file in files if (here / file).read_bytes() != (there / file).read_bytes()]
    assert different == []
    for name in studies.NAMES:
        saved = pd.read_csv(there / f"{name}.csv", keep_default_na=False, na_values=["", "nan"], low_memory=False)
        pd.testing.assert_frame_equal(saved, smoke(name).replace("", float("nan")), check_dtype=False)
        written = (there / f"{name}.json").read_text()
        about = json.loads(written)
        assert about["versions"] == versions()
        assert set(about["parameters"]) == set(studies.parameters(name))
        assert str(ROOT) not in written


def test_every_objective_has_a_look_of_its_own() -> None:
    assert set(LOOKS) == set(ps.objectives())
    assert len({(entry.color, str(entry.linestyle)) for entry in LOOKS.values()}) == len(LOOKS)
    assert len({(entry.color, entry.marker) for entry in LOOKS.values()}) == len(LOOKS)
    assert len({(str(entry.linestyle), entry.marker) for entry in LOOKS.values()}) == len(LOOKS)  # never by color alone
    heads = [look(names[0]) for names in FAMILIES.values()]
    assert {entry.linestyle for entry in heads} == {"-"}
    assert len({entry.marker for entry in heads}) == len(FAMILIES)
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
