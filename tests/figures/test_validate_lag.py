"""The figure of training on lagged data, read back from its artists."""

from __future__ import annotations

import numpy as np

from analysis.validation import ends
from figures.validate_lag import plot_agreement, plot_kl, plot_model
from tests.smoke import smoke


def test_curves_of_lag_are_means_over_the_seeds() -> None:
    frame = smoke("validate_lag")
    runs = frame[(frame["stage"] == "run") & (frame["source"] == "model") & (frame["lag"] == frame["lag"].max())]
    ax = plot_model(frame)
    for name, line in zip(runs["objective"].unique(), ax.get_lines(), strict=False):
        mine = runs[runs["objective"] == name].groupby("step")["value"].mean()
        np.testing.assert_allclose(np.asarray(line.get_ydata()), mine)
    rows = ends(frame)
    model = rows[rows["source"] == "model"]
    heights = np.concatenate([np.asarray(c.lines[0].get_xydata())[:, 1] for c in plot_kl(frame).containers])
    np.testing.assert_allclose(np.sort(heights), np.sort(model["kl"]))


def test_agreement_has_a_mark_for_each_objective_and_lag() -> None:
    frame = smoke("validate_lag")
    (marks,) = plot_agreement(frame).collections
    wide = ends(frame).pivot(index=["lag", "objective"], columns="source", values="gain")
    assert len(marks.get_paths()) == len(marks.get_sizes()) == len(wide)
    np.testing.assert_allclose(marks.get_offsets(), wide[["table", "model"]])
    assert (np.diff(marks.get_sizes()) >= 0).all()  # the rows go from the least lag to the largest
