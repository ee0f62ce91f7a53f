"""TRL's own losses on a bandit: its `_compute_loss`, called on a stand-in for the trainer and for the model.

A batch holds every action as often as its probability says, in whole numbers. The model is a table of logits: a
completion has ``tokens`` tokens, each of which has an equal part of its log-probability.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.rloo_trainer import RLOOTrainer

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # that they are experimental
    from trl.experimental.a2po import A2POTrainer
    from trl.experimental.gmpo import GMPOTrainer

Array = npt.NDArray[np.float64]


class _Accelerator:
    """One process."""

    num_processes = 1
    device = torch.device("cpu")

    def reduce(self, value: torch.Tensor, **_: Any) -> torch.Tensor:
        return value

    def gather(self, value: torch.Tensor) -> torch.Tensor:
        return value

    gather_for_metrics = gather


def _trainer(kind: Any, **settings: Any) -> Any:
    stub = SimpleNamespace(
        accelerator=_Accelerator(),
        model=SimpleNamespace(training=True),
        aux_loss_enabled=False,
        _metrics=defaultdict(lambda: defaultdict(list)),
        _entropy_bonus_enabled=False,
        top_entropy_quantile=1.0,
        current_gradient_accumulation_steps=1,
        use_vllm=False,
        vllm_importance_sampling_correction=False,
        max_completion_length=1,
        **settings,
    )
    for name in ("get_off_policy_mask", "get_gamma_weights"):
        if hasattr(kind, name):
            setattr(stub, name, getattr(kind, name))
    return stub


def _batch(counts: Array) -> torch.Tensor:
    """Actions of the samples of a batch."""
    return torch.tensor(np.repeat(np.arange(len(counts)), counts))


def grpo(
    logits: torch.Tensor,
    counts: Array,
    advantage: Array,
    *,
    old: Array,
    reference: Array | None = None,
    tokens: int = 1,
    loss_type: str = "grpo",
    level: str = "token",
    beta: float = 0.0,
    unbiased_kl: bool = False,
    low: float = 0.2,
    high: float = 0.2,
    delta: float | None = None,
    mask_beyond: float | None = None,
    correction: Array | None = None,
    kind: Any = GRPOTrainer,
    **more: Any,
) -> torch.Tensor:
    """Loss of `GRPOTrainer` where the policy before the update is ``old`` and log-ratios of KL are to ``reference``."""
    actions = _batch(counts)

    def per_token(log_policy: torch.Tensor) -> torch.Tensor:
        return log_policy[actions][:, None].expand(-1, tokens) / tokens

    policy = per_token(torch.log_softmax(logits, -1))
    options = {"sapo_temperature_pos": 1.0, "sapo_temperature_neg": 1.05} | {
        f"vespo_{name}": more.get(name, value)
        for name, value in {"k_pos": 2.0, "lambda_pos": 3.0, "k_neg": 3.0, "lambda_neg": 2.0}.items()
    }
    options |= {name: value for name, value in more.items() if name.startswith("sapo")}
    stub = _trainer(
        kind,
        args=SimpleNamespace(use_bias_correction_kl=unbiased_kl, delta=delta, steps_per_generation=1, **options),
        loss_type=loss_type,
        importance_sampling_level=level,
        beta=beta,
        epsilon_low=low,
        epsilon_high=high,
        off_policy_mask_threshold=mask_beyond,
    )
    stub._get_per_token_logps_and_entropies = lambda *_, **__: (policy, torch.zeros_like(policy.detach()), None)
    ids, ones = actions[:, None].expand(-1, tokens), torch.ones(len(actions), tokens, dtype=torch.float64)
    inputs = {
        "prompt_ids": ids[:, :1],
        "prompt_mask": ones[:, :1],
        "completion_ids": ids,
        "completion_mask": ones,
        "advantages": torch.tensor(advantage)[actions],
        "old_per_token_logps": per_token(torch.tensor(np.log(old))),
        "ref_per_token_logps": per_token(torch.tensor(np.log(old if reference is None else reference))),
        "num_items_in_batch": ones.sum(),
    }
    if correction is not None:
        stub.use_vllm = stub.vllm_importance_sampling_correction = True
        inputs["importance_sampling_ratio"] = torch.tensor(correction)[actions][:, None]
    return kind._compute_loss(stub, None, inputs)


def gmpo(logits: torch.Tensor, counts: Array, advantage: Array, **settings: Any) -> torch.Tensor:
    return grpo(logits, counts, advantage, kind=GMPOTrainer, **settings)


def rloo(logits: torch.Tensor, counts: Array, advantage: Array, *, old: Array, low: float, high: float) -> torch.Tensor:
    actions = _batch(counts)
    policy = torch.log_softmax(logits, -1)[actions][:, None]
    stub = _trainer(RLOOTrainer, epsilon_low=low, epsilon_high=high)
    stub._get_per_token_logps_and_entropies = lambda *_, **__: (policy, torch.zeros_like(policy.detach()), None)
    ids, ones = actions[:, None], torch.ones(len(actions), 1, dtype=torch.float64)
    inputs = {
        "prompt_ids": ids,
        "prompt_mask": ones,
        "completion_ids": ids,
        "completion_mask": ones,
        "advantages": torch.tensor(advantage)[actions],
        "old_logps": torch.tensor(np.log(old))[actions],
    }
    return RLOOTrainer._compute_loss(stub, None, inputs)


def a2po(
    logits: torch.Tensor, counts: Array, reward: Array, *, reference: Array, value: float, beta2: float
) -> torch.Tensor:
    actions = _batch(counts)
    stub = _trainer(A2POTrainer, args=SimpleNamespace(beta2=beta2))
    stub._get_sequence_logps = lambda *_: torch.log_softmax(logits, -1)[actions]
    inputs = {
        "input_ids": None,
        "attention_mask": None,
        "logits_to_keep": 1,
        "ref_logps": torch.tensor(np.log(reference))[actions],
        "rewards": torch.tensor(reward)[actions],
        "v_star": torch.tensor(value, dtype=torch.float64),
    }
    return A2POTrainer.compute_loss(stub, None, inputs)


def dpo(
    logits: torch.Tensor, counts: Array, reward: Array, *, reference: Array, beta: float, loss_type: str
) -> torch.Tensor:
    """Loss of all ordered pairs of samples, of which the better one is chosen; two that are equal are a pair of one."""
    samples = _batch(counts).numpy()
    first, second = (a.ravel() for a in np.meshgrid(samples, samples))
    first_wins = reward[first] >= reward[second]
    actions = torch.tensor(np.concatenate([np.where(first_wins, first, second), np.where(first_wins, second, first)]))
    policy = torch.log_softmax(logits, -1)[actions][:, None]
    nothing = torch.zeros_like(policy.detach())
    stub = _trainer(
        DPOTrainer,
        ld_alpha=None,
        precompute_ref_logps=True,
        f_divergence_type="reverse_kl",
        loss_types=[loss_type],
        loss_weights=[1.0],
        beta=beta,
        use_weighting=False,
        _total_train_tokens=0,
        _tp_size=1,
    )
    chosen, rejected = torch.tensor(np.log(reference))[actions].chunk(2)
    inputs = {
        "input_ids": torch.stack([torch.zeros_like(actions), actions], -1),
        "attention_mask": torch.ones(len(actions), 2, dtype=torch.long),
        "completion_mask": torch.tensor([0, 1]).expand(len(actions), 2),
        "ref_chosen_logps": chosen,
        "ref_rejected_logps": rejected,
    }

    def model(**_: Any) -> Any:
        return SimpleNamespace(log_probs=policy, entropy=nothing, mean_logits=nothing, is_top1=nothing.bool())

    return DPOTrainer._compute_loss(stub, model, inputs, False)
