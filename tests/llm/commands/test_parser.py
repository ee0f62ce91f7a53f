"""Configuration files and fields become settings, and a mistake in a file is one line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from llm.__main__ import _parsed, main
from llm.commands.parser import Parser
from llm.models.load import tiny_settings
from llm.settings import EvaluateConfig
from tests.llm.console import CONFIGS, CPU, TRAIN


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


BOMB = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{{{i - 1}}}]\n" for i in range(1, 10))
MERGED = "a0: &a0 {x: 1}\n" + "".join(f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}]}}\n" for i in range(1, 30))


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
        ("hyper: &a {x: *a}", "{path}:1: more than 10000 values, aliases counted as what they stand for"),
        (BOMB.format(*[", ".join([f"*a{i}"] * 9) for i in range(9)]), "{path}:5: more than 10000 values, aliases"),
        (MERGED, "{path}:11: more than 10000 values, aliases counted as what they stand for"),
        ("ks: [" + "1, " * 20_000 + "1]", "{path}:1: more than 10000 values"),
        ("ks: " + "[" * 5000, "{path}:1: nested more than 49 levels deep"),
        ("model: *a", "{path}:1: found undefined alias 'a'"),
        ("model: !!python/object/apply:os.system [false]", "{path}:1: could not determine a constructor for the tag"),
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


def test_aliases_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(
        "prompt_column: &a question\nanswer_column: *a\nmodel: tiny\nchat_template_kwargs: {a: &b [1], b: *b}\n"
    )
    (found,) = Parser((EvaluateConfig,)).parse(["--config", str(path)])
    assert (found.prompt_column, found.answer_column) == ("question", "question")
    assert found.chat_template_kwargs == {"a": [1], "b": [1]}


def test_a_configuration_is_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    large = tmp_path / "large.yaml"
    large.write_text("# " + "x" * 1_000_000)
    os.mkfifo(tmp_path / "pipe")
    for path, why in (
        (large, "has more than 1000000 bytes, the most that is read of such a file"),
        (tmp_path / "pipe", "is a pipe, not a regular file"),
        (tmp_path, "is a folder, not a regular file"),
        ("/dev/zero", "is a device, not a regular file"),
        (tmp_path / "none", "no such file"),
    ):
        assert main(["evaluate", "--config", str(path)]) == 2
        assert capsys.readouterr().err == f"error: --config {path}: {why}\n"


def test_a_configuration_may_come_from_a_command(tmp_path: Path) -> None:
    """As by ``--config <(sed s/A/B/ c.yaml)`` in a shell."""
    ours, theirs = os.pipe()
    os.write(theirs, b"model: tiny\nsamples: 3\n")
    os.close(theirs)
    (found,) = Parser((EvaluateConfig,)).parse(["--config", f"/dev/fd/{ours}"])
    os.close(ours)
    assert (found.model, found.samples) == ("tiny", 3)


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
