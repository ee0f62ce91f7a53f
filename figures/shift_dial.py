"""The shift of the mean as a dial: true value against the shift, and the best shift against the data."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from figures.labels import label_curves
from figures.style import INK, QUIET, look, panel, plot_with_error, rollouts_color, size

SIZE = size(2, 0.66)
MOSAIC = "AB\nCD"
_SHOWN = 5  # numbers of rollouts drawn
_WORLDS = {"competent": (INK, "-", "o"), "uninformed": (QUIET, (0, (4, 1.5)), "s")}


def _shown(frame: pd.DataFrame) -> list[int]:
    """At most five numbers of rollouts, spread over all."""
    ns = np.sort(frame["rollouts"].unique())
    at = np.unique(np.linspace(0, len(ns) - 1, min(_SHOWN, len(ns))).round().astype(int))
    return [int(n) for n in ns[at]]


def plot_dial(frame: pd.DataFrame, ax: Axes | None = None, world: str = "competent") -> Axes:
    """Improvement of the true value against the shift, a curve per number of rollouts; dots: best of other logs."""
    ax = panel(ax, SIZE, MOSAIC)
    part = frame[frame["world"] == world]
    colors = {}
    for n in _shown(frame):
        rows, color = part[part["rollouts"] == n], rollouts_color(n)
        plot_with_error(ax, rows, "shift", color, f"n = {n}")
        best = rows[rows["best"]]
        ax.plot(best["shift"], best["improvement"], "o", color=color, markersize=4.5, label="_best", clip_on=False)
        colors[f"n = {n}"] = color
    ax.axhline(0.0, color=QUIET, linewidth=0.8)
    top = (part["improvement"] + 2 * part["standard_error"]).max()
    bottom = min(0.0, (part["improvement"] - 2 * part["standard_error"]).min())
    ax.set_ylim(bottom - 0.08 * (top - bottom), top + 0.08 * (top - bottom))
    ax.set_xlim(frame["shift"].min(), frame["shift"].max())
    ax.grid(axis="y")
    ax.set_title(f"{world} behavior (dots: best shift)")
    ax.set_xlabel("shift c of the mean, temperatures")
    ax.set_ylabel("true value minus that of μ")
    label_curves(ax, colors)
    return ax


def _rollouts(ax: Axes, frame: pd.DataFrame) -> None:
    ns = np.sort(frame["rollouts"].unique())
    ax.set_xscale("log", base=2)
    ax.set_xlim(ns[0] / 1.2, ns[-1] * 1.2)
    ax.xaxis.set_major_locator(FixedLocator([float(n) for n in (ns if len(ns) < 6 else ns[::2])]))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.grid(axis="y")
    ax.set_xlabel("rollouts n of the behavior")


def plot_best(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Best shift of the grid, on the logs that choose it, against the number of rollouts, in both worlds."""
    ax = panel(ax, SIZE, MOSAIC)
    for world, (color, dash, marker) in reversed(_WORLDS.items()):  # circles over squares
        rows = frame[frame["best"] & (frame["world"] == world)].sort_values("rollouts")
        (line,) = ax.plot(rows["rollouts"], rows["shift"], color=color, linestyle=dash, marker=marker, label=world)
        line.set(markersize=3.5, clip_on=False)
    ax.set_ylim(-0.06 * frame["shift"].max(), 1.06 * frame["shift"].max())
    _rollouts(ax, frame)
    ax.set_title("best shift of the grid")
    ax.set_ylabel("best shift c, temperatures")
    label_curves(ax, {world: look[0] for world, look in _WORLDS.items()})
    return ax


def plot_value(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Improvement against the number of rollouts under a competent behavior: nominal, mean, largest shift."""
    ax = panel(ax, SIZE, MOSAIC)
    part = frame[frame["world"] == "competent"]
    first, last = part["shift"].min(), part["shift"].max()
    lines = {
        "nominal": (part[part["shift"] == first].assign(improvement=lambda rows: rows["nominal"]), look("nominal")),
        f"c = {first:g}": (part[part["shift"] == first], look("kimi")),
        f"c = {last:g}": (part[part["shift"] == last], look("shifted_mean")),
    }
    for name, (rows, style) in lines.items():
        ax.plot(rows["rollouts"], rows["improvement"], color=style.color, linestyle=style.linestyle, label=name)
    ax.axhline(0.0, color=QUIET, linewidth=0.8)
    _rollouts(ax, frame)
    ax.set_title("competent behavior: what the data allow")
    ax.set_ylabel("true value minus that of μ")
    label_curves(ax, {name: style.color for name, (_, style) in lines.items()})
    return ax


PANELS = {"A": plot_dial, "B": partial(plot_dial, world="uninformed"), "C": plot_best, "D": plot_value}
