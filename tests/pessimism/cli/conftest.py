from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def a_terminal_of_100_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the width of the caller's terminal is."""
    monkeypatch.setenv("COLUMNS", "100")
