"""Lower bounds on the value of induced targets, and what is certified, against the number of logged rounds."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter, PercentFormatter

from analysis.names import display_name
from analysis.value_from_logs import boldest
from figures.labels import label_curves
from figures.style import QUIET, look, new_axes, size

SIZE = size(2, 0.7)
MOSAIC = "ABC\nDEF"
# Grays and dashes, since colors belong to objectives.
_BOUNDS: dict[str, dict[str, Any]] = {
    "el": {"color": "#222222", "linestyle": "-"},
    "ls": {"color": "#444444", "linestyle": (0, (4, 1.5))},
    "ix": {"color": "#666666", "linestyle": (0, (1, 1))},
    "clipped": {"color": "#888888", "linestyle": (0, (4, 1, 1, 1))},
}
_BANDS = ("el", "ls")
_SPELLED = "el: empirical likelihood\nls: log smoothing\nix: implicit exploration\nclipped: clipped ratios"
_COLORS = {name: str(style["color"]) for name, style in _BOUNDS.items()}
_LINE: dict[str, Any] = {"color": QUIET, "linewidth": 0.8, "zorder": 1}
_NOTE: dict[str, Any] = {"textcoords": "offset points", "color": QUIET, "fontsize": "small"}


def _fair(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows whose constants come from the ratios: every bound knows the same."""
    return frame[frame["constants"] == "ratios"]


def _rounds(ax: Axes, frame: pd.DataFrame) -> None:
    """The axis of n, with a tick at each power of ten."""
    low, high = float(frame["n"].min()), float(frame["n"].max())
    ax.set_xscale("log")
    if low < high:
        ax.set_xlim(low, high)
    powers = [10.0**k for k in range(10) if low <= 10.0**k <= high]
    ax.xaxis.set_major_locator(FixedLocator(powers if len(powers) > 1 else sorted({low, high})))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda n, _: f"{n:,.0f}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_xlabel("logged rounds $n$")


def plot_bounds(frame: pd.DataFrame, ax: Axes | None = None, which: int = 0) -> Axes:
    """Bounds on the value of one target of `analysis.value_from_logs`: means, and bands of nine logs in ten.

    Parameters
    ----------
    frame : pandas.DataFrame
        As `analysis.value_from_logs.value_from_logs` returns it.
    ax : matplotlib.axes.Axes, optional
        Where to draw; axes of a new figure by default.
    which : int
        Which of the frame's targets; the first names the bounds. Axes for one that the frame lacks are hidden.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn into.

    Examples
    --------
    >>> from analysis.value_from_logs import value_from_logs
    >>> plot_bounds(value_from_logs(rounds=(100, 200), logs=2)).get_title(loc="left")
    'nominal'
    """
    ax = new_axes(SIZE) if ax is None else ax
    names = frame["objective"].unique()
    if which >= len(names):
        ax.set_axis_off()
        return ax
    mine = frame[frame["objective"] == names[which]]
    _rounds(ax, frame)
    ax.set_ylim(-0.1 * frame["value"].max(), 1.12 * frame["value"].max())  # room for a name below zero
    ends = [frame["n"].min(), frame["n"].max()]
    for column, dash in (("value", "-"), ("behavior_value", ":")):
        ax.plot(ends, 2 * [mine[column].iloc[0]], linestyle=dash, **_LINE)
    ax.annotate("value", (ends[0], mine["value"].iloc[0]), (3, 2), **_NOTE)
    ax.annotate("value of μ", (ends[1], mine["behavior_value"].iloc[0]), (-3, -3), ha="right", va="top", **_NOTE)
    if which == 0:
        said = f"bands: 90% of {mine['logs'].iloc[0]} logs"
        ax.annotate(said, (1, 1), (0, 0), xycoords="axes fraction", ha="right", va="top", **_NOTE)
    if which == len(names) - 1:
        ax.annotate(_SPELLED, (1, 1), (0, 0), xycoords="axes fraction", ha="right", va="top", **_NOTE)
    for name, rows in _fair(mine).groupby("estimator", sort=False):
        style = _BOUNDS[str(name)]
        if name in _BANDS:
            ax.fill_between(rows["n"], rows["q05"], rows["q95"], color=style["color"], alpha=0.15, linewidth=0)
        ax.plot(rows["n"], rows["mean"], **style, label=str(name))
    if which == 0:
        label_curves(ax, _COLORS)
    ax.set_ylabel("lower bound, reward per round")
    ax.set_title(display_name(names[which]), loc="left")
    return ax


