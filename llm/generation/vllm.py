"""Sampling with vLLM in this process, on a CPU or a GPU, from the very weights that are trained.

The number format is that of the model: by itself vLLM halves float32. Weights that did not arrive are silent, and a
log-ratio takes them for lag: `VLLMSampler` can compare after each `load`, `require_agreement` does it for a trainer.
"""

from __future__ import annotations

import functools
import importlib
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from llm.data.prompts import required_tokens
from llm.generation.sampler import Samples, require_request
from llm.generation.seeding import seeded
from llm.generation.vllm_process import engine, vllm_module
from llm.models.load import dtype_of
from llm.models.scoring import score

TOLERANCE = {"float32": 1e-4}  # of a log-probability, in nats: the engines add up in another order
_COARSE = 0.25  # in any other format


class SyncError(ValueError):
    """Log-probabilities of vLLM differ from those of the model whose weights it should have."""


class VLLMSampler:
    """Sampler that uses vLLM.

    Parameters
    ----------
    model : str, Path or transformers.PreTrainedModel
        Hub id, folder or model, whose weights are copied.
    tokenizer : transformers.PreTrainedTokenizerBase
        Tokenizer with eos and pad.
    dtype : str, optional
        "float32", "bfloat16", ...; the dtype of the model by default.
    verify : bool, default False
        Whether to compare, after each `load`, the log-probabilities of a few completions with those of the model.
    tolerance : float, optional
        Largest difference allowed in that comparison, in nats; by default 1e-4 in float32 and 0.25 otherwise.
    **options : object
        Further options of ``vllm.LLM``, such as ``max_model_len`` or ``gpu_memory_utilization``.

    Raises
    ------
    ImportError
        If vLLM is not installed.
    ValueError
        If the model says no dtype, or the tokenizer lacks eos or pad.
    """

    def __init__(
        self,
        model: str | Path | Any,
        tokenizer: Any,
        *,
        dtype: str | None = None,
        verify: bool = False,
        tolerance: float | None = None,
        **options: Any,
    ) -> None:
        vllm = vllm_module()
        ends, self.pad = required_tokens(tokenizer, model)
        self._request = functools.partial(
            vllm.SamplingParams, logprobs=0, ignore_eos=True, stop_token_ids=ends, detokenize=False
        )
        self.verify = verify
        dtype = dtype or _dtype(model)
        self.tolerance = tolerance_of(dtype) if tolerance is None else tolerance
        options |= {"dtype": dtype, "generation_config": "vllm", "logprobs_mode": "processed_logprobs"}
        options["skip_tokenizer_init"] = True
        if isinstance(model, str | Path):
            self.llm = engine(model=str(model), **options)
            return
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            self.llm = engine(model=folder, **options)
        if verify:
            self._verify(model)

    def sample(self, prompts: Sequence[Sequence[int]], count: int, *, length: int, seed: int) -> Samples:
        """Draw completions for each prompt.

        Parameters
        ----------
        prompts : sequence of sequence of int
            Token ids of each prompt.
        count : int
            Number of completions of each prompt.
        length : int
            Largest number of tokens of a completion.
        seed : int
            Equal seeds give equal completions.

        Returns
        -------
        Samples
            Completions and the log-probabilities of their tokens.

        Raises
        ------
        ValueError
            As `llm.generation.transformers.TransformersSampler.sample`, for the ``max_model_len`` of the engine.
        """
        require_request(prompts, count, length, seed, positions=self.llm.model_config.max_model_len)
        rows = [{"prompt_token_ids": list(prompt)} for prompt in prompts for _ in range(count)]
        # A stream of its own for each completion: vLLM's own seeding of `count` completions would be 0, 1, 2, ...
        seeds = (np.random.SeedSequence(seed).generate_state(len(rows), np.uint64) >> 1).tolist()
        requests = [self._request(max_tokens=length, seed=s) for s in seeds]
        # Not by tqdm's `disable`: of a bar that is off vLLM divides by the seconds.
        bar = sys.stderr.isatty() and functools.partial(tqdm, delay=2, leave=False)
        with seeded(seed):
            outputs = self.llm.generate(rows, requests, use_tqdm=bar) if rows else []
        found = [output.outputs[0] for output in outputs]
        return Samples(
            [list(one.token_ids) for one in found],
            [[step[t].logprob for t, step in zip(one.token_ids, one.logprobs, strict=True)] for one in found],
        )

    def load(self, model: Any) -> None:
        """Take over the weights of a transformers model as they are now.

        Parameters
        ----------
        model : transformers.PreTrainedModel
            A model of the same architecture.

        Raises
        ------
        SyncError
            With `verify`, if the log-probabilities differ afterwards.
        """
        _synchronize(self.llm, model)
        self.llm.reset_prefix_cache()
        if self.verify:
            self._verify(model)

    def _verify(self, model: Any) -> None:
        rng = np.random.default_rng(0)
        prompts = rng.integers(model.config.vocab_size, size=(8, 4)).tolist()
        found = self.sample(prompts, 4, length=4, seed=0)
        repeated = [prompt for prompt in prompts for _ in range(4)]
        theirs = torch.cat(score(model, repeated, found.completions, pad=self.pad).log_probs)
        ours = torch.tensor([p for row in found.log_probs for p in row])
        require_agreement(ours, theirs, torch.ones_like(ours), tolerance=self.tolerance)


