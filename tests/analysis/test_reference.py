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


@pytest.mark.parametrize("name", studies.NAMES)
def test_what_is_found_is_short_and_says_a_number(name: str) -> None:
    frame, study = smoke(name), studies.study(name)
    assert len(study.headline(frame)) <= 160
    said = study.finding(frame)
    assert any(letter.isdigit() for letter in said)
    assert "nan" not in said
    assert said.endswith(".")


def test_the_page_has_every_study_once() -> None:
    page = studies.PAGE.read_text(encoding="utf-8")
    assert [line.split("`")[1] for line in page.splitlines() if line.startswith("`")] == list(studies.NAMES)


def test_an_unknown_study_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown study 'nonsense'; known: lambert_tempering, "):
        studies.study("nonsense")
