"""The command line: configurations that parse, errors of one line, a run from training to its measurement."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from trl import ModelConfig

from llm.__main__ import _parsed, main
from llm.config import OffPolicyConfig
from llm.models import model_path, tiny_settings
from llm.settings import EvaluateConfig, TrainConfig
from tests.llm.conftest import SETTINGS

CONFIGS = Path(__file__).resolve().parents[2] / "llm" / "configs"
TRAIN = (TrainConfig, OffPolicyConfig, ModelConfig)
QUICK = {
    "data": "addition:digits=1",
    "reward": "exact",
    "objective": "kimi",
    "hyper": '{"beta": 0.5}',
    "lag": "2",
    "per_device_train_batch_size": "8",
    "num_generations": "4",
    "max_completion_length": "2",
    "max_steps": "4",
    "save_steps": "2",
    "use_cpu": "true",
    "bf16": "false",
    "gradient_checkpointing": "false",
}
CPU = ["train", "--output_dir", "x", "--use_cpu", "true", "--bf16", "false"]


def arguments(**given: str) -> list[str]:
    return [part for name, value in given.items() for part in (f"--{name}", value)]


def test_configurations_for_a_cpu_parse_and_fields_override_them() -> None:
    settings, config, model = _parsed("train", TRAIN, ["--config", str(CONFIGS / "cpu.yaml"), "--lag", "4"])
    assert (config.lag, config.steps_per_generation, config.made().beta) == (4, 4, 0.5)
    assert (settings.data, model.model_name_or_path) == ("addition:digits=2", "tiny")
    (found,) = _parsed("evaluate", (EvaluateConfig,), ["--config", str(CONFIGS / "aime.yaml"), "--samples", "8"])
    assert (found.samples, found.ks, found.generation) == (8, [1, 8, 32], "vllm")
    assert found.prompt_template.format(prompt="Q").endswith("\\boxed{}.")


@pytest.mark.parametrize("name", ["gpu", "multi_gpu", "qwen3_4b_deepscaler"])
def test_configurations_for_gpus_parse(name: str) -> None:
    # bf16 needs a device that has it: what is checked here is everything else.
    given = ["--config", str(CONFIGS / f"{name}.yaml"), "--bf16", "false", "--use_cpu", "true"]
    settings, config, model = _parsed("train", TRAIN, given)
    assert config.generation_batch_size % config.num_generations == 0
    assert settings.prompt_template is None or "{prompt}" in settings.prompt_template
    if model.model_name_or_path.startswith("tiny"):
        assert tiny_settings(model.model_name_or_path).task.completion_length < config.max_completion_length


def test_the_accelerate_configuration_is_one() -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    found = load_config_from_file(str(CONFIGS / "accelerate_fsdp.yaml"))
    assert found.num_processes == 4
    assert found.fsdp_config["fsdp_version"] == 2


@pytest.mark.usefixtures("seeded")
def test_train_measure_evaluate(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    given = ["train", *arguments(model_name_or_path=str(folder), output_dir=str(run), **QUICK)]
    assert main(given) == 0
    told = json.loads((run / "run.json").read_text())
    assert (told["objective"], told["hyper"], told["level"]) == ("kimi", {"beta": 0.5}, "sequence")
    assert not (run / "run.part").exists()
    assert main(["measure", *arguments(run=str(run), samples="16", limit="5", out=str(tmp_path / "m.csv"))]) == 0
    frame = pd.read_csv(tmp_path / "m.csv")
    assert list(frame["kind"]) == ["prompt"] * 5 + ["pooled"]
    both = {"policy": str(run), "behavior": str(folder), "max_completion_length": "2", "num_generations": "4"}
    same = {"data": "addition:digits=1", "objective": "kimi", "hyper": '{"beta": 0.5}', "samples": "16", "limit": "5"}
    assert main(["measure", *arguments(**both, **same, out=str(tmp_path / "n.csv"))]) == 0
    assert frame["kappa_fit"].equals(pd.read_csv(tmp_path / "n.csv")["kappa_fit"])
    out = tmp_path / "e.csv"
    asked = {"model": str(run), "data": "addition:digits=1", "limit": "5", "max_completion_length": "2"}
    assert main(["evaluate", *arguments(**asked, samples="4", out=str(out)), "--ks", "1", "4"]) == 0
    said = capsys.readouterr()
    assert "5 prompts, 4 samples each" in said.out
    assert (pd.read_csv(out)["pass@4"] >= pd.read_csv(out)["pass@1"]).all()
    assert said.err == ""


@pytest.mark.usefixtures("seeded")
def test_a_folder_keeps_to_its_run(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["train", *arguments(model_name_or_path=str(folder), output_dir=str(tmp_path), **QUICK)]
    assert main(given) == 0
    assert main(given) == 0  # finished: nothing left to do
    assert main([*given, "--lag", "1"]) == 2
    assert f"output_dir {tmp_path} holds a run with lag=2" in capsys.readouterr().err
    assert main([*given, "--resume", "false"]) == 2
    assert "choose another folder, or resume" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "a command must come first: the commands are train"),
        (["tarin"], "unknown command 'tarin'"),
        (["train", "--config"], "--config needs a file"),
        (["train", "--config", "none.yaml"], "none.yaml"),
        ([*CPU, "--lagg", "3"], "--lagg"),
        ([*CPU, "--objective", "kimmi"], "did you mean 'kimi'?"),
        ([*CPU, "--model_name_or_path", "tiny:hiden=3"], "unknown setting 'hiden'"),
        (["measure", "--policy", "x"], "run must be given, or policy and behavior"),
        (["measure", "--run", "nowhere"], "nowhere holds no run"),
    ],
)
def test_a_mistake_is_one_line(given: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(given) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_sources_of_models(tmp_path: Path) -> None:
    assert model_path("org/name", tmp_path) == "org/name"
    said = (
        "digits=1,noise=0.3,hidden=32,heads=2,head_dim=16,feed_forward=64,train_steps=200,batch=64,learning_rate=3e-3"
    )
    assert tiny_settings(f"tiny:{said}") == SETTINGS
