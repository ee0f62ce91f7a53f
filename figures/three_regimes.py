"""One bandit through the three regimes, against the distance of the baseline from the optimal value."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.ticker import PercentFormatter

from figures.style import INK, QUIET, look, new_axes, size

SIZE = size(2, 0.66)
MOSAIC = "AB\nCD"
_PLAIN = "#b5b5b5"  # all actions on W_0


def _ground(ax: Axes, frame: pd.DataFrame) -> None:
    """The axis shared by all panels, and where the regime changes."""
    low, high = float(frame["offset"].min()), float(frame["offset"].max())
    ax.set_xlim(low, high)
    ax.axvline(0.0, color=QUIET, linewidth=0.6, linestyle=":", zorder=1)
    ax.set_xlabel(r"baseline above the optimal value, $(V - V^*)\,/\,\beta$")


def _targets(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame["is_target"]]


def _colors(frame: pd.DataFrame) -> dict[int, str]:
    """A shade for each action that takes the surplus, the better the lighter as in figures.targets; gray for none."""
    rows = frame[frame["surplus"] >= 0].drop_duplicates("surplus").sort_values("surplus_reward")
    shades = mpl.colormaps["cividis"](np.linspace(0.08, 0.76, max(len(rows), 2)))
    return {-1: _PLAIN, **{int(action): to_hex(shade) for action, shade in zip(rows["surplus"], shades, strict=False)}}


def plot_curvature(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Kappa of the target and log Z of `analysis.three_regimes`.

    Parameters
    ----------
    frame : pandas.DataFrame
        As `analysis.three_regimes.three_regimes` returns it.
    ax : matplotlib.axes.Axes, optional
        Where to draw; axes of a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn into.

    Examples
    --------
    >>> from analysis.three_regimes import SMOKE, three_regimes
    >>> [line.get_label() for line in plot_curvature(three_regimes(**SMOKE)).get_lines()][-2:]
    ['log Z', 'κ']
    """
    ax = new_axes(SIZE) if ax is None else ax
    _ground(ax, frame)
    ax.axhline(0.0, color=QUIET, linewidth=0.6, zorder=1)
    rows = _targets(frame)
    color = look("constant_baseline").color
    ax.plot(rows["offset"], rows["log_z"], color=INK, linestyle="--", label="log Z")
    ax.plot(rows["offset"], rows["kappa"], color=color, label="κ")
    ax.margins(y=0.08)
    for x, regime, side in ((-4, "positive", "right"), (4, "negative", "left")):
        place: dict[str, Any] = {"xy": (0.0, 1.0), "xycoords": ("data", "axes fraction")}
        ax.annotate(regime, xytext=(x, -2), textcoords="offset points", ha=side, va="top", color=QUIET, **place)
    _beside(ax, rows["log_z"].iloc[-1], "log Z", INK)
    _beside(ax, rows["kappa"].iloc[-1], "κ", color)
    ax.set_ylabel(r"$\log Z$ and $\kappa$")
    ax.set_title("Regime", loc="left")
    return ax


