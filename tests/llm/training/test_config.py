"""What a configuration takes, what it makes of it for TRL, and what it refuses."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, HfArgumentParser
from trl import GRPOConfig

import pessimism as ps
from llm.training.config import OffPolicyConfig
from pessimism.trainers.config import from_config
from pessimism.trainers.trl import trl_loss


@pytest.fixture
def made(tmp_path: Path) -> Any:
    base = {"use_cpu": True, "bf16": False, "gradient_checkpointing": False}
    return lambda **given: OffPolicyConfig(str(tmp_path), **{**base, **given})


@pytest.mark.parametrize(
    ("given", "steps", "completions"),
    [
        ({}, 1, 8),
        ({"lag": 4}, 4, 32),
        ({"lag": 4, "gradient_accumulation_steps": 3}, 12, 96),
        ({"lag": 4, "lag_mode": "constant"}, 1, 8),
        ({"lag": 0, "lag_mode": "constant"}, 1, 8),
        ({"lag": 4, "lag_mode": "constant", "gradient_accumulation_steps": 3}, 3, 24),
    ],
    ids=str,
)
def test_a_generation_batch_is_as_large_as_the_lag_asks(made: Any, given: Any, steps: int, completions: int) -> None:
    config = made(per_device_train_batch_size=8, num_generations=4, **given)
    assert (config.steps_per_generation, config.generation_batch_size) == (steps, completions)


BASELINES = {
    "grpo": (
        {},
        {"loss_type": "grpo", "beta": 0.04, "epsilon": 0.2, "scale_rewards": "group", "use_bias_correction_kl": False},
    ),
    "dr_grpo": (
        {"eps_high": 0.3},
        {"loss_type": "dr_grpo", "epsilon": 0.2, "epsilon_high": 0.3, "scale_rewards": "none"},
    ),
    "dapo": ({}, {"loss_type": "dapo", "beta": 0.0, "epsilon": 0.2, "epsilon_high": 0.28, "scale_rewards": "group"}),
    "gspo": ({}, {"loss_type": "grpo", "importance_sampling_level": "sequence", "epsilon": 3e-4, "epsilon_high": 4e-4}),
    "cispo": ({"cap": 4.0}, {"loss_type": "cispo", "epsilon_high": 4.0, "scale_rewards": "group"}),
    "luspo": (
        {"scale": "batch"},
        {"loss_type": "luspo", "importance_sampling_level": "sequence", "epsilon": 3e-4, "scale_rewards": "batch"},
    ),
    "sapo": ({"tau_neg": 1.5}, {"loss_type": "sapo", "sapo_temperature_pos": 1.0, "sapo_temperature_neg": 1.5}),
    "vespo": (
        {"k_pos": 1.0},
        {
            "loss_type": "vespo",
            "vespo_k_pos": 1.0,
            "vespo_lambda_pos": 3.0,
            "vespo_k_neg": 3.0,
            "vespo_lambda_neg": 2.0,
        },
    ),
}


def test_options_that_trl_has(made: Any) -> None:
    config = made(objective="grpo", hyper={"beta": 0.1, "unbiased_kl": True, "dual_clip": 3.0})
    assert (config.use_bias_correction_kl, config.delta) == (True, 3.0)
    assert made(objective="grpo").delta is None
    assert trl_loss(ps.GRPO(dual_clip=1.1)) is None  # TRL would clip better actions there
    assert trl_loss(ps.CISPO(floor=0.8)) is None
    assert trl_loss(ps.DAPO(scale="leave_one_out")) is None


@pytest.mark.parametrize("name", BASELINES)
def test_the_losses_of_trl_are_trls(made: Any, name: str) -> None:
    hyper, expected = BASELINES[name]
    config = made(objective=name, hyper=hyper)
    assert {field: getattr(config, field) for field in expected} == expected
    assert config.importance_sampling_level == expected.get("importance_sampling_level", "token")
    assert config.beta == expected.get("beta", 0.0)


@pytest.mark.parametrize("lag", [1, 4])
@pytest.mark.parametrize("name", BASELINES)
def test_what_is_set_for_trl_is_read_back(made: Any, name: str, lag: int) -> None:
    """The map of settings agrees both ways, but for the eps beside the standard deviation, which is TRL's own."""
    config = made(objective=name, hyper=BASELINES[name][0], lag=lag, gradient_accumulation_steps=2)
    found = from_config({f.name: getattr(config, f.name) for f in fields(GRPOConfig)}, trainer="trl")
    objective = config.made()
    assert found.objective == (replace(objective, eps=1e-4) if "eps" in objective.settings else objective)
    assert (found.reuse, found.lag, found.group_size) == (lag, lag - 1, config.num_generations)
    assert found.not_modelled == ()


def test_all_others_are_ours(made: Any) -> None:
    theirs = {name for name, objective in ps.objectives().items() if trl_loss(objective()) is not None}
    assert theirs == set(BASELINES)
    kimi, tba = made(objective="kimi"), made(objective="tba")
    assert (kimi.beta, kimi.scale_rewards, kimi.vllm_importance_sampling_correction) == (0.0, "none", False)
    assert tba.beta == 1.0  # TRL is to make the initial policy


