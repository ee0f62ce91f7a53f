"""Names written beside their curves instead of a legend."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from analysis.names import display_name
from figures.style import look, page

_PLACES = 121  # positions tried along a curve
_PAD = 3.5  # points between a curve and its label: half a marker
_MARGIN = 6.0  # points between a label and the side of the axes
_NEARER = 3.0  # what a point costs by which another curve is nearer than one's own
_PARTS = 2000  # points along one segment of a line, at most
_ROOM = 14.0  # points beyond which more room is no better
_SHARE = 0.86  # of the figure that the axes take, about: the layout is not settled while drawing
_APART = 0.088  # of the height of the axes, between names


class _Box(NamedTuple):
    left: float
    right: float
    bottom: float
    top: float

    def distance(self, points: NDArray[np.float64]) -> float:
        """Distance in points of the nearest of the points ``(n, 2)``; 0 inside."""
        beside = np.maximum(np.maximum(self.left - points[:, 0], points[:, 0] - self.right), 0.0)
        over = np.maximum(np.maximum(self.bottom - points[:, 1], points[:, 1] - self.top), 0.0)
        return float(np.hypot(beside, over).min(initial=np.inf))

    def outline(self) -> NDArray[np.float64]:
        """Points on and in the box, for the distance of a later one."""
        x, y = np.meshgrid(np.linspace(self.left, self.right, 25), np.linspace(self.bottom, self.top, 4))
        return np.column_stack([x.ravel(), y.ravel()])


def _boxes(
    curve: NDArray[np.float64], width: float, height: float, area: tuple[float, float]
) -> Iterator[tuple[_Box, float]]:
    """Boxes just above and just below a curve, inside the axes, each with how far the curve runs away from it."""
    for x in np.linspace(width / 2 + _MARGIN, area[0] - width / 2 - _MARGIN, _PLACES):
        under = curve[np.abs(curve[:, 0] - x) <= width / 2, 1]
        if under.size == 0 or not np.isfinite(under).all():
            continue
        for bottom in (under.max() + _PAD, under.min() - _PAD - height):
            if bottom >= 0 and bottom + height <= area[1]:
                yield _Box(x - width / 2, x + width / 2, bottom, bottom + height), float(np.ptp(under))


def _area(ax: Axes) -> tuple[float, float]:
    """Width and height of the axes in points, about."""
    inches, spec = page(ax).get_size_inches(), ax.get_subplotspec()
    share = (1.0, 1.0)
    if spec is not None:
        grid = spec.get_gridspec()
        share = (len(spec.colspan) / grid.ncols, len(spec.rowspan) / grid.nrows)
    return 72 * _SHARE * share[0] * float(inches[0]), 72 * _SHARE * share[1] * float(inches[1])


def _course(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points ``(m, 2)`` along a line through the points ``(n, 2)``, half a point apart but on very long segments."""
    steps = np.diff(points, axis=0)
    lengths = np.nan_to_num(np.hypot(steps[:, 0], steps[:, 1]), nan=1.0)
    count = np.clip(np.ceil(2 * lengths), 1, _PARTS).astype(int)
    share = np.concatenate([np.empty(0), *(np.arange(n) / n for n in count)])[:, None]
    return np.concatenate(
        [np.repeat(points[:-1], count, axis=0) + share * np.repeat(steps, count, axis=0), points[-1:]]
    )


def _drawn(ax: Axes, line: Line2D, area: tuple[float, float]) -> NDArray[np.float64]:
    """Course of a line in points from the corner of the axes, whichever coordinates it is given in."""
    to_axes = line.get_transform() - ax.transAxes
    points = np.asarray(to_axes.transform(np.column_stack(line.get_data(orig=False)).astype(float)))
    return _course(np.where(np.isfinite(points), points, np.nan) * area)


def _worth(box: _Box, away: float, own: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    """How good a place is: room, but for how far the curve runs away from it; much worse if another one is nearer."""
    room, near = box.distance(others), box.distance(own)
    return min(room, _ROOM) - 0.5 * away - _NEARER * max(near - room, 0.0)


def label_curves(ax: Axes, colors: Mapping[str, str]) -> None:
    """Write the label of every line in `colors` beside it, where other lines and labels leave most room.

    Call it last: limits, scales and lines must be final.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Axes whose lines carry labels (`line.get_label()`).
    colors : mapping
        Color of the text by label; lines without an entry stay unnamed, but are kept clear of.
    """
    area = _area(ax)
    size = float(mpl.rcParams["font.size"])
    curves = {str(line.get_label()): _drawn(ax, line, area) for line in ax.get_lines()}
    placed: list[NDArray[np.float64]] = []
    for name, color in colors.items():
        others = np.concatenate([*(c for key, c in curves.items() if key != name), *placed, np.empty((0, 2))])
        others = others[np.isfinite(others).all(axis=1)]
        width, height = 0.6 * size * len(name), size
        best = max(
            _boxes(curves[name], width, height, area),
            key=lambda found: _worth(found[0], found[1], curves[name], others),
            default=None,
        )
        if best is None:
            continue
        box = best[0]
        placed.append(box.outline())
        center = (box.left + box.right) / 2 / area[0], (box.bottom + box.top) / 2 / area[1]
        ax.text(*center, name, transform=ax.transAxes, ha="center", va="center_baseline", color=color)


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
        ax.text(1.16, height, display_name(name), va="center_baseline", fontsize=6.0, **at)
