"""The frames behind the figures equal committed tables; the page of findings names every study.

That it says what they find takes full runs: `.ci/run` checks it.

After a wanted change: `python -m analysis run NAME --smoke --csv tests/analysis/reference/NAME.csv`; read the diff.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from analysis import studies
from tests.smoke import smoke

REFERENCE = Path(__file__).parent / "reference"


@pytest.mark.parametrize("name", studies.NAMES)
def test_frame_equals_the_committed_table(name: str) -> None:
    committed = pd.read_csv(REFERENCE / f"{name}.csv", low_memory=False)
    frame = smoke(name).replace("", float("nan"))
    pd.testing.assert_frame_equal(frame, committed, check_dtype=False, rtol=1e-8, atol=1e-12)
