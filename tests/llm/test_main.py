"""The command line: configurations that parse, errors of one line, a run from training to its measurement."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from peft import AutoPeftModelForCausalLM
from trl import ModelConfig

from llm.__main__ import COMMANDS, _parsed, main
from llm.models.load import hub_reachable, load_model, model_path, readable, tiny_settings
from llm.settings import EvaluateConfig, TrainConfig
from llm.storage.lock import alone
from llm.training.config import OffPolicyConfig
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
CPU = ["train", "--model_name_or_path", "tiny", "--output_dir", "x", "--use_cpu", "true", "--bf16", "false"]


def arguments(**given: str) -> list[str]:
    return [part for name, value in given.items() for part in (f"--{name}", value)]


def test_configurations_for_a_cpu_parse_and_fields_override_them() -> None:
    settings, config, model = _parsed("train", TRAIN, ["--config", str(CONFIGS / "cpu.yaml"), "--lag", "4"])
    assert (config.lag, config.steps_per_generation, config.made().beta) == (4, 4, 0.5)
    assert (settings.data, model.model_name_or_path) == ("addition:digits=2", "tiny")
    (found,) = _parsed(
        "evaluate", (EvaluateConfig,), ["--config", str(CONFIGS / "aime.yaml"), "--model", "m", "--samples", "64"]
    )
    assert (found.samples, found.ks, found.generation) == (64, [1, 8, 32], "vllm")
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


@pytest.mark.parametrize(
    ("name", "of_engine"),
    [
        ("fsdp", {"fsdp_version": 2, "fsdp_cpu_ram_efficient_loading": False}),
        ("deepspeed", {"zero_stage": 3, "zero3_save_16bit_model": True}),
    ],
)
def test_configurations_for_accelerate(name: str, of_engine: dict[str, Any]) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    found = load_config_from_file(str(CONFIGS / f"accelerate_{name}.yaml"))
    assert (found.num_processes, found.distributed_type.value) == (4, name.upper())
    assert getattr(found, f"{name}_config").items() >= of_engine.items()


@pytest.mark.usefixtures("seeded")
def test_train_measure_evaluate(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    given = ["train", *arguments(model_name_or_path=str(folder), output_dir=str(run), **QUICK)]
    assert main(given) == 0
    told = json.loads((run / "run.json").read_text())
    assert (told["objective"], told["hyper"], told["level"]) == ("kimi", {"beta": 0.5}, "sequence")
    assert not (run / "run.part").exists()
    card = (run / "README.md").read_text()
    assert "trained with Kimi k1.5 / K2 policy mirror descent, a method introduced in" in card
    assert "(https://huggingface.co/papers/2501.12599)" in card
    assert "fine-tuned version of a local model." in card
    assert f'pipeline("text-generation", model="{run}"' in card
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
    assert said.out.count("kimi(beta=0.5), groups of 4; completions sampled\n") == 2
    assert f"{run} on addition:digits=1, reward exact\n5 prompts, 4 samples each" in said.out
    assert (pd.read_csv(out)["pass@4"] >= pd.read_csv(out)["pass@1"]).all()
    (line,) = said.err.splitlines()
    assert line.startswith("step 4/4: reward ")


@pytest.mark.usefixtures("seeded")
def test_adapters_are_measured_and_evaluated(folder: Path, tmp_path: Path) -> None:
    """With the model that they are of: what the run ended at, and not what it began with."""
    run, adapters = tmp_path / "run", {"use_peft": "true", "lora_r": "2", "lora_target_modules": "all-linear"}
    quick = {**QUICK, "learning_rate": "0.1", "output_dir": str(run), "model_name_or_path": str(folder)}
    assert main(["train", *arguments(**quick, **adapters)]) == 0
    assert (run / "adapter_config.json").exists()
    assert main(["measure", *arguments(run=str(run), exact="true", limit="3", out=str(tmp_path / "m.csv"))]) == 0
    assert (pd.read_csv(tmp_path / "m.csv")["kl"] > 1e-4).all()
    asked = {"data": "addition:digits=1", "limit": "3", "max_completion_length": "2", "samples": "64"}
    for name, model in (("run", run), ("start", folder)):
        assert main(["evaluate", *arguments(model=str(model), out=str(tmp_path / f"{name}.csv"), **asked)]) == 0
    entropies = [pd.read_csv(tmp_path / f"{name}.csv")["sequence_entropy"] for name in ("run", "start")]
    assert (entropies[0] != entropies[1]).all()
    merged = load_model(run)
    assert not any("lora" in name for name, _ in merged.named_parameters())
    ids = torch.arange(6)[None]
    with torch.no_grad():
        ours, theirs, before = (
            model(input_ids=ids).logits
            for model in (merged, AutoPeftModelForCausalLM.from_pretrained(run), load_model(folder))
        )
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)
    assert (ours - before).abs().max() > 1e-2


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


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "a command must come first: the commands are train"),
        (["tarin"], "unknown command 'tarin'"),
        (["train", "--config"], "--config needs a file"),
        (["train", "--config", "none.yaml"], "--config none.yaml cannot be read (No such file or directory)"),
        (["train", "--config", "a.yaml", "--config", "b.yaml"], "--config must be given once"),
        (["evaluate", "--sample", "3"], "unknown field 'sample'; did you mean 'samples'?"),
        (["measure", "--ru", "x"], "unknown field 'ru'; did you mean 'run'?"),
        ([*CPU, "--lagg", "3"], "unknown field 'lagg'; did you mean 'lag'? python -m llm train --help lists all"),
        ([*CPU, "--max_steps", "x"], "--max_steps/--max-steps: invalid int value: 'x'"),
        ([*CPU, "--lag_mode", "x"], "argument --lag_mode/--lag-mode: invalid choice: 'x' (choose from 'batch'"),
        ([*CPU, "--bf16"], "argument --bf16: expected one argument"),
        (
            ["train", "--config", str(CONFIGS / "cpu.yaml"), "--objective", "kimi"],
            f"'kimi' has no hyper-parameter 'shift'; it has beta; hyper is that of {CONFIGS / 'cpu.yaml'}: --hyper",
        ),
        (
            [*CPU, "--objective", "kimi", "--hyper", '{"shift": 1}'],
            "'kimi' has no hyper-parameter 'shift'; it has beta\n",
        ),
        ([*CPU, "--objective", "kimmi"], "did you mean 'kimi'?"),
        ([*CPU, "--model_name_or_path", "tiny:hiden=3"], "unknown setting 'hiden'"),
        # Known before a model is fetched or made: there is none of that name.
        ([*CPU, "--model_name_or_path", "none/none", "--data", "none.jsonl"], "none.jsonl: no such file"),
        (["evaluate", "--model", "none/none", "--reward", "exakt"], "exakt"),
        (
            ["measure", *arguments(policy="none", behavior="none", objective="kimi", data="addition:digits=3")],
            "limit is required",
        ),
        ([*CPU, "--data", "addition:steps= True"], "reward exact is never earned with written steps"),
        (
            ["measure", "--policy", "x", "--behavior", "y", "--checkpoint", "z"],
            "checkpoint is for run: give its folder",
        ),
        ([*CPU, "--chat_template_kwargs", "3"], "chat_template_kwargs must be a mapping, or one in JSON, got '3'"),
        ([*CPU, "--model_name_or_path", "tiny:steps=no"], "tiny:steps=no: steps must be true or false, got 'no'"),
        (["evaluate", "--model", "x", "--out", "x.jsonl"], "out must not end in .jsonl, which is where finished"),
        (["measure", "--policy", "x"], "run must be given, or policy, behavior and objective"),
        (["measure", "--policy", "x", "--behavior", "y"], "run must be given, or policy, behavior and objective"),
        (["measure", "--run", "nowhere"], "nowhere holds no run"),
        ([*CPU, "--eval_strategy", "steps"], "eval_strategy must be no: there is one data set"),
        ([*CPU, "--data", "addition:digits=0"], "addition:digits=0: digits must be an integer >= 1, got 0"),
        ([*CPU, "--model_name_or_path", "tiny:digits=0"], "tiny:digits=0: digits must be an integer >= 1, got 0"),
        (
            [*CPU, "--output_dir", f"{__file__}/x"],
            f"output_dir {__file__}/x cannot be written (",
        ),
        (["train", *CPU[3:]], "model_name_or_path must be given"),
        (["evaluate"], "model must be given"),
        (["evaluate", "--model", "x", "--ks", "1", "17"], "ks must be from 1 to the 16 samples, got 17"),
        (["evaluate", "--model", "x", "--max_completion_length", "0"], "max_completion_length must be >= 1, got 0"),
        (["evaluate", "--model", "x", "--samples", "0"], "samples must be >= 1, got 0"),
        (["evaluate", "--model", "x", "--out", "/"], "out / is a folder: name a file"),
        (["evaluate", "--model", "x", "--out", f"{__file__}/x"], f"out {__file__}/x cannot be written ("),
        (
            ["measure", "--policy", "x", "--behavior", "y", "--objective", "kimi", "--num_generations", "7"],
            "samples must be whole groups of num_generations, got 256 and 7",
        ),
        (["measure", "--run", "x", "--objective", "kimi"], "objective is the run's own: leave it out beside run, got"),
        (["measure", "--run", "x", "--reward", "final"], "reward is the run's own"),
        (
            ["measure", "--policy", "x", "--behavior", "y", "--hyper", "{beta"],
            "hyper must be a mapping, or one in JSON",
        ),
        (["evaluate", "--chat_template_kwargs", "[1]"], "chat_template_kwargs must be a mapping, or one in JSON, got"),
        ([*CPU, "--resume_from_checkpoint", "x"], "resume_from_checkpoint must be left out"),
        ([*CPU, "--save_only_model", "true"], "save_only_model must be false"),
        ([*CPU, "--reward_weights", "2"], "reward_weights must be left out: there is one reward, got [2.0]"),
        ([*CPU, "--reward_weights", "nan"], "reward_weights must be finite, got [nan]"),
        ([*CPU, "--generation", "vllm", "--vllm_mode", "server"], 'vllm_mode must be "colocate"'),
    ],
)
def test_a_mistake_is_one_line(
    given: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(given) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sampels: 3", "unknown field 'sampels'; did you mean 'samples'? python -m llm evaluate --help lists all"),
        ("samples: 1.5", "argument --samples: invalid int value: '1.5'"),
        ("samples: true", "argument --samples: invalid int value: 'True'"),
        ("samples: [3]", "argument --samples: must be one value, got [3]"),
        ("model: {name: tiny}", "argument --model: must be one value, got {'name': 'tiny'}"),
        ("ks: [1, x]", "argument --ks: invalid int value: 'x'"),
        ("generation: vlm", "argument --generation: invalid choice: 'vlm' (choose from 'transformers', 'vllm')"),
        ("dtype: float17", "argument --dtype: invalid choice: 'float17' (choose from 'auto', 'float32'"),
        ("chat: maybe", "argument --chat: Truthy value expected: got maybe"),
        ("seed: 1\nmodel: [tiny", "{path}:2: expected ',' or ']', but got '<stream end>'"),
        ("- tiny", "must be fields with their values, a YAML mapping"),
        ("3: tiny", "must be fields with their values, a YAML mapping"),
        ("model: tiny\nsamples: 3\nmodel: small", '{path}:3: found duplicate key "model" with value "small"'),
        ("chat_template_kwargs: {a: 1, a: 2}", '{path}:1: found duplicate key "a" with value "2"'),
        ("sample: 3", "unknown field 'sample'; did you mean 'samples'?"),
        ("model: a\x07", "unacceptable character #x0007: special characters are not allowed"),
        ("env: 3", "env must be a mapping, got 3"),
    ],
)
def test_a_mistake_in_a_file_is_one_line(
    text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    assert main(["evaluate", "--config", str(path)]) == 2
    err = capsys.readouterr().err
    named = said.replace("{path}", str(path)) if "{path}" in said else f"{path}: {said}"
    assert err.startswith(f"error: {named}")
    assert err.count("\n") == 1


def test_values_in_a_file_are_those_of_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PESSIMISM_TEST", "0")
    path = tmp_path / "c.yaml"
    path.write_text(
        "env: {PESSIMISM_TEST: 1}\ndata: 7\nhyper: {beta: 5e-1}\nmax_grad_norm: 1\nlearning_rate: 1e-4\n"
        "min_p: null\nreport_to: [none]\nreward_weights: 1\nlora_target_modules: all-linear\n"
    )
    settings, config, model = _parsed("train", TRAIN, [f"--config={path}", *CPU[1:], "--learning_rate", "2e-4"])
    assert (settings.data, config.hyper, config.max_grad_norm) == ("7", {"beta": 0.5}, 1.0)
    assert (config.learning_rate, config.reward_weights, config.min_p) == (2e-4, [1.0], None)
    assert (model.lora_target_modules, config.report_to) == ("all-linear", [])
    assert os.environ["PESSIMISM_TEST"] == "1"


@pytest.mark.parametrize(
    "error", [FloatingPointError("the loss is not finite"), ImportError("vllm is not installed"), ValueError("a\nb")]
)
def test_what_a_user_can_mend_is_one_line(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: list[str]) -> int:
        raise error

    monkeypatch.setitem(COMMANDS, "train", fail)
    assert main(["train"]) == 2
    assert capsys.readouterr().err == f"error: {' '.join(str(error).split())}\n"


@pytest.mark.usefixtures("seeded")
def test_a_logger_that_is_not_installed(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = {**QUICK, "model_name_or_path": str(folder), "output_dir": str(tmp_path), "report_to": "codecarbon"}
    assert main(["train", *arguments(**given)]) == 2
    assert "error: report_to: CodeCarbonCallback requires" in capsys.readouterr().err


def test_a_hub_that_is_not_reached(tmp_path: Path) -> None:
    error = type("ConnectError", (Exception,), {"__module__": "httpx.made_here"})
    said = r"^the Hugging Face hub cannot be reached, for push_to_hub \(no route\)$"
    with pytest.raises(OSError, match=said), hub_reachable():
        raise error("no\nroute")
    with pytest.raises(OSError, match="^model org/name: cannot connect$"), readable("org/name"):
        raise OSError("cannot\nconnect")
    with pytest.raises(KeyError), hub_reachable():
        raise KeyError
    for kept in (FileNotFoundError(2, "gone"), OSError(f"{tmp_path} is no model")):
        with pytest.raises(OSError, match="gone|is no model") as found, readable(tmp_path):
            raise kept
        assert found.value is kept


def test_folders_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"model \S+: this folder holds no config.json$"):
        model_path(str(tmp_path))
    with pytest.raises(FileNotFoundError, match="model results/runs/none: no such folder$"):
        model_path("results/runs/none")
    (tmp_path / "adapter_config.json").touch()
    assert model_path(str(tmp_path)) == str(tmp_path)


@pytest.mark.usefixtures("seeded")
def test_weights_that_are_cut_off(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = shutil.copytree(folder, tmp_path / "broken") / "model.safetensors"
    broken.write_bytes(broken.read_bytes()[:1000])
    given = arguments(**{**QUICK, "model_name_or_path": str(broken.parent), "output_dir": str(tmp_path / "run")})
    for command in (["train", *given], ["evaluate", "--model", str(broken.parent)]):
        assert main(command) == 2
        assert f"error: model {broken.parent}: its weights cannot be read" in capsys.readouterr().err


def test_sources_of_models(tmp_path: Path) -> None:
    assert model_path("org/name", tmp_path) == "org/name"
    said = (
        "digits=1,noise=0.3,hidden=32,heads=2,head_dim=16,feed_forward=64,train_steps=200,batch=64,learning_rate=3e-3"
    )
    assert tiny_settings(f"tiny:{said}") == SETTINGS
    assert tiny_settings("tiny:steps=True,tied=False,noise=1") == tiny_settings("tiny:steps=true,tied=false,noise=1.0")
    assert tiny_settings("tiny:tied=False").tied is False
    assert tiny_settings("tiny:noise=1").name == tiny_settings("tiny:noise=1.0").name
