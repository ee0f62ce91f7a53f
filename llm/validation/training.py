"""A run of the trainer in this process that leaves nothing but the weights, at a constant lag."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import Any

import torch
from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback

import pessimism as ps
from llm.training.config import OffPolicyConfig
from llm.training.trainer import OffPolicyTrainer
from llm.validation.problem import one_thread, without_bars
from pessimism.trainers.trl import trl_loss


def trained(
    model: Any,
    tokenizer: Any,
    examples: Sequence[dict[str, str]],
    reward: Any,
    objective: ps.Objective,
    *,
    batch: int,
    group: int,
    callbacks: Sequence[TrainerCallback] = (),
    **settings: Any,
) -> None:
    """Train a model in place; TRL's own losses run by their name.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        The model.
    tokenizer : transformers.PreTrainedTokenizerBase
        Its tokenizer.
    examples : sequence of dict
        Rows of prompts and answers.
    reward : callable
        A reward function of TRL.
    objective : Objective
        The objective.
    batch : int
        Number of prompts in a step.
    group : int
        Number of completions of each prompt.
    callbacks : sequence of TrainerCallback, optional
        Callbacks of the trainer.
    **settings : object
        Fields of `llm.training.config.OffPolicyConfig`.

    Raises
    ------
    FloatingPointError
        If the loss stops being finite: the weights are those before that step.
    """
    theirs: dict[str, Any] = {"objective": objective.name} if trl_loss(objective) is not None else {}
    with tempfile.TemporaryDirectory() as folder, one_thread(), without_bars():
        config = OffPolicyConfig(
            folder,
            lag_mode="constant",
            per_device_train_batch_size=batch * group,
            num_generations=group,
            use_cpu=not torch.cuda.is_available(),
            bf16=False,
            gradient_checkpointing=False,
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            **theirs,
            **settings,
        )
        trainer = OffPolicyTrainer(
            model=model,
            reward_funcs=reward,
            args=config,
            train_dataset=Dataset.from_list(list(examples)),
            processing_class=tokenizer,
            callbacks=list(callbacks),
            objective=None if theirs else objective,
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
