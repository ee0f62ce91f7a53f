"""Long commands that are killed or interrupted: what is there is whole, and the next run ends in the same bytes."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SMALL = "tiny:digits=1,noise=0.3,hidden=32,heads=2,head_dim=16,feed_forward=64,train_steps=60,batch=64"
COMMANDS = {
    "analysis run": ["analysis", "run", "value_from_logs", "--smoke", "--csv", "out/a.csv", "--cache", "cache"],
    "figures": ["figures", "flow_simplex", "--smoke", "--out", "out", "--cache", "cache"],
    "verification": ["analysis.verification", "--bandits", "1", "--cache", "cache"],
    "evaluate": [
        *("llm", "evaluate", "--model", SMALL, "--data", "addition:digits=1", "--max_completion_length", "3"),
        *("--limit", "64", "--samples", "32", "--out", "out/e.csv"),
    ],
    "train": [
        *("llm", "train", "--model_name_or_path", SMALL, "--data", "addition:digits=1", "--limit", "16"),
        *("--output_dir", "out", "--objective", "kimi", "--hyper", '{"beta": 0.5}', "--lag", "3", "--use_cpu"),
        *("--num_generations", "4", "--per_device_train_batch_size", "16", "--max_completion_length", "3"),
        *("--max_steps", "30", "--save_strategy", "steps", "--save_steps", "2", "--save_total_limit", "2"),
        *("--learning_rate", "1e-3", "--report_to", "none"),
    ],
    "validate": ["llm", "validate", "--smoke", "--jobs", "1", "--formats", "svg", "--out", "out", "--cache", "cache"],
}
PAGES = ("findings.md", "objectives.md", "verified.json")  # which killable.py puts there
TIMED = (
    "trainer_state.json",
    "training_args.bin",
    "README.md",
    "complete.json",
    "_lock",
)  # times are in them, or paths


def start(folder: Path, arguments: list[str]) -> subprocess.Popen[str]:
    """Start a command in a group of processes of its own."""
    (folder / "out").mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        text=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def kill(process: subprocess.Popen[str]) -> None:
    """Kill a command with the processes that it has started."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def interrupt(process: subprocess.Popen[str], sent: signal.Signals) -> None:
    """Interrupt a command as a terminal or a scheduler does, with its processes: it ends with one line."""
    os.killpg(process.pid, sent)
    said = process.communicate(timeout=300)[1]
    assert "Traceback" not in said
    assert process.returncode in (0, 128 + sent, -sent), said[-2000:]
    if process.returncode == 128 + sent:  # else it had not begun, or was at its end
        assert re.search(r"(interrupted|terminated)[^\n]*\n\Z", said), said[-2000:]


def end(process: subprocess.Popen[str]) -> str:
    said = process.communicate(timeout=900)[1]
    assert process.returncode == 0, said[-2000:]
    return said


def results(folder: Path) -> dict[str, bytes]:
    """What a command has written for its user, without what is kept for the next run, and half-written files."""
    found = (path for path in (folder / "out").iterdir() if path.is_file() and path.suffix not in (".jsonl", ".lock"))
    files = [path for path in found if path.name not in TIMED]
    files += [folder / name for name in PAGES if (folder / name).exists()]
    return {path.name: path.read_bytes() for path in files if not path.name.startswith(".part-")}


@pytest.mark.parametrize(
    "name",
    [pytest.param(one, marks=pytest.mark.nightly if one == "validate" else pytest.mark.slow) for one in COMMANDS],
)
def test_a_killed_command_goes_on_to_the_same_bytes(name: str, tmp_path: Path) -> None:
    command = ["-m", "tests.killable", ".", *COMMANDS[name]]
    began, whole, cut = time.monotonic(), tmp_path / "whole", tmp_path / "cut"
    end(start(whole, command))
    took, undisturbed = time.monotonic() - began, results(whole)
    chance, moments = random.Random(name), []
    for sent in (signal.SIGKILL, chance.choice([signal.SIGINT, signal.SIGTERM])):
        process = start(cut, command)
        moments.append((sent.name, chance.uniform(0.2, 1.0) * took))
        try:
            process.wait(moments[-1][1])
        except subprocess.TimeoutExpired:
            if sent is signal.SIGKILL:
                kill(process)
            else:
                parts = {*cut.rglob(".part-*")}
                interrupt(process, sent)
                assert {*cut.rglob(".part-*")} <= parts, moments  # what one that was killed has left
        else:
            end(process)
        for file, content in results(cut).items():
            if file not in PAGES:
                assert content == undisturbed[file], (file, moments)
    said = end(start(cut, command))
    assert results(cut) == undisturbed, moments
    assert "Traceback" not in said


PIECES = """
import sys, time
from pathlib import Path
from analysis.work import each, kept_in
from pessimism.files import write_text

from tests.test_kills import piece

if __name__ == "__main__":
    with kept_in(Path("cache")):
        found = each(piece, [(i,) for i in range(12)], desc="pieces", jobs=1)
    write_text(Path("out/sum"), str(sum(map(sum, found))))
"""


def piece(i: int) -> list[int]:
    """Takes a while, and writes down that it was made."""
    time.sleep(0.05)
    with Path("made").open("a") as file:
        file.write(f"{i}\n")
    return [i] * 1000


def test_pieces_that_are_kept_survive_a_kill(tmp_path: Path) -> None:
    """The small one of the tests above."""
    process = start(tmp_path, ["-c", PIECES])
    deadline = time.monotonic() + 120
    while sum(path.is_file() for path in tmp_path.glob("cache/*/*/*")) < 3:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    kill(process)
    assert results(tmp_path) == {}
    before = len((tmp_path / "made").read_text().splitlines())
    assert 3 <= before < 12
    assert end(start(tmp_path, ["-c", PIECES])) == ""
    assert results(tmp_path) == {"sum": str(sum(range(12)) * 1000).encode()}
    made = (tmp_path / "made").read_text().split()
    assert {*made} == {str(i) for i in range(12)}
    assert len(made) in (12, 13)  # the one that was being made or kept as it was killed
