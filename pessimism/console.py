"""How a command of the console ends: an exit code, at most one line on stderr, and streams that do not surprise it."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pessimism.messages import cut, plain

MISTAKE = 2  # what the user can mend
INTERRUPTED = 130  # 128 + SIGINT, as the shell has it
TERMINATED = 143  # 128 + SIGTERM: a scheduler, `timeout` or the end of a session asks a process to end
UNREAD = 141  # 128 + SIGPIPE: whoever read the output has gone, as `head` does
MISTAKES: tuple[type[Exception], ...] = (ValueError, OSError, MemoryError)
_UNWRITTEN = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)
_LINE = 2000  # characters of the one line of a mistake


class TerminatedError(KeyboardInterrupt):
    """The process was asked to end by SIGTERM: it unwinds as after Ctrl-C, so that no half-written file stays."""


def exit_code(
    command: Callable[[], int | None],
    prefix: str,
    *,
    interrupted: str | None = None,
    mistakes: tuple[type[Exception], ...] = MISTAKES,
    process: bool = False,
) -> int:
    """Run a command; a mistake of the user is one line on stderr and 2, an interruption one and 130, SIGTERM 143.

    Output that nobody reads any more (``| head``) is no mistake: 141, without a word, as of every other tool. A stream
    that was closed before (``>&-``) takes everything and keeps nothing. What the encoding of a stream cannot write is
    escaped, and a terminal under ``LC_ALL=C`` gets ASCII alone.

    Parameters
    ----------
    command : callable
        Runs the command; returns its exit code, None for 0.
    prefix : str
        What a line on stderr begins with, before a colon.
    interrupted : str, optional
        The line after Ctrl-C or SIGTERM; by default the prefix says that it was interrupted, or terminated.
    mistakes : tuple of type, optional
        The errors that are mistakes of the user; all others are raised.
    process : bool, default False
        Whether the process ends with the command: SIGTERM is heard then, and Ctrl-C does not disturb its last breath.

    Returns
    -------
    int
        The exit code.

    Examples
    --------
    >>> exit_code(lambda: 0, "pessimism")
    0
    """
    before = signal.getsignal(signal.SIGTERM)
    try:
        if process:
            _hear_terminations()
            _hear_again()
        _prepare()
        code = _code(command)
        sys.stdout.flush()
    except BrokenPipeError:
        code = UNREAD
        for stream in (sys.stdout, sys.stderr):
            _silence(stream)
    except mistakes as error:
        code = MISTAKE
        _say(f"{prefix}: {_reason(error)}")
    except TerminatedError:
        code = TERMINATED
        _say(interrupted or f"{prefix}: terminated")
    except KeyboardInterrupt:
        code = INTERRUPTED
        _say(interrupted or f"{prefix}: interrupted")
    if process:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if signal.getsignal(signal.SIGTERM) is not before:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)  # all is written: what hangs now may well be ended
    return code


def _hear_terminations() -> None:
    """Raise `TerminatedError` on SIGTERM in this process; a child that copies its handlers ends as it always did."""
    own = os.getpid()

    def end(number: int, frame: object) -> None:
        if os.getpid() != own:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        raise TerminatedError

    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:  # else who started it has other plans
        signal.signal(signal.SIGTERM, end)


def _hear_again() -> None:
    """Send a signal once more whose exception was raised in a destructor, where Python drops it and goes on."""
    before = sys.unraisablehook

    def hook(dropped: Any) -> None:
        if not issubclass(dropped.exc_type, KeyboardInterrupt):
            before(dropped)
            return
        number = signal.SIGTERM if issubclass(dropped.exc_type, TerminatedError) else signal.SIGINT
        later = threading.Timer(0.01, os.kill, (os.getpid(), number))  # when the destructor and this hook are over
        later.daemon = True
        later.start()

    sys.unraisablehook = hook


@contextmanager
def deaf() -> Iterator[None]:
    """Ignore Ctrl-C in a `with` block, for as long as processes are started: they never hear one then.

    Yields
    ------
    None
        Nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _code(command: Callable[[], int | None]) -> int:
    try:
        return command() or 0
    except SystemExit as end:  # of a parser of the standard library, after help or a mistake
        if isinstance(end.code, str):
            raise ValueError(end.code) from None
        return int(end.code or 0)


def _prepare() -> None:
    """Open the streams that are closed, lest a file takes their place; escape what a stream cannot write."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - as long as the process runs
    for stream in (sys.stdout, sys.stderr):
        change = getattr(stream, "reconfigure", None)
        if change is not None:
            change(errors="backslashreplace", **({"encoding": "ascii"} if _plain_terminal(stream) else {}))


def _plain_terminal(stream: Any) -> bool:
    """Whether a stream is a terminal that was asked to be one of ASCII, where Python takes UTF-8 nevertheless."""
    if {"PYTHONUTF8", "PYTHONIOENCODING"} & os.environ.keys():
        return False
    return os.environ.get("LC_ALL") in ("C", "POSIX") and bool(stream.isatty())


def _reason(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return f"not enough memory {error}".rstrip()
    if isinstance(error, OSError) and error.filename is None and error.errno in _UNWRITTEN:
        return f"the output cannot be written ({error.strerror})"  # files have names
    return str(error)


def _end(stream: Any) -> None:
    """Write what a stream holds, or else drop it."""
    try:
        stream.flush()
    except OSError:
        _silence(stream)


def _say(line: str) -> None:
    try:
        print(cut(plain(" ".join(line.split())), _LINE), file=sys.stderr, flush=True)
    except OSError:
        _silence(sys.stderr)
    _end(sys.stdout)


def _silence(stream: Any) -> None:
    """Send what a stream still holds to nowhere, lest the interpreter complains about it at its end."""
    try:
        place = stream.fileno()
    except (AttributeError, OSError, ValueError):  # one of a test
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, place)
    os.close(nowhere)
