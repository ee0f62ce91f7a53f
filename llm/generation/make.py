"""A sampler by the name of its engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from llm.generation.sampler import Sampler
from llm.generation.transformers import TransformersSampler
from llm.settings import SamplingConfig


def make_sampler(
    backend: Literal["transformers", "vllm"], model: str | Path | Any, tokenizer: Any, **options: Any
) -> Sampler:
    """A sampler from a model of the hub, of a folder or in memory.

    Parameters
    ----------
    backend : "transformers" or "vllm".
    model : name, folder or transformers model.
    tokenizer : its eos ends a completion, as do those of the model; its pad fills up.
    options : of `TransformersSampler` or of `llm.generation.vllm.VLLMSampler`.

    Raises
    ------
    ValueError
        If the backend is unknown or the tokenizer has no eos or pad.
    ImportError
        If vLLM is asked for and not installed.

    Examples
    --------
    >>> make_sampler("sglang", "folder", None)
    Traceback (most recent call last):
    ...
    ValueError: backend must be "transformers" or "vllm", got 'sglang'
    """
    if backend == "transformers":
        return TransformersSampler(model, tokenizer, **options)
    if backend == "vllm":
        from llm.generation.vllm import VLLMSampler

        return VLLMSampler(model, tokenizer, **options)
    raise ValueError(f'backend must be "transformers" or "vllm", got {backend!r}')


def sampler_of(settings: SamplingConfig, model: Any, tokenizer: Any) -> Sampler:
    """Sampler from a model in memory with the engine and options that the settings of a command name."""
    options: dict[str, Any] = {"batch_size": settings.batch_size}
    if settings.generation == "vllm":
        options = {
            "gpu_memory_utilization": settings.vllm_gpu_memory_utilization,
            "max_model_len": settings.vllm_max_model_length,
        }
    return make_sampler(settings.generation, model, tokenizer, **options)
