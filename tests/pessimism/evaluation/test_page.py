"""docs/evaluation.md is true: its code runs and prints what it says."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

from pessimism import estimators

PAGE = (Path(__file__).parents[3] / "docs" / "evaluation.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```([^`]*(?:```\n(.*?)```)?)", PAGE, re.DOTALL)


@pytest.mark.parametrize("block", range(len(BLOCKS)))
def test_code_prints_what_the_page_says(block: int) -> None:
    """After `print(...)  # ` stands what it prints, up to a comma and words; or the next plain block is all of it."""
    code, _, output = BLOCKS[block]
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(code, {})
    claims = [line.partition("  # ")[2] for line in code.splitlines() if "print(" in line and "  # " in line]
    assert bool(claims) != bool(output), "either comments or a block say what is printed"
    printed = said.getvalue().rstrip().splitlines()
    expected = output.rstrip().splitlines() or [claim.partition(", ")[0] for claim in claims]
    assert printed == expected


def test_every_estimator_is_on_the_page() -> None:
    assert len(BLOCKS) == 6
    table = PAGE.partition("## Which estimator")[2].partition("## What is assumed")[0]
    for name in estimators():
        assert f"`{name}`" in table