def plot_mass(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Entropy of the target on the given actions, and the mass that leaves them if it may.

    Parameters
    ----------
    frame : pandas.DataFrame
        As `analysis.three_regimes.three_regimes` returns it.
    ax : matplotlib.axes.Axes, optional
        Where to draw; axes of a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn into.

    Examples
    --------
    >>> from analysis.three_regimes import SMOKE, three_regimes
    >>> plot_mass(three_regimes(**SMOKE)).get_title(loc="left")
    'Where the mass goes'
    """
    ax = new_axes(SIZE) if ax is None else ax
    _ground(ax, frame)
    rows, actions = _targets(frame), sum(str(column).startswith("policy_") for column in frame)
    color = look("constant_baseline").color
    ax.plot(rows["offset"], rows["entropy"] / np.log(actions), color=color, label="entropy / log K")
    ax.plot(rows["offset"], rows["leak"], color=INK, linestyle="--", label="leak to unseen actions")
    ax.set_ylim(-0.03, 1.06)
    _beside(ax, rows["entropy"].iloc[-1] / np.log(actions), "entropy\n/ log K", color)
    _beside(ax, rows["leak"].iloc[-1], "leak to\nunseen", INK)
    ax.set_ylabel("share of the largest possible")
    ax.set_title("Where the mass goes", loc="left")
    return ax


def plot_minima(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Loss of each local minimum, named by the reward of the action that takes the surplus.

    Parameters
    ----------
    frame : pandas.DataFrame
        As `analysis.three_regimes.three_regimes` returns it.
    ax : matplotlib.axes.Axes, optional
        Where to draw; axes of a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn into.

    Examples
    --------
    >>> from analysis.three_regimes import SMOKE, three_regimes
    >>> plot_minima(three_regimes(**SMOKE)).get_title(loc="left")
    'Coexisting minima'
    """
    ax = new_axes(SIZE) if ax is None else ax
    _ground(ax, frame)
    for action, color in _colors(frame).items():
        rows = frame[frame["surplus"] == action]
        ax.plot(rows["offset"], rows["loss"], color=color, marker="o", markersize=2.5, clip_on=False)
        if action >= 0:
            _beside(ax, rows["loss"].iloc[-1], f"r = {rows['surplus_reward'].iloc[0]:g}", color)
    ax.set_ylim(bottom=0)
    ax.text(0.37, 0.98, "gray: all actions on W₀\nelse: reward of the\naction on W₋₁", **_note(ax))
    ax.set_ylabel(r"loss, $E_\mu[(A - \beta u)^2]\,/\,\beta^2$")
    ax.set_title("Coexisting minima", loc="left")
    return ax


def _note(ax: Axes) -> dict[str, Any]:
    return {"transform": ax.transAxes, "va": "top", "color": QUIET, "fontsize": "small"}


def _beside(ax: Axes, y: float, text: str, color: str) -> None:
    """A name right of the axes at height y."""
    place: dict[str, Any] = {"xy": (1.0, y), "xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
    ax.annotate(text, xytext=(5, 0), va="center_baseline", color=color, annotation_clip=False, **place)


def plot_basins(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Share of random starts that flow into each minimum; a diamond on the one that the behavior flows into.

    Parameters
    ----------
    frame : pandas.DataFrame
        As `analysis.three_regimes.three_regimes` returns it.
    ax : matplotlib.axes.Axes, optional
        Where to draw; axes of a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn into.

    Examples
    --------
    >>> from analysis.three_regimes import SMOKE, three_regimes
    >>> plot_basins(three_regimes(**SMOKE)).get_ylabel()
    'share of starts that end there'
    """
    ax = new_axes(SIZE) if ax is None else ax
    offsets = np.sort(frame["offset"].unique())
    width = float(np.diff(offsets).min(initial=np.inf)) if len(offsets) > 1 else 1.0
    floor = pd.Series(0.0, index=offsets)
    for action, color in _colors(frame).items():
        rows = frame[frame["surplus"] == action].set_index("offset")
        ax.bar(
            rows.index, rows["share"], width, bottom=floor[rows.index], color=color, edgecolor="white", linewidth=0.5
        )
        middle = floor[rows.index] + rows["share"] / 2
        ours = rows["from_behavior"]
        ax.scatter(
            rows.index[ours], middle[ours], s=9, marker="D", color="white", edgecolor=INK, linewidth=0.5, zorder=3
        )
        if action >= 0 and rows.index[-1] == offsets[-1] and rows["share"].iloc[-1] > 0:
            _beside(ax, middle.iloc[-1], f"r = {rows['surplus_reward'].iloc[0]:g}", color)
        floor[rows.index] += rows["share"]
    _ground(ax, frame)
    ax.set_xlim(offsets[0] - width / 2, offsets[-1] + width / 2)
    ax.set_ylim(0.0, 1.0)
    ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    ax.set_ylabel("share of starts that end there")
    ax.set_title("Basins of random starts; ◇ of the behavior", loc="left")
    return ax


PANELS = {"A": plot_curvature, "B": plot_mass, "C": plot_minima, "D": plot_basins}
