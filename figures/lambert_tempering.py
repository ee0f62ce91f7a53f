"""The Lambert-tempered ratio and its local temperature, against A/beta at given curvatures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from figures.style import INK, QUIET, new_axes, size, times

SIZE = size(1, 1.28)
MOSAIC = "A\nB"
_NEGATIVE, _NOMINAL = "#D55E00", "#000000"
_BLUES = ("#56B4E9", "#0072B2", "#003B5C", "#001A29")  # rising kappa
_SHOWN = -3.2  # lowest temperature shown; that of W₋₁ falls without end
# Where the branches of a negative kappa are named: the -kappa w there, offset in points, alignment.
_BESIDE = {
    ("ratio", 0): (0.5, (-8, 5), "right"),
    ("ratio", -1): (5.5, (0, 9), "center"),
    ("local_temperature", 0): (0.15, (-4, -15), "right"),
    ("local_temperature", -1): (2.8, (6, 0), "left"),
}


def _colors(frame: pd.DataFrame) -> dict[float, str]:
    """A color for each kappa: warm below 0, black at 0, darker blue as it rises."""
    kappas = sorted(frame["kappa"].unique())
    rising = dict(zip([k for k in kappas if k > 0], _BLUES * len(kappas), strict=False))
    return {k: rising.get(k, _NEGATIVE if k < 0 else _NOMINAL) for k in kappas}


def _curves(frame: pd.DataFrame) -> Iterator[tuple[float, int, pd.DataFrame]]:
    """Kappa, branch and points up to the branch point of each curve."""
    ends = frame[frame["point"] == "branch_point"]
    curves = frame[frame["point"] == "curve"]
    for kappa, branch in curves[["kappa", "branch"]].drop_duplicates().itertuples(index=False, name=None):
        rows = curves[(curves["kappa"] == kappa) & (curves["branch"] == branch)]
        yield kappa, branch, pd.concat([rows, ends[ends["kappa"] == kappa]])


def _name(ax: Axes, kappa: float, branch: int, curve: pd.DataFrame, column: str, color: str) -> None:
    """Positive kappas at the right end of their curves, negative ones beside their branch."""
    text = f"κ = {kappa:g}".replace("-", "−")
    style: dict[str, Any] = {"color": color, "textcoords": "offset points", "va": "center_baseline"}
    if kappa >= 0:
        last = curve.iloc[-1]
        ax.annotate(text, (last["z"], last[column]), (4, 0), annotation_clip=False, **style)
        return
    text += ", W₀" if branch == 0 else ", W₋₁"
    at, offset, ha = _BESIDE[column, branch]
    place = curve.iloc[int(np.abs(-kappa * curve["ratio"].to_numpy() - at).argmin())]
    ax.annotate(text, (place["z"], place[column]), offset, ha=ha, **style)


def _draw(ax: Axes, frame: pd.DataFrame, column: str) -> None:
    """All curves with their names, their branch points and the points of w = 2."""
    colors, curves = _colors(frame), frame[frame["point"] == "curve"]
    low, high = curves["z"].min(), curves["z"].max()
    for kappa, branch, curve in _curves(frame):
        ax.plot(curve["z"], curve[column], color=colors[kappa], linestyle="-" if branch == 0 else "--")
        _name(ax, kappa, branch, curve, column, colors[kappa])
    for point, face in (("branch_point", "white"), ("doubled", None)):
        rows = frame[(frame["point"] == point) & frame["z"].between(low, high)]
        edge = [colors[kappa] for kappa in rows["kappa"]]
        ax.scatter(rows["z"], rows[column], s=16, facecolor=face or edge, edgecolor=edge, linewidth=1.0, zorder=4)
    ax.set_xlim(low, high)
    ax.set_xlabel(r"advantage over temperature, $A/\beta$")


def _within(frame: pd.DataFrame) -> pd.DataFrame:
    """The curves and where their branches meet: a mass may double beyond the advantages drawn."""
    return frame[frame["point"] != "doubled"]


def plot_ratio(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Ratio w against A/beta of `analysis.lambert_tempering`: both branches, branch points open, w = 2 filled.

    Parameters
    ----------
    frame : pandas.DataFrame
        As `analysis.lambert_tempering.lambert_tempering` returns it.
    ax : matplotlib.axes.Axes, optional
        Where to draw; axes of a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn into.

    Examples
    --------
    >>> from analysis.lambert_tempering import lambert_tempering
    >>> plot_ratio(lambert_tempering(n=9)).get_yscale()
    'log'
    """
    ax = new_axes(SIZE) if ax is None else ax
    ax.set_yscale("log")
    ax.axhline(2.0, color=QUIET, linewidth=0.6, linestyle=":", zorder=1)
    _draw(ax, frame, "ratio")
    ratios = _within(frame)["ratio"]
    lowest, highest = ratios.min(), max(ratios.max(), 2.0)
    ax.set_ylim(lowest / 2, 2 * highest)
    ax.text(0.02, 2.2, "mass doubles", transform=ax.get_yaxis_transform(), color=QUIET, fontsize="small")
    ax.yaxis.set_major_locator(LogLocator(10, numticks=6))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(times)
    ax.set_ylabel(r"ratio, $w = \pi/\mu$")
    ax.set_title("Mass that an action gains", loc="left")
    return ax


def plot_temperature(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Local temperature 1 + kappa w against A/beta of `analysis.lambert_tempering`, in units of beta.

    Parameters
    ----------
    frame : pandas.DataFrame
        As `analysis.lambert_tempering.lambert_tempering` returns it.
    ax : matplotlib.axes.Axes, optional
        Where to draw; axes of a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn into.

    Examples
    --------
    >>> from analysis.lambert_tempering import lambert_tempering
    >>> plot_temperature(lambert_tempering(n=9)).get_title(loc="left")
    'Temperature that it feels'
    """
    ax = new_axes(SIZE) if ax is None else ax
    ax.axhline(0.0, color=INK, linewidth=0.6, zorder=1)
    _draw(ax, frame, "local_temperature")
    lowest, highest = (float(at) for at in _within(frame)["local_temperature"].agg(["min", "max"]))
    ax.set_ylim(max(min(lowest - 0.2, -0.2), _SHOWN), max(1.1 * highest, 2.0))
    note = "filled: mass doubles\nopen: branches meet"
    ax.text(0.02, 0.97, note, transform=ax.transAxes, va="top", color=QUIET, fontsize="small")
    ax.yaxis.set_major_locator(MaxNLocator(7))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×".replace("-", "−")))
    ax.set_ylabel(r"$(dA/du)\,/\,\beta = 1 + \kappa w$")
    ax.set_title("Temperature that it feels", loc="left")
    return ax


PANELS = {"A": plot_ratio, "B": plot_temperature}
