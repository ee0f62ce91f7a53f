"""A folder of a run keeps to its settings, data and reward."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest
import torch

from llm.__main__ import main
from llm.models.load import load_model
from llm.storage.lock import alone
from llm.training.run_file import _ALWAYS, RUN, read_run, write_run
from tests.llm.console import QUICK, arguments
from tests.pessimism.test_files import files_of_at_most


@pytest.mark.usefixtures("seeded")
def test_a_folder_keeps_to_its_run(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["train", *arguments(model_name_or_path=str(folder), output_dir=str(tmp_path), **QUICK)]
    (tmp_path / "run.json").write_text('{"lag": 1}')  # of a run that never came to anything
    assert main([*given, "--hub_token", "secret"]) == 0
    assert "secret" not in (tmp_path / "run.json").read_text()
    capsys.readouterr()
    assert main(given) == 0
    assert capsys.readouterr().err.startswith("the run has had its 4 steps\n")
    assert main([*given, "--logging_steps", "1", "--save_total_limit", "1"]) == 0  # no result depends on these
    for name, value, said in [
        ("lag", "1", "lag=2"),
        ("adam_beta2", "0.95", "adam_beta2 by default"),
        ("data_seed", "3", "data_seed by default"),
        ("dtype", "bfloat16", "dtype by default"),
        ("chat_template_kwargs", '{"enable_thinking": false}', "chat_template_kwargs by default"),
    ]:
        assert main([*given, f"--{name}", value]) == 2
        assert f"output_dir {tmp_path} holds a run with {said}: choose another folder" in capsys.readouterr().err
    assert main([*given, "--resume", "false"]) == 2
    assert "choose another folder, delete it, or resume" in capsys.readouterr().err
    with alone(tmp_path / "_lock", "it"):
        assert main(given) == 2
    assert f"output_dir {tmp_path} is being written by another process" in capsys.readouterr().err


@pytest.mark.usefixtures("seeded")
def test_a_folder_keeps_to_its_data_and_reward(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    data, reward = tmp_path / "sums.jsonl", tmp_path / "reward_of_a_run.py"
    rows = [json.dumps({"prompt": f"{a}+1=", "answer": str(a + 1)}) + "\n" for a in range(8)]
    data.write_text("".join(rows))
    reward.write_text("def value(completions, **_):\n    return [float(len(c)) for c in completions]\n")
    told = {**QUICK, "data": "sums.jsonl", "reward": "reward_of_a_run:value", "output_dir": str(tmp_path / "run")}
    given = ["train", *arguments(model_name_or_path=str(folder), **told)]
    assert main(given) == 0
    monkeypatch.chdir("/")  # what run.json names is found from anywhere
    assert main(["measure", "--run", str(tmp_path / "run"), "--samples", "4"]) == 0
    monkeypatch.chdir(tmp_path)
    data.write_text("".join(rows).replace("7+1=", "6+1="))
    assert main(given) == 2
    assert "holds a run with examples_sha256=" in capsys.readouterr().err
    data.write_text("".join(rows))
    reward.write_text("def value(completions, **_):\n    return [0.5 for _ in completions]\n")
    assert main(given) == 2
    assert "holds a run with reward_sha256=" in capsys.readouterr().err


@pytest.mark.usefixtures("seeded")
@pytest.mark.slow
def test_a_run_is_made_longer(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = {**QUICK, "model_name_or_path": str(folder), "lag": "4"}

    def run(name: str, **change: str) -> int:
        return main(["train", *arguments(**{**told, "output_dir": str(tmp_path / name), **change})])

    assert run("once", max_steps="6") == 0
    assert run("twice", max_steps="3") == 0  # within a generation batch
    assert run("twice", max_steps="6") == 0
    one, other = (load_model(tmp_path / name).state_dict() for name in ("once", "twice"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert json.loads((tmp_path / "twice" / "run.json").read_text())["max_steps"] == 6
    assert run("twice", max_steps="5") == 2
    assert (
        "holds a run with max_steps=6 (it is made longer, in the same unit and not shorter)" in capsys.readouterr().err
    )
    for change in ({"lr_scheduler_type": "linear"}, {"lag_mode": "constant"}):
        assert run("ends", max_steps="2", **change) == 0
        assert run("ends", max_steps="3", **change) == 2
        said = "holds a run with max_steps=2 (it is made longer, only in lag_mode batch at a constant rate): choose"
        assert said in capsys.readouterr().err
        shutil.rmtree(tmp_path / "ends")


def test_any_damage_of_it_is_found(tmp_path: Path) -> None:
    told = {**dict.fromkeys(_ALWAYS, 1), "hyper": {"beta": 0.5}, "model": "tiny"}
    write_run(tmp_path, told)
    assert read_run(tmp_path) == told
    path, chance = tmp_path / RUN, random.Random(0)
    good = path.read_bytes()
    flipped = [good[:at] + bytes([good[at] ^ 1 << chance.randrange(7)]) + good[at + 1 :] for at in range(len(good))]
    for spoiled in (*flipped, good[:-1], good[: len(good) // 2], b"", good + b"\n"):
        path.write_bytes(spoiled)
        with pytest.raises(ValueError, match=rf"^{path} (is not as it was|cannot be read|lacks|must hold)"):
            read_run(tmp_path)
    path.unlink()
    path.mkdir()
    with pytest.raises(ValueError, match=f"^{path} cannot be read"):
        read_run(tmp_path)


def test_a_disk_that_takes_no_more_leaves_the_file_before(tmp_path: Path) -> None:
    write_run(tmp_path, {"a": 1})
    good = (tmp_path / RUN).read_bytes()
    with files_of_at_most(100), pytest.raises(OSError, match=rf"^{tmp_path}/run.json cannot be written \(File too"):
        write_run(tmp_path, {"a": "x" * 200})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {RUN: good}
