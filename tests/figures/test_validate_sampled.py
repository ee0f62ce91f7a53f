"""The figure of sampled training, read back from its artists."""

from __future__ import annotations

import numpy as np
import pytest

from figures.validate_sampled import plot_errors, plot_pooled, plot_prompts
from tests.smoke import smoke


def test_gaps_are_counted_in_errors() -> None:
    frame = smoke("validate_sampled")
    rows = frame[frame["kind"] == "prompt"]
    ax = plot_errors(frame)
    for (_, part), line in zip(rows.groupby("objective", sort=False), ax.get_lines()[1:], strict=True):
        below = np.mean(part["gap"] / part["error"] <= 1.0)
        x, y = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
        assert y[x <= 1.0][-1] == pytest.approx(below)


def test_measured_is_predicted_and_the_gap() -> None:
    frame = smoke("validate_sampled")
    rows = frame[frame["kind"] == "prompt"]
    points = np.concatenate([np.asarray(c.lines[0].get_xydata()) for c in plot_prompts(frame).containers])
    np.testing.assert_allclose(np.sort(points[:, 1] - points[:, 0]), np.sort(rows["gap"]), atol=1e-12)
    pooled = frame[(frame["kind"] == "pooled") & (frame["kappa_population"] > 1e-6)]
    ratios = np.concatenate([np.asarray(c.lines[0].get_xydata())[:, 0] for c in plot_pooled(frame).containers])
    np.testing.assert_allclose(np.sort(ratios), np.sort(1.0 + pooled["gap"] / pooled["kappa"]))
