"""The table of the population study in README."""

from __future__ import annotations

import numpy as np
import pandas as pd

from figures.validate_population import label


def table(frame: pd.DataFrame) -> str:
    """Markdown: a row per objective; by temperature kappa and the total variation from the target, over the prompts.

    Examples
    --------
    >>> row = {"kind": "target", "setting": "kimi(beta=0.1)", "beta": 0.1, "kappa": 1.7, "kappa_fit": 1.6, "tv": 2e-4}
    >>> print(table(pd.DataFrame([row, row | {"kappa": 1.9, "tv": 3e-4}])).splitlines()[-1])
    | kimi | 1.70 to 1.90 | 3e-04 | 3e-01 |
    """
    rows = frame[frame["kind"] == "target"]
    rows = rows.assign(label=[label(setting) for setting in rows["setting"]])
    betas = rows["beta"].unique()
    heads = [f"kappa, beta = {beta:g} | TV" for beta in betas]
    lines = [f"| objective | {' | '.join(heads)} | kappa measured, off by |", "|---" * (2 * len(betas) + 2) + "|"]
    for name, part in rows.groupby("label", sort=False):
        cells = [cell for beta in betas for cell in _cells(part[part["beta"] == beta])]
        gap = (part["kappa_fit"] - part["kappa"]).abs().max()
        lines.append(f"| {name} | {' | '.join(cells)} | {'' if np.isnan(gap) else f'{gap:.0e}'} |")
    return "\n".join(lines)


def _cells(part: pd.DataFrame) -> tuple[str, str]:
    ends = dict.fromkeys(f"{kappa:.2f}" for kappa in (part["kappa"].min(), part["kappa"].max()))
    return "none" if "nan" in ends else " to ".join(ends), f"{part['tv'].max():.0e}"
