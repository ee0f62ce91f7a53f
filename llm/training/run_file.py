"""The file ``run.json`` of a run: all that its result depends on, to resume and to measure it as it was begun."""

from __future__ import annotations

import json
from dataclasses import MISSING, Field, asdict, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

from datasets import Dataset
from trl import ModelConfig

from llm.data.rewards import Reward
from llm.sealed import hash_of
from llm.settings import TrainConfig
from llm.storage import fingerprints
from llm.training.config import OF_THE_OBJECTIVE, OffPolicyConfig
from pessimism.files import write_text

RUN = "run.json"
_HASH = "sha256"  # of the rest of it
# Always in it, for who reads it; other settings are there if they are not the defaults.
_READ = (
    *("objective", "hyper", "lag", "lag_mode", "num_generations", "max_completion_length", "seed", "max_steps"),
    *("num_train_epochs", "learning_rate", "lr_scheduler_type", "optim", "max_grad_norm", "weight_decay"),
    *("per_device_train_batch_size", "gradient_accumulation_steps", "world_size", "generation", "bf16", "fp16"),
)
# No result depends on these: where things go, what is said, how fast it is; or they follow from others. A token of the
# hub is nobody's business.
_FREE = (
    *("steps_per_generation", "generation_batch_size", "use_vllm", "model_name_or_path", *OF_THE_OBJECTIVE),
    *("versions", "resume", "output_dir", "run_name", "project", "report_to", "disable_tqdm", "debug", "use_cpu"),
    *("num_completions_to_print", "dataloader_num_workers", "dataloader_pin_memory", "dataloader_persistent_workers"),
    *("dataloader_prefetch_factor", "ddp_timeout", "skip_memory_metrics", "resume_from_checkpoint", "local_rank"),
    *("torch_empty_cache_steps", "verify_sync", "vllm_gpu_memory_utilization", "accelerator_config"),
)
_FREE_KINDS = ("log_", "logging_", "save_", "hub_", "push_to_hub", "trackio_")
_VERSIONS = ("accelerate", "datasets", "pessimism", "torch", "transformers", "trl")
_ALWAYS = ("model", *(f.name for f in fields(TrainConfig)), *_READ, "level")
_LENGTH = ("max_steps", "num_train_epochs")


def described(
    settings: TrainConfig, config: OffPolicyConfig, model: ModelConfig, examples: Dataset, reward: Reward
) -> dict[str, Any]:
    """Collect what ``run.json`` says of a run. Local files have whole paths, to be found from anywhere."""
    found = {
        "model": _whole(model.model_name_or_path),
        "use_peft": model.use_peft,
        **asdict(settings),
        "data": _whole(settings.data),
        "examples_sha256": fingerprints.of_examples(examples),
        "reward_sha256": fingerprints.of_reward(reward),
        **{name: getattr(config, name) for name in _READ},
        "level": config.level,
        **_changed(config),
        **_changed(model),
        "versions": {name: version(name) for name in _VERSIONS},
    }
    plain: dict[str, Any] = json.loads(json.dumps(found, default=str))
    return plain


def _whole(source: str | None) -> str | None:
    return str(Path(source).resolve()) if source and Path(source).exists() else source


def _changed(config: Any) -> dict[str, Any]:
    """Collect the fields of a configuration that differ from their defaults."""
    given = {f.name: getattr(config, f.name) for f in fields(config) if getattr(config, f.name) != _default(f)}
    return {name: value for name, value in given.items() if name not in _FREE and not name.startswith(_FREE_KINDS)}


def _default(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def read_run(folder: str | Path) -> dict[str, Any]:
    """Read ``run.json`` of a folder.

    Parameters
    ----------
    folder : str or Path
        Folder of a run.

    Returns
    -------
    dict
        Its content.

    Raises
    ------
    ValueError
        If there is none, or it is not as it was written or lacks what every run has.
    """
    path = Path(folder) / RUN
    try:
        text = path.read_text(encoding="utf-8")
        found = json.loads(text)
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(f"{folder} holds no run: there is no {RUN} in it") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read ({error})") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} must hold a mapping")
    if missing := [name for name in (*_ALWAYS, _HASH) if name not in found]:
        raise ValueError(f"{path} lacks {missing[0]!r}: it is none of this command")
    del found[_HASH]
    if _text(found) != text:
        raise ValueError(f"{path} is not as it was written: what it says of the run cannot be relied on")
    return found


def write_run(folder: Path, run: dict[str, Any]) -> None:
    """Write ``run.json`` as a whole; if that fails, the file before it stays."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / RUN, _text(run))


def _text(run: dict[str, Any]) -> str:
    """Write a run with the hash of what is said of it."""
    return json.dumps({**run, _HASH: hash_of(run)}, indent=2) + "\n"


def require_same(folder: Path, run: dict[str, Any]) -> None:
    """Refuse to go on with the run of a folder under settings that would have given another run.

    Parameters
    ----------
    folder : Path
        Folder of the run.
    run : dict
        What `described` says of the run that is asked for.

    Raises
    ------
    ValueError
        Naming the settings that differ.

    Notes
    -----
    A run may be made longer where its steps do not depend on where it ends: at a constant rate, with a generation batch
    for the steps that follow it.
    """
    before = read_run(folder)
    names = [name for name in {**run, **before} if name not in _FREE]
    endless = run["lag_mode"] == "batch" and run["lr_scheduler_type"] == "constant"
    if endless:
        names = [name for name in names if name not in _LENGTH or not 0 < before.get(name, 0) <= run[name]]
    if other := [name for name in names if before.get(name) != run.get(name)]:
        said = ", ".join(f"{name}={before[name]!r}" if name in before else f"{name} by default" for name in other)
        why = "in the same unit and not shorter" if endless else "only in lag_mode batch at a constant rate"
        said += f" (it is made longer, {why})" if {*other} <= {*_LENGTH} else ""
        raise ValueError(f"output_dir {folder} holds a run with {said}: choose another folder, or its settings")
