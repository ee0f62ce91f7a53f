"""What surrounds vLLM's engine, without vLLM; the rest is in tests/vllm."""

from __future__ import annotations

import os
import random
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from llm.generation import vllm_process


def test_only_vllm_itself_is_said_not_to_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(ImportError, match="^vllm is not installed: "):
        vllm_process.vllm_module()
    with pytest.raises(ModuleNotFoundError) as caught:
        vllm_process.vllm_module("no_such_module_of_anybody")
    assert caught.value.name == "no_such_module_of_anybody"


@pytest.mark.parametrize("on_cpu", [True, False])
def test_an_engine_leaves_the_process_as_it_was(on_cpu: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Any]] = []

    class Engine:
        """Does to the process what vLLM does."""

        def __init__(self, **options: Any) -> None:
            seen.append(options | {"environment": os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"]})
            random.seed(0), np.random.seed(0), torch.manual_seed(0)  # noqa: NPY002
            torch.set_num_threads = None  # type: ignore[assignment]
            self.packing = layers.dispatch_cpu_unquantized_gemm

        def generate(self) -> bool:
            return bool(torch._dynamo.config.disable)

    def packing(*_: Any) -> None:
        raise AssertionError

    layers = SimpleNamespace(dispatch_cpu_unquantized_gemm=packing)
    platform = SimpleNamespace(is_cpu=lambda: on_cpu)
    modules = {"vllm": SimpleNamespace(LLM=Engine), "vllm.platforms": SimpleNamespace(current_platform=platform)}
    modules["vllm.model_executor.layers.utils"] = layers
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    threads, environment = torch.set_num_threads, dict(os.environ)
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002
    made = vllm_process.engine(seed=3)
    assert states == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())  # noqa: NPY002
    assert torch.set_num_threads is threads
    assert dict(os.environ) == environment
    assert seen[0]["environment"] == "0"
    assert seen[0]["seed"] == 3
    assert layers.dispatch_cpu_unquantized_gemm is packing
    assert (made.packing is packing) != on_cpu  # on a CPU layers keep a weight that can be written to
    assert seen[0].get("enforce_eager", False) is on_cpu
    assert made.generate() is on_cpu
    assert not torch._dynamo.config.disable
