"""What is finished is not done again, and other code or other parameters are."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from analysis import studies, verification, work

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
    monkeypatch.setattr(work.Memory, "__init__", _refuse_other_folders(tmp_path, work.Memory.__init__))
    studies.run("flow_simplex", smoke=True, cache=tmp_path)
    assert any(tmp_path.rglob("output.pkl"))
    with pytest.raises(AssertionError, match="kept elsewhere"):
        work.kept(max)(1, 2)


def _refuse_other_folders(folder: Path, init: Any) -> Any:
    def checked(self: Any, location: Path, **options: Any) -> None:
        assert folder in Path(location).parents, "kept elsewhere"
        init(self, location, **options)

    return checked


def test_without_a_cache_nothing_is_kept_or_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "Memory", lambda *_, **__: pytest.fail("kept"))
    assert len(studies.run("flow_simplex", smoke=True, cache=None)) > 0


@pytest.mark.parametrize(("options", "jobs"), [({}, 2), ({"jobs": 1}, 1)])
def test_pieces_are_made_by_as_many_processes_as_said(
    options: dict[str, int], jobs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr(work, "Parallel", lambda n_jobs, **_: seen.append(n_jobs) or (lambda calls: [4, *calls][:1]))
    with work.kept_in(None, **options):
        assert work.each(divmod, [(7, 2)], desc="quotients") == [4]
    assert seen == [jobs]
