"""Samplers by the name of their engine and by the settings of a command."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from llm.generation.make import make_sampler, sampler_of
from llm.generation.transformers import TransformersSampler
from llm.generation.vllm import prepare_colocate
from llm.settings import EvaluateConfig


@pytest.mark.parametrize("by", [lambda f, t: make_sampler("vllm", f, t), lambda f, t: prepare_colocate()])
def test_without_vllm_the_group_is_named(folder: Path, by: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(ImportError, match=r"vllm is not installed: from the checkout, pip install --group vllm"):
        by(folder, AutoTokenizer.from_pretrained(folder))


def test_settings_name_the_engine_and_its_options(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    found = sampler_of(EvaluateConfig(model="m", batch_size=3), model, tokenizer)
    assert isinstance(found, TransformersSampler)
    assert found.batch_size == 3
    monkeypatch.setattr("llm.generation.vllm.VLLMSampler", lambda *given, **options: (given, options))
    settings = EvaluateConfig(model="m", generation="vllm", vllm_gpu_memory_utilization=0.2, vllm_max_model_length=9)
    asked = {"gpu_memory_utilization": 0.2, "max_model_len": 9}
    assert sampler_of(settings, model, tokenizer) == ((model, tokenizer), asked)
