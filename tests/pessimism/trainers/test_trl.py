"""TRL: settings of the installed version, the map both ways, and each setting that moves something."""

from __future__ import annotations

import warnings
from dataclasses import fields, replace
from typing import Any

import pytest

import pessimism as ps
from pessimism.losses.registry import make_objective
from pessimism.trainers import trl
from pessimism.trainers.config import from_config

OTHERS: list[dict[str, Any]] = [{}, {"dual_clip": 3.0}, {"scale": "none"}, {"scale": "batch"}, {"eps_high": 0.5}]


def variants() -> list[ps.Objective]:
    """Every objective that TRL has, with settings that are not the default."""
    found = []
    for cls in ps.objectives().values():
        names = {f.name for f in fields(cls)}
        for hyper in OTHERS:
            if hyper.keys() <= names and trl.trl_loss(made := cls(**hyper)) is not None:
                found.append(made)
    return found


def test_the_map_agrees_both_ways() -> None:
    """What is written for TRL is read as what it was, but for the eps beside the deviation, which is TRL's own."""
    objectives = variants()
    assert {made.name for made in objectives} == {
        *("grpo", "dr_grpo", "dapo", "gspo", "luspo", "cispo", "sapo", "vespo")
    }
    for made in objectives:
        settings = trl.trl_loss(made)
        assert settings is not None
        read = from_config(settings, trainer="trl").objective
        assert read == (replace(made, eps=1e-4) if "eps" in made.settings else made)  # type: ignore[call-arg]
        assert trl.trl_loss(read) == settings


def test_the_defaults_are_those_of_the_installed_version() -> None:
    pytest.importorskip("trl")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from trl import GRPOConfig, RLOOConfig
        from trl.experimental.a2po import A2POConfig
        from trl.experimental.async_grpo import AsyncGRPOConfig
        from trl.experimental.gmpo import GMPOConfig
    pairs = (
        (GRPOConfig, trl.GRPO_DEFAULTS),
        (RLOOConfig, trl.RLOO_DEFAULTS),
        (A2POConfig, trl.A2PO_DEFAULTS),
        (AsyncGRPOConfig, trl.ASYNC_DEFAULTS),
        (GMPOConfig, trl.GMPO_DEFAULTS),
    )
    for config, ours in pairs:
        theirs = {f.name: f.default for f in fields(config)}
        assert {name: theirs[name] for name in ours} == ours, config


def test_a_config_of_the_installed_version_is_read_as_its_defaults_are() -> None:
    """No other field of it is taken for a misspelled one."""
    pytest.importorskip("trl")
    from trl import GRPOConfig, RLOOConfig

    found = from_config(GRPOConfig("unused", use_cpu=True, bf16=False))
    assert found == from_config({}, trainer="trl")
    assert found.objective == ps.DAPO(eps_high=0.2, eps=1e-4)
    assert (found.level, found.group_size, found.reuse, found.lag) == ("token", 8, 1, 0)
    assert (found.drop_equal, found.singleton, found.not_modelled) == (False, "zero", ())
    rloo = from_config(RLOOConfig("unused", use_cpu=True, bf16=False))
    assert rloo == from_config({}, trainer="trl-rloo")
    assert (rloo.objective, rloo.level, rloo.group_size) == (ps.RLOOClipped(), "sequence", 2)
    assert [note.partition(":")[0] for note in rloo.not_modelled] == ["beta = 0.05"]


@pytest.mark.parametrize(
    ("settings", "spec"),
    [
        ({"loss_type": "grpo"}, "grpo:beta=0,eps=0.0001"),
        ({"loss_type": "grpo", "beta": "4e-2"}, "grpo:eps=0.0001,unbiased_kl=True"),
        ({"loss_type": "grpo", "beta": 0.04, "use_bias_correction_kl": "false"}, "grpo:eps=0.0001"),
        ({"loss_type": "dr_grpo", "scale_rewards": False}, "dr_grpo"),
        ({"loss_type": "dr_grpo"}, "grpo:beta=0,eps=0.0001"),  # its scale is another setting
        ({"loss_type": "dapo", "beta": 0.1}, "grpo:beta=0.1,eps=0.0001,unbiased_kl=True"),
        ({"loss_type": "dapo", "epsilon_high": 0.28, "delta": 4}, "dapo:dual_clip=4,eps=0.0001"),
        (
            {"loss_type": "grpo", "importance_sampling_level": "sequence", "epsilon": 3e-4},
            "gspo:eps_high=0.0003,eps=0.0001",
        ),
        ({"loss_type": "cispo", "epsilon_high": 5.0}, "cispo:eps=0.0001"),
        ({"loss_type": "cispo"}, "cispo:cap=0.2,eps=0.0001"),  # as in TRL, where nothing is said
        ({"use_vllm": True}, "ppo_corrected:correction=mask,cap=3,eps=0.0001"),
        (
            {"use_vllm": True, "vllm_importance_sampling_mode": "token_truncate", "vllm_importance_sampling_cap": 2.0},
            "ppo_corrected:eps=0.0001",
        ),
        ({"use_vllm": True, "vllm_importance_sampling_correction": False}, "dapo:eps_high=0.2,eps=0.0001"),
        ({"multi_objective_aggregation": "normalize_then_sum"}, "dapo:eps_high=0.2,eps=0.0001,scale=batch"),
        ({"scale_rewards": None}, "dapo:eps_high=0.2,eps=0.0001,scale=none"),
    ],
    ids=str,
)
def test_objective(settings: dict[str, Any], spec: str) -> None:
    found = from_config(settings, trainer="trl")
    assert found.spec == spec
    assert make_objective(spec) == found.objective


