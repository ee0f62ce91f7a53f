"""Files of torch: plain values alone, bounded."""

from __future__ import annotations

import random
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from pessimism.rollouts import torch_files
from pessimism.rollouts.read import read_rollouts
from tests.pessimism.rollouts.logs import message

GOOD: list[Any] = [{"prompt": "a", "reward": 1.0}, {"prompt": "b", "reward": 0.0}]


def save(path: Path, samples: Any = GOOD, **more: Any) -> Path:
    torch.save({"rollout_id": 7, "samples": samples, **more}, path)
    return path


class Runs:
    """What runs when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def test_code_is_never_unpickled(tmp_path: Path) -> None:
    path = save(tmp_path / "log.pt", [*GOOD, Runs(tmp_path / "ran")])
    said = message(path, skip_bad=True)
    assert said.startswith(f"{path}: cannot be read as plain values and tensors (")
    assert "weights_only" not in said
    assert not (tmp_path / "ran").exists()
    save(tmp_path / "good.pt")
    assert list(read_rollouts(tmp_path).attrs["passed_over"]) == [str(path)]
    assert not (tmp_path / "ran").exists()


def test_samples_have_the_step_of_their_file(tmp_path: Path) -> None:
    frame = read_rollouts(save(tmp_path / "log.pt", unused=torch.zeros(2)))
    assert frame[["step", "reward"]].to_numpy().tolist() == [[7, 1.0], [7, 0.0]]


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        ([GOOD[0], 3], "row 1: 3 is no sample"),
        ([GOOD[0], {"prompt": "a"}], "row 1: missing key 'reward'"),
        ([], "has no records"),
        ({"a": 1}, "has no list of samples"),
    ],
)
def test_what_is_no_sample(tmp_path: Path, samples: Any, said: str) -> None:
    path = save(tmp_path / "log.pt", samples)
    assert message(path) == f"{path}: {said}"


def test_lists_that_hold_one_another_are_refused(tmp_path: Path) -> None:
    held: list[Any] = ["a"]
    for _ in range(60):
        held = [held, held]
    path = save(tmp_path / "log.pt", [{"prompt": held, "reward": 1.0}] * 2)
    assert "has a few values in" in message(path)


def test_sizes_are_bounded_before_anything_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/data.pkl", b"\0" * 2**22)
    monkeypatch.setattr(torch_files, "UNPACKED", 2**20)
    assert "more than 0 GiB and 100 times as many" in message(path)
    monkeypatch.setattr(torch_files, "_PICKLE", 2**4)
    path = save(tmp_path / "log.pt")
    assert message(path) == f"{path}: more than 0 MiB of values, the most that are read"


def test_without_torch_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "log.pt")
    monkeypatch.setitem(sys.modules, "torch", None)
    assert message(path) == f"{path}: to read what torch has written needs torch: pip install torch"


def test_damaged_files_are_refused_in_a_line(tmp_path: Path) -> None:
    whole = save(tmp_path / "whole.pt").read_bytes()
    path = tmp_path / "log.pt"
    ends = set()
    for seed in range(150):
        draw = random.Random(seed)
        content = bytearray(whole)
        for _ in range(draw.choice((1, 3, 20))):
            content[draw.randrange(len(content))] = draw.randrange(256)
        path.write_bytes(content[: draw.choice((len(content), len(content), draw.randrange(len(content))))])
        try:
            ends.add(f"read {len(read_rollouts(path, skip_bad=True)) > 0}")
        except ValueError as error:
            assert str(path) in str(error) or "_column" in str(error), (seed, error)  # noqa: PT017
            assert "\n" not in str(error), seed  # noqa: PT017
            ends.add("refused")
    assert ends == {"read True", "refused"}
