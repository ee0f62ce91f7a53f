"""The figure of exact training, read back from its artists."""

from __future__ import annotations

import numpy as np

from analysis.validation import labels
from figures.validate_population import plot_distance, plot_kappa, plot_reached
from tests.smoke import smoke


def test_distances_are_those_of_the_frame() -> None:
    rows = smoke("validate_population")
    rows = rows[rows["kind"] == "target"]
    ax = plot_distance(rows)
    shown = [text.get_text() for text in ax.get_yticklabels()]
    assert shown == list(dict.fromkeys(labels(rows)))
    found = np.concatenate([np.asarray(line.get_xdata(), dtype=float) for line in ax.get_lines()])
    for column in ("tv", "tv_behavior", "tv_nominal"):
        drawn = np.maximum(rows[column], 1e-6) if column == "tv" else rows[column][rows[column] > 1e-6]
        assert np.isin(drawn.round(12), found.round(12)).all()


def test_kappas_lie_where_they_are_predicted_and_measured() -> None:
    frame = smoke("validate_population")
    rows = frame[(frame["kind"] == "target") & frame["kappa_fit"].notna()]
    ax = plot_kappa(rows)
    points = [container.lines[0].get_xydata() for container in ax.containers]
    drawn = np.concatenate([np.asarray(some) for some in points if len(some)])
    assert len(drawn) == len(rows)
    np.testing.assert_allclose(np.sort(drawn[:, 0]), np.sort(rows["kappa"]))
    np.testing.assert_allclose(np.sort(drawn[:, 1]), np.sort(rows["kappa_fit"]))


def test_minima_reached_are_named() -> None:
    frame = smoke("validate_population")
    descents = frame[frame["kind"] == "descent"]
    said = [text.get_text() for text in plot_reached(frame).texts]
    alone = descents[descents["branch"] == "W_-1"]["completion"].tolist()
    assert sorted(said) == sorted([*alone, *["W₀"] * (len(descents) - len(alone))])