def agreement(sampled: Tensor, model: Tensor, mask: Tensor) -> float:
    """Compute how far two arrays of log-probabilities are apart.

    Parameters
    ----------
    sampled, model : Tensor, shape (B, T)
        Log-probabilities of the same tokens by the engine and by the model.
    mask : Tensor, shape (B, T)
        Tokens to compare are where it is not 0.

    Returns
    -------
    float
        Largest absolute difference; nan if one of them is nan.

    Examples
    --------
    >>> agreement(torch.tensor([[-1.0, -2.0, 0.0]]), torch.tensor([[-1.5, -2.0, 9.0]]), torch.tensor([[1, 1, 0]]))
    0.5
    """
    kept = mask.bool()
    difference = (sampled.float()[kept] - model.float()[kept]).abs()
    return float(difference.max()) if len(difference) else 0.0


def require_agreement(sampled: Tensor, model: Tensor, mask: Tensor, *, tolerance: float = TOLERANCE["float32"]) -> None:
    """Refuse log-probabilities of vLLM that differ from those of the model.

    Parameters
    ----------
    sampled, model : Tensor, shape (B, T)
        Log-probabilities of the same tokens by vLLM and by the model.
    mask : Tensor, shape (B, T)
        Tokens to compare are where it is not 0.
    tolerance : float, default 1e-4
        Largest difference allowed, in nats.

    Raises
    ------
    SyncError
        If they differ by more, or one is nan.

    Examples
    --------
    >>> require_agreement(torch.tensor([[-1.0]]), torch.tensor([[-1.5]]), torch.tensor([[1]]))
    Traceback (most recent call last):
    ...
    llm.generation.vllm.SyncError: vLLM's log-probabilities differ from the model's by up to 0.5 (tolerance 0.0001): ...
    """
    difference = agreement(sampled, model, mask)
    if not difference <= tolerance:
        raise SyncError(
            f"vLLM's log-probabilities differ from the model's by up to {difference:.3g} (tolerance {tolerance:g}): it "
            "has other weights, or computes in another dtype"
        )


def tolerance_of(dtype: str) -> float:
    """Look up how far log-probabilities of two engines may be apart.

    Parameters
    ----------
    dtype : str
        Dtype that the engines compute in.

    Returns
    -------
    float
        Largest difference allowed, in nats.

    Examples
    --------
    >>> tolerance_of("float32"), tolerance_of("bfloat16")
    (0.0001, 0.25)
    """
    return TOLERANCE.get(dtype, _COARSE)


def prepare_colocate(dtype: str = "float32") -> None:
    """Make TRL's ``vllm_mode="colocate"`` run here: in the dtype of the model that is trained, and on a CPU, too.

    Call it before the trainer is made. When it is called again, the last dtype holds.

    Parameters
    ----------
    dtype : str, default "float32"
        Dtype of the model that is trained.

    Raises
    ------
    ImportError
        If vLLM is not installed.
    """
    vllm_module()
    theirs: Any = importlib.import_module("trl.generation.vllm_generation")
    theirs.LLM = functools.partial(engine, dtype=dtype)


def _synchronize(llm: Any, model: Any) -> None:
    """Write the parameters of the model into those of vLLM; a tied one is there once, in vLLM, too."""

    def write(theirs: Any) -> None:
        theirs.load_weights((name, parameter.detach()) for name, parameter in model.named_parameters())

    llm.apply_model(write)


def _dtype(model: str | Path | Any) -> str:
    found = dtype_of(model)
    if found is None:
        raise ValueError(f"dtype must be given: the configuration of {model} names none")
    return found
