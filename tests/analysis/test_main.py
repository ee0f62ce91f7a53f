from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from analysis import studies
from analysis.__main__ import main, parse_settings


def test_list_names_every_study_and_parameter(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in studies.NAMES)
    assert "beta=0.1" in printed


def test_run_writes_the_frame(tmp_path: Path) -> None:
    out = tmp_path / "targets.csv"
    assert main(["run", "targets", "--set", "beta=0.5", "--set", "objectives=('kimi',)", "--csv", str(out)]) == 0
    expected = studies.study("targets").run(beta=0.5, objectives=["kimi"])
    pd.testing.assert_frame_equal(pd.read_csv(out, keep_default_na=False), expected, check_dtype=False)


def test_run_prints_the_frame(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "pass_rate", "--set", "logs=None", "--set", "n=2"]) == 0
    assert "shifted_mean" in capsys.readouterr().out


def test_a_frame_does_not_control_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    frame = pd.DataFrame({"prompt": ["a\x1b[2J\u202e", "b\nc", None], "n": [1.5, 2, 3]})
    monkeypatch.setattr(studies, "run", lambda *given, **named: frame)
    assert main(["run", "targets"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("\n") == 4
    assert all(character == "\n" or character.isprintable() for character in printed)
    out = tmp_path / "t.csv"  # a file gets the texts as they are
    assert main(["run", "targets", "--csv", str(out)]) == 0
    pd.testing.assert_frame_equal(pd.read_csv(out), frame)


@pytest.mark.parametrize("setting", ["beta", "gamma=1", "beta=-1", "beta=(1,)", "behavior=3"])
def test_a_mistake_is_one_line_and_exit_code_2(setting: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "targets", "--set", setting]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_text_for_a_number_names_the_parameter(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "conservatism", "--set", "ratio=x"]) == 2
    assert capsys.readouterr().err == "error: --set ratio must be a number, got 'x'\n"


def test_the_commands_of_readme_name_studies_and_parameters_that_exist() -> None:
    readme = (studies.PAGE.parents[1] / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"^python -m analysis run (\w+) (.*)$", readme, re.MULTILINE)
    assert commands
    for name, rest in commands:
        settings = re.findall(r"--set (\S+)", rest)
        assert settings
        parse_settings(studies.study(name).run, settings)
