"""What is finished is not done again, and other code or other parameters are."""

from __future__ import annotations

import os
import random
import re
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis import studies, verification, work
from tests.pessimism.test_files import files_of_at_most

LOG = "calls.txt"


def logged(folder: str, x: int) -> int:
    """At the top level, as joblib wants it; writes down that it ran."""
    with (Path(folder) / LOG).open("a") as file:
        file.write(f"{x}\n")
    if x == 3 and not (Path(folder) / "go").exists():
        raise OSError("killed")
    return x * x


def test_an_interrupted_call_goes_on_where_it_was(tmp_path: Path) -> None:
    settings = [(str(tmp_path), x) for x in (1, 2, 3, 4)]
    with pytest.raises(OSError, match="killed"), work.kept_in(tmp_path / "cache"):
        work.each(logged, settings, desc="squares", jobs=1)
    (tmp_path / "go").touch()
    with work.kept_in(tmp_path / "cache"):
        assert work.each(logged, settings, desc="squares", jobs=1) == [1, 4, 9, 16]
    assert (tmp_path / LOG).read_text().split() == ["1", "2", "3", "3", "4"]


def test_other_code_is_other_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work.kept(logged, tmp_path / "cache")(str(tmp_path), 1)
    work.kept(logged, tmp_path / "cache")(str(tmp_path), 1)
    monkeypatch.setattr(work, "source_hash", lambda _: "changed")
    work.kept(logged, tmp_path / "cache")(str(tmp_path), 1)
    assert (tmp_path / LOG).read_text().split() == ["1", "1"]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of all code, which fingerprints are taken of."""
    for folder in ("pessimism", "analysis", "figures", "llm"):
        shutil.copytree(work.ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", "results"))
    monkeypatch.setattr(work, "ROOT", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("path", "depends"),
    [
        ("pessimism/convex/log_ratio.py", True),
        ("pessimism/closed_forms/clipping.py", True),
        ("pessimism/__init__.py", True),
        ("analysis/verification.py", True),
        ("analysis/atlas.py", True),  # imported by it
        ("analysis/settings.py", True),  # imported by what it imports
        ("analysis/__init__.py", True),
        ("analysis/lag.py", False),
        ("figures/style.py", False),
        ("llm/settings.py", False),
    ],
)
def test_the_fingerprint_is_that_of_what_a_function_can_run(path: str, depends: bool, checkout: Path) -> None:
    fingerprint = work.source_hash.__wrapped__  # the answer of a process is kept
    before = fingerprint(verification._of_one)
    assert fingerprint(verification._of_one) == before
    (checkout / path).write_text((checkout / path).read_text() + "# changed\n")
    assert (fingerprint(verification._of_one) != before) is depends


def test_the_fingerprint_does_not_depend_on_where_the_code_lies(checkout: Path) -> None:
    there, other = (work.source_hash.__wrapped__(one) for one in (verification._of_one, work.each))
    assert checkout == work.ROOT
    assert there != other
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(work, "ROOT", Path(work.__file__).parents[1])
        assert there == work.source_hash.__wrapped__(verification._of_one)


def test_a_study_keeps_its_pieces_where_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told, plain = [], work._recalled

    def recalled(function: Any, folder: Path, *rest: Any, **named: Any) -> Any:
        told.append(folder)
        return plain(function, folder, *rest, **named)

    monkeypatch.setattr(work, "_recalled", recalled)
    with monkeypatch.context() as patch:
        patch.setattr(work.joblib, "Parallel", lambda **_: lambda calls: [one(*a, **k) for one, a, k in calls])
        studies.run("flow_simplex", smoke=True, cache=tmp_path)
    assert len(told) > 2
    assert {*told} == {tmp_path}
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == len(told)
    assert work.kept(max).args[1] == work.CACHE


def test_without_a_cache_nothing_is_kept_or_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "_recalled", lambda *_, **__: pytest.fail("kept"))
    assert len(studies.run("flow_simplex", smoke=True, cache=None)) > 0


@pytest.mark.parametrize(("options", "jobs"), [({}, 2), ({"jobs": 1}, 1)])
def test_pieces_are_made_by_as_many_processes_as_said(
    options: dict[str, int], jobs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr(
        work.joblib, "Parallel", lambda n_jobs, **_: seen.append(n_jobs) or (lambda calls: [4, *calls][:1])
    )
    with work.kept_in(None, **options):
        assert work.each(divmod, [(7, 2)], desc="quotients") == [4]
    assert seen == [jobs]


def test_a_damaged_entry_is_made_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache = tmp_path / "cache"

    def call(x: int) -> Any:
        return work.kept(logged, cache)(str(tmp_path), x)

    call(1)
    (path,) = (path for path in cache.rglob("*") if path.is_file())
    good = path.read_bytes()
    assert capsys.readouterr().err == ""
    spoiled = [good[:-1], b"", bytes([good[0] ^ 1]) + good[1:], good[:99] + random.Random(0).randbytes(64) + good[163:]]
    for entry in spoiled:
        path.write_bytes(entry)
        assert call(1) == 1
        assert capsys.readouterr().err == f"{path} cannot be used (it is not as it was written): made again\n"
        assert path.read_bytes() == good
        assert call(1) == 1
        assert capsys.readouterr().err == ""
    call(2)
    (other,) = (one for one in cache.rglob("*") if one.is_file() and one != path)
    shutil.copy(other, path)
    assert call(1) == 1
    assert capsys.readouterr().err == f"{path} cannot be used (it is of something else): made again\n"
    path.unlink()
    path.mkdir()
    assert call(1) == 1
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2
    assert told[0].startswith(f"{path} cannot be used")
    assert told[1].startswith(f"not kept: {path}")
    assert (tmp_path / LOG).read_text().split() == [*"11111", *"211"]


def test_what_cannot_be_kept_is_returned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with files_of_at_most(100):
        assert work.kept(divmod, tmp_path / "cache")(7, 2) == (3, 1)
    said = capsys.readouterr().err
    assert re.fullmatch(rf"not kept: {tmp_path}/cache/\S+ cannot be written \(File too large\)\n", said)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    (tmp_path / "file").touch()
    assert work.kept(divmod, tmp_path / "file")(7, 2) == (3, 1)
    assert capsys.readouterr().err.count("\n") == 2


def slowly(x: int) -> list[int]:
    """The result of each call differs, as times would."""
    return [x, os.getpid()] + [x] * 100_000


def test_two_writers_of_one_entry(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with work.kept_in(tmp_path):
        found = work.each(slowly, [(1,)] * 16, desc="the same", jobs=2)
    assert all(one[0] == one[-1] == 1 for one in found)
    assert work.kept(slowly, tmp_path)(1) in found
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1
    assert capsys.readouterr().err == ""


@pytest.mark.slow
@pytest.mark.parametrize("name", studies.NAMES)
def test_a_frame_read_is_the_frame_made(name: str, tmp_path: Path) -> None:
    made, first, read = (studies.run(name, smoke=True, cache=cache) for cache in (None, tmp_path, tmp_path))
    pd.testing.assert_frame_equal(first, made)
    pd.testing.assert_frame_equal(read, made)
