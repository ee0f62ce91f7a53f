"""Folders with a manifest: the hash of each of their files, written last and compared before they are used."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pessimism.files import sync, write_text

MANIFEST = "complete.json"


def seal(folder: Path) -> None:
    """Write the manifest of all files in a folder, and wait until they and it are on the disk."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / MANIFEST)
    listed = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": _hash(path)} for path in files
    }
    write_text(folder / MANIFEST, _text(listed))
    for path in (*folder.rglob("*"), folder):
        sync(path)


def hash_of(said: Any) -> str:
    """Hash what is written as JSON, to be written with it: who reads that finds out whether it is as it was."""
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def _text(listed: Any) -> str:
    return json.dumps({"sha256": hash_of(listed), "files": listed}, indent=2) + "\n"


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def why_broken(folder: Path, *, sizes_only: bool = False) -> str | None:
    """Say what is wrong with a folder that was sealed.

    Parameters
    ----------
    folder : Path
        The folder.
    sizes_only : bool, default False
        Whether to compare the sizes of the files alone, which takes no time.

    Returns
    -------
    str or None
        The file and what is wrong with it; None where every file is, byte for byte, as it was written.
    """
    try:
        text = (folder / MANIFEST).read_bytes().decode()
        listed = json.loads(text)["files"]
        files = {folder / name: (about["bytes"], about["sha256"]) for name, about in listed.items()}
    except FileNotFoundError:
        return f"{MANIFEST} is missing"
    except (OSError, ValueError, TypeError, LookupError, AttributeError):
        return f"{MANIFEST} cannot be read"
    if _text(listed) != text:
        return f"{MANIFEST} is not as it was written"
    for path, (size, digest) in files.items():
        name = path.relative_to(folder).as_posix()
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size} of {size} bytes"
        if not sizes_only and _hash(path) != digest:
            return f"{name} is not as it was written"
    return None if files else f"{MANIFEST} names no file"
