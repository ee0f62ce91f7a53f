"""The global generators of torch, from which engines draw whatever they are told: seeded, and as they were after."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def generators_kept() -> Iterator[None]:
    """They are as they were after the block: that of the CPU and of this GPU."""
    # Of all GPUs would start each of them in each of the processes.
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if torch.cuda.is_available() else []):
        yield


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """They are seeded inside the block, and as they were after."""
    with generators_kept():
        torch.manual_seed(seed)
        yield
