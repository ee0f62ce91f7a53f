"""Arguments of the commands in tests."""

from __future__ import annotations

from pathlib import Path

from trl import ModelConfig

from llm.settings import TrainConfig
from llm.training.config import OffPolicyConfig

CONFIGS = Path(__file__).resolve().parents[2] / "llm" / "configs"


TRAIN = (TrainConfig, OffPolicyConfig, ModelConfig)


QUICK = {
    "data": "addition:digits=1",
    "reward": "exact",
    "objective": "kimi",
    "hyper": '{"beta": 0.5}',
    "lag": "2",
    "per_device_train_batch_size": "8",
    "num_generations": "4",
    "max_completion_length": "2",
    "max_steps": "4",
    "save_steps": "2",
    "use_cpu": "true",
    "bf16": "false",
    "gradient_checkpointing": "false",
}


CPU = ["train", "--model_name_or_path", "tiny", "--output_dir", "x", "--use_cpu", "true", "--bf16", "false"]


def arguments(**given: str) -> list[str]:
    return [part for name, value in given.items() for part in (f"--{name}", value)]
