"""What is finished is not done again, and other code or other parameters are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from analysis import studies, work

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
    monkeypatch.setattr(work, "source_hash", lambda *ours: "changed")
    work.kept(logged, tmp_path / "cache")(str(tmp_path), 1)
    assert (tmp_path / LOG).read_text().split() == ["1", "1"]


def test_the_fingerprint_is_that_of_the_files_named() -> None:
    assert work.source_hash("atlas.py") != work.source_hash("settings.py")
    assert work.source_hash("atlas.py") == work.source_hash("atlas.py")
    assert work.source_hash("analysis/atlas.py") == work.source_hash("atlas.py")
    assert (
        len({work.source_hash(*ours) for ours in (("llm/",), ("llm/models/enumeration.py",), ("llm/validation/",), ())})
        == 4
    )
    assert work.source_hash("atlas.py", "llm/models/enumeration.py") not in (
        work.source_hash("atlas.py"),
        work.source_hash(),
    )


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
