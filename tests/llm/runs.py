"""Runs of the trainer on sums of one digit, which take a second each."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor
from torch.distributed.tensor import DTensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback, TrainerCallback

from llm.data.addition import addition_examples
from llm.training.config import OffPolicyConfig
from llm.training.trainer import OffPolicyTrainer
from tests.llm.conftest import SETTINGS

G = 4  # completions of a group
ON_A_CPU = {"use_cpu": True, "bf16": False, "gradient_checkpointing": False, "disable_tqdm": True}
SMALL: dict[str, Any] = {
    **ON_A_CPU,
    "per_device_train_batch_size": 4 * G,
    "num_generations": G,
    "max_completion_length": 2,
    "max_steps": 5,
    "learning_rate": 1e-3,
    "save_strategy": "no",
    "logging_steps": 1,
    "report_to": "none",
}


def sums() -> Dataset:
    """The 55 sums of one digit."""
    return addition_examples(SETTINGS.task)


def right(completions: list[str], answer: list[str], **_: Any) -> list[float]:
    return [float(c == a) for c, a in zip(completions, answer, strict=True)]


def loaded(folder: Path) -> tuple[Any, Any]:
    return AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)


def weights(model: Any) -> Tensor:
    """All of them, in one row."""
    every = (w.detach() for w in model.parameters())
    return torch.cat([(w.full_tensor() if isinstance(w, DTensor) else w).flatten() for w in every])


def per_token(model: Any, inputs: dict[str, Tensor]) -> Tensor:
    """Log-probabilities ``(B, T)`` of the tokens of completions, by a plain forward."""
    ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
    mask = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1)
    width = inputs["completion_ids"].shape[1]
    logits = model(input_ids=ids, attention_mask=mask).logits[:, -width - 1 : -1]
    return logits.log_softmax(-1).gather(2, inputs["completion_ids"][..., None])[..., 0]


class Watched(OffPolicyTrainer):
    """Keeps what each step trains on, and the gradient that it takes."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.seen: list[list[dict[str, Any]]] = []
        self.gradients: list[dict[str, Tensor]] = []
        self.snapshots: list[dict[str, Tensor]] = []
        self.add_callback(_Watcher(self))

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        if self.model.training:
            rows = {k: v.flatten(0, 1) if self._coupled and v.ndim > 1 else v for k, v in inputs.items()}
            self.seen[-1].append(rows)
        return super()._compute_loss(model, inputs)

    def step(self, t: int) -> dict[str, Tensor]:
        """All rows of a step, from 0."""
        keys = [k for k, v in self.seen[t][0].items() if v.ndim > 0]
        return {k: torch.cat([micro[k] for micro in self.seen[t]]) for k in keys}


class _Watcher(TrainerCallback):
    def __init__(self, trainer: Watched) -> None:
        self.trainer = trainer

    def on_step_begin(self, *_: Any, model: Any, **__: Any) -> None:
        self.trainer.seen.append([])
        self.trainer.snapshots.append(copy.deepcopy(model.state_dict()))

    def on_pre_optimizer_step(self, *_: Any, model: Any, **__: Any) -> None:
        named = model.named_parameters()
        self.trainer.gradients.append({name: w.grad.clone() for name, w in named if w.grad is not None})


def make(folder: Path, out: Path, kind: type[Any] = OffPolicyTrainer, **given: Any) -> Any:
    """A trainer; fields of `OffPolicyConfig` and arguments of the trainer by name."""
    of_trainer = (
        "reward_funcs",
        "train_dataset",
        "eval_dataset",
        "callbacks",
        "objective_",
        "peft_config",
        "rollout_func",
    )
    own = {name.rstrip("_"): given.pop(name) for name in of_trainer if name in given}
    config = OffPolicyConfig(str(out), **{**SMALL, **given})
    model, tokenizer = loaded(folder)
    made = kind(
        model=model,
        args=config,
        processing_class=tokenizer,
        **{"reward_funcs": right, "train_dataset": sums(), **own},
    )
    made.remove_callback(PrinterCallback)
    return made


def trained(
    folder: Path, out: Path, kind: type[Any] = OffPolicyTrainer, resume: Path | None = None, **given: Any
) -> Any:
    trainer = make(folder, out, kind, **given)
    trainer.train(resume_from_checkpoint=None if resume is None else str(resume))
    return trainer


def logged(trainer: Any) -> list[dict[str, Any]]:
    """What was logged of each step."""
    return [row for row in trainer.state.log_history if "loss" in row]


def shorten(path: Path) -> None:
    """Cut the last byte off a file."""
    path.write_bytes(path.read_bytes()[:-1])


ANSWERED = {row["prompt"]: row["answer"] for row in sums()}


def rows_of(trainer: Watched, t: int) -> tuple[dict[str, torch.Tensor], np.ndarray, np.ndarray]:
    """A step's rows, each group's together, with rewards ``(groups, G)`` from the texts alone."""
    rows, tokenizer = trainer.step(t), trainer.processing_class
    prompts = tokenizer.batch_decode(rows["prompt_ids"], skip_special_tokens=True)
    order = sorted(range(len(prompts)), key=lambda i: prompts[i])
    rows = {key: values[order] for key, values in rows.items()}
    texts = tokenizer.batch_decode(rows["completion_ids"], skip_special_tokens=True)
    reward = [float(text == ANSWERED[prompts[i]]) for text, i in zip(texts, order, strict=True)]
    return rows, np.array(reward).reshape(-1, G), np.array([prompts[i] for i in order]).reshape(-1, G)


def at(trainer: Watched, t: int) -> Any:
    """A plain model with the weights before a step."""
    model = AutoModelForCausalLM.from_config(trainer.model.config).train()
    model.load_state_dict(trainer.snapshots[t])
    return model
