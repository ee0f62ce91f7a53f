"""Cost of a training step of `OffPolicyTrainer` as a ratio to TRL's `GRPOTrainer`, same model, data and batch.

    python benchmarks/bench_trainer.py [--model PATH] [--objective kimi] [--lag 4] [--steps 24] [--rounds 5]

Runs of the two alternate in one process, and the least time of each step of a generation cycle is compared, so that
what else the machine does counts for neither. Generation is part of a step. Peak memory is that of the device, or, on
a CPU, of a process of its own for each. Target: time within 2 %, memory equal.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PrinterCallback,
    TrainerCallback,
)
from trl import GRPOConfig, GRPOTrainer

from llm.data.addition import Addition
from llm.data.examples import load_examples
from llm.data.rewards import reward_function
from llm.models.tiny import character_tokenizer
from llm.training.config import OffPolicyConfig
from llm.training.trainer import OffPolicyTrainer

GROUP = 8


class Clock(TrainerCallback):
    """Seconds of each step."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        _wait()
        self._start = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        _wait()
        self.seconds.append(time.perf_counter() - self._start)


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def loaded(path: str | None) -> tuple[Any, Any]:
    """The model asked for, or a new one of four million parameters."""
    if path is not None:
        return AutoModelForCausalLM.from_pretrained(path), AutoTokenizer.from_pretrained(path, padding_side="left")
    tokenizer = character_tokenizer(Addition(steps=True).alphabet)
    size = {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 8, "intermediate_size": 1024}
    ends = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **size, **ends)), tokenizer


def seconds(which: str, options: argparse.Namespace) -> np.ndarray:
    """Time of each step of one run."""
    model, tokenizer = loaded(options.model)
    common = {
        "per_device_train_batch_size": options.batch,
        "num_generations": GROUP,
        "max_completion_length": options.length,
        "max_steps": options.steps,
        "use_cpu": not torch.cuda.is_available(),
        "bf16": False,
        "gradient_checkpointing": False,
        "disable_dropout": True,
        "save_strategy": "no",
        "logging_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        ours = {"objective": options.objective, "lag": options.lag}
        args = (
            GRPOConfig(folder, steps_per_generation=options.lag, **common)
            if which == "trl"
            else OffPolicyConfig(folder, **ours, **common)
        )
        trainer = (GRPOTrainer if which == "trl" else OffPolicyTrainer)(
            model=model,
            reward_funcs=reward_function("exact"),
            args=args,
            train_dataset=load_examples("addition:digits=3,steps=true", limit=512),
            processing_class=tokenizer,
            callbacks=[clock],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return np.array(clock.seconds)


def peak_mb() -> float:
    """Peak memory of the device, or resident of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def of_own(which: str, arguments: list[str]) -> float:
    """Peak memory of a run in a process of its own."""
    command = [sys.executable, __file__, "--memory-of", which, *arguments]
    return float(
        json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    )


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="folder or hub id; a new model of 4 million parameters by default")
    parser.add_argument("--objective", default="kimi")
    parser.add_argument("--lag", type=int, default=4, help="at least 2")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--length", type=int, default=32)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory-of", choices=("trl", "ours"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of is not None:
        seconds(options.memory_of, options)
        print(json.dumps(peak_mb()))
        return
    taken: dict[str, list[np.ndarray]] = {"trl": [], "ours": []}
    for _ in range(options.rounds):
        for which, runs in taken.items():
            runs.append(seconds(which, options)[options.lag :].reshape(-1, options.lag))
    # The least time of each place in a generation cycle, over cycles and rounds; the first one generates.
    least = {which: np.concatenate(runs).min(axis=0) for which, runs in taken.items()}
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    print(f"{device}; {options.objective}, lag {options.lag}, batch {options.batch}, {options.length} tokens")
    report("step", "ms", {which: 1e3 * times.mean() for which, times in least.items()})
    report("step that does not generate", "ms", {which: 1e3 * times[1:].mean() for which, times in least.items()})
    report("peak memory", "MB", {which: of_own(which, sys.argv[1:]) for which in taken})


def report(what: str, unit: str, found: dict[str, float]) -> None:
    """A line with both numbers and their ratio."""
    ratio = found["ours"] / found["trl"]
    print(f"{what}: TRL {found['trl']:.1f} {unit}, ours {found['ours']:.1f} {unit}, ratio {ratio:.3f}")


if __name__ == "__main__":
    main()