@pytest.mark.parametrize(
    ("settings", "reuse", "lag"),
    [
        ({"gradient_accumulation_steps": 8}, 1, 0),
        ({"gradient_accumulation_steps": 8, "steps_per_generation": 32}, 4, 3),
        ({"num_iterations": 3}, 3, 2),
        ({"gradient_accumulation_steps": 2, "steps_per_generation": 8, "num_iterations": 2}, 8, 7),
        ({"gradient_accumulation_steps": 8, "steps_per_generation": 2}, 1, 0),
        ({"gradient_accumulation_steps": 8, "steps_per_generation": 12}, 2, 1),
        ({"generation_batch_size": 64}, 8, 7),
    ],
    ids=str,
)
def test_lag(settings: dict[str, Any], reuse: int, lag: int) -> None:
    found = from_config(settings, trainer="trl")
    assert (found.reuse, found.lag) == (reuse, lag)


@pytest.mark.parametrize("every", range(1, 7))
@pytest.mark.parametrize("span", range(1, 13))
def test_lag_is_what_counting_gives(every: int, span: int) -> None:
    """Micro-step m belongs to the optimizer step m // every, and its data are those sampled at a multiple of span."""
    counted = max(m // every - (m // span * span) // every for m in range(every * span))
    found = from_config({"gradient_accumulation_steps": every, "steps_per_generation": span}, trainer="trl")
    assert found.lag == counted


@pytest.mark.parametrize(
    ("trainer", "settings", "words"),
    [
        ("trl", {"mask_truncated_completions": True}, "mask_truncated_completions = True"),
        ("trl", {"entropy_coef": 0.01}, "the entropy bonus"),
        ("trl", {"top_entropy_quantile": 0.2}, "tokens of highest entropy"),
        ("trl", {"off_policy_mask_threshold": 0.5}, "eps_low = 1 - exp(-threshold)"),
        ("trl", {"top_p": 0.95}, "it cuts what is sampled"),
        ("trl", {"top_k": 50}, "it cuts what is sampled"),
        ("trl", {"reward_weights": [1.0, 0.5]}, "reward_weights = 1.0, 0.5"),
        ("trl", {"loss_type": "cispo", "beta": 0.1}, "beta = 0.1: the KL penalty"),
        ("trl", {"loss_type": "cispo", "delta": 2.0}, "delta = 2: the trainer does not read it with loss cispo"),
        ("trl", {"loss_type": "sapo", "importance_sampling_level": "sequence"}, "geometric mean over the tokens"),
        ("trl", {"beta": 0.1, "sync_ref_model": True}, "the reference follows the policy"),
        ("trl", {"beta": 0.1, "use_vllm": True}, "vllm_importance_sampling_mode = sequence_mask"),
        ("trl", {"generation_batch_size": 64}, "one process"),
        ("trl-rloo", {"reward_clip_range": "(-1, 1)"}, "rewards are clipped"),
        ("trl-gmpo", {"beta": 0.1}, "beta = 0.1: the KL penalty"),
        ("trl-a2po", {}, "without one success"),
    ],
    ids=str,
)
def test_what_is_not_modelled_is_named(trainer: str, settings: dict[str, Any], words: str) -> None:
    before = from_config({}, trainer=trainer).not_modelled
    notes = [note for note in from_config(settings, trainer=trainer).not_modelled if note not in before or not settings]
    assert sum(words in note for note in notes) == 1
    assert all(note.endswith(".") and "\n" not in note for note in notes)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"loss_type": "gepo"},
            "loss_type must be one of grpo, sapo, bnpo, dr_grpo, dapo, cispo, vespo, luspo, got 'gepo'",
        ),
        ({"scale_rewards": "groups"}, "scale_rewards must be one of group, batch, none, true, false, got 'groups'"),
        ({"importance_sampling_level": "word"}, "importance_sampling_level must be one of token, sequence, got 'word'"),
        ({"beta": "small"}, "beta must be a number, got 'small'"),
        ({"num_generations": 1}, "num_generations must be an integer >= 2, got 1"),
        ({"use_vllm": True, "vllm_importance_sampling_mode": "icepop"}, "vllm_importance_sampling_mode must be one of"),
        ({"epsilon_hgh": 0.3}, "unknown setting 'epsilon_hgh'; did you mean 'epsilon_high'?"),
        ({"delta": 0.9}, "delta must be > 1, got 0.9"),
    ],
    ids=str,
)
def test_a_value_that_trl_does_not_know(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="^settings: ") as error:
        from_config(settings, trainer="trl")
    assert message in str(error.value)


def test_other_trainers_of_trl() -> None:
    a2po = from_config({"beta1": 1.0, "beta2": 0.01, "num_value_samples": 4})
    assert (a2po.objective, a2po.group_size, a2po.lag) == (ps.AStarPO(beta1=1.0, beta2=0.01), 4, 0)
    late = from_config({"max_staleness": 2, "weight_sync_steps": 3})
    assert (late.objective, late.lag) == (ps.GRPO(beta=0.0, eps=1e-8), 6)
    gmpo = from_config({"epsilon_high": 0.6}, trainer="trl-gmpo")
    assert gmpo.objective == ps.GMPO(clip_high=0.6, eps=1e-4)
