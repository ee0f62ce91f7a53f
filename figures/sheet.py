"""A figure as a sheet of panels under one headline, the finding."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import NamedTuple

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.studies import NAMES

# Drawn from frames that are not of `analysis.studies`: those of the language models.
OTHERS = ("validate_population", "validate_sampled", "validate_lag")
_WIDE = 0.6  # mean width of a bold letter, in units of the font's size


class Sheet(NamedTuple):
    """How a frame becomes a picture.

    Attributes
    ----------
    panels : mapping of str to callable
        Axes-level functions, `f(frame, ax=None) -> Axes`, by their letter in the mosaic.
    size : tuple of float
        Width and height in inches, from `figures.style.size`.
    mosaic : str
        Rows of letters, as `matplotlib.figure.Figure.subplot_mosaic` takes them.
    """

    panels: Mapping[str, Callable[..., Axes]]
    size: tuple[float, float]
    mosaic: str

    def draw(self, frame: pd.DataFrame, headline: str) -> Figure:
        """The figure, inside `figures.style.context()`."""
        figure = Figure(figsize=self.size, layout="constrained")
        axes = figure.subplot_mosaic(self.mosaic)
        for letter, panel in self.panels.items():
            panel(frame, ax=axes[letter])
        points = float(mpl.rcParams["font.size"]) + 0.5
        fits = int(72 * self.size[0] / (_WIDE * points))
        said = "\n".join(textwrap.wrap(headline, fits))
        figure.suptitle(said, x=0.01, ha="left", fontsize=points, fontweight="bold")
        return figure


def sheet(name: str) -> Sheet:
    """The sheet of a name, from `figures/NAME.py`: its `PANELS`, `SIZE` and, for more than one row, `MOSAIC`.

    Parameters
    ----------
    name : str
        A study of `analysis`, or one of `OTHERS`.

    Returns
    -------
    Sheet
        Its panels, size and mosaic.

    Raises
    ------
    ValueError
        If there is no figure of this name.

    Examples
    --------
    >>> list(sheet("decoupled").panels)
    ['A', 'B', 'C']
    """
    if name not in (*NAMES, *OTHERS):
        raise ValueError(f"unknown figure {name!r}; known: {', '.join((*NAMES, *OTHERS))}")
    module = import_module(f"figures.{name}")
    return Sheet(module.PANELS, module.SIZE, getattr(module, "MOSAIC", "".join(module.PANELS)))
