"""Files of a figure: formats that are known, data and parameters beside the picture."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from analysis.work import ROOT
from figures.save import save, versions
from figures.style import context, new_axes


def test_an_unknown_format_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="format 'gif' is not one of pdf, svg, png"):
        save(new_axes().figure, pd.DataFrame(), {}, tmp_path / "new" / "x", ["png", "gif"])
    assert not (tmp_path / "new").exists()


def test_a_picture_has_its_data_and_parameters_beside_it(tmp_path: Path) -> None:
    frame = pd.DataFrame({"beta": [0.1, 0.2], "name": ["kimi", ""]})
    parameters = {"beta": 0.1, "logs": ROOT / "examples" / "trl_completions"}

    def saved(folder: str) -> list[Path]:
        with context():
            ax = new_axes()
            ax.plot(frame["beta"])
            return save(
                ax.figure, frame, parameters, tmp_path / folder / "picture", ["png", "svg"], {"finding": "none"}
            )

    first, again = saved("a"), saved("b")
    assert [path.name for path in first] == ["picture.png", "picture.svg", "picture.csv", "picture.json"]
    assert [one.read_bytes() == other.read_bytes() for one, other in zip(first, again, strict=True)] == [True] * 4
    pd.testing.assert_frame_equal(pd.read_csv(first[2], keep_default_na=False), frame)
    about = json.loads(first[3].read_text(encoding="utf-8"))
    assert about["parameters"] == {"beta": 0.1, "logs": "examples/trl_completions"}
    assert (about["figure"], about["finding"]) == ("picture", "none")
    assert set(about["versions"]) == set(versions())


def test_a_parameter_that_json_does_not_know_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range float values"), context():
        save(new_axes().figure, pd.DataFrame(), {"beta": float("nan")}, tmp_path / "picture", ["png"])
