"""vLLM's engine inside this process: its weights can be written to, and the process stays as it was.

On a CPU vLLM packs the weights away when it starts, after which they cannot be written to, or, in a tied head, silently
have no effect; it seeds the global generators and takes over the number of threads.
"""

from __future__ import annotations

import importlib
import logging
import os
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from llm.generation.seeding import generators_kept

_CPU_CACHE = 2**30  # bytes for keys and values, for which vLLM would take most of a CPU's memory


def vllm_module(name: str = "vllm") -> Any:
    """Import a module of vLLM, which then reports errors only, unless ``VLLM_LOGGING_LEVEL`` is set.

    Parameters
    ----------
    name : str, default "vllm"
        Dotted name of the module.

    Returns
    -------
    module
        The module.

    Raises
    ------
    ImportError
        If vLLM is not installed.
    """
    try:
        with _environment():
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != "vllm":
            raise
        raise ImportError(
            "vllm is not installed: from the checkout, pip install --group vllm for a CPU, or vllm itself for a GPU"
        ) from error


def engine(**options: Any) -> Any:
    """Make a ``vllm.LLM`` in this process; on a CPU without compilation, and with 1 GiB of cache by default."""
    vllm = vllm_module()
    options = {"use_tqdm_on_load": sys.stderr.isatty()} | options
    if not vllm_module("vllm.platforms").current_platform.is_cpu():
        with _environment(), _process_untouched():
            return vllm.LLM(**options)
    options = {"enforce_eager": True, "kv_cache_memory_bytes": _CPU_CACHE} | options
    with _environment(), _process_untouched(), _unpacked_weights(), _uncompiled():
        llm = vllm.LLM(**options)
    generate = llm.generate

    def uncompiled(*arguments: Any, **settings: Any) -> Any:
        with _uncompiled():
            return generate(*arguments, **settings)

    llm.generate = uncompiled
    return llm


@contextmanager
def _environment() -> Iterator[None]:
    """Set the environment for an engine in this process that says no more than it must."""
    level = os.environ.get("VLLM_LOGGING_LEVEL", "ERROR")
    ours = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_LOGGING_LEVEL": level}
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    logging.getLogger("vllm").setLevel(level)  # until vLLM sets up its log, which happens late
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _process_untouched() -> Iterator[None]:
    """Restore the global generators and `torch.set_num_threads` after the block."""
    python, numpy, threads = random.getstate(), np.random.get_state(), torch.set_num_threads  # noqa: NPY002
    try:
        with generators_kept():
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        torch.set_num_threads = threads


@contextmanager
def _unpacked_weights() -> Iterator[None]:
    """Let linear layers read their parameter: packing would empty it, and keep a copy of a tied head."""
    layers = vllm_module("vllm.model_executor.layers.utils")
    packing = layers.dispatch_cpu_unquantized_gemm

    def plain(layer: Any, remove_weight: bool) -> None:
        layer.cpu_linear = torch.nn.functional.linear

    layers.dispatch_cpu_unquantized_gemm = plain
    try:
        yield
    finally:
        layers.dispatch_cpu_unquantized_gemm = packing


def _uncompiled() -> Any:
    """Turn torch.compile off: vLLM's sampler would compile for ten seconds where drawing takes a tenth of one."""
    return importlib.import_module("torch._dynamo.config").patch(disable=True)
