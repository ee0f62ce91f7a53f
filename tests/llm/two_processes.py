"""The same runs in one process or in several: what is sampled depends on prompt and place alone.

python -m torch.distributed.run --nproc_per_node 2 -m tests.llm.two_processes MODEL OUT

Sharded by FSDP where the environment says so (`FSDP`); by hand by DeepSpeed: `DS_ACCELERATOR=cpu accelerate launch
--config_file ...` with ZeRO 2 and `use_cpu: true`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from accelerate import DistributedType, PartialState
from torch.distributed.tensor import DTensor

from tests.llm.runs import G, logged, per_token, trained, weights

FSDP = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT",
    "FSDP_CPU_RAM_EFFICIENT_LOADING": "false",
}
RUNS: dict[str, dict[str, Any]] = {
    "kimi": {"objective": "kimi", "hyper": {"beta": 0.5}, "lag": 2, "lag_mode": "constant"},
    "tba": {"objective": "tba", "hyper": {"beta": 0.5}, "lag": 2, "lag_mode": "constant"},
    "grpo": {"objective": "grpo", "lag": 1, "lag_mode": "batch"},
}


def rollout(prompts: list[str], trainer: Any) -> dict[str, Any]:
    """Two tokens a completion, with their log-probabilities under the present policy."""
    tokenizer, first = trainer.processing_class, trainer.accelerator.process_index * len(prompts)
    ids = tokenizer(prompts)["input_ids"]
    drawn = []
    for place, prompt in enumerate(prompts):
        seed = torch.Generator().manual_seed(1000 * sum(map(ord, prompt)) + (first + place) % G)
        drawn.append(torch.randint(4, 14, (2,), generator=seed).tolist())
    rows = {"prompt_ids": torch.tensor(ids), "completion_ids": torch.tensor(drawn)}
    masks = {name.replace("ids", "mask"): torch.ones_like(values) for name, values in rows.items()}
    with torch.no_grad():
        logs = per_token(trainer.accelerator.unwrap_model(trainer.model), {**rows, **masks})
    return {"prompt_ids": ids, "completion_ids": drawn, "logprobs": logs.tolist()}


def odd(completion_ids: list[list[int]], **_: Any) -> list[float]:
    return [float(sum(ids) % 3 == 0) for ids in completion_ids]


def resumed(folder: Path, out: Path) -> tuple[Any, Any]:
    """Sampled by each process from its own generator: in one go, and from a checkpoint in the middle of a batch."""
    given = {"objective": "tba", "lag": 2, "max_steps": 6, "save_strategy": "steps", "save_steps": 3}
    whole = trained(folder, out / "whole", **given)
    return whole, trained(folder, out / "resumed", resume=out / "whole" / "checkpoint-3", **given)


def run(name: str, folder: Path, out: Path) -> Any:
    size = 8 * G // int(os.environ.get("WORLD_SIZE", "1"))
    given = {"per_device_train_batch_size": size, "optim": "sgd", "learning_rate": 0.1, **RUNS[name]}
    return trained(folder, out / name, rollout_func=rollout, reward_funcs=odd, **given)


def shard_on_cpus() -> None:
    """Accelerate shards with FSDP on accelerators alone: let it take processors for such."""
    make = PartialState.__init__

    def made(self: PartialState, *arguments: Any, **options: Any) -> None:
        make(self, *arguments, **options)
        if self.distributed_type == DistributedType.MULTI_CPU:
            self.distributed_type = DistributedType.MULTI_GPU

    PartialState.__init__ = made


if __name__ == "__main__":
    if "ACCELERATE_USE_FSDP" in os.environ:
        shard_on_cpus()
    model, out = Path(sys.argv[1]), Path(sys.argv[2])
    for name in RUNS:
        trainer = run(name, model, out)
        every = weights(trainer.model)  # by all processes, which gather them
        if trainer.accelerator.is_main_process:
            torch.save(every, out / f"{name}.pt")
            (out / f"{name}.json").write_text(json.dumps(logged(trainer)))
    assert isinstance(next(trainer.model.parameters()), DTensor) == ("ACCELERATE_USE_FSDP" in os.environ)
    whole, after = (weights(trainer.model) for trainer in resumed(model, out))
    torch.save((whole, after), out / f"resumed-{trainer.accelerator.process_index}.pt")
    trainer.end()
    os._exit(0)  # threads of gloo may outlive the interpreter, which aborts then
