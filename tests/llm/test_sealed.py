"""What a folder with a manifest says of itself; tests/llm/storage damages real checkpoints in every way."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llm.sealed import MANIFEST, seal, why_broken


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    (tmp_path / "deep").mkdir()
    (tmp_path / "a").write_text("A")
    (tmp_path / "deep" / "b").write_text("B" * 100)
    seal(tmp_path)
    return tmp_path


def test_a_whole_folder(sealed: Path) -> None:
    assert why_broken(sealed) is None
    seal(sealed)  # again, over the manifest that is there
    assert why_broken(sealed) is None
    assert list(json.loads((sealed / MANIFEST).read_text())["files"]) == ["a", "deep/b"]
    (sealed / "notes").write_text("not ours")
    assert why_broken(sealed) is None


def test_a_folder_without_files(tmp_path: Path) -> None:
    seal(tmp_path)
    assert why_broken(tmp_path) == f"{MANIFEST} names no file"


def test_what_is_wrong_is_named(sealed: Path) -> None:
    (sealed / "deep" / "b").write_text("C" * 100)
    assert why_broken(sealed) == "deep/b is not as it was written"
    assert why_broken(sealed, sizes_only=True) is None
    (sealed / "deep" / "b").write_text("C")
    assert why_broken(sealed, sizes_only=True) == "deep/b has 1 of 100 bytes"
    (sealed / "deep" / "b").unlink()
    assert why_broken(sealed) == "deep/b is missing"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "is missing"),
        ("", "cannot be read"),
        ("{", "cannot be read"),
        ("[1]", "cannot be read"),
        ("\xff", "cannot be read"),
        ('{"a": 1}', "cannot be read"),  # sizes, as before there were hashes
        ('{"files": {"a": {"bytes": 1}}}', "cannot be read"),
        ('{"files": {"a": {"bytes": 1, "sha256": "0"}}}', "is not as it was written"),
    ],
)
def test_a_manifest_that_is_none(text: str | None, said: str, sealed: Path) -> None:
    (sealed / MANIFEST).unlink()
    if text is not None:
        (sealed / MANIFEST).write_text(text, encoding="latin-1")
    assert why_broken(sealed) == f"{MANIFEST} {said}"
