"""Lag on a transformer and on its table: value over training, value, entropy and KL against lag, how they agree."""

from __future__ import annotations

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from analysis.validation import ends
from figures.labels import label_ends
from figures.style import INK, QUIET, panel, seaborn_looks, size

SIZE = size(2, 0.74)
MOSAIC = "ABC\nDEF"
_TITLES = {"model": "transformer", "table": "its table"}


def _over_training(frame: pd.DataFrame, source: str, ax: Axes | None) -> Axes:
    """Value against the step at the largest lag, mean over seeds with its standard error."""
    ax = panel(ax, SIZE, MOSAIC)
    runs = frame[(frame["stage"] == "run") & (frame["source"] == source)]
    lag, last = runs["lag"].max(), runs["step"].max()
    runs = runs[runs["lag"] == lag]
    looks = seaborn_looks(runs["objective"].unique(), lines=True) | {"markers": False}
    band = {"alpha": 0.15, "linewidth": 0}
    sns.lineplot(runs, x="step", y="value", errorbar="se", err_kws=band, linewidth=1.1, ax=ax, **looks)
    ax.set_xlim(0, last)
    ax.set_xlabel("step")
    ax.set_ylabel("expected reward")
    ax.set_title(f"Value at lag {lag}, {_TITLES[source]}", fontsize=7.5)
    ax.grid(axis="y")
    label_ends(ax, runs[runs["step"] == last].groupby("objective")["value"].mean().to_dict())
    return ax


def _against_lag(frame: pd.DataFrame, column: str, title: str, unit: str, ax: Axes | None) -> Axes:
    """A column of the transformer after the last step, against log2 of the lag; the table's as rings."""
    ax = panel(ax, SIZE, MOSAIC)
    runs = frame[(frame["stage"] == "run") & (frame["step"] == frame["step"].max())]
    runs = runs.assign(doublings=np.log2(runs["lag"]))
    model, table = (runs[runs["source"] == source] for source in ("model", "table"))
    looks, lags = seaborn_looks(runs["objective"].unique(), lines=True), np.sort(runs["lag"].unique())
    at = {"x": "doublings", "y": column, "ax": ax}
    marks = {"markersize": 4, "markeredgewidth": 0, "linewidth": 1.1}
    sns.lineplot(model, errorbar="se", err_style="bars", err_kws={"linewidth": 1.1}, **at, **marks, **looks)
    rings = table.groupby(["objective", "doublings"], sort=False)[column].mean().reset_index()
    colors = rings["objective"].map(looks["palette"])
    ax.scatter(rings["doublings"], rings[column], 20, facecolors="none", edgecolors=colors, linewidths=0.6, zorder=3)
    ax.set_xticks(np.log2(lags), [f"{lag:g}" for lag in lags])
    ax.set_xlabel("lag, steps")
    ax.set_ylabel(unit)
    ax.set_title(title, fontsize=7.5)
    ax.grid(axis="y")
    label_ends(ax, model[model["lag"] == lags[-1]].groupby("objective")[column].mean().to_dict())
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
        The axes drawn into.
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
    areas = dict(zip(lags, np.linspace(2.5, 6.0, len(lags)) ** 2, strict=True))
    looks = seaborn_looks(wide["objective"].unique())
    sns.scatterplot(wide, x="table", y="model", size="lag", sizes=areas, linewidth=0, alpha=0.8, ax=ax, **looks)
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