def test_hyper_parameters_stand_after_a_colon_too(made: Any) -> None:
    assert made(objective="shifted-mean:shift=2", hyper={"beta": 0.3}).made() == ps.ShiftedMean(beta=0.3, shift=2.0)


@pytest.mark.parametrize("hyper", [{"beta": 0.3, "shift": 2.0}, '{"beta": 0.3, "shift": 2.0}'], ids=str)
def test_hyper_is_a_mapping_or_json(made: Any, hyper: Any) -> None:
    assert made(objective="shifted_mean", hyper=hyper).made() == ps.ShiftedMean(beta=0.3, shift=2.0)


def test_the_command_line_gives_the_same(tmp_path: Path) -> None:
    line = ["--output_dir", str(tmp_path), "--objective", "oapl", "--hyper", '{"beta2": 0.5}', "--lag", "4"]
    line += ["--lag_mode", "constant", "--log_ratio", "token", "--use_cpu", "true", "--bf16", "false"]
    (config,) = HfArgumentParser(OffPolicyConfig).parse_args_into_dataclasses(line)
    assert (config.made(), config.lag, config.lag_mode, config.level) == (ps.OAPL(beta2=0.5), 4, "constant", "token")


@pytest.mark.parametrize(
    ("given", "level"),
    [
        ({"objective": "kimi"}, "sequence"),
        ({"objective": "ppo"}, "token"),
        ({"objective": "gspo"}, "length_normalized"),
        ({"objective": "kimi", "log_ratio": "token"}, "token"),
        ({"objective": "tba", "log_ratio": "length_normalized"}, "length_normalized"),
    ],
    ids=str,
)
def test_the_level_is_the_published_one_unless_given(made: Any, given: Any, level: str) -> None:
    assert made(**given).level == level


def test_defaults_that_the_theory_needs(made: Any) -> None:
    config = made()
    assert (config.temperature, config.top_p, config.top_k, config.disable_dropout) == (1.0, 1.0, 0, True)
    assert config.report_to == []


@pytest.mark.parametrize(("bf16", "fp16", "precision"), [(False, False, "float32"), (True, False, "bfloat16")])
def test_precision(made: Any, bf16: bool, fp16: bool, precision: str) -> None:
    assert made(bf16=bf16, fp16=fp16).precision("folder") == precision


def test_precision_is_the_models_where_nothing_casts(made: Any) -> None:
    model = torch.nn.Linear(1, 1, dtype=torch.bfloat16)
    model.dtype = torch.bfloat16
    assert made(bf16=False).precision(model) == "bfloat16"
    assert made(bf16=False, model_init_kwargs={"dtype": "bfloat16"}).precision("folder") == "bfloat16"


def test_precision_of_a_folder_is_read_from_it(made: Any, folder: Path, tmp_path: Path) -> None:
    AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).save_pretrained(tmp_path / "half" / "inside")
    auto = made(bf16=False, model_init_kwargs={"dtype": "auto", "subfolder": "inside"})
    assert auto.precision(str(tmp_path / "half")) == "bfloat16"
    assert made(bf16=False, model_init_kwargs={"dtype": "auto"}).precision(str(folder)) == "float32"


