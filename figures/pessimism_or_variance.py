"""Pessimism or variance: the truncation dial moves both, four cells tell them apart."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from figures.labels import label_curves
from figures.style import INK, QUIET, panel, plot_with_error, rollouts_color, size

SIZE = size(2, 0.66)
MOSAIC = "AB\nCD"
# No colors of objectives: greys, and for numbers of rollouts those of `figures.style`.
_ESTIMATORS = {"importance-weighted": (QUIET, (0, (4, 1.5)), "o"), "ratio-free": (INK, "-", "s")}
_ALONG = {
    "noise_near": ("0.9 of the way", INK, "-"),
    "noise_halfway": ("halfway", "#505050", (0, (4, 1.5))),
    "noise_start": ("at the behavior", QUIET, (0, (1, 1))),
}


def _n_colors(frame: pd.DataFrame) -> dict[int, str]:
    ns = sorted({int(frame["rollouts"].min()), int(frame["rollouts"].max())})
    return {n: rollouts_color(n) for n in ns}


def _values(ax: Axes) -> None:
    """Ticks inside the limits alone, so that none is laid out that is not drawn."""
    low, high = ax.get_ylim()
    ax.yaxis.set_major_locator(FixedLocator([float(tick) for tick in ax.get_yticks() if low <= tick <= high]))
    ax.set_ylim(low, high)
    ax.set_ylabel("true value minus that of μ")


def _caps(ax: Axes, dial: pd.DataFrame) -> None:
    ax.set_xscale("log")
    least, most = dial["cap"].min(), dial["cap"].max()
    ax.set_xlim(least, most)
    ax.xaxis.set_major_locator(FixedLocator([10.0**k for k in range(-9, 10) if least <= 10.0**k <= most]))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.grid(axis="y")
    ax.set_xlabel("cap of the weights (left: Lambert, right: nominal)")


def plot_dial_value(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Improvement of the true value against the cap of truncated weights, for few and for many rollouts."""
    ax = panel(ax, SIZE, MOSAIC)
    dial = frame[frame["objective"] == "truncated_is"]
    colors = {}
    for n, color in _n_colors(frame).items():
        plot_with_error(ax, dial[dial["rollouts"] == n], "cap", color, f"n = {n}")
        colors[f"n = {n}"] = color
    ax.axhline(0.0, color=QUIET, linewidth=0.8)
    _caps(ax, dial)
    ax.set_title("truncation dial: value")
    _values(ax)
    label_curves(ax, colors)
    return ax


def plot_dial_noise(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Noise of the one-sample gradient against the cap, at three policies between behavior and target.

    The dip near the target, where its largest ratios meet the cap, is the signal's: see the study.
    """
    ax = panel(ax, SIZE, MOSAIC)
    dial = frame[(frame["objective"] == "truncated_is") & (frame["rollouts"] == frame["rollouts"].min())]
    colors = {}
    for column, (name, color, dash) in _ALONG.items():
        ax.plot(dial["cap"], dial[column], color=color, linestyle=dash, label=name)
        colors[name] = color
    least, most = dial[list(_ALONG)].to_numpy().min(), dial[list(_ALONG)].to_numpy().max()
    ax.set_yscale("log")
    ax.set_ylim(least / 2, most * 2)
    ax.yaxis.set_major_locator(FixedLocator([10.0**k for k in range(-3, 9) if least / 2 <= 10.0**k <= most * 2]))
    ax.yaxis.set_minor_locator(NullLocator())
    _caps(ax, dial)
    ax.set_title("truncation dial: noise")
    ax.set_ylabel("variance / signal²")
    label_curves(ax, colors)
    return ax


def _cells(ax: Axes, frame: pd.DataFrame, n: int, column: str, estimator: str, color: str, name: str) -> None:
    rows = frame[(frame["rollouts"] == n) & (frame["estimator"] == estimator)].set_index("target")
    _, dash, marker = _ESTIMATORS[estimator]
    hollow = estimator == "importance-weighted"
    (line,) = ax.plot([0, 1], rows.loc[["nominal", "Lambert"], column], color=color, linestyle=dash, label=name)
    line.set(marker=marker, markersize=8 if hollow else 4, markerfacecolor="none" if hollow else color)


def _named(ax: Axes, below: bool) -> None:
    """Write the names of the cells' lines half way between the targets, clear of the markers."""
    for line in ax.get_lines():
        if not str(line.get_label()).startswith("_"):
            ends = ax.transScale.transform(line.get_xydata())
            x, y = ax.transScale.inverted().transform(ends.mean(axis=0))
            ha, offset = ("left", (8, -5)) if below else ("center", (0, 5))
            va = "top" if below else "bottom"
            color = line.get_color()
            ax.annotate(
                str(line.get_label()),
                (float(x), float(y)),
                offset,
                textcoords="offset points",
                ha=ha,
                va=va,
                color=color,
            )


def _targets(ax: Axes) -> None:
    ax.set_xlim(-0.25, 1.25)
    ax.set_xticks([0, 1], ["nominal target", "Lambert target"])
    ax.grid(axis="y")


def plot_cells_value(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Improvement by target; hollow circles are importance-weighted, squares ratio-free, for few and many rollouts."""
    ax = panel(ax, SIZE, MOSAIC)
    for n, color in _n_colors(frame).items():
        for estimator in _ESTIMATORS:
            name = f"n = {n}" if estimator == "ratio-free" else f"_{n}"
            _cells(ax, frame, n, "improvement", estimator, color, name)
    ax.axhline(0.0, color=QUIET, linewidth=0.8, zorder=0, label="_zero")
    _targets(ax)
    ax.set_title("value by target (circles: with ratios)")
    _values(ax)
    _named(ax, below=True)
    return ax


def plot_cells_noise(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Noise halfway to the target, by target and estimator."""
    ax = panel(ax, SIZE, MOSAIC)
    for estimator, (color, _, _) in _ESTIMATORS.items():
        _cells(ax, frame, int(frame["rollouts"].min()), "noise_halfway", estimator, color, estimator)
    cells = frame.loc[frame["target"] != "between", "noise_halfway"]
    ax.set_yscale("log")
    ax.set_ylim(cells.min() / 2, cells.max() * 2)
    ticks = [m * 10.0**k for k in range(-3, 9) for m in (1, 2, 5) if cells.min() / 2 <= m * 10.0**k <= cells.max() * 2]
    ax.yaxis.set_major_locator(FixedLocator(ticks))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    _targets(ax)
    ax.set_title("noise by target and estimator")
    ax.set_ylabel("variance / signal², halfway")
    _named(ax, below=False)
    return ax


PANELS = {"A": plot_dial_value, "B": plot_dial_noise, "C": plot_cells_value, "D": plot_cells_noise}
