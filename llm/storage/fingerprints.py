"""Hashes of what results depend on beside settings: the data, the code of a reward, the weights of a model."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from datasets import Dataset
from torch import nn

from llm.data.rewards import BUILT_IN, Reward


def of_examples(examples: Dataset) -> str:
    """Hash all rows and columns of a data set.

    Parameters
    ----------
    examples : datasets.Dataset
        The data.

    Returns
    -------
    str
        Sixteen hexadecimal digits.

    Examples
    --------
    >>> one, other = Dataset.from_dict({"prompt": ["1+1="]}), Dataset.from_dict({"prompt": ["1+2="]})
    >>> of_examples(one) == of_examples(other)
    False
    """
    return _short(json.dumps(examples[:], default=str).encode())


def of_reward(reward: Callable[..., Any]) -> str | None:
    """Hash the file that a reward is written in, without what it imports; None for a reward of this package.

    For code typed at a prompt it is the hash of that code; for a function that shows no source, such as a compiled one,
    of its name.
    """
    function = reward.function if isinstance(reward, Reward) else reward
    if function in BUILT_IN.values():
        return None
    code = inspect.unwrap(getattr(function, "func", function))  # of functools.partial
    code = code if inspect.isroutine(code) else type(code).__call__
    try:
        file = Path(inspect.getsourcefile(code) or "")
        return _short(file.read_bytes() if file.is_file() else inspect.getsource(code).encode())
    except (TypeError, OSError):
        return _short(f"{getattr(code, '__module__', '')}:{code.__qualname__}".encode())


def of_weights(model: nn.Module) -> str:
    """Hash a thousand entries of each tensor of a model: a step of an optimizer moves nearly all of them."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        flat = tensor.detach().flatten()
        digest.update(name.encode() + flat[:: max(1, len(flat) // 1000)].float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def _short(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
