"""Group size: pessimism factor at three pass rates, shares of regimes and log Z, against G."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from figures.labels import label_curves
from figures.style import INK, QUIET, Look, look, panel, size, times

SIZE = size(2, 0.62)
MOSAIC = "ABC\nDEF"
_LOOKS = {
    "V*": look("optimal_value"),
    "mean": look("kimi"),
    "leave-one-out mean": Look(look("kimi").color, (0, (4, 1.5))),
    "shifted mean": look("shifted_mean"),
}
_SHORT = {"V*": "V*", "mean": "mean", "leave-one-out mean": "leave one out", "shifted mean": "shifted mean"}
_RATES = ((INK, "-"), ("#505050", (0, (4, 1.5))), (QUIET, (0, (1, 1))))  # no colors of objectives


def _rate(frame: pd.DataFrame, which: int) -> float:
    """The lowest, the middle or the highest pass rate."""
    rates = np.sort(frame["pass_rate"].unique())
    return float(rates[(0, len(rates) // 2, -1)[which]])


def _sizes(ax: Axes, frame: pd.DataFrame) -> None:
    sizes = frame["group_size"]
    ax.set_xscale("log", base=2)
    ax.set_xlim(sizes.min() / 1.12, sizes.max() * 1.12)
    ax.xaxis.set_major_locator(FixedLocator([2.0**k for k in range(1, 12) if sizes.min() <= 2.0**k <= sizes.max()]))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.grid(axis="y")
    ax.set_xlabel("completions a prompt, G")


def _curves(ax: Axes, part: pd.DataFrame, column: str, baselines: Iterable[str]) -> dict[str, str]:
    colors: dict[str, str] = {}
    for name in baselines:
        rows, style = part[part["baseline"] == name], _LOOKS[name]
        ax.plot(rows["group_size"], rows[column], color=style.color, linestyle=style.linestyle, label=_SHORT[name])
        colors[_SHORT[name]] = style.color
    return colors


def plot_factor(frame: pd.DataFrame, ax: Axes | None = None, which: int = 0) -> Axes:
    """Pessimism factor of the population's target against G at the lowest (0), middle or highest pass rate."""
    ax = panel(ax, SIZE, MOSAIC)
    part = frame[frame["pass_rate"] == _rate(frame, which)]
    colors = _curves(ax, part, "pessimism_factor", _LOOKS)
    ax.set_yscale("log", base=2)
    highest = int(np.ceil(np.log2(frame["pessimism_factor"].max()) + 0.1))
    ax.set_ylim(0.72, 2.0**highest)
    ax.yaxis.set_major_locator(FixedLocator([2.0**k for k in range(highest + 1)]))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(times)
    _sizes(ax, part)
    ax.set_title(f"pass rate p = {_rate(frame, which):g}")
    if which == 0:
        ax.set_ylabel(r"pessimism factor, $\beta_{\mathrm{eff}}\,/\,\beta$")
    if which == 2:  # on easy prompts the two means are too close to the rest for names beside them
        colors = {name: color for name, color in colors.items() if name in ("V*", "shifted mean")}
    label_curves(ax, colors)
    return ax


def _by_rate(ax: Axes, part: pd.DataFrame, column: str) -> dict[str, str]:
    colors: dict[str, str] = {}
    for which, (color, dash) in enumerate(_RATES[: part["pass_rate"].nunique()]):
        p = _rate(part, which)
        rows = part[part["pass_rate"] == p]
        ax.plot(rows["group_size"], rows[column], color=color, linestyle=dash, label=f"p = {p:g}")
        colors[f"p = {p:g}"] = color
    return colors


def plot_shares(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Share of the groups whose own mean puts them in the positive regime; the rest is at the boundary."""
    ax = panel(ax, SIZE, MOSAIC)
    part = frame[frame["baseline"] == "mean"]
    colors: dict[str, str] = {}
    rates = np.sort(part["pass_rate"].unique())
    for p in rates:
        same = rates[np.isclose(np.minimum(rates, 1 - rates), min(p, 1 - p))]
        name = "p = " + " or ".join(f"{q:g}" for q in same)
        if name in colors:
            continue
        rows = part[part["pass_rate"] == p]
        color, dash = _RATES[len(colors) % len(_RATES)]
        ax.plot(rows["group_size"], 100 * rows["positive"], color=color, linestyle=dash, label=name)
        colors[name] = color
    _sizes(ax, part)
    ax.set_ylim(0, 104)
    ax.set_title("groups by themselves, mean")
    ax.set_ylabel("in the positive regime, %")
    label_curves(ax, colors)
    return ax


def plot_optimal(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Log Z of the population when the baseline is V* of the group: negative, towards 0 from below."""
    ax = panel(ax, SIZE, MOSAIC)
    part = frame[frame["baseline"] == "V*"]
    colors = _by_rate(ax, part, "log_z")
    ax.axhline(0.0, color=QUIET, linewidth=0.8)
    ax.set_ylim(1.12 * part["log_z"].min(), 0.06 * abs(part["log_z"].min()))
    _sizes(ax, part)
    ax.set_title("population, V*")
    ax.set_ylabel("log Z, nats")
    label_curves(ax, colors)
    return ax


def plot_means(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Log Z of the population under the means at the middle pass rate: positive at every G."""
    ax = panel(ax, SIZE, MOSAIC)
    p = _rate(frame, 1)
    part = frame[frame["pass_rate"] == p]
    colors = _curves(ax, part, "log_z", [name for name in _LOOKS if name != "V*"])
    ax.set_ylim(0, 1.12 * part["log_z"].max())
    _sizes(ax, part)
    ax.set_title(f"population, means, p = {p:g}")
    ax.set_ylabel("log Z, nats")
    label_curves(ax, colors)
    return ax


PANELS = {
    "A": plot_factor,
    "B": partial(plot_factor, which=1),
    "C": partial(plot_factor, which=2),
    "D": plot_shares,
    "E": plot_optimal,
    "F": plot_means,
}
