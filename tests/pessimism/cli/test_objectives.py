"""`pessimism objectives`: the registry, as a list and as data."""

from __future__ import annotations

import json

import pytest

import pessimism as ps
from tests.pessimism.cli.console import run


def test_objectives_lists_the_registry(capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads(run(capsys, "objectives", "--json"))["objectives"]
    assert [row["name"] for row in rows] == list(ps.objectives())
    assert all(row[key] for row in rows for key in ("title", "paper", "loss", "defaults", "induces"))
    table = run(capsys, "objectives")
    assert all(f"{name}(" in table for name in ps.objectives())
