"""Samplers by the name of their engine, and by the settings of a command."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from llm.generation.sampler import Sampler
from llm.generation.transformers import TransformersSampler
from llm.settings import SamplingConfig


def make_sampler(
    backend: Literal["transformers", "vllm"], model: str | Path | Any, tokenizer: Any, **options: Any
) -> Sampler:
    """Make a sampler from a model on the hub, in a folder or in memory.

    Parameters
    ----------
    backend : {"transformers", "vllm"}
        Engine that samples.
    model : str, Path or transformers.PreTrainedModel
        Hub id, folder or model.
    tokenizer : transformers.PreTrainedTokenizerBase
        Its eos ends a completion, as do the ends that the model names; its pad fills up.
    **options : object
        Options of `TransformersSampler` or of `llm.generation.vllm.VLLMSampler`.

    Returns
    -------
    Sampler
        The sampler.

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
    """Make a sampler from a model in memory, with the engine and the options that the settings of a command name."""
    options: dict[str, Any] = {"batch_size": settings.batch_size}
    if settings.generation == "vllm":
        options = {
            "gpu_memory_utilization": settings.vllm_gpu_memory_utilization,
            "max_model_len": settings.vllm_max_model_length,
        }
    return make_sampler(settings.generation, model, tokenizer, **options)
