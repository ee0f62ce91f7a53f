"""Three pictures look as committed, small, up to the rendering of text (root mean square of 8 in 255).

Curves with their names, triangles, and meshes with contours; all others are tested by the artists that they hold. After
a wanted change: ``python -m tests.figures.test_images [NAME ...]``, then look at the pictures.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from matplotlib.testing.compare import compare_images

from analysis import studies
from figures.sheet import sheet
from figures.style import context
from tests.smoke import smoke

REFERENCE = Path(__file__).parent / "reference"
KEPT = ("lambert_tempering", "flow_simplex", "decoupled")


def draw(name: str, folder: Path, **parameters: Any) -> Path:
    frame = studies.run(name, smoke=True, cache=None, **parameters) if parameters else smoke(name)
    path = folder / f"{name}.png"
    with context():
        sheet(name).draw(frame, studies.study(name).headline(frame)).savefig(path, dpi=50)
    return path


@pytest.mark.parametrize("name", KEPT)
def test_picture_looks_as_committed(name: str, tmp_path: Path) -> None:
    assert compare_images(str(REFERENCE / f"{name}.png"), str(draw(name, tmp_path)), tol=8) is None


def test_another_picture_is_told_apart(tmp_path: Path) -> None:
    other = draw("lambert_tempering", tmp_path, kappas=(-0.1, 0.0, 3.0))
    assert compare_images(str(REFERENCE / "lambert_tempering.png"), str(other), tol=8) is not None


if __name__ == "__main__":
    for figure in sys.argv[1:] or KEPT:
        print(draw(figure, REFERENCE))
