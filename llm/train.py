"""A training run in a folder: made from settings, resumed where it was, left so that it can be measured."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PrinterCallback
from trl import ModelConfig, get_peft_config, get_quantization_config

from llm import checkpoints
from llm.config import OffPolicyConfig
from llm.models import model_path
from llm.rewards import reward_function
from llm.settings import TrainConfig
from llm.trainer import OffPolicyTrainer

RUN = "run.json"
# What may differ between a run and its resumption.
_FREE = ("versions", "resume")
_VERSIONS = ("accelerate", "datasets", "pessimism", "torch", "transformers", "trl")


def train(settings: TrainConfig, config: OffPolicyConfig, model: ModelConfig) -> Path:
    """Train a model and save it, with its tokenizer, its log and ``run.json``, in ``config.output_dir``.

    A run that was killed goes on from its last whole checkpoint, to the weights that it would have had.

    Raises
    ------
    ValueError
        If the folder holds a run of other settings, or checkpoints although ``resume`` is off; and as the parts do.
    """
    folder = Path(config.output_dir)
    source = model_path(model.model_name_or_path)
    config.disable_tqdm = config.disable_tqdm or not sys.stderr.isatty()
    config.model_init_kwargs = {
        "revision": model.model_revision,
        "attn_implementation": model.attn_implementation,
        "dtype": model.dtype,
        **(config.model_init_kwargs or {}),
    }
    trainer = OffPolicyTrainer(
        model=source,
        reward_funcs=[reward_function(settings.reward)],
        args=config,
        train_dataset=settings.examples(),
        processing_class=AutoTokenizer.from_pretrained(source, revision=model.model_revision, padding_side="left"),
        quantization_config=get_quantization_config(model),
        peft_config=get_peft_config(model),
    )
    trainer.remove_callback(PrinterCallback)
    with trainer.accelerator.main_process_first():
        last = _entered(folder, described(settings, config, model), settings.resume)
    trainer.train(resume_from_checkpoint=None if last is None else str(last))
    trainer.save_model()
    trainer.save_state()
    return folder


def described(settings: TrainConfig, config: OffPolicyConfig, model: ModelConfig) -> dict[str, Any]:
    """What ``run.json`` says of a run: all that its result depends on."""
    fields = (
        *("objective", "hyper", "lag", "lag_mode", "num_generations", "max_completion_length", "seed", "max_steps"),
        *("num_train_epochs", "learning_rate", "lr_scheduler_type", "optim", "max_grad_norm", "weight_decay"),
        *("per_device_train_batch_size", "gradient_accumulation_steps", "world_size", "generation", "bf16", "fp16"),
    )
    return {
        "model": model.model_name_or_path,
        "use_peft": model.use_peft,
        **asdict(settings),
        **{name: getattr(config, name) for name in fields},
        "level": config.level,
        "versions": {name: version(name) for name in _VERSIONS},
    }


def _entered(folder: Path, run: dict[str, Any], resume: bool) -> Path | None:
    """Write ``run.json`` or see that it says the same; the checkpoint to go on from."""
    path = folder / RUN
    run = json.loads(json.dumps(run, default=str))
    last = checkpoints.latest(folder)
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        other = [name for name in run if name not in _FREE and before.get(name) != run[name]]
        if other:
            said = ", ".join(f"{name}={before.get(name)!r}" for name in other)
            raise ValueError(f"output_dir {folder} holds a run with {said}: choose another folder, or its settings")
    if last is not None and not resume:
        raise ValueError(f"output_dir {folder} holds {last.name}: choose another folder, or resume")
    folder.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".part")
    beside.write_text(json.dumps(run, indent=2) + "\n", encoding="utf-8")
    os.replace(beside, path)
    return last
