"""Hashes that change with what a result depends on, and with nothing else."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from llm.data.rewards import Reward, reward_function
from llm.storage.fingerprints import of_examples, of_reward

SOURCE = """
import functools

FACTOR = 1.0

def plain(completions, **_):
    return [FACTOR for _ in completions]

class Made:
    def __call__(self, completions, **_):
        return [FACTOR for _ in completions]

    def method(self, completions, **_):
        return [FACTOR for _ in completions]

made = Made()
method = made.method
part = functools.partial(plain, extra=1)
wrapped = functools.wraps(plain)(lambda *a, **k: plain(*a, **k))
"""


def module(path: Path, text: str) -> Any:
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.mark.parametrize("name", ["plain", "made", "method", "part", "wrapped"])
def test_a_reward_is_known_by_its_file(name: str, tmp_path: Path) -> None:
    one = of_reward(getattr(module(tmp_path / "fingerprinted_a.py", SOURCE), name))
    same = of_reward(Reward("r", getattr(module(tmp_path / "fingerprinted_b.py", SOURCE), name)))
    other = of_reward(getattr(module(tmp_path / "fingerprinted_c.py", SOURCE.replace("1.0", "2.0")), name))
    assert one is not None
    assert one == same != other


def test_rewards_without_a_file() -> None:
    assert of_reward(reward_function("exact")) is None
    found = {of_reward(one) for one in (len, print, functools.partial(print, end=""))}
    assert None not in found
    assert len(found) == 2


def test_every_cell_of_the_examples_counts() -> None:
    columns = {"prompt": ["a", "b"], "answer": ["1", "2"], "level": [1, 2]}
    first = of_examples(Dataset.from_dict(columns))
    assert first == of_examples(Dataset.from_dict(dict(columns)))
    for name, values in (("prompt", ["a", "c"]), ("answer", ["1", "3"]), ("level", [1, 3]), ("more", [0, 0])):
        assert of_examples(Dataset.from_dict(columns | {name: values})) != first
    assert of_examples(Dataset.from_dict(columns).select([1, 0])) != first
