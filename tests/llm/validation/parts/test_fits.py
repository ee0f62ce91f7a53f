"""Starts of a descent, and what kept pieces depend on."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pessimism as ps
from analysis import work
from llm.validation.parts.fits import descended, fitted
from llm.validation.parts.sampled import policy_of
from llm.validation.problem import SumProblem


def test_starts_are_tilted_to_a_completion(folder: Path) -> None:
    at = SumProblem(str(folder), (3, 4))
    said, right = at.said(), at.said().index("7<eos>")
    loss = ps.OAPL(beta1=0.15, beta2=0.3)
    for start, action in (("behavior", None), ("right", right), ("empty", said.index("<eos>"))):
        went = descended(str(folder), (3, 4), loss, start, steps=5)
        begun = np.exp(went.log_start)
        assert begun.sum() == pytest.approx(1.0, abs=1e-6)
        if action is None:
            np.testing.assert_array_equal(went.log_start, at.log_behavior)
        else:
            assert begun[action] == pytest.approx(0.9, abs=0.02)
    with pytest.raises(ValueError, match="start must be behavior, right, wrong, empty, got 'x'"):
        descended(str(folder), (3, 4), loss, "x", steps=5)


@pytest.mark.parametrize(
    ("function", "path", "depends"),
    [
        (fitted, "llm/models/enumeration.py", True),
        (fitted, "llm/validation/__init__.py", True),
        (fitted, "llm/training/trainer.py", False),
        (policy_of, "llm/training/trainer.py", True),
        (policy_of, "llm/generation/vllm.py", True),  # imported in a function
        (policy_of, "llm/validation/minima.py", False),
    ],
)
def test_what_is_kept_depends_on_what_made_it(
    function: Any, path: str, depends: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("pessimism", "analysis", "figures", "llm"):
        shutil.copytree(work.ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", "results"))
    monkeypatch.setattr(work, "ROOT", tmp_path)
    before = work.source_hash.__wrapped__(function)
    (tmp_path / path).write_text((tmp_path / path).read_text() + "# changed\n")
    assert (work.source_hash.__wrapped__(function) != before) is depends
