"""A run of the trainer that leaves nothing but its weights."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch

import pessimism as ps
from llm.data.addition import digits_right
from llm.validation.problem import drawn, load
from llm.validation.training import trained
from tests.llm.runs import weights

pytestmark = pytest.mark.usefixtures("seeded")
GIVEN: dict[str, Any] = {"batch": 4, "group": 4, "lag": 1, "max_completion_length": 2, "max_steps": 2}


@pytest.mark.parametrize("objective", [ps.Kimi(beta=0.5), ps.GRPO()], ids=["kimi", "grpo, by TRL"])
def test_nothing_stays_but_the_weights(
    objective: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    model, tokenizer, task = load(str(folder))
    before, threads = weights(model).clone(), torch.get_num_threads()
    trained(model, tokenizer, drawn(task, 8, seed=0), digits_right, objective, learning_rate=1e-2, **GIVEN)
    assert not torch.equal(weights(model), before)
    assert list(tmp_path.iterdir()) == []
    assert torch.get_num_threads() == threads


def test_a_loss_that_is_not_finite_stops_at_the_weights_before(folder: Path) -> None:
    model, tokenizer, task = load(str(folder))
    with pytest.raises(FloatingPointError, match="not finite"):
        trained(model, tokenizer, drawn(task, 8, seed=0), digits_right, ps.Kimi(beta=1e30), learning_rate=1e30, **GIVEN)
    assert torch.isfinite(weights(model)).all()