REFUSED = [
    ({"objective": "kimmi"}, "unknown objective 'kimmi'; did you mean 'kimi', "),
    ({"objective": ps.Kimi()}, "objective must be a name, got Kimi(.*); an object goes to OffPolicyTrainer"),
    ({"objective": None}, "objective must be a name, got None"),
    ({"objective": "kimi", "hyper": {"gamma": 1.0}}, "objective 'kimi' has no hyper-parameter 'gamma'; it has beta"),
    ({"objective": "kimi", "hyper": {"beta": -1.0}}, "kimi: beta must be > 0, got -1.0"),
    ({"objective": "kimi", "hyper": "beta=1"}, "hyper must be a mapping, or one in JSON, got 'beta=1'"),
    ({"objective": "kimi", "hyper": "[1]"}, "hyper must be a mapping, or one in JSON, got '[1]'"),
    ({"objective": "cql"}, "cannot be trained here: its weight needs the probability of every action"),
    ({"objective": "luffy"}, "cannot be trained here: it mixes samples"),
    ({"objective": "tba", "log_ratio": "token"}, "cannot be trained here: its weight couples the completions"),
    ({"objective": "grpo", "log_ratio": "sequence"}, "log_ratio of grpo(.*) is 'token' in TRL's loss"),
    ({"log_ratio": "word"}, "log_ratio must be one of sequence, token, length_normalized, got 'word'"),
    (
        {"objective": "rloo", "lag": 2},
        'lag must be 1 for rloo(.*) of the current policy; or take sampling="off_policy"',
    ),
    ({"objective": "a_star_po", "lag": 1, "lag_mode": "constant"}, "lag must be 0 for a_star_po"),
    ({"lag": 0}, "lag must be an integer >= 1 in lag_mode 'batch', got 0"),
    ({"lag": -1, "lag_mode": "constant"}, "lag must be an integer >= 0 in lag_mode 'constant', got -1"),
    ({"lag": True}, "lag must be an integer >= 1 in lag_mode 'batch', got True"),
    ({"lag": 2.0}, "lag must be an integer >= 1 in lag_mode 'batch', got 2.0"),
    ({"lag_mode": "fixed"}, 'lag_mode must be "batch" or "constant", got \'fixed\''),
    ({"steps_per_generation": 4}, "steps_per_generation and generation_batch_size follow from lag"),
    ({"generation_batch_size": 64}, "steps_per_generation and generation_batch_size follow from lag"),
    ({"num_iterations": 2}, "num_iterations must be 1: lag says how long data are used, got 2"),
    ({"reward_weights": [1.0, float("nan")]}, "reward_weights must be finite, got [1.0, nan]"),
    ({"generation": "vlm"}, 'generation must be "transformers" or "vllm", got \'vlm\''),
    ({"use_vllm": True}, 'use_vllm is set by generation: use generation="vllm"'),
    ({"beta": 0.1}, "beta is set by the objective: use hyper, got beta=0.1"),
    ({"objective": "grpo", "epsilon": 0.3}, "epsilon is set by the objective: use hyper, got epsilon=0.3"),
    ({"epsilon_high": 0.3}, "epsilon_high is set by the objective"),
    ({"loss_type": "grpo"}, "loss_type is set by the objective"),
    ({"importance_sampling_level": "sequence"}, "importance_sampling_level is set by the objective"),
    ({"scale_rewards": "batch"}, "scale_rewards is set by the objective"),
    # As TRL has them by default; it would not be what is trained with.
    ({"scale_rewards": "group"}, "scale_rewards is set by the objective: use hyper, got scale_rewards='group'"),
    ({"objective": "grpo", "loss_type": "dapo"}, "loss_type is set by the objective"),
    ({"beta": 0.0}, "beta is set by the objective"),
    ({"hyper": '{"beta": 1'}, "hyper must be a mapping, or one in JSON, got '{\"beta\": 1'"),
    ({"num_generations": 3}, "num_generations must divide the completions generated together, got 3 and 8 (per_device"),
    ({"num_generations": 0}, "num_generations must be an integer >= 2, got 0"),
    ({"max_completion_length": 0}, "max_completion_length must be an integer >= 1, got 0"),
    ({"max_completion_length": None}, "max_completion_length must be an integer >= 1, got None"),
    ({"max_steps": 0}, "max_steps must be >= 1, or -1 for num_train_epochs > 0, got 0 and 3.0"),
    ({"num_train_epochs": 0}, "max_steps must be >= 1, or -1 for num_train_epochs > 0, got -1 and 0"),
    ({"fp16": True}, "fp16 must be false on a CPU"),
    ({"temperature": 0.7}, "temperature must be 1.0: the behavior is the policy itself, got 0.7"),
    ({"top_p": 0.9}, "top_p must be 1.0"),
    ({"top_k": 50}, "top_k must be 0"),
    ({"min_p": 0.1}, "min_p must be None"),
    ({"repetition_penalty": 1.1}, "repetition_penalty must be 1.0"),
    ({"generation_kwargs": {"temperature": 0.7}}, "generation_kwargs must be None: the behavior is the policy itself"),
    ({"vllm_structured_outputs_regex": "[0-9]+"}, "vllm_structured_outputs_regex must be None"),
    ({"delta": 1.5}, "delta is set by the objective: use hyper, got delta=1.5"),
    ({"entropy_coef": 0.1}, "entropy_coef is not for objective"),
    ({"use_adaptive_entropy": True}, "use_adaptive_entropy is not for objective"),
    ({"off_policy_mask_threshold": 0.1}, "off_policy_mask_threshold is not for objective"),
    ({"top_entropy_quantile": 0.2}, "top_entropy_quantile is not for objective"),
    ({"use_bias_correction_kl": False}, "use_bias_correction_kl is set by the objective"),
    ({"multi_objective_aggregation": "normalize_then_sum"}, "multi_objective_aggregation is not for objective"),
    ({"mask_truncated_completions": True}, "mask_truncated_completions is not for objective"),
    ({"objective": "tba", "sync_ref_model": True}, "sync_ref_model is not for objective tba"),
]


@pytest.mark.parametrize(("given", "said"), REFUSED, ids=lambda value: str(value)[:60])
def test_what_is_refused(made: Any, given: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said.replace("(", r"\(").replace(r"\(.*)", ".*").replace("[", r"\[")) as error:
        made(**given)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("field", ["top_entropy_quantile", "off_policy_mask_threshold"])
def test_what_trl_reads_is_taken_for_its_own_losses(made: Any, field: str) -> None:
    assert getattr(made(objective="dapo", **{field: 0.5}), field) == 0.5


def test_on_policy_objectives_take_data_that_lag_under_another_name(made: Any) -> None:
    assert made(objective="rloo", hyper={"sampling": "off_policy"}, lag=8).lag == 8
    assert made(objective="rloo").made().on_policy
    assert made(objective="rloo", lag=0, lag_mode="constant").made().on_policy
