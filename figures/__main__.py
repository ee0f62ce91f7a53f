"""Write figures with their data and parameters.

`python -m figures [NAME ...] --out DIR --format pdf,svg,png --smoke`
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from tqdm import tqdm

from analysis.pass_rate import LOGS, pass_rate
from analysis.targets import BEHAVIOR, REWARD, targets
from figures.pass_rate import plot_pass_rate
from figures.save import FORMATS, save
from figures.style import context, page
from figures.targets import plot_targets


class Entry(NamedTuple):
    """A figure: the study, the drawing of its frame, the study's parameters, and those that make it quick."""

    study: Callable[..., pd.DataFrame]
    plot: Callable[[pd.DataFrame], Axes]
    parameters: dict[str, Any]
    smoke: dict[str, Any]


FIGURES = {
    "targets": Entry(targets, plot_targets, {"behavior": BEHAVIOR, "reward": REWARD, "beta": 0.1}, {}),
    "pass_rate": Entry(pass_rate, plot_pass_rate, {"beta": 0.1, "logs": LOGS, "n": 199}, {"n": 19}),
}


def _described(value: Any) -> Any:
    """A parameter as it goes into a file: a path inside this checkout is named from its root."""
    root = Path(__file__).resolve().parents[1]
    if isinstance(value, Path):
        return value.relative_to(root).as_posix() if value.is_relative_to(root) else value.as_posix()
    return value


def make(name: str, out: Path, formats: Sequence[str] = FORMATS, *, smoke: bool = False) -> list[Path]:
    """Compute, draw and save one figure.

    Returns
    -------
    list of Path
        The files written: pictures, csv, json.

    Raises
    ------
    KeyError
        If there is no figure of this name.
    """
    entry = FIGURES[name]
    parameters = {**entry.parameters, **(entry.smoke if smoke else {})}
    frame = entry.study(**parameters)
    with context():
        ax = entry.plot(frame)
        described = {key: _described(value) for key, value in parameters.items()}
        return save(page(ax), frame, described, out / name, formats)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the figures asked for; exit code 2 and one line on stderr for a user's mistake.

    Examples
    --------
    >>> main(["--format", "gif"])
    2
    """
    parser = argparse.ArgumentParser(prog="python -m figures", description="Figures with their data and parameters.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(FIGURES)}; all by default")
    parser.add_argument("--out", type=Path, default=Path("results"), metavar="DIR", help="default: results")
    parser.add_argument("--format", default=",".join(FORMATS), metavar="LIST", help="default: %(default)s")
    parser.add_argument("--smoke", action="store_true", help="fewer points, for a quick look")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in FIGURES]
    try:
        if unknown:
            raise ValueError(f"unknown figure {unknown[0]!r}; known: {', '.join(FIGURES)}")
        names = options.names or list(FIGURES)
        for name in tqdm(names, desc="figures", delay=2, disable=None, leave=False):
            for path in make(name, options.out, options.format.split(","), smoke=options.smoke):
                print(path)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
