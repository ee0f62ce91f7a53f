"""One process at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm.storage.lock import alone


def test_a_lock_is_held_once_and_given_back(tmp_path: Path) -> None:
    lock = tmp_path / "new" / "_lock"
    for _ in range(2):
        with (
            alone(lock, "out"),
            pytest.raises(ValueError, match="^out is being written by another process: "),
            alone(lock, "out"),
        ):
            pytest.fail("held twice")


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"^out cannot be written \("), alone(tmp_path / "file" / "_lock", "out"):
        pytest.fail("held")
