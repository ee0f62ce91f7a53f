"""The frames behind the figures equal committed tables.

After a wanted change: `python -m analysis run targets --csv tests/analysis/reference/targets.csv`, and
`python -m analysis run pass_rate --set n=19 --csv tests/analysis/reference/pass_rate.csv`; then read the diff.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.__main__ import STUDIES

REFERENCE = Path(__file__).parent / "reference"


@pytest.mark.parametrize(("name", "parameters"), [("targets", {}), ("pass_rate", {"n": 19})])
def test_frame_equals_the_committed_table(name: str, parameters: dict[str, Any]) -> None:
    committed = pd.read_csv(REFERENCE / f"{name}.csv")
    frame = STUDIES[name](**parameters).replace("", float("nan"))
    pd.testing.assert_frame_equal(frame, committed, check_dtype=False, rtol=1e-8, atol=1e-12)
