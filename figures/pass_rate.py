"""Effective temperature against pass rate: how cautious each objective is on hard and on easy prompts."""

from __future__ import annotations

import textwrap

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from figures.labels import label_curves
from figures.style import QUIET, look, new_axes, size

SIZE = size(2, 0.54)
_LIMITS = (0.25, 16.0)


def _note(ax: Axes, points: pd.DataFrame, curves: pd.DataFrame) -> None:
    """What the curves assume and what the points are, in the empty corner."""
    settings = [setting for setting in curves["setting"].unique() if not setting.startswith("nominal")]
    lines = []
    if len(points):
        one = points[points["objective"] == points["objective"].iloc[0]]
        silent = int(one.loc[one["pessimism_factor"].isna(), "groups"].sum())
        without = f"; {silent} more have equal rewards only" if silent else ""
        lines.append(f"points: {one['groups'].sum() - silent} logged prompt groups, area as their number{without}")
    lines += textwrap.wrap("curves: " + "; ".join(settings), 72)
    ax.text(0.02, 0.03, "\n".join(lines), transform=ax.transAxes, va="bottom", color=QUIET, fontsize="small")


def plot_pass_rate(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Curves and logged prompt groups of `analysis.pass_rate.pass_rate`, in units of each objective's temperature.

    Parameters
    ----------
    frame : pandas.DataFrame
        As `analysis.pass_rate.pass_rate` returns it.
    ax : matplotlib.axes.Axes, optional
        Where to draw; axes of a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes

    Examples
    --------
    >>> from analysis.pass_rate import pass_rate
    >>> plot_pass_rate(pass_rate(logs=None, n=19)).get_xlabel()
    'pass rate p of the behavior policy'
    """
    ax = new_axes(SIZE) if ax is None else ax
    curves, points = (frame[frame["kind"] == kind] for kind in ("curve", "group"))
    for name, curve in curves.groupby("objective", sort=False):
        style = look(str(name))
        ax.plot(
            curve["pass_rate"],
            curve["pessimism_factor"],
            color=style.color,
            linestyle=style.linestyle,
            label=str(name),
        )
    for name, point in points.groupby("objective", sort=False):
        style = look(str(name))
        seen = point[point["pessimism_factor"].notna()]
        ax.scatter(
            seen["pass_rate"],
            seen["pessimism_factor"],
            s=6 + 2 * seen["groups"],
            marker=style.marker,
            facecolor=style.color,
            edgecolor="white",
            linewidth=0.5,
            zorder=3,
        )
    ax.set_yscale("log", base=2)
    ax.set_ylim(*_LIMITS)
    ax.set_xlim(0.0, 1.0)
    ax.yaxis.set_major_locator(FixedLocator([2.0**k for k in range(-2, 5)]))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
    ax.grid(axis="y")
    label_curves(ax, {str(name): look(str(name)).color for name in curves["objective"].unique()})
    _note(ax, points, curves)
    ax.set_xlabel("pass rate p of the behavior policy")
    ax.set_ylabel(r"effective / stated temperature, $\beta_{\mathrm{eff}}\,/\,\beta$")
    return ax


PANELS = {"A": plot_pass_rate}
