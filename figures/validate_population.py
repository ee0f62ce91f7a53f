"""A transformer trained to the end: distance to the induced target, kappa, and the minima of the negative regime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullLocator

from analysis.validation import LIMIT, SETTLED, labels
from figures.style import INK, QUIET, look, panel, size

SIZE = size(2, 0.82)
MOSAIC = "AB\nCD"
_LEAST = 1e-6  # left end of the axis of total variation; nearer ones are drawn there
# How each start is drawn, in this order.
_STARTS = {
    "behavior": ("o", "#000000"),
    "right": ("^", "#009E73"),
    "wrong": ("v", "#D55E00"),
    "empty": ("s", "#0072B2"),
}


def _targets(frame: pd.DataFrame) -> pd.DataFrame:
    rows = frame[frame["kind"] == "target"]
    return rows.assign(label=labels(rows))


def plot_distance(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Total variation of the trained policies from their target, beside those of the target from two other policies.

    Parameters
    ----------
    frame : pandas.DataFrame
        As `llm.validation.parts.population.population` returns it.
    ax : matplotlib.axes.Axes, optional
        Where to draw; axes of a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn into.
    """
    ax = panel(ax, SIZE, MOSAIC)
    rows = _targets(frame)
    labels = list(dict.fromkeys(rows["label"]))
    drawn = {"tv_behavior": ("|", QUIET, 5.0), "tv_nominal": ("x", QUIET, 3.0), "tv": ("", "", 3.4)}
    for place, shown in enumerate(labels):
        part = rows[rows["label"] == shown]
        style = look(str(part["objective"].iloc[0]))
        spread = np.linspace(-0.2, 0.2, len(part)) if len(part) > 1 else np.zeros(1)
        for column, (marker, color, points) in drawn.items():
            values = part[column].to_numpy()
            kept = (values > _LEAST) | (column == "tv")
            how: dict[str, Any] = {"color": color or style.color, "marker": marker or style.marker}
            x = np.maximum(values[kept], _LEAST)
            if kept.any():  # a line without points would claim room at the origin of the figure
                ax.plot(x, place + spread[kept], linestyle="none", markersize=points, clip_on=False, **how)
    ax.axvline(LIMIT, color=INK, linewidth=0.8, linestyle=(0, (3, 2)), zorder=0)
    ax.set_xscale("log")
    ax.set_xlim(_LEAST, 1.0)
    ax.xaxis.set_major_locator(LogLocator(numticks=9))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_yticks(range(len(labels)), labels)
    ax.set_ylim(len(labels) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x")
    ax.set_xlabel("TV: color trained, × nominal, | behavior")
    ax.set_title("Distance from the induced target")
    return ax


def plot_kappa(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Kappa measured on the trained policies against the one predicted. Parameters and result as `plot_distance`."""
    ax = panel(ax, SIZE, MOSAIC)
    rows = frame[frame["kind"].isin(["target", "descent"]) & frame["kappa_fit"].notna()]
    rows = rows[(rows["kind"] == "target") | (rows["tv"] <= SETTLED)]
    low, high = min(0.0, float(rows["kappa"].min())), float(rows["kappa"].max())
    room = 0.06 * (high - low)
    ax.plot([low - room, high + room], [low - room, high + room], color=QUIET, linewidth=0.8, zorder=0)
    for name, part in rows.groupby("objective", sort=False):
        style = look(str(name))
        for kind, face in (("target", style.color), ("descent", "white")):
            some = part[part["kind"] == kind]
            how: dict[str, Any] = {"markerfacecolor": face, "markersize": 3.4, "color": style.color}
            ax.errorbar(
                some["kappa"], some["kappa_fit"], 2 * some["kappa_fit_error"], fmt=style.marker, elinewidth=0.8, **how
            )
    ax.set_xlim(low - room, high + room)
    ax.set_ylim(low - room, high + room)
    ax.set_xlabel("predicted κ")
    ax.set_ylabel("measured κ")
    ax.set_title("κ; white: negative regime")
    ax.grid()
    return ax


def plot_minima(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Loss of the enumerated minima against the probability of the completion that takes the surplus.

    The minima with all completions on W_0 are at the right. Filled marks are policies within 0.01 of a minimum, open
    ones between minima. Parameters and result as `plot_distance`.
    """
    ax = panel(ax, SIZE, MOSAIC)
    descents, minima = (frame[frame["kind"] == kind] for kind in ("descent", "minimum"))
    minima = minima[minima["branch"] == "W_-1"]
    ax.plot(minima["completion_behavior"], minima["loss"], ".", color="#b5b5b5", markersize=2.0, zorder=1)
    aside = 1e6
    for place, (start, part) in enumerate(descents.groupby("start", sort=False)):
        marker, color = _STARTS[str(start)]
        x = part["completion_behavior"].fillna(aside * 10.0 ** (1.2 * place))
        for settled, face in ((True, color), (False, "white")):
            some = (part["tv"] <= SETTLED) == settled
            how: dict[str, Any] = {"markerfacecolor": face, "markersize": 4.2, "color": color}
            if some.any():
                ax.plot(x[some], part.loc[some, "loss"], linestyle="none", marker=marker, clip_on=False, **how)
        ax.plot([], [], linestyle="none", marker=marker, color=color, markersize=4.2, label=f"from {start}")
    ax.legend(loc="lower right", fontsize=6.5, handletextpad=0.2, borderaxespad=0.2)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ticks = [10.0**power for power in range(-27, 1, 9)]
    ax.set_xlim(min(1e-28, float(minima["completion_behavior"].min()) / 10), aside * 1e5)
    ax.set_xticks([*ticks, aside * 10**1.8], [*(f"$10^{{{round(np.log10(t))}}}$" for t in ticks), "W₀ only"])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel("behavior probability of the completion on W₋₁")
    ax.set_ylabel(r"loss, $E_\mu[(A - \beta u)^2]$")
    ax.set_title("Minima (gray) and those reached")
    return ax


def plot_reached(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """The completion that takes the surplus in the minimum nearest to each policy reached, by loss and start.

    Gray: the policy is not in it yet.

    Parameters and result as `plot_distance`.
    """
    ax = panel(ax, SIZE, MOSAIC)
    rows = frame[frame["kind"] == "descent"]
    rows = rows.assign(
        loss=[f"{prompt} β={beta:g}" for prompt, beta in zip(rows["prompt"], rows["beta"], strict=True)],
        minimum=rows["completion"].where(rows["branch"] != "W_0", "W₀"),
        between=rows["tv"] > SETTLED,
    )
    table = rows.pivot(index="loss", columns="start", values=["between", "minimum"])
    table = table.loc[rows["loss"].unique()].reindex(columns=rows["start"].unique(), level="start")
    how: dict[str, Any] = {"cmap": ["white", "#dddddd"], "vmin": 0, "vmax": 1, "linewidths": 1, "cbar": False}
    said: dict[str, Any] = {"annot": table["minimum"], "fmt": "", "annot_kws": {"fontsize": 6.5, "color": INK}}
    sns.heatmap(table["between"].astype(float), ax=ax, **how, **said)
    ax.set(xlabel="trained from", ylabel="", title="Minimum reached (gray: not yet)")
    ax.tick_params(length=0, rotation=0)
    return ax


PANELS = {"A": plot_distance, "B": plot_kappa, "C": plot_minima, "D": plot_reached}
