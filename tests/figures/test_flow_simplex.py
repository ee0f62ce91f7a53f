"""What the triangles show, read back from their artists."""

from __future__ import annotations

import numpy as np

from analysis.flow_simplex import flow_simplex
from figures.flow_simplex import PANELS


def test_paths_run_from_their_starts_to_the_stars() -> None:
    frame = flow_simplex(starts=3, spacing=0.05)
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, 0.75**0.5]])
    for panel in PANELS.values():
        ax = panel(frame)
        rows = frame[frame["objective"] == panel.keywords["objective"]]
        stars = ax.collections[-1].get_offsets()
        induced = rows[rows["kind"] == "induced"][["policy_0", "policy_1", "policy_2"]].to_numpy()
        np.testing.assert_allclose(stars, induced @ corners, atol=1e-12)
        paths = [line.get_xydata() for line in ax.get_lines() if len(line.get_xdata()) > 1][1:]
        assert len(paths) == 3
        ends = np.array([np.hypot(*(stars - path[-1]).T).min() for path in paths])
        reached = rows[rows["kind"] == "path"].drop_duplicates("run")["reached"].to_numpy() >= 0
        np.testing.assert_array_equal(ends < 1e-5, reached)


def test_titles_count_the_starts_of_each_minimum() -> None:
    frame = flow_simplex(starts=3, spacing=0.05)
    titles = [panel(frame).get_title(loc="left") for panel in PANELS.values()]
    assert titles[0] == "nominal: 3 of 3 reach ★"
    assert titles[4] == "OAPL: 2 + 1 of 3 reach a ★"
    assert titles[5] == "PPO: 0 of 3 reach ★"


def test_marks_are_explained_once_and_the_nominal_target_is_not_marked_twice() -> None:
    frame = flow_simplex(starts=1, spacing=0.1)
    texts = [[text.get_text() for text in panel(frame).texts] for panel in PANELS.values()]
    notes = [text for panel in texts for text in panel if "start" in text]
    assert len(notes) == 1
    assert all(mark in notes[0] for mark in ("•  start", "○  end that is no ★", "black circle: μ"))
    assert ["π*" in panel for panel in texts] == [False, True, True, True, True, True]
