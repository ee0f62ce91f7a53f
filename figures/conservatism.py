"""Conservatism against the stated temperature: divergence, entropy, value and largest ratio, and the limit at zero."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullLocator

from analysis.names import display_name
from figures.labels import label_curves
from figures.style import INK, QUIET, look, new_axes, size

SIZE = size(2, 0.66)
MOSAIC = "AB\nCD"
# Column, title, label of the axis.
_PANELS = {
    "A": ("kl", "divergence", r"KL($\pi\,\|\,\mu$) (nats)"),
    "B": ("entropy", "entropy", r"entropy of $\pi$ (nats)"),
    "C": ("value", "value", r"$E_\pi[r]$ (reward)"),
    "D": ("max_ratio", "largest ratio", r"max $w$"),
}


def _named(name: str, curve: pd.DataFrame) -> str:
    """V* is on the boundary: its curve is the nominal one, and named there."""
    if name == "oapl":
        return f"{display_name(name)}, β₁ = {(curve['beta1'] / curve['beta']).iloc[0]:g} β"
    return {"nominal": "nominal, V*", "optimal_value": "_optimal_value"}.get(name, display_name(name))


def plot_measure(frame: pd.DataFrame, ax: Axes | None = None, panel: str = "A") -> Axes:
    """A column of `analysis.conservatism.conservatism` against beta; the panel of the divergence shows the limits, too.

    Parameters
    ----------
    frame : pandas.DataFrame
        As `analysis.conservatism.conservatism` returns it.
    ax : matplotlib.axes.Axes, optional
        Where to draw; axes of a new figure by default.
    panel : {"A", "B", "C", "D"}, default "A"
        The measure: "A" (KL), "B" (entropy), "C" (value) or "D" (largest ratio).

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn into.

    Examples
    --------
    >>> from analysis.conservatism import conservatism
    >>> plot_measure(conservatism(n=5), panel="D").get_ylabel()
    'max $w$'
    """
    ax = new_axes(SIZE) if ax is None else ax
    column, title, label = _PANELS[panel]
    one = frame.drop_duplicates(["objective", "beta"])
    colors: dict[str, str] = {}
    for place, (name, curve) in enumerate(one.groupby("objective", sort=False)):
        style, said = look(str(name)), _named(str(name), curve)
        colors |= {} if said.startswith("_") else {said: style.color}
        some = slice(place, None, max(1, len(curve) // 7))  # markers side by side where curves are one
        marked: dict[str, Any] = {"marker": style.marker, "markersize": 3.5, "markevery": some}
        ax.plot(curve["beta"], curve[column], color=style.color, linestyle=style.linestyle, label=said, **marked)
    ax.set_xscale("log")
    ax.set_xlim(one["beta"].min(), one["beta"].max())
    ax.margins(y=0.16)  # room for names above and below what is flat
    ax.set_ylim(ax.get_ylim())
    ax.xaxis.set_major_locator(LogLocator(numticks=7))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel(f"stated temperature β (units of reward; rewards span {np.ptp(frame['reward']):g})")
    ax.set_ylabel(label)
    ax.set_title(title)
    if panel == "B":  # no room on the flat parts of this one
        oapl = one[one["objective"] == "oapl"]
        half = oapl.iloc[(oapl[column] - 0.5 * oapl[column].max()).abs().argmin()]
        said = _named("oapl", oapl)
        ax.text(half["beta"] / 1.5, half[column], said, ha="right", va="center_baseline", color=colors.pop(said))
    label_curves(ax, colors)
    if panel == "A":
        _limits(ax, frame)
    return ax


def _limits(ax: Axes, frame: pd.DataFrame) -> None:
    """Bars of the targets at beta -> 0, beside those of the behavior, in the empty corner."""
    inset = ax.inset_axes((0.67, 0.36, 0.33, 0.5))
    rows = frame.drop_duplicates(["objective", "action"]).rename(columns={"limit": "probability"})
    behavior = rows.drop_duplicates("action").assign(objective="μ", probability=lambda first: first["behavior"])
    bars = pd.concat([behavior, *(rows[rows["objective"] == name] for name in ("nominal", "kimi"))])
    colors = {"μ": QUIET, "nominal": look("nominal").color, "kimi": look("kimi").color}
    how: dict[str, Any] = {"palette": colors, "saturation": 1.0, "errorbar": None, "legend": False}
    sns.barplot(bars, x="reward", y="probability", hue="objective", ax=inset, **how)
    for name, shift, above in (("μ", 0.0, 0.05), ("nominal", -0.25, -0.1), ("kimi", -0.25, 0.06)):
        height = bars.loc[bars["objective"] == name, "probability"].to_numpy()
        side, top = "left" if name == "μ" else "right", int(height.argmax())
        inset.text(top + shift, height[top] + above, display_name(name), ha=side, color=colors[name], fontsize=6)
    inset.set_xticks(range(len(behavior)), [f"{r:g}".replace("0.", ".") for r in behavior["reward"]], fontsize=6)
    inset.set_yticks([0, 1], ["0", "1"], fontsize=6)
    inset.set_ylim(0, 1.05)
    inset.set_xlabel("reward of the action", fontsize=6, labelpad=1)
    inset.set_ylabel("")
    inset.set_title("probabilities as β → 0", fontsize=6.5, color=INK, fontweight="normal", pad=3)
    inset.tick_params(length=2)


PANELS = {letter: partial(plot_measure, panel=letter) for letter in _PANELS}
