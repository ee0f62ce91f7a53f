"""Frame and headline of each figure: of a study at its quick parameters, computed once a process, or as kept."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path

import pandas as pd

from analysis import studies
from figures.sheet import OTHERS

KEPT = Path(__file__).resolve().parents[1] / "llm" / "results"


@cache
def smoke(name: str) -> pd.DataFrame:
    """Do not change it."""
    return pd.read_csv(KEPT / f"{name}.csv") if name in OTHERS else studies.run(name, smoke=True, cache=None)


def headline(name: str) -> str:
    """What is said above the figure."""
    if name in OTHERS:
        return str(import_module(f"llm.validation.parts.{name.removeprefix('validate_')}").headline(smoke(name)))
    return studies.study(name).headline(smoke(name))
