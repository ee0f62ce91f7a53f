"""Frame of each study at its quick parameters, computed once a process."""

from __future__ import annotations

from functools import cache

import pandas as pd

from analysis import studies


@cache
def smoke(name: str) -> pd.DataFrame:
    """Do not change it."""
    return studies.run(name, smoke=True, cache=None)
