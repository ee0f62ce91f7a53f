"""One small model for all tests: a few seconds of pretraining on sums of one digit, kept for the session."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from llm.data.addition import Addition
from llm.models.tiny import TinyModel, pretrained

SETTINGS = TinyModel(
    task=Addition(digits=1, noise=0.3),
    hidden=32,
    heads=2,
    head_dim=16,
    feed_forward=64,
    steps=200,
    batch=64,
    learning_rate=3e-3,
)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pretrained(SETTINGS, tmp_path_factory.mktemp("models"))


@pytest.fixture
def seeded() -> Iterator[None]:
    """For tests that run TRL's trainer, which seeds the global generator: it is put back."""
    before = np.random.get_state()  # noqa: NPY002
    yield
    np.random.set_state(before)  # noqa: NPY002


@pytest.fixture(scope="session")
def three(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints 4, 8 and 12 of a run that has ended."""
    from tests.llm.runs import trained  # which reads the settings above

    out, before = tmp_path_factory.mktemp("three"), np.random.get_state()  # noqa: NPY002
    trained(folder, out, save_strategy="steps", save_steps=4, max_steps=12, lag=3)
    np.random.set_state(before)  # noqa: NPY002
    return out


@pytest.fixture
def copied(three: Path, tmp_path: Path) -> Path:
    """A copy of the three checkpoints."""
    shutil.copytree(three, tmp_path, dirs_exist_ok=True)
    return tmp_path
