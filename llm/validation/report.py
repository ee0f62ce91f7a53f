"""Findings of the runs kept under `llm/results`, told by the present code: in their json, pictures, docs and README.

    python -m llm.validation.report [FOLDER]

The parts of a full run in a folder replace the kept ones first.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
import textwrap
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.command import exit_code
from pessimism.files import write, write_text

if TYPE_CHECKING:
    import pandas as pd

_ROOT = Path(__file__).resolve().parents[2]
KEPT = _ROOT / "llm" / "results"
_SUFFIXES = (".csv", ".json", ".png")
_WIDTH = 120


def table(frame: pd.DataFrame) -> str:
    """Write the Markdown table of part a: kappa and the largest total variation from the target for each objective.

    Parameters
    ----------
    frame : pandas.DataFrame
        As `llm.validation.parts.population.population` returns it.

    Returns
    -------
    str
        Lines of the table.

    Examples
    --------
    >>> import pandas as pd
    >>> row = {"kind": "target", "objective": "kimi", "shift": None, "beta1": None, "beta2": None, "beta": 0.1}
    >>> row |= {"kappa": 1.7, "kappa_fit": 1.6, "tv": 2e-4}
    >>> print(table(pd.DataFrame([row, row | {"kappa": 1.9, "tv": 3e-4}])).splitlines()[-1])
    | Kimi | 1.70 to 1.90 | 3e-04 | 3e-01 |
    """
    from analysis.validation import labels

    rows = frame[frame["kind"] == "target"]
    rows = rows.assign(label=labels(rows))
    betas = rows["beta"].unique()
    heads = [f"kappa, beta = {beta:g} | TV" for beta in betas]
    lines = [f"| objective | {' | '.join(heads)} | kappa measured, off by |", "|---" * (2 * len(betas) + 2) + "|"]
    for name, part in rows.groupby("label", sort=False):
        cells = [cell for beta in betas for cell in _cells(part[part["beta"] == beta])]
        gap = (part["kappa_fit"] - part["kappa"]).abs().max()
        lines.append(f"| {name} | {' | '.join(cells)} | {'' if math.isnan(gap) else f'{gap:.0e}'} |")
    return "\n".join(lines)


def _cells(part: pd.DataFrame) -> tuple[str, str]:
    ends = dict.fromkeys(f"{kappa:.2f}" for kappa in (part["kappa"].min(), part["kappa"].max()))
    return "none" if "nan" in ends else " to ".join(ends), f"{part['tv'].max():.0e}"


def keep(folder: Path, kept: Path = KEPT) -> None:
    """Copy the parts of a full run among the kept ones.

    Parameters
    ----------
    folder : Path
        Folder of the run.
    kept : Path, optional
        Folder of the kept runs.

    Raises
    ------
    ValueError
        If a part was run at another scale, or there is none.
    """
    from figures.sheet import OTHERS

    found = [name for name in OTHERS if (folder / f"{name}.json").is_file()]
    if not found:
        raise ValueError(f"folder: no run of {', '.join(OTHERS)} in {folder}")
    for name in found:
        scale = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))["scale"]
        if scale != "full":
            raise ValueError(f"folder: {name} in {folder} is of scale {scale!r}, only a full run is kept")
    for name in found:
        files = [f"{name}{suffix}" for suffix in _SUFFIXES]
        write({kept / file: partial(shutil.copyfile, folder / file) for file in files})


def report(kept: Path = KEPT, root: Path = _ROOT) -> None:
    """Write findings and pictures of the kept frames anew, and the parts of the two pages that quote them."""
    import pandas as pd

    from figures.save import picture
    from figures.sheet import OTHERS, sheet
    from figures.style import context

    frames = {name: pd.read_csv(kept / f"{name}.csv") for name in OTHERS}
    modules: dict[str, Any] = {
        name: import_module(f"llm.validation.parts.{name.removeprefix('validate_')}") for name in OTHERS
    }
    found = {name: modules[name].finding(frame) for name, frame in frames.items()}
    for name, frame in frames.items():
        path = kept / f"{name}.json"
        about = json.loads(path.read_text(encoding="utf-8")) | {"finding": found[name]}
        write_text(path, json.dumps(about, indent=2, allow_nan=False) + "\n")
        with context():
            drawn = picture(sheet(name).draw(frame, modules[name].headline(frame)), "png")
        write({path.with_suffix(".png"): partial(Path.write_bytes, data=drawn)})
    wrapped = [textwrap.fill(one, _WIDTH, break_on_hyphens=False, break_long_words=False) for one in found.values()]
    _between(root / "docs" / "language_models.md", "<!-- findings -->", "\n\n".join(wrapped))
    _between(root / "README.md", "<!-- population -->", f"\n{table(frames['validate_population'])}")


def _between(page: Path, start: str, text: str) -> None:
    """Put text between a mark in a page and the next end mark."""
    before, mark, rest = page.read_text(encoding="utf-8").partition(start)
    _, end, after = rest.partition("<!-- end -->")
    if not (mark and end):
        raise ValueError(f"{page.name} must have {start} and <!-- end -->")
    write_text(page, f"{before}{start}\n{text}\n{end}{after}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Keep the run that is given, and write all anew; exit code 2 and one line for a mistake of the user."""
    return exit_code(partial(_command, arguments), process=arguments is None)


def _command(arguments: Sequence[str] | None) -> int:
    parser = argparse.ArgumentParser(prog="python -m llm.validation.report", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="of a full run, whose parts are to be kept")
    folder = parser.parse_args(arguments).folder
    if folder is not None:
        keep(folder)
    report()
    return 0


if __name__ == "__main__":
    sys.exit(main())
