"""Every command under streams that are closed, full, or not read to the end, and under Ctrl-C: no traceback, ever."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BANDIT = "--behavior .5,.5 --reward 0,1"
QUICK = {
    "help": "pessimism --help",
    "target": f"pessimism target {BANDIT} --objective kimi",
}
ALL = QUICK | {
    "diagnose": "pessimism diagnose examples/verl_rollouts --csv",
    "objectives": "pessimism objectives",
    "studies": "analysis list",
    "models": "llm --help",
    "version": "pessimism --version",
    "target help": "pessimism target --help",
    "compare": f"pessimism compare {BANDIT} --objectives kimi oapl",
    "match": f"pessimism match {BANDIT} --objective kimi --kl 0.1",
    "study": "analysis run targets --smoke",
    "figure": "figures targets --smoke --out {out} --format svg",
    "figures help": "figures --help",
    "verification": "analysis.verification --help",
    "report": "llm.validation.report --help",
}
# How -> what stdout is, the exit codes that are right, and lines on stderr.
STREAMS = {
    "closed": (">&-", {0}, {0}),
    "full": (">/dev/full", {2}, {1}),
    "both full": (">/dev/full 2>/dev/full", {2}, {0}),
    "head": ("| head -n 1", {0, 141}, {0}),
    "true": ("| true", {0, 141}, {0}),
}
MODULE = """
import builtins, os, runpy, signal, sys
sent, name, module, *sys.argv[1:] = sys.argv[1:]
imported = builtins.__import__
def interrupting(wanted, *rest, **named):
    if wanted.partition(".")[0] == name:
        builtins.__import__ = imported
        os.kill(os.getpid(), int(sent))
    return imported(wanted, *rest, **named)
builtins.__import__ = interrupting
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""


def shell(command: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    full = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], cwd=ROOT, env=full, capture_output=True, timeout=300, check=False
    )


def slow_unless_quick(names: dict[str, str]) -> list[object]:
    return [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.mark.parametrize("how", STREAMS)
@pytest.mark.parametrize("name", slow_unless_quick(ALL))
def test_streams_that_take_nothing(name: str, how: str, tmp_path: Path) -> None:
    where, codes, lines = STREAMS[how]
    done = shell(f"{sys.executable} -m {ALL[name].format(out=tmp_path)} {where}")
    if name.endswith("help") or name in ("verification", "report"):
        codes, lines = codes | {0}, lines | {0}  # argparse does not say whether its help was written
        if how == "closed":  # and takes stderr where there is no stdout
            lines = lines | {done.stderr.count(b"\n")}
    assert done.returncode in codes
    assert b"Traceback" not in done.stderr
    assert b"Exception" not in done.stderr
    assert done.stderr.count(b"\n") in lines


@pytest.mark.parametrize(
    ("command", "package"),
    [
        ("pessimism diagnose examples/verl_rollouts", "pandas"),
        pytest.param(f"pessimism target {BANDIT} --objective kimi", "scipy", marks=pytest.mark.slow),
        pytest.param("analysis run targets", "joblib", marks=pytest.mark.slow),
        pytest.param("figures targets", "matplotlib", marks=pytest.mark.slow),
        pytest.param("analysis.verification --dry-run", "joblib", marks=pytest.mark.slow),
        pytest.param("llm.validation.report", "matplotlib", marks=pytest.mark.slow),
        pytest.param("llm train --help", "trl", marks=pytest.mark.slow),
        pytest.param("llm evaluate --model tiny", "torch", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_is_one_line_and_its_code(command: str, package: str, sent: signal.Signals) -> None:
    """It comes while the named package is imported, at a moment when each command is at work already."""
    done = subprocess.run(
        [sys.executable, "-c", MODULE, str(int(sent)), package, *command.split()],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode in (128 + sent, -sent)  # in a shell both are the same
    assert done.stderr.count("\n") == 1
    assert "interrupted" in done.stderr or (sent is signal.SIGTERM and "terminated" in done.stderr)


@pytest.mark.parametrize("name", slow_unless_quick(ALL))
def test_help_of_a_terminal_of_one_column_ends(name: str, tmp_path: Path) -> None:
    command = ALL[name].format(out=tmp_path)
    words = command.split()
    asked = words[0] if words[0] != "pessimism" or words[1].startswith("-") else " ".join(words[:2])
    done = shell(f"{sys.executable} -m {asked} --help", COLUMNS="1")
    assert done.returncode == 0
    assert done.stdout


@pytest.mark.parametrize("name", slow_unless_quick(ALL))
def test_ascii_is_all_that_an_ascii_stream_gets(name: str, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text('{"prompt": "κ\u202e\\u001b[2J=é", "reward": 1}\n{"prompt": "b", "reward": 0}\n', encoding="utf-8")
    command = ALL[name].replace("examples/verl_rollouts", str(log)).format(out=tmp_path)
    done = shell(f"{sys.executable} -m {command}", LC_ALL="C", PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert done.stdout.isascii()
    assert done.stderr == b""


@pytest.mark.parametrize("out", ["", "--csv"])
def test_a_log_does_not_control_a_terminal(out: str, tmp_path: Path) -> None:
    pty = pytest.importorskip("pty")
    log = tmp_path / "log.jsonl"
    log.write_text(
        '{"prompt": "\\u001b[2J\\u202ea\\nb", "reward": 1}\n{"prompt": "b", "reward": 0}\n', encoding="utf-8"
    )
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "pessimism", "diagnose", str(log), *out.split()]
    with subprocess.Popen(command, cwd=ROOT, stdout=theirs, stderr=theirs, stdin=subprocess.DEVNULL) as run:
        os.close(theirs)
        shown = b""
        while piece := _piece(ours):
            shown += piece
    os.close(ours)
    assert run.returncode == 0
    text = shown.decode().replace("\r\n", "\n")
    assert r"\x1b[2J\u202ea\nb" in text
    assert all(c == "\n" or c.isprintable() for c in text)


def _piece(handle: int) -> bytes:
    try:
        return os.read(handle, 65_536)
    except OSError:  # the other side has closed
        return b""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "package", "group"),
    [("figures targets", "matplotlib", "figures"), ("analysis list", "joblib", "figures"), ("llm train", "trl", "llm")],
)
def test_a_missing_package_names_its_dependency_group(command: str, package: str, group: str, tmp_path: Path) -> None:
    (tmp_path / f"{package}.py").write_text(
        f"raise ModuleNotFoundError(\"No module named '{package}'\", name={package!r})"
    )
    done = shell(f"{sys.executable} -m {command}", PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    assert done.returncode == 2
    assert done.stderr.decode() == (
        f"error: No module named '{package}'; it comes with the dependency group {group}: "
        f"pip install -e . --group {group}\n"
    )
