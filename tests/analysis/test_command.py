"""How a command ends: one line and an exit code."""

from __future__ import annotations

import pytest

from analysis import studies
from analysis.__main__ import main
from analysis.command import exit_code


def test_an_interruption_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(studies, "run", killed)
    assert main(["run", "targets"]) == 130
    assert capsys.readouterr().err == "interrupted: run it again to go on from what was saved\n"


@pytest.mark.parametrize("error", [ValueError, OSError, ImportError, FloatingPointError])
def test_what_a_user_can_mend_is_one_line(error: type[Exception], capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> int:
        raise error("first\nsecond")

    assert exit_code(command) == 2
    assert capsys.readouterr().err == "error: first second\n"


def test_a_fault_of_the_code_is_not_hidden() -> None:
    def command() -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        exit_code(command)
    assert exit_code(lambda: 3) == 3
