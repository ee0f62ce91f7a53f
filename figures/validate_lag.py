"""Lag on a transformer and on its table: value over training, value, entropy and KL against lag, how they agree."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator

from analysis.validation import ends
from figures.labels import label_ends
from figures.style import INK, QUIET, look, panel, size

SIZE = size(2, 0.74)
MOSAIC = "ABC\nDEF"
_TITLES = {"model": "transformer", "table": "its table"}


def _over_training(frame: pd.DataFrame, source: str, ax: Axes | None) -> Axes:
    """Value against the step at the largest lag, mean over seeds with its standard error."""
    ax = panel(ax, SIZE, MOSAIC)
    runs = frame[(frame["stage"] == "run") & (frame["source"] == source)]
    lag, last = runs["lag"].max(), {}
    for name, part in runs[runs["lag"] == lag].groupby("objective", sort=False):
        style, by = look(str(name)), part.groupby("step")["value"]
        mean, error = by.mean(), by.sem().fillna(0.0)
        ax.plot(mean.index, mean, color=style.color, linestyle=style.linestyle, linewidth=1.1)
        ax.fill_between(mean.index, mean - error, mean + error, color=style.color, alpha=0.15, linewidth=0)
        last[str(name)] = float(mean.iloc[-1])
    ax.set_xlim(0, runs["step"].max())
    ax.set_xlabel("step")
    ax.set_ylabel("expected reward")
    ax.set_title(f"Value at lag {lag}, {_TITLES[source]}", fontsize=7.5)
    ax.grid(axis="y")
    label_ends(ax, last)
    return ax


def _against_lag(frame: pd.DataFrame, column: str, title: str, unit: str, ax: Axes | None) -> Axes:
    """A column of the transformer after the last step, against log2 of the lag; the table's as rings."""
    ax = panel(ax, SIZE, MOSAIC)
    rows, last = ends(frame), {}
    lags = np.sort(rows["lag"].unique())
    for name, part in rows.groupby("objective", sort=False):
        style = look(str(name))
        model, table = (part[part["source"] == source].sort_values("lag") for source in ("model", "table"))
        drawn: dict[str, Any] = {"color": style.color, "linestyle": style.linestyle, "marker": style.marker}
        ax.errorbar(
            np.log2(model["lag"]), model[column], model[f"{column}_error"], markersize=3, linewidth=1.1, **drawn
        )
        ax.plot(np.log2(table["lag"]), table[column], "o", mfc="none", mec=style.color, markersize=4.5, mew=0.6)
        last[str(name)] = float(model[column].iloc[-1])
    ax.xaxis.set_major_locator(FixedLocator(np.log2(lags).tolist()))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticklabels([f"{lag:g}" for lag in lags])
    ax.set_xlabel("lag, steps")
    ax.set_ylabel(unit)
    ax.set_title(title, fontsize=7.5)
    ax.grid(axis="y")
    label_ends(ax, last)
    return ax


def plot_model(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Value of the transformer over training at the largest lag of `llm.validation.parts.lag`.

    Parameters
    ----------
    frame : pandas.DataFrame
        As `llm.validation.parts.lag.lag` returns it.
    ax : matplotlib.axes.Axes, optional
        Where to draw; axes of a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
    """
    return _over_training(frame, "model", ax)


def plot_table(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Value of the tables over training at the largest lag. Parameters and result as `plot_model`."""
    return _over_training(frame, "table", ax)


def plot_agreement(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Value over training of the transformer against that of its table. Parameters and result as `plot_model`."""
    ax = panel(ax, SIZE, MOSAIC)
    wide = ends(frame).pivot(index=["lag", "objective"], columns="source", values="gain").reset_index()
    lags = np.sort(wide["lag"].unique())
    for place, (_, part) in enumerate(wide.groupby("lag")):
        points = 2.5 + 3.5 * place / max(len(lags) - 1, 1)
        for name, x, y in zip(part["objective"], part["table"], part["model"], strict=True):
            style = look(str(name))
            ax.plot(x, y, style.marker, color=style.color, markersize=points, mew=0, alpha=0.8)
    said = "larger: more lag"
    ax.text(0.03, 0.97, said, transform=ax.transAxes, va="top", color=QUIET, fontsize=6.0)
    ax.axline((wide["table"].mean(), wide["table"].mean()), slope=1, color=INK, linewidth=0.5)
    ax.set_xlabel("table: value over training")
    ax.set_ylabel("transformer: value over training")
    ax.set_title("Agreement", fontsize=7.5)
    return ax


def plot_value(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Value after the last step against lag. Parameters and result as `plot_model`."""
    return _against_lag(frame, "value", "Value, last step; rings: table", "expected reward", ax)


def plot_entropy(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Entropy after the last step against lag. Parameters and result as `plot_model`."""
    return _against_lag(frame, "entropy", "Entropy, last step", "nats", ax)


def plot_kl(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """KL of the policy to the start after the last step against lag. Parameters and result as `plot_model`."""
    return _against_lag(frame, "kl", "KL to the start, last step", r"KL$(\pi\,\|\,\pi_0)$, nats", ax)


PANELS = {
    "A": plot_model,
    "B": plot_table,
    "C": plot_agreement,
    "D": plot_value,
    "E": plot_entropy,
    "F": plot_kl,
}
