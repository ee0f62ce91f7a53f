"""The console script, as a user meets it: tables, JSON, CSV, and one line for every mistake."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields

import pytest

import pessimism as ps
from pessimism.cli.main import main
from pessimism.losses.registry import find_class
from tests.pessimism.cli.console import run


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "--version") == f"pessimism {ps.__version__}\n"


@pytest.mark.parametrize("command", [[], ["target"], ["compare"], ["diagnose"], ["advise"], ["objectives"]])
def test_help_is_plain(capsys: pytest.CaptureFixture[str], command: list[str]) -> None:
    out = run(capsys, *command, "--help")
    assert not any(noise in out for noise in ("``", "`", "{None}", "default: None", "default: False"))
    assert out.count("  pessimism ") == (5 if not command else 0)


def test_help_is_not_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "diagnose" in capsys.readouterr().out


def test_a_closed_pipe_is_not_a_traceback() -> None:
    command = f"{sys.executable} -m pessimism.cli.main objectives | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.startswith("nominal")


@pytest.mark.parametrize("fault", [TypeError("of our own code"), AttributeError("x"), KeyError("y")])
def test_a_fault_of_the_code_is_not_told_as_a_mistake_of_the_user(
    fault: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(options: object) -> None:
        raise fault

    monkeypatch.setattr("pessimism.cli.objectives.run", broken)
    with pytest.raises(type(fault)):
        main(["objectives"])


@pytest.mark.parametrize("value", ["abc", "none", "[1,2]", "1e999"])
@pytest.mark.parametrize("name", ps.objectives())
def test_a_hyper_parameter_of_the_wrong_kind_is_one_line(
    name: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for field in fields(find_class(name)):
        command = ["target", "--behavior", ".5,.5", "--reward", "0,1", "--objective", f"{name}:{field.name}={value}"]
        code = main(command)
        assert code in (0, 2)  # some are of the right kind
        assert capsys.readouterr().err.count("\n") == (code == 2)
