"""A training run in a folder: made from settings, resumed where it was, left so that it can be measured."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import MISSING, Field, asdict, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PrinterCallback
from trl import ModelConfig, get_peft_config, get_quantization_config

from llm import checkpoints
from llm.config import OffPolicyConfig
from llm.models import holds_model, model_path, readable
from llm.rewards import reward_function
from llm.settings import TrainConfig
from llm.trainer import OffPolicyTrainer

RUN = "run.json"
# Always in it, for who reads it; other settings are there if they are not the defaults.
_READ = (
    *("objective", "hyper", "lag", "lag_mode", "num_generations", "max_completion_length", "seed", "max_steps"),
    *("num_train_epochs", "learning_rate", "lr_scheduler_type", "optim", "max_grad_norm", "weight_decay"),
    *("per_device_train_batch_size", "gradient_accumulation_steps", "world_size", "generation", "bf16", "fp16"),
)
# No result depends on these: where things go, what is said, how fast it is; or they follow from others. A token of the
# hub is nobody's business.
_FREE = (
    *("steps_per_generation", "generation_batch_size", "use_vllm", "model_name_or_path"),
    *("versions", "resume", "output_dir", "run_name", "project", "report_to", "disable_tqdm", "debug", "use_cpu"),
    *("num_completions_to_print", "dataloader_num_workers", "dataloader_pin_memory", "dataloader_persistent_workers"),
    *("dataloader_prefetch_factor", "ddp_timeout", "skip_memory_metrics", "resume_from_checkpoint", "local_rank"),
    *("torch_empty_cache_steps", "verify_sync", "vllm_gpu_memory_utilization", "accelerator_config"),
)
_FREE_KINDS = ("log_", "logging_", "save_", "hub_", "push_to_hub", "trackio_")
_VERSIONS = ("accelerate", "datasets", "pessimism", "torch", "transformers", "trl")


def train(settings: TrainConfig, config: OffPolicyConfig, model: ModelConfig) -> Path:
    """Train a model and save it, with its tokenizer, its log and ``run.json``, in ``config.output_dir``.

    A run that was killed goes on from its last whole checkpoint, to the weights that it would have had.

    Raises
    ------
    ValueError
        If the folder holds a run of other settings, or checkpoints although ``resume`` is off; if a field is given that
        this command does not take; and as the parts do.
    ImportError
        If a logger of ``report_to`` is not installed.
    """
    _require_usable(config)
    folder, run = Path(config.output_dir), described(settings, config, model)
    last = _last(folder, run, settings.resume)
    # Before the model, which may have to be fetched, or pretrained: a mistake in these shows at once.
    examples, reward = settings.examples(), reward_function(settings.reward)
    source = model_path(model.model_name_or_path)
    config.disable_tqdm = config.disable_tqdm or not sys.stderr.isatty()
    config.model_init_kwargs = {
        "revision": model.model_revision,
        "attn_implementation": model.attn_implementation,
        "dtype": model.dtype,
        **(config.model_init_kwargs or {}),
    }
    with readable(source), _logger_named():
        trainer = OffPolicyTrainer(
            model=source,
            reward_funcs=[reward],
            args=config,
            train_dataset=examples,
            processing_class=AutoTokenizer.from_pretrained(source, revision=model.model_revision, padding_side="left"),
            quantization_config=get_quantization_config(model),
            peft_config=get_peft_config(model),
        )
    trainer.remove_callback(PrinterCallback)
    if trainer.accelerator.is_main_process:
        _write(folder, run)
    trainer.train(resume_from_checkpoint=None if last is None else str(last))
    trainer.save_model()
    trainer.save_state()
    return folder


def _require_usable(config: OffPolicyConfig) -> None:
    """Refuse what this command would not read, or what would keep a run from being resumed and measured as it is."""
    if config.resume_from_checkpoint is not None:
        raise ValueError("resume_from_checkpoint must be left out: a run goes on from the last whole one in output_dir")
    if config.save_only_model:
        raise ValueError("save_only_model must be false: without the optimizer's state a run cannot go on as it was")
    if config.reward_weights not in (None, [1.0]):
        raise ValueError(f"reward_weights must be left out: there is one reward, got {config.reward_weights!r}")


@contextmanager
def _logger_named() -> Iterator[None]:
    """A logger that is not installed is an `ImportError`; transformers says it in a `RuntimeError`."""
    try:
        yield
    except RuntimeError as error:
        if "to be installed" not in str(error):
            raise
        raise ImportError(f"report_to: {error}") from error


def described(settings: TrainConfig, config: OffPolicyConfig, model: ModelConfig) -> dict[str, Any]:
    """What ``run.json`` says of a run: all that its result depends on."""
    found = {
        "model": model.model_name_or_path,
        "use_peft": model.use_peft,
        **asdict(settings),
        **{name: getattr(config, name) for name in _READ},
        "level": config.level,
        **_changed(config),
        **_changed(model),
        "versions": {name: version(name) for name in _VERSIONS},
    }
    plain: dict[str, Any] = json.loads(json.dumps(found, default=str))
    return plain


def _changed(config: Any) -> dict[str, Any]:
    """Fields of a configuration that are not as they are by default."""
    given = {f.name: getattr(config, f.name) for f in fields(config) if getattr(config, f.name) != _default(f)}
    return {name: value for name, value in given.items() if name not in _FREE and not name.startswith(_FREE_KINDS)}


def _default(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _last(folder: Path, run: dict[str, Any], resume: bool) -> Path | None:
    """The checkpoint to go on from, if the folder holds this run; there may be another one of which nothing came."""
    path, last = folder / RUN, checkpoints.latest(folder)
    if path.exists() and (holds_model(folder) or last is not None):
        before = json.loads(path.read_text(encoding="utf-8"))
        names = [name for name in {**run, **before} if name not in _FREE]
        if other := [name for name in names if before.get(name) != run.get(name)]:
            said = ", ".join(f"{name}={before[name]!r}" if name in before else f"{name} by default" for name in other)
            raise ValueError(f"output_dir {folder} holds a run with {said}: choose another folder, or its settings")
    if last is not None and not resume:
        raise ValueError(f"output_dir {folder} holds {last.name}: choose another folder, or resume")
    return last


def _write(folder: Path, run: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    beside = (folder / RUN).with_suffix(".part")
    beside.write_text(json.dumps(run, indent=2) + "\n", encoding="utf-8")
    os.replace(beside, folder / RUN)
