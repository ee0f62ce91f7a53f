"""How a command ends, in this process: its exit code and its one line."""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
import sys
import threading

import pytest

from pessimism.console import TerminatedError, deaf, exit_code


def raising(error: BaseException) -> int:
    def command() -> int:
        raise error

    return exit_code(command, "tool")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("first\nsecond"), "tool: first second"),
        (ValueError("\x1b[2J\u202e"), r"tool: \x1b[2J\u202e"),
        (ValueError("x" * 3000), f"tool: {'x' * 1991}..."),
        (MemoryError("for 9 EiB"), "tool: not enough memory for 9 EiB"),
        (MemoryError(), "tool: not enough memory"),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "tool: the output cannot be written (No space left on device)",
        ),
        (FileNotFoundError(errno.ENOENT, "No such file", "a.csv"), "tool: [Errno 2] No such file: 'a.csv'"),
        (SystemExit("a reason"), "tool: a reason"),
    ],
)
def test_a_mistake_is_one_line_without_control_characters(
    error: BaseException, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert raising(error) == 2
    assert capsys.readouterr().err == line + "\n"


def test_an_interruption_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert raising(KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == "tool: interrupted\n"


def test_a_termination_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert raising(TerminatedError()) == 143
    assert capsys.readouterr().err == "tool: terminated\n"


SIGTERM = """
import os, signal, sys, time
from pessimism.console import deaf, exit_code
def command():
    ready, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(tell, b"x")
        time.sleep(60)
    os.read(ready, 1)
    os.kill(child, signal.SIGTERM)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
    finally:
        print("unwound", flush=True)
{before}
sys.exit(exit_code(command, "tool", process=True))
"""


def terminated(before: str) -> subprocess.CompletedProcess[str]:
    script = SIGTERM.format(before=before)
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=50, check=False)


def test_sigterm_unwinds_the_process_and_only_it() -> None:
    done = terminated("")
    assert (done.returncode, done.stderr) == (143, "tool: terminated\n")
    assert done.stdout == "-15\nunwound\n"


def test_a_handler_of_somebody_else_stays() -> None:
    done = terminated("signal.signal(signal.SIGTERM, lambda *_: os._exit(7))")
    assert (done.returncode, done.stderr, done.stdout) == (7, "", "7\n")


def test_deaf_ignores_an_interruption_and_hears_the_next() -> None:
    before = signal.getsignal(signal.SIGINT)
    with deaf():
        os.kill(os.getpid(), signal.SIGINT)
        there = subprocess.run(
            [sys.executable, "-c", "import signal; print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)"],
            capture_output=True,
            text=True,
            check=True,
        )
    assert there.stdout == "True\n"
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_deaf_gives_the_handler_back_after_an_error() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ZeroDivisionError), deaf():
        1 / 0  # noqa: B018
    assert signal.getsignal(signal.SIGINT) is before


def test_deaf_does_nothing_in_a_thread() -> None:
    before, found = signal.getsignal(signal.SIGINT), []

    def inside() -> None:
        with deaf():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    assert found == [before]


def test_a_reader_that_has_gone_is_no_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert raising(BrokenPipeError(errno.EPIPE, "Broken pipe")) == 141
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("code", "expected"), [(None, 0), (0, 0), (3, 3)])
def test_other_ends_keep_their_code(code: int | None, expected: int) -> None:
    assert raising(SystemExit(code)) == expected
    assert exit_code(lambda: code, "tool") == expected


def test_a_fault_of_the_code_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        raising(ZeroDivisionError())


def test_closed_streams_take_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    assert exit_code(lambda: print("x"), "tool") == 0
    assert raising(ValueError("x")) == 2
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        assert stream.name == os.devnull
        stream.close()


def test_what_an_encoding_lacks_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    assert exit_code(lambda: print("κ = 2 \udcff"), "tool") == 0
    assert out.buffer.getvalue() == rb"\u03ba = 2 \udcff" + b"\n"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("environment", "written"),
    [
        ({"LC_ALL": "C"}, rb"\u03ba"),
        ({"LC_ALL": "C", "PYTHONUTF8": "1"}, "κ".encode()),
        ({"LC_ALL": "de_DE"}, "κ".encode()),
    ],
)
def test_a_terminal_of_the_c_locale_gets_ascii(
    environment: dict[str, str], written: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.TextIOWrapper):
        def isatty(self) -> bool:
            return True

    for name in ("LC_ALL", "PYTHONUTF8", "PYTHONIOENCODING"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    out = Terminal(io.BytesIO(), encoding="utf-8")
    monkeypatch.setattr(sys, "stdout", out)
    assert exit_code(lambda: print("κ", end=""), "tool") == 0
    assert out.buffer.getvalue() == written  # type: ignore[attr-defined]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_in_a_destructor_is_not_lost(number: int, code: int) -> None:
    """Python drops what a destructor raises, prints a traceback and goes on."""
    program = f"""
import os, sys, time
from pessimism.console import exit_code

class Dying:
    def __del__(self):
        os.kill(os.getpid(), {int(number)})
        time.sleep(0.05)

def command():
    Dying()
    time.sleep(60)

sys.exit(exit_code(command, "x", process=True))
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=False)
    assert (ended.returncode, ended.stderr.count("\n")) == (code, 1), ended.stderr
