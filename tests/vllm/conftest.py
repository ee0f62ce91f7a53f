"""Small models that vLLM can run on a CPU, and the warnings of others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from llm.models.tiny import pretrained
from tests.llm.conftest import SETTINGS, seeded

__all__ = ["seeded"]  # a fixture

_WIDER = replace(SETTINGS, head_dim=32)  # the least that vLLM's attention has on a CPU
MODELS = {"tied": _WIDER, "untied": replace(_WIDER, architecture="qwen3", tied=False, steps=50)}
# Of torch and vLLM when they are imported; of TRL, which has not tried this vLLM (tests/vllm has).
_THEIRS = (
    "ignore:`torch.jit.script_method` is deprecated:DeprecationWarning:torch.jit._script",
    "ignore:`torch.distributed.reduce_op` is deprecated:FutureWarning:vllm.triton_utils.dispatcher",
    "ignore:TRL currently supports vLLM versions from:UserWarning:trl",
)


def pytest_configure(config: pytest.Config) -> None:
    for warning in _THEIRS:
        config.addinivalue_line("filterwarnings", warning)


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: pretrained(settings, tmp_path_factory.mktemp(name)) for name, settings in MODELS.items()}


@pytest.fixture(scope="session")
def tokenizer(folders: dict[str, Path]) -> Any:
    return AutoTokenizer.from_pretrained(folders["tied"])
