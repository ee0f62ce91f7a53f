"""What is told of the kept runs: written from their frames, nothing else of the pages touched."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from figures.sheet import OTHERS
from llm.validation.report import KEPT, keep, main, report, table


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A copy of what is kept, and of the two pages beside it."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "language_models.md").write_text("before\n<!-- findings -->\nold\n<!-- end -->\nafter\n")
    (tmp_path / "README.md").write_text("one\n<!-- population -->\n<!-- end -->\ntwo\n")
    return Path(shutil.copytree(KEPT, tmp_path / "kept"))


@pytest.mark.slow
def test_findings_are_read_off_the_frames_and_wrapped(kept: Path, tmp_path: Path) -> None:
    frame = pd.read_csv(kept / "validate_sampled.csv")
    frame[frame["objective"] == "kimi"].to_csv(kept / "validate_sampled.csv", index=False)
    report(kept, tmp_path)
    about = {name: json.loads((kept / f"{name}.json").read_text()) for name in OTHERS}
    before = {name: json.loads((KEPT / f"{name}.json").read_text()) for name in OTHERS}
    changed = [name for name in OTHERS if about[name]["finding"] != before[name]["finding"]]
    assert changed == ["validate_sampled"]
    assert "shifted mean" not in about["validate_sampled"]["finding"]
    assert all(about[name] | {"finding": ""} == before[name] | {"finding": ""} for name in OTHERS)
    page = (tmp_path / "docs" / "language_models.md").read_text()
    assert page.startswith("before\n<!-- findings -->\n")
    assert page.endswith("\n<!-- end -->\nafter\n")
    assert "old" not in page
    assert max(map(len, page.splitlines())) <= 120
    assert all(about[name]["finding"] in page.replace("\n", " ") for name in OTHERS)
    rows = table(pd.read_csv(kept / "validate_population.csv"))
    assert (tmp_path / "README.md").read_text() == f"one\n<!-- population -->\n\n{rows}\n<!-- end -->\ntwo\n"
    assert (kept / "validate_sampled.png").read_bytes() != (KEPT / "validate_sampled.png").read_bytes()


def test_only_full_runs_are_kept(kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Path(shutil.copytree(kept, tmp_path / "run"))
    (run / "validate_lag.json").unlink()
    (run / "validate_sampled.csv").write_text("new")
    keep(run, kept)
    assert (kept / "validate_sampled.csv").read_text() == "new"
    about = json.loads((run / "validate_sampled.json").read_text())
    (run / "validate_sampled.json").write_text(json.dumps(about | {"scale": "default"}))
    (run / "validate_population.csv").write_text("new")
    with pytest.raises(ValueError, match="is of scale 'default', only a full run is kept"):
        keep(run, kept)
    assert (kept / "validate_population.csv").read_text() != "new"
    assert main([str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("error: folder: no run of validate_population")


@pytest.mark.slow
def test_a_page_without_its_marks(kept: Path, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("nothing\n")
    with pytest.raises(ValueError, match="README.md must have <!-- population --> and <!-- end -->"):
        report(kept, tmp_path)