def plot_certified(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """The largest mean bound on each target: solid of all bounds, dashed of those that hold at every n.

    Parameters
    ----------
    frame : pandas.DataFrame
        As `analysis.value_from_logs.value_from_logs` returns it.
    ax : matplotlib.axes.Axes, optional
        Where to draw; axes of a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn into.

    Examples
    --------
    >>> from analysis.value_from_logs import value_from_logs
    >>> plot_certified(value_from_logs(rounds=(100, 200), logs=2)).get_title(loc="left")
    'Value certified'
    """
    ax = new_axes(SIZE) if ax is None else ax
    fair = _fair(frame)
    finite = fair[fair["guarantee"] == "finite-sample"]
    _rounds(ax, frame)
    ax.set_ylim(-0.1 * frame["value"].max(), 1.12 * frame["value"].max())
    colors, lowest = {}, frame["objective"].iloc[frame["value"].argmin()]
    for name in frame["objective"].unique():
        style, said = look(str(name)), display_name(name)
        colors[said] = style.color
        for rows, dash in ((fair, "-"), (finite, (0, (3, 1.5)))):
            best = rows[rows["objective"] == name].groupby("n")["mean"].max()
            named = (name == lowest) == (rows is finite)  # under the lowest pair, over the others
            how: dict[str, Any] = {"color": style.color, "linestyle": dash, "marker": "o", "markersize": 2.5}
            ax.plot(best.index, best, **how, label=said if named else f"_{name}")
    note = "solid: any bound\ndashed: valid at every $n$"
    ax.annotate(note, (1, 0.03), (-3, 0), xycoords="axes fraction", ha="right", **_NOTE)
    label_curves(ax, colors)
    ax.set_ylabel("best lower bound, reward per round")
    ax.set_title("Value certified", loc="left")
    return ax


def plot_choice(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Share of the logs in which the target of largest value has the largest bound; thin with the default constants.

    Parameters
    ----------
    frame : pandas.DataFrame
        As `analysis.value_from_logs.value_from_logs` returns it.
    ax : matplotlib.axes.Axes, optional
        Where to draw; axes of a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn into.

    Examples
    --------
    >>> from analysis.value_from_logs import value_from_logs
    >>> plot_choice(value_from_logs(rounds=(100, 200), logs=2)).get_title(loc="left")
    'Logs that choose nominal'
    """
    ax = new_axes(SIZE) if ax is None else ax
    bold = boldest(frame)
    _rounds(ax, frame)
    even = 1 / frame["objective"].nunique()
    ax.axhline(even, linestyle=":", **_LINE)
    ax.annotate("even", (frame["n"].max(), even), (-3, 2), ha="right", **_NOTE)
    ax.annotate("thin: default\nconstants", (1, 0.08), (-3, 0), xycoords="axes fraction", ha="right", **_NOTE)
    for (name, how), rows in frame[frame["objective"] == bold].groupby(["estimator", "constants"], sort=False):
        width, label = (1.4, str(name)) if how == "ratios" else (0.6, f"_{name}")
        ax.plot(rows["n"], rows["chosen"], **_BOUNDS[str(name)], linewidth=width, label=label)
    ax.set_ylim(-0.03, 1.03)
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, 0))
    label_curves(ax, _COLORS)
    ax.set_ylabel("share of logs")
    ax.set_title(f"Logs that choose {display_name(bold)}", loc="left")
    return ax


def plot_violations(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """How often a bound is above the value, all targets together, with two standard errors; dotted the level.

    Parameters
    ----------
    frame : pandas.DataFrame
        As `analysis.value_from_logs.value_from_logs` returns it.
    ax : matplotlib.axes.Axes, optional
        Where to draw; axes of a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn into.

    Examples
    --------
    >>> from analysis.value_from_logs import value_from_logs
    >>> plot_violations(value_from_logs(rounds=(100, 200), logs=2)).get_title(loc="left")
    'Bounds above the value'
    """
    ax = new_axes(SIZE) if ax is None else ax
    fair, delta, logs = _fair(frame), float(frame["delta"].iloc[0]), int(frame["logs"].iloc[0])
    noise = 2 * np.sqrt(delta * (1 - delta) / logs)
    _rounds(ax, frame)
    ax.axhspan(max(delta - noise, 0.0), delta + noise, color=QUIET, alpha=0.15, linewidth=0)
    ax.axhline(delta, linestyle=":", **_LINE)
    said = "gray: two standard errors about $\\delta$"
    ax.annotate(said, (1, 1), (0, 0), xycoords="axes fraction", ha="right", va="top", **_NOTE)
    rates = fair.groupby(["estimator", "n"], sort=False)["violations"].mean()
    for name, style in _BOUNDS.items():
        ax.plot(rates[name].index, rates[name], **style, label=name)
    top = 1.2 * max(delta + noise, rates.max())
    ax.set_ylim(-0.16 * top, top)
    ax.yaxis.set_major_locator(MaxNLocator(5))
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, 0))
    label_curves(ax, _COLORS)
    ax.set_ylabel("share of logs")
    ax.set_title("Bounds above the value", loc="left")
    return ax


PANELS = {
    **{letter: partial(plot_bounds, which=i) for i, letter in enumerate("ABC")},
    "D": plot_certified,
    "E": plot_choice,
    "F": plot_violations,
}
