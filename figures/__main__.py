"""Write figures with their data and parameters.

`python -m figures [NAME ...] --out DIR --format pdf,svg,png --smoke`
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from analysis.command import exit_code


def make(name: str, out: Path, formats: Sequence[str], *, smoke: bool = False, cache: Path | None) -> list[Path]:
    """Compute, draw and save one figure.

    Parameters
    ----------
    name : str
        The figure, which is a study's name.
    out : pathlib.Path
        Folder to write into.
    formats : sequence of str
        Some of pdf, svg, png.
    smoke : bool, default False
        Whether to draw fewer points, for a quick look.
    cache : pathlib.Path or None
        Where finished work is kept; None keeps nothing.

    Returns
    -------
    list of Path
        The files written: pictures, csv, json.

    Raises
    ------
    ValueError
        If there is no figure of this name, or no such format.
    """
    from analysis import studies
    from figures.save import check, save
    from figures.sheet import sheet
    from figures.style import context

    check(formats)
    drawn = sheet(name)
    frame, headline = studies.run(name, smoke, cache), studies.study(name).headline
    parameters = studies.parameters(name, smoke)
    with context():
        return save(drawn.draw(frame, headline(frame)), frame, parameters, out / name, formats)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the figures asked for; exit code 2 and one line on stderr for a user's mistake.

    Parameters
    ----------
    arguments : sequence of str, optional
        Command line without the program's name; that of the process by default.

    Returns
    -------
    int
        Exit code: 0, 2 after a user's mistake, 130 after an interruption.

    Examples
    --------
    >>> main(["--format", "gif"])
    2
    """
    return exit_code(partial(_command, arguments), process=arguments is None)


def _command(arguments: Sequence[str] | None) -> int:
    from tqdm import tqdm

    from analysis import studies
    from analysis.work import CACHE
    from figures.save import FORMATS, check
    from figures.sheet import sheet

    parser = argparse.ArgumentParser(prog="python -m figures", description="Figures with their data and parameters.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(studies.NAMES)}; all by default")
    parser.add_argument("--out", type=Path, default=Path("results"), metavar="DIR", help="default: results")
    parser.add_argument("--format", default=",".join(FORMATS), metavar="LIST", help="default: %(default)s")
    parser.add_argument("--smoke", action="store_true", help="fewer points, for a quick look")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where finished work is kept")
    options = parser.parse_args(arguments)
    formats, names = options.format.split(","), options.names or list(studies.NAMES)
    check(formats)
    for name in names:
        sheet(name)  # a misspelled name stops before any work
    for name in tqdm(names, desc="figures", delay=2, disable=None, leave=False):
        for path in make(name, options.out, formats, smoke=options.smoke, cache=options.cache):
            print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
