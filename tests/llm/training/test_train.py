"""Folders that hold no run, what cannot be loaded, and the line at each log."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from llm.__main__ import main
from llm.sealed import MANIFEST
from llm.training.train import LineOverBar, LinePrinter, log_line
from tests.llm.console import QUICK, arguments

LOGS = {"loss": 0.25, "reward": 0.5, "kl/policy_behavior": 1e-3, "num_tokens": 3.0, "kappa_fit": None}
LINE = "step 3/8: loss 0.25, reward 0.5, kl/policy_behavior 0.001"


def test_groups_without_a_signal_are_said() -> None:
    assert log_line(3, 8, LOGS | {"frac_reward_zero_std": 1.0}) == f"{LINE}; all groups have equal rewards"
    assert log_line(3, 8, LOGS | {"frac_reward_zero_std": 0.9}) == LINE


@pytest.mark.parametrize("first", [True, False])
def test_a_line_of_the_first_process(first: bool, capsys: pytest.CaptureFixture[str]) -> None:
    state = SimpleNamespace(is_world_process_zero=first, global_step=3, max_steps=8)
    written: list[str] = []
    over: Any = LineOverBar()
    over.on_log(None, state, None, LOGS)  # before there is a bar
    over.training_bar = SimpleNamespace(write=written.append)
    over.on_log(None, state, None, LOGS)
    LinePrinter().on_log(None, state, None, LOGS)
    assert written == ([LINE] if first else [])
    assert capsys.readouterr().err == (f"{LINE}\n" if first else "")


@pytest.mark.usefixtures("seeded")
def test_what_is_no_run_of_the_command(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its checkpoints would be gone on with under any settings, a model overwritten."""
    given = ["train", *arguments(model_name_or_path=str(folder), **QUICK), "--output_dir"]
    assert main([*given, str(tmp_path / "run")]) == 0
    (tmp_path / "run" / "run.json").unlink()
    for place in (tmp_path / "run", shutil.copytree(folder, tmp_path / "model")):
        before = sorted(place.rglob("*"))
        assert main([*given, str(place)]) == 2
        assert f"output_dir {place} holds a model, but no run.json" in capsys.readouterr().err
        assert {*place.rglob("*")} <= {*before, place / "_lock"}
    shutil.rmtree(tmp_path / "run")
    assert main([*given, str(tmp_path / "run"), "--model_init_kwargs", '{"no_such": 1}']) == 2
    assert "error: model_init_kwargs: " in capsys.readouterr().err


@pytest.mark.usefixtures("seeded")
def test_a_logger_that_is_not_installed(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = {**QUICK, "model_name_or_path": str(folder), "output_dir": str(tmp_path), "report_to": "codecarbon"}
    assert main(["train", *arguments(**given)]) == 2
    assert "error: report_to: CodeCarbonCallback requires" in capsys.readouterr().err


@pytest.mark.usefixtures("seeded")
def test_weights_that_are_cut_off(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = shutil.copytree(folder, tmp_path / "broken") / "model.safetensors"
    broken.write_bytes(broken.read_bytes()[:1000])
    given = arguments(**{**QUICK, "model_name_or_path": str(broken.parent), "output_dir": str(tmp_path / "run")})
    commands = ["train", *given], ["evaluate", "--model", str(broken.parent)]
    said = f"error: model {broken.parent} is not whole: model.safetensors has 1000 of "
    for command in commands:
        assert main(command) == 2
        assert said in capsys.readouterr().err
    (broken.parent / MANIFEST).unlink()  # as of a model from elsewhere
    for command in commands:
        assert main(command) == 2
        assert f"error: model {broken.parent}: its weights cannot be read" in capsys.readouterr().err
