"""Training that generates with vLLM in the same process: TRL's own trainer, and ours at a lag."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM
from trl import GRPOConfig, GRPOTrainer
from trl.generation.vllm_generation import VLLMGeneration

from llm.generation.vllm import SyncError, agreement, prepare_colocate
from tests.llm.runs import SMALL, Watched, loaded, logged, per_token, right, sums, trained, weights

pytestmark = pytest.mark.usefixtures("seeded")
FAST = {"learning_rate": 1e-2, "max_steps": 3}  # three steps after which no weight is nearly what it was


@pytest.mark.parametrize("name", ["tied", "untied"])
def test_trls_own_trainer_runs_on_fresh_weights(folders: dict[str, Path], tmp_path: Path, name: str) -> None:
    """Its metric is the difference of vLLM's log-probabilities from those of the weights at that step."""
    prepare_colocate()
    prepare_colocate()  # once more changes nothing
    model, tokenizer = loaded(folders[name])
    before = weights(model)
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=right,
        args=GRPOConfig(str(tmp_path), **{**SMALL, **FAST}, use_vllm=True, vllm_mode="colocate"),
        train_dataset=sums(),
        processing_class=tokenizer,
    )
    trainer.train()
    assert trainer.vllm_generation.llm.model_config.dtype == torch.float32
    assert (weights(model) - before).abs().median() > 1e-3
    steps = logged(trainer)
    assert len(steps) == 3
    assert all(0.0 < step["sampling/sampling_logp_difference/max"] < 1e-4 for step in steps)


@pytest.mark.parametrize(("mode", "lag"), [("batch", 1), ("batch", 2), ("constant", 1)])
def test_data_carry_the_log_probabilities_of_the_policy_that_sampled(
    folders: dict[str, Path], tmp_path: Path, mode: str, lag: int
) -> None:
    given = {"generation": "vllm", "verify_sync": True, "lag_mode": mode, "lag": lag}
    trainer = trained(folders["tied"], tmp_path, Watched, **given, **FAST)
    assert len(trainer.seen) == 3
    for t in range(3):
        age = min(t, lag) if mode == "constant" else t % lag
        differences = [_difference(trainer, t, folders["tied"], policy) for policy in range(t + 1)]
        assert differences[t - age] < 1e-5
        assert all(d > 1e-3 for policy, d in enumerate(differences) if policy != t - age)


def _difference(trainer: Any, step: int, folder: Path, policy: int) -> float:
    """Largest difference of the sampler's log-probabilities from those under the weights of a step."""
    model, inputs = AutoModelForCausalLM.from_pretrained(folder), trainer.step(step)
    model.load_state_dict(trainer.snapshots[policy])
    with torch.no_grad():
        theirs = per_token(model, inputs)
    return agreement(inputs["sampling_per_token_logps"], theirs, inputs["completion_mask"])


def test_weights_that_do_not_arrive_stop_the_run(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(VLLMGeneration, "sync_weights", lambda self: None)
    with pytest.raises(SyncError, match="log-probabilities differ from the model's"):
        trained(folders["tied"], tmp_path, generation="vllm", verify_sync=True, **FAST)
