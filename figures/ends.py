"""Names of curves right of their ends, in the order of the ends, instead of a legend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from figures.style import look

_APART = 0.088  # of the height of the axes, between names


def _spread(heights: Mapping[str, float]) -> dict[str, float]:
    """Heights in [0, 1] moved as little apart as names beside each other need, in their order."""
    names = sorted(heights, key=lambda name: (round(heights[name], 9), name))
    steps = _APART * np.arange(len(names))
    free = np.array([heights[name] for name in names]) - steps
    # Least squares under an order: the mean of the largest minima of means, over all intervals (isotonic regression).
    count = len(names)
    means = [[free[i : j + 1].mean() if j >= i else np.inf for j in range(count)] for i in range(count)]
    best = np.array([max(min(means[i][k:]) for i in range(k + 1)) for k in range(count)])
    return dict(zip(names, np.clip(best, 0.0, max(0.0, 1.0 - steps[-1])) + steps, strict=True))


def label_ends(ax: Axes, ends: Mapping[str, float]) -> None:
    """Each objective's name right of its curve's end, behind its marker and a line to the end.

    Call it last: the limits must be final, and ``ends`` are the last values of the curves, by objective.
    """
    bottom, top = ax.get_ylim()
    heights = {name: (y - bottom) / (top - bottom) for name, y in ends.items()}
    for name, height in _spread(heights).items():
        style = look(name)
        at: dict[str, Any] = {"color": style.color, "transform": ax.transAxes}
        both: dict[str, Any] = {"clip_on": False, "label": "_leader", **at}
        ax.add_artist(Line2D([1.015, 1.08], [heights[name], height], linewidth=0.4, **both))
        ax.add_artist(Line2D([1.11], [height], marker=style.marker, markersize=3, **both))
        ax.text(1.16, height, name, va="center_baseline", fontsize=6.0, **at)
