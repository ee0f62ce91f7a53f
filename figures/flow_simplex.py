"""Gradient flow on the simplex of three actions, a triangle for each objective."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from analysis.flow_simplex import ends
from analysis.names import display_name
from figures.style import INK, QUIET, look, new_axes, size

SIZE = size(2, 0.66)
MOSAIC = "ABC\nDEF"
_ARROW = np.array([0.33, 0.36])  # its tail and tip, as shares of the path
_CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(0.75)]])


def _placed(rows: pd.DataFrame) -> NDArray[np.float64]:
    """Positions ``(n, 2)`` in the triangle."""
    return np.asarray(rows[["policy_0", "policy_1", "policy_2"]].to_numpy() @ _CORNERS)


def _triangle(ax: Axes, corners: pd.DataFrame) -> None:
    """Edges, and the reward of the action in each corner."""
    loop = _CORNERS[[0, 1, 2, 0]]
    ax.plot(loop[:, 0], loop[:, 1], color=QUIET, linewidth=0.8, zorder=1)
    for place, value, offset in zip(_CORNERS, corners["value"], ((0, -3), (0, -3), (6, 3)), strict=True):
        aligned: dict[str, Any] = {"ha": "center", "va": "top"} if offset[1] < 0 else {"ha": "left", "va": "top"}
        ax.annotate(f"r = {value:g}", place, offset, textcoords="offset points", fontsize="small", **aligned)


def _path(ax: Axes, rows: pd.DataFrame, color: str) -> None:
    """A path from its start, a dot, with an arrow a third of the way along; an open dot ends it off target."""
    points = _placed(rows)
    ax.plot(points[:, 0], points[:, 1], color=color, linewidth=0.8, zorder=2)
    ax.plot(*points[0], marker="o", markersize=2.2, color=color, zorder=2)
    if rows["reached"].iloc[-1] < 0:
        ax.plot(*points[-1], marker="o", markersize=3.6, markerfacecolor="white", color=color, zorder=3)
    length = np.append(0.0, np.hypot(*np.diff(points, axis=0).T).cumsum())
    if length[-1] < 0.05:
        return
    tail, tip = (
        (np.interp(at, length, points[:, 0]), np.interp(at, length, points[:, 1])) for at in length[-1] * _ARROW
    )
    arrow = {"arrowstyle": "-|>", "color": color, "linewidth": 0.8, "mutation_scale": 6, "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", tip, tail, arrowprops=arrow)


def _title(frame: pd.DataFrame, objective: str) -> str:
    """How many starts reach which minimum."""
    minima = int(ends(frame)["minima"][objective])
    paths = frame[(frame["objective"] == objective) & (frame["kind"] == "path")].drop_duplicates("run")
    counts = [int((paths["reached"] == minimum).sum()) for minimum in range(minima)]
    which = "a ★" if len(counts) > 1 else "★"
    return f"{display_name(objective)}: {' + '.join(map(str, counts))} of {len(paths)} reach {which}"


def plot_flow(frame: pd.DataFrame, ax: Axes | None = None, *, objective: str = "kimi") -> Axes:
    """Paths of `analysis.flow_simplex` under one objective; μ a circle, π* a diamond, induced targets stars.

    An open dot ends a path that reaches no star.

    Parameters
    ----------
    frame : pandas.DataFrame
        As `analysis.flow_simplex.flow_simplex` returns it.
    ax : matplotlib.axes.Axes, optional
        Where to draw; axes of a new figure by default.
    objective : str
        Which objective of the frame.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn into.

    Examples
    --------
    >>> from analysis.flow_simplex import flow_simplex
    >>> plot_flow(flow_simplex(starts=1, spacing=0.1)).get_title(loc="left")
    'Kimi: 1 of 1 reach ★'
    """
    ax = new_axes(SIZE) if ax is None else ax
    rows = frame[frame["objective"] == objective]
    color, kinds = look(objective).color, dict(tuple(rows.groupby("kind")))
    _triangle(ax, kinds["corner"])
    for _, path in kinds["path"].groupby("run"):
        _path(ax, path, color)
    marks = (
        ("behavior", "o", "white", 20, "μ", -8),
        ("nominal", "D", "white", 16, "π*", 3),
        ("induced", "*", color, 62, "", 0),
    )
    for kind, marker, face, area, name, up in marks:
        x, y = _placed(kinds[kind]).T
        if kind == "nominal" and objective == "nominal":  # it is the star
            continue
        edge = "white" if kind == "induced" else INK
        ax.scatter(x, y, s=area, marker=marker, facecolor=face, edgecolor=edge, linewidth=0.7, zorder=4)
        text = ax.annotate(name, (x[0], y[0]), (5, up), textcoords="offset points", fontsize="small", zorder=5)
        text.set_path_effects([withStroke(linewidth=2, foreground="white")])
    ax.set_aspect("equal")
    ax.set_xlim(-0.06, 1.06)
    ax.set_ylim(-0.1, 0.9)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_axis_off()
    if objective == frame["objective"].iloc[0]:
        note = "•  start\n○  end that is no ★\nblack circle: μ"
        ax.text(0.0, 0.98, note, transform=ax.transAxes, va="top", color=QUIET, fontsize=6.5)
    ax.set_title(_title(frame, objective), loc="left")
    return ax


PANELS = {
    letter: partial(plot_flow, objective=name)
    for letter, name in zip("ABCDEF", ("nominal", "kimi", "shifted_mean", "asym_re", "oapl", "ppo"), strict=True)
}
