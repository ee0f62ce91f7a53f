"""The command: a mistake is one line, and a rerun in another process is byte for byte the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

from analysis import studies
from figures.__main__ import main
from figures.save import FORMATS, save, versions
from figures.sheet import sheet
from figures.style import context
from tests.smoke import headline, smoke

ROOT = Path(__file__).resolve().parents[2]


def draw(name: str) -> Figure:
    return sheet(name).draw(smoke(name), headline(name))


@pytest.mark.parametrize(
    "names", [("decoupled", "pass_rate"), pytest.param(studies.NAMES, marks=pytest.mark.slow)], ids=["two", "all"]
)
def test_a_rerun_in_a_new_process_is_byte_equal(names: tuple[str, ...], tmp_path: Path) -> None:
    """Figures with their data and parameters, made here and by the command, which share nothing."""
    here, there, cache = (tmp_path / name for name in ("here", "there", "cache"))
    command = [sys.executable, "-m", "figures", *names, "--smoke", "--out", str(there), "--cache", str(cache)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        for name in names:
            with context():
                save(draw(name), smoke(name), studies.parameters(name, smoke=True), here / name)
        out, error = run.communicate()
    assert (run.returncode, error) == (0, "")  # no progress bar without a terminal
    files = sorted(f"{name}.{ending}" for name in names for ending in (*FORMATS, "csv", "json"))
    assert sorted(path.name for path in there.iterdir()) == files
    assert sorted(Path(line).name for line in out.splitlines()) == files
    different = [file for file in files if (here / file).read_bytes() != (there / file).read_bytes()]
    assert different == []
    for name in names:
        saved = pd.read_csv(there / f"{name}.csv", keep_default_na=False, na_values=["", "nan"], low_memory=False)
        pd.testing.assert_frame_equal(saved, smoke(name).replace("", float("nan")), check_dtype=False)
        written = (there / f"{name}.json").read_text()
        about = json.loads(written)
        assert about["versions"] == versions()
        assert set(about["parameters"]) == set(studies.parameters(name))
        assert str(ROOT) not in written


@pytest.mark.parametrize("arguments", [["nonsense"], ["--format", "pdf,gif"]])
def test_a_mistake_is_one_line_and_exit_code_2(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
