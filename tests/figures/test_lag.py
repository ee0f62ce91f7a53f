from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.lag import SMOKE, held, lag, last, retuned
from analysis.names import display_name
from figures.labels import _spread
from figures.lag import PANELS


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return lag(**SMOKE)


@pytest.mark.parametrize(
    ("letter", "column"), [("A", "value"), ("B", "value"), ("C", "premature"), ("D", "entropy"), ("E", "kl")]
)
def test_curves_are_the_frame_and_every_one_is_named_in_its_color(
    frame: pd.DataFrame, letter: str, column: str
) -> None:
    rows = retuned(frame) if letter == "B" else held(frame)
    ax = PANELS[letter](frame)
    curves = {line.get_label(): line for line in ax.get_lines() if not str(line.get_label()).startswith("_")}
    assert set(curves) == set(rows["objective"])
    for name, line in curves.items():
        part = rows[rows["objective"] == name].sort_values("lag")
        np.testing.assert_array_equal(line.get_xdata(), np.log2(1 + part["lag"]))
        np.testing.assert_array_equal(line.get_ydata(), part[column])
    named = {text.get_text(): text.get_color() for text in ax.texts}
    assert all(named[display_name(name)] == line.get_color() for name, line in curves.items())


def test_rounds_have_no_grpo(frame: pd.DataFrame) -> None:
    labels = {line.get_label() for line in PANELS["F"](frame).get_lines() if line.get_label()[0] != "_"}
    assert labels == set(last(frame, "rounds")["objective"])
    assert "grpo" not in labels


def test_overflowing_runs_are_marked_and_explained(frame: pd.DataFrame) -> None:
    some = frame.assign(ended=np.where((frame["objective"] == "grpo") & (frame["lag"] > 0), 0.5, 0.0))
    marked = [line for line in PANELS["A"](some).get_lines() if line.get_marker() == "x"]
    assert len(marked) == 1
    np.testing.assert_array_equal(marked[0].get_xdata(), [np.log2(17)])
    assert any("overflow" in text.get_text() for text in PANELS["A"](some).texts)
    assert not any("overflow" in text.get_text() for text in PANELS["A"](some.assign(ended=0.0)).texts)


def test_names_keep_their_order_their_distance_and_their_place_where_there_is_room() -> None:
    assert _spread({"a": 0.2, "b": 0.8}) == pytest.approx({"a": 0.2, "b": 0.8})
    together = _spread({"a": 0.5, "b": 0.5, "c": 0.5})
    assert together["b"] == pytest.approx(0.5)
    assert together["c"] - together["b"] == pytest.approx(together["b"] - together["a"])
    low = np.array(list(_spread({name: 0.01 * i for i, name in enumerate("abcdefghi")}).values()))
    assert low[0] >= -1e-12
    assert np.diff(low).min() >= 0.088 - 1e-12


def test_a_name_stands_behind_the_marker_of_its_curve(frame: pd.DataFrame) -> None:
    ax = PANELS["A"](frame)
    curves = {line.get_label(): line for line in ax.get_lines() if str(line.get_label())[0] != "_"}
    ends = {line.get_ydata()[-1]: line for line in ax.get_lines() if len(line.get_xdata()) == 1}
    texts = {text.get_text(): text for text in ax.texts}
    for name, curve in curves.items():
        mark = ends[texts[display_name(name)].get_position()[1]]
        assert (mark.get_marker(), mark.get_color()) == (curve.get_marker(), curve.get_color())
    assert len({line.get_marker() + str(line.get_linestyle()) for line in curves.values()}) == len(curves)
