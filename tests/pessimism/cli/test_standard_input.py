"""``-`` in the place of a file, and what is no file."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path

import pytest

from pessimism.cli import standard_input
from tests.pessimism.cli.console import fail, run
from tests.pessimism.rollouts.logs import write

BANDITS = b'{"behavior": [0.5, 0.5], "reward": [0, 1]}\n'


def given(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_log_is_read_from_standard_input(
    suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = write(tmp_path / f"log.{suffix}")
    given(monkeypatch, log.read_bytes())
    assert run(capsys, "diagnose", "-", "--csv") == run(capsys, "diagnose", str(log), "--csv")


def test_a_json_array_is_read_from_standard_input_and_files_beside_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"step": 5, "prompt": "z", "reward": float(i)} for i in range(2)]
    log = write(tmp_path / "log.jsonl")
    given(monkeypatch, b" " + json.dumps(rows).encode())
    said = run(capsys, "diagnose", str(log), "-", "--csv").splitlines()
    given(monkeypatch, json.dumps(rows).encode())
    alone = run(capsys, "diagnose", "-", "--csv").splitlines()
    whole = [*run(capsys, "diagnose", str(log), "--csv").splitlines(), alone[1]]
    assert [line.split(",")[:8] for line in said] == [line.split(",")[:8] for line in whole]


def test_problems_are_read_from_standard_input(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given(monkeypatch, b"\xef\xbb\xbf\n" + BANDITS)
    said = json.loads(run(capsys, "target", "--objective", "kimi", "--input", "-", "--json"))
    assert len(said["policy"]) == 2


def test_a_mistake_in_standard_input_names_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given(monkeypatch, b'{"prompt": "a", "reward": "one"}\n')
    assert fail(capsys, "diagnose", "-") == "pessimism: standard input:1: reward is 'one', not a number\n"
    given(monkeypatch, BANDITS * 2)
    monkeypatch.setattr(standard_input, "LIMIT", 50)
    assert "standard input: more than" in fail(capsys, "target", "--objective", "kimi", "--input", "-")


@pytest.mark.parametrize("name", ["log.csv", "log.jsonl", "log.parquet"])
def test_what_is_no_regular_file_is_refused_at_once(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for make, reason in (
        (os.mkfifo, "is a pipe, not a regular file"),
        (lambda path: path.symlink_to("/dev/zero"), "is a device, not a regular file"),
        (lambda path: path.symlink_to("nowhere"), "is a link to nowhere, which is not there"),
        (lambda path: path.symlink_to(path), "cannot be read"),
    ):
        path = tmp_path / name
        make(path)
        for command in (["diagnose"], ["target", "--objective", "kimi", "--input"]):
            assert f"{path}: {reason}" in fail(capsys, *command, str(path))
        path.unlink()
