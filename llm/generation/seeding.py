"""The global generators of torch, from which engines draw: seeded for a while, and afterwards as they were before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def generators_kept() -> Iterator[None]:
    """Restore the generators of the CPU and of this GPU after a `with` block."""
    # Of all GPUs would start each of them in each of the processes.
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if torch.cuda.is_available() else []):
        yield


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the generators inside a `with` block, and restore them after it."""
    with generators_kept():
        torch.manual_seed(seed)
        yield
