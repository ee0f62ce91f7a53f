"""How well a model answers: samples of each prompt, their rewards, lengths and entropies, with intervals.

Finished batches of prompts are kept in a file where one is named, so that a killed evaluation goes on where it was.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from datasets import Dataset
from torch import nn
from tqdm import tqdm

from llm.data.prompts import as_completions, required_tokens, token_ids
from llm.evaluation.pass_at_k import mean_interval, pass_at_k, share_interval
from llm.generation.sampler import Sampler
from llm.models.load import dtype_of
from llm.models.scoring import score
from llm.sealed import hash_of
from llm.storage import fingerprints
from llm.storage.lock import alone
from pessimism.files import append

_MEANS = ("reward", "length", "token_entropy", "sequence_entropy")
Row = dict[str, float]


def evaluate(
    model: nn.Module,
    tokenizer: Any,
    examples: Dataset,
    reward: Callable[..., Sequence[float]],
    *,
    sampler: Sampler,
    length: int,
    samples: int = 16,
    ks: Sequence[int] = (1,),
    seed: int = 0,
    right: float = 1.0,
    prompts_per_batch: int = 16,
    batch_size: int = 64,
    chat: Mapping[str, Any] | None = None,
    resume: Path | None = None,
) -> pd.DataFrame:
    """Sample completions of every prompt, reward them and score them with the model.

    Parameters
    ----------
    model : torch.nn.Module
        The causal language model that the sampler samples from; it gives the entropies.
    tokenizer : transformers.PreTrainedTokenizerBase
        Tokenizer of the model.
    examples : datasets.Dataset
        As `llm.data.examples.load_examples` returns it.
    reward : callable
        As `llm.data.rewards.reward_function` returns it; it gets every column of the examples.
    sampler : Sampler
        Draws the completions.
    length : int
        Largest number of tokens of a completion.
    samples : int, default 16
        Number of completions of each prompt.
    ks : sequence of int, default (1,)
        The k of pass@k, each at most `samples`.
    seed : int, default 0
        Seed of the samples. Equal seeds and batches give equal samples, whether interrupted or not.
    right : float, default 1.0
        Reward from which on a completion counts as correct.
    prompts_per_batch : int, default 16
        Number of prompts that are sampled, rewarded and kept together.
    batch_size : int, default 64
        Largest number of completions in one forward of the model.
    chat : mapping, optional
        Variables of the chat template beside the messages.
    resume : Path, optional
        File (JSON lines) that keeps finished batches.

    Returns
    -------
    pandas.DataFrame
        A row for each prompt, with the columns

        - ``prompt``, and ``answer`` where the examples have one;
        - ``n``, the number of samples, ``correct``, the number of correct ones, and unbiased ``pass@k``;
        - ``reward`` and ``length`` (in tokens, eos included), means over the samples, and ``ended``, the share of them
          that ended within `length` tokens;
        - ``token_entropy``, the mean over all tokens of the entropy of the distribution that they were drawn from, and
          ``sequence_entropy``, the mean of minus the log-probability of a completion; both in nats.

    Raises
    ------
    ValueError
        If there are no examples, a k is not from 1 to `samples`, another number is out of range, the reward fails, or
        the file `resume` holds an evaluation with other settings, examples, weights or code of the reward, or is being
        written by another process.
    """
    _check(examples, ks, seed, {"samples": samples, "length": length, "prompts_per_batch": prompts_per_batch})
    one = _Evaluation(model, tokenizer, reward, sampler, samples, length, right, batch_size, dict(chat or {}))
    if resume is None:
        rows = _rows(one, KeptRows(None, {}), examples, seed, prompts_per_batch)
    else:
        settings = {"seed": seed, "prompts_per_batch": prompts_per_batch, **one.settings()}
        settings["examples_sha256"] = fingerprints.of_examples(examples)
        with alone(resume.with_name(f"{resume.name}.lock"), str(resume)):
            rows = _rows(one, KeptRows(resume, settings), examples, seed, prompts_per_batch)
    said = {name: examples[name][:] for name in ("prompt", "answer") if name in examples.column_names}
    frame = pd.concat([pd.DataFrame({**said, "n": samples}), pd.DataFrame(rows)], axis=1)
    for place, k in enumerate(dict.fromkeys(ks), list(frame).index("correct") + 1):
        frame.insert(place, f"pass@{k}", pass_at_k(frame["correct"], samples, k))
    return frame


def _rows(one: _Evaluation, kept: KeptRows, examples: Dataset, seed: int, prompts_per_batch: int) -> list[Row]:
    """Make the rows of all examples, but for those that are kept already."""
    options = {"desc": "evaluate", "unit": "prompt", "delay": 2, "disable": None, "leave": False}
    with tqdm(total=len(examples), initial=len(kept.rows), **options) as bar:
        for start in range(len(kept.rows), len(examples), prompts_per_batch):
            own = int(np.random.SeedSequence([seed, start]).generate_state(1)[0])
            kept.add(one.rows(examples[start : start + prompts_per_batch], own))
            bar.update(len(kept.rows) - bar.n)
    return kept.rows


def summary(frame: pd.DataFrame, level: float = 0.95) -> pd.DataFrame:
    """Average over the prompts, with intervals for new prompts of the same kind.

    Parameters
    ----------
    frame : pandas.DataFrame
        As `evaluate` returns it.
    level : float, default 0.95
        Coverage of the intervals.

    Returns
    -------
    pandas.DataFrame
        One row: ``prompts``, ``samples`` of each, and for every measured column its mean and the ends of its interval,
        ``..._low`` and ``..._high``. Shares, which rewards of 0 and 1 are too, have the interval of
        `llm.evaluation.pass_at_k.share_interval`, others that of Student; with one prompt the ends are nan.

    Examples
    --------
    >>> frame = pd.DataFrame({"prompt": ["a", "b", "c"], "n": 4, "pass@1": [0.0, 0.5, 1.0], "length": [3.0, 4.0, 8.0]})
    >>> summary(frame).round(2).to_dict("records")[0]
    {'prompts': 3, 'samples': 4, 'pass@1': 0.5, 'pass@1_low': ..., 'length': 5.0, ... 'length_high': 11.57}
    """
    samples = int(frame["n"].iloc[0])
    row: dict[str, float] = {"prompts": len(frame), "samples": samples}
    for name in frame.columns:
        if name.startswith("pass@") or name == "ended" or (name == "reward" and _is_share(frame)):
            found = share_interval(frame[name], samples, level)
        elif name in _MEANS:
            found = mean_interval(frame[name], level)
        else:
            continue
        row |= {name: found.mean, f"{name}_low": found.low, f"{name}_high": found.high}
    return pd.DataFrame([row])


def _is_share(frame: pd.DataFrame) -> bool:
    """Say whether the rewards are 0 and 1: their sums are then the numbers of correct completions."""
    return bool(np.allclose(frame["reward"] * frame["n"], frame["correct"], rtol=0.0, atol=1e-9))


@dataclass(frozen=True)
class _Evaluation:
    """An evaluation of batches of prompts."""

    model: nn.Module
    tokenizer: Any
    reward: Callable[..., Sequence[float]]
    sampler: Sampler
    samples: int
    length: int
    right: float
    batch_size: int
    chat: dict[str, Any]

    def rows(self, columns: dict[str, list[Any]], seed: int) -> list[Row]:
        """Make a row of means for each prompt of a batch."""
        ends, pad = required_tokens(self.tokenizer, self.model)
        prompts = token_ids(self.tokenizer, columns["prompt"], self.chat)
        completions = self.sampler.sample(prompts, self.samples, length=self.length, seed=seed).completions
        many = {name: self._each(values) for name, values in columns.items() if name != "prompt"}
        asked = self._each(columns["prompt"])
        said = as_completions(self.tokenizer, asked, completions)
        rewards = self._array(self.reward(prompts=asked, completions=said, completion_ids=completions, **many))
        scores = score(self.model, self._each(prompts), completions, pad=pad, batch_size=self.batch_size)
        length = self._array([len(ids) for ids in completions])
        ended = self._array([len(ids) < self.length or ids[-1] in ends for ids in completions])
        entropy = self._array([steps.double().sum().item() for steps in scores.entropies])
        information = self._array([-steps.double().sum().item() for steps in scores.log_probs])
        found = pd.DataFrame(
            {
                "correct": np.sum(rewards >= self.right, axis=1),
                "reward": rewards.mean(axis=1),
                "length": length.mean(axis=1),
                "ended": ended.mean(axis=1),
                "token_entropy": entropy.sum(axis=1) / length.sum(axis=1),
                "sequence_entropy": information.mean(axis=1),
            }
        )
        return [{str(name): value for name, value in row.items()} for row in found.to_dict("records")]

    def settings(self) -> dict[str, Any]:
        """List what the rows depend on beside prompts and seed."""
        name = getattr(self.reward, "name", None) or getattr(self.reward, "__qualname__", repr(self.reward))
        said = {"samples": self.samples, "length": self.length, "right": self.right, "reward": name, "chat": self.chat}
        return {
            **said,
            "reward_sha256": fingerprints.of_reward(self.reward),
            "weights_sha256": fingerprints.of_weights(self.model),
            "dtype": dtype_of(self.model),
            "sampler": [type(self.sampler).__name__, getattr(self.sampler, "batch_size", None)],
        }

    def _each(self, values: Sequence[Any]) -> list[Any]:
        return [value for value in values for _ in range(self.samples)]

    def _array(self, values: Sequence[float]) -> np.ndarray[Any, Any]:
        return np.asarray(values, dtype=np.float64).reshape(-1, self.samples)


def _check(examples: Dataset, ks: Sequence[int], seed: int, positive: dict[str, int]) -> None:
    if len(examples) == 0:
        raise ValueError("examples must have at least one row, got none")
    for name, value, least in [*((k, v, 1) for k, v in positive.items()), ("seed", seed, 0)]:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{name} must be an integer >= {least}, got {value!r}")
    for k in ks:
        pass_at_k(0, positive["samples"], k)  # before the work, not after


class KeptRows:
    """Rows of finished batches, in a file of JSON lines if there is one: the settings, then a line for each batch.

    Each line has a hash of what it says. A damaged batch, and those after it, are made again.
    """

    def __init__(self, path: Path | None, settings: dict[str, Any]) -> None:
        self.path, self.rows = path, list[Row]()
        if path is None:
            return
        settings = json.loads(json.dumps(settings))
        lines = (path.read_bytes() if path.exists() else b"").split(b"\n")[:-1]  # a torn last line was not finished
        said = list(takewhile(lambda one: one is not None, map(_said_in, lines)))
        if lines and not (said and isinstance(said[0], dict)):
            raise ValueError(f"{path} is no file of an evaluation, or its first line is damaged: name another file")
        before, *batches = said or [settings]
        if other := [name for name in settings if before.get(name) != settings[name]]:
            told = ", ".join(f"{name}={before[name]!r}" if name in before else f"no {name}" for name in other)
            which = f"of other examples ({told})" if other == ["examples_sha256"] else f"with {told}"
            raise ValueError(f"{path} holds an evaluation {which}: name another file")
        if len(said) < len(lines):
            print(f"{path}: line {len(said) + 1} is damaged: made again from there", file=sys.stderr)
        self.rows = [row for batch in batches for row in batch]
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            os.truncate(path, sum(len(line) + 1 for line in lines[: len(said)]))
        if not said:
            self._write(settings)

    def add(self, rows: list[Row]) -> None:
        """Keep the rows of another batch."""
        self.rows += rows
        if self.path is not None:
            self._write(rows)

    def _write(self, said: Any) -> None:
        assert self.path is not None
        append(self.path, f"{_line_of(said)}\n")


def _line_of(said: Any) -> str:
    """Write a line with the hash of what it says."""
    return json.dumps({"sha256": hash_of(said), "said": said})


def _said_in(line: bytes) -> Any:
    """Read a line of `_line_of`; None where it is none, or not byte for byte as it was written."""
    try:
        said = json.loads(line)["said"]
    except (ValueError, TypeError, LookupError):
        return None
    return said if _line_of(said).encode() == line else None
