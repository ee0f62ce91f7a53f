"""vLLM in this process: its log-probabilities, its frequencies, and above all that it has the weights it should."""

from __future__ import annotations

import contextlib
import copy
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, GenerationConfig

from llm.generation import vllm as vllm_engine
from llm.generation import vllm_process
from llm.generation.make import make_sampler
from llm.generation.sampler import Samples
from llm.generation.vllm import SyncError
from llm.models.scoring import score
from tests.llm.frequencies import assert_drawn_from
from tests.vllm.conftest import MODELS

SMALL = {"kv_cache_memory_bytes": 2**26}


@pytest.fixture(scope="module")
def prompts(tokenizer: Any) -> list[list[int]]:
    return [tokenizer(text)["input_ids"] for text in ("3+4=", "2", "1+1=")]


@pytest.fixture(scope="module")
def samplers(folders: dict[str, Path], tokenizer: Any) -> dict[str, Any]:
    """Shared: a test that loads other weights makes its own."""
    return {name: make_sampler("vllm", folder, tokenizer, **SMALL) for name, folder in folders.items()}


def difference(found: Samples, model: Any, prompts: list[list[int]]) -> float:
    """Largest difference of the sampler's log-probabilities from those of the model."""
    repeated = [prompt for prompt in prompts for _ in range(len(found.completions) // len(prompts))]
    scored = torch.cat(score(model, repeated, found.completions, pad=0).log_probs).numpy()
    return float(np.abs(np.concatenate(found.log_probs) - scored).max())


def changed(model: Any) -> Any:
    """The model with all its weights moved, the tied head so that stale values show."""
    other = copy.deepcopy(model)
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=rng))
    return other


@pytest.mark.parametrize("name", MODELS)
def test_log_probabilities_are_those_of_the_model(
    samplers: dict[str, Any], folders: dict[str, Path], prompts: list[list[int]], name: str
) -> None:
    found = samplers[name].sample(prompts, 60, length=5, seed=0)
    assert len({len(c) for c in found.completions}) > 2
    assert difference(found, AutoModelForCausalLM.from_pretrained(folders[name]), prompts) < 1e-5


@pytest.mark.parametrize("name", MODELS)
def test_all_weights_are_taken_over(
    folders: dict[str, Path], tokenizer: Any, prompts: list[list[int]], name: str
) -> None:
    model = AutoModelForCausalLM.from_pretrained(folders[name])
    sampler = make_sampler("vllm", model, tokenizer, verify=True, **SMALL)
    before = sampler.sample(prompts, 60, length=5, seed=0)
    assert difference(before, model, prompts) < 1e-5
    for _ in range(2):
        model = changed(model)
        sampler.load(model)
        after = sampler.sample(prompts, 60, length=5, seed=0)
        assert difference(after, model, prompts) < 1e-5
        assert difference(before, model, prompts) > 0.1


@pytest.mark.parametrize("kept", [False, True])
def test_cached_prompts_do_not_outlive_the_weights(
    folders: dict[str, Path], tokenizer: Any, monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    """Prompts of several blocks are computed once and kept: with other weights they are other prompts."""
    model = AutoModelForCausalLM.from_pretrained(folders["tied"])
    long = [tokenizer("3+4=")["input_ids"] * 20]
    sampler = make_sampler("vllm", model, tokenizer, block_size=32, **SMALL)
    assert difference(sampler.sample(long, 20, length=4, seed=0), model, long) < 1e-5
    if kept:
        monkeypatch.setattr(sampler.llm, "reset_prefix_cache", lambda: None)
    sampler.load(changed(model))
    stale = difference(sampler.sample(long, 20, length=4, seed=0), changed(model), long)
    assert stale > 1e-3 if kept else stale < 1e-5


@pytest.fixture
def vllms_own_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packed weights and `reload_weights`, as vLLM has it."""

    def reload(llm: Any, model: Any) -> None:
        llm.collective_rpc("reload_weights", kwargs={"weights_iterator": iter(list(model.named_parameters()))})

    monkeypatch.setattr(vllm_process, "_unpacked_weights", contextlib.nullcontext)
    monkeypatch.setattr(vllm_engine, "_synchronize", reload)


@pytest.mark.usefixtures("vllms_own_way")
def test_a_stale_head_is_found(folders: dict[str, Path], tokenizer: Any, prompts: list[list[int]]) -> None:
    model = AutoModelForCausalLM.from_pretrained(folders["tied"])
    silent = make_sampler("vllm", model, tokenizer, **SMALL)
    silent.load(changed(model))
    assert difference(silent.sample(prompts, 60, length=5, seed=0), changed(model), prompts) > 0.1
    sampler = make_sampler("vllm", model, tokenizer, verify=True, **SMALL)
    with pytest.raises(SyncError, match=r"log-probabilities differ from the model's by up to .* \(tolerance 0.0001\)"):
        sampler.load(changed(model))


@pytest.mark.usefixtures("vllms_own_way")
def test_a_head_of_its_own_is_not_stale(folders: dict[str, Path], tokenizer: Any) -> None:
    """The error above is about the tied head, and not about everything that `reload_weights` does."""
    model = AutoModelForCausalLM.from_pretrained(folders["untied"])
    make_sampler("vllm", model, tokenizer, verify=True, **SMALL).load(changed(model))


def test_nothing_written_is_found(folders: dict[str, Path], tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = AutoModelForCausalLM.from_pretrained(folders["tied"])
    sampler = make_sampler("vllm", model, tokenizer, verify=True, **SMALL)
    monkeypatch.setattr(vllm_engine, "_synchronize", lambda *_: None)
    sampler.load(model)
    with pytest.raises(SyncError, match="it has other weights, or computes in another dtype"):
        sampler.load(changed(model))


def test_frequencies_are_the_probabilities(
    samplers: dict[str, Any], folders: dict[str, Path], tokenizer: Any, prompts: list[list[int]]
) -> None:
    model = AutoModelForCausalLM.from_pretrained(folders["tied"])
    assert_drawn_from(model, tokenizer, prompts, samplers["tied"], count=4000)


def test_they_end_at_eos_or_at_the_limit(samplers: dict[str, Any], tokenizer: Any, prompts: list[list[int]]) -> None:
    eos = tokenizer.eos_token_id
    for length in (1, 4):
        found = samplers["tied"].sample(prompts, 60, length=length, seed=2).completions
        assert all(eos not in c[:-1] for c in found)
        assert all(c[-1] == eos or len(c) == length for c in found)
    lengths = {len(c) for c in found}
    assert min(lengths) < max(lengths) == 4
    assert any(c[-1] != eos for c in samplers["tied"].sample(prompts, 60, length=1, seed=2).completions)
    assert samplers["tied"].sample([], 3, length=2, seed=0) == ([], [])


def test_a_seed_gives_the_same_samples(samplers: dict[str, Any], prompts: list[list[int]]) -> None:
    first = samplers["tied"].sample(prompts, 20, length=4, seed=3)
    assert samplers["tied"].sample(prompts, 20, length=4, seed=3) == first
    assert samplers["tied"].sample(prompts, 20, length=4, seed=4).completions != first.completions
    twice = samplers["tied"].sample([prompts[0]] * 2, 40, length=4, seed=3).completions
    assert twice[:40] != twice[40:]


@pytest.fixture
def states() -> Iterator[None]:
    """Global generators and threads are as they were after the test."""

    def now() -> tuple[Any, ...]:
        return random.getstate(), torch.get_rng_state().tolist(), torch.set_num_threads, torch.get_num_threads()

    before = now()
    yield
    assert now() == before


@pytest.mark.usefixtures("states")
def test_the_process_stays_as_it_was(folders: dict[str, Path], tokenizer: Any, prompts: list[list[int]]) -> None:
    make_sampler("vllm", folders["tied"], tokenizer, **SMALL).sample(prompts, 4, length=4, seed=3)


def test_settings_of_the_folder_are_not_used(
    samplers: dict[str, Any], folders: dict[str, Path], tokenizer: Any, prompts: list[list[int]], tmp_path: Path
) -> None:
    shutil.copytree(folders["tied"], tmp_path / "model")
    ends = [tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("1")]
    theirs = GenerationConfig(do_sample=True, temperature=0.1, top_k=2, repetition_penalty=3.0, eos_token_id=ends)
    theirs.save_pretrained(tmp_path / "model")
    found = make_sampler("vllm", tmp_path / "model", tokenizer, **SMALL).sample(prompts, 40, length=4, seed=5)
    plain = samplers["tied"].sample(prompts, 40, length=4, seed=5).completions
    # But for where it ends, which TRL takes from there, too.
    stops = [next((i for i, token in enumerate(c) if token in ends), len(c)) for c in plain]
    assert found.completions == [c[: stop + 1] for c, stop in zip(plain, stops, strict=True)]
    assert found.completions != plain


def test_half_precision_has_its_own_tolerance(folders: dict[str, Path], tokenizer: Any) -> None:
    """Verified in its own dtype; against the model in float32, and at its tolerance, the dtype itself shows."""
    model = AutoModelForCausalLM.from_pretrained(folders["tied"])
    half = AutoModelForCausalLM.from_pretrained(folders["tied"], dtype=torch.bfloat16)
    sampler = make_sampler("vllm", half, tokenizer, verify=True, **SMALL)
    assert sampler.llm.model_config.dtype == torch.bfloat16
    with pytest.raises(SyncError, match="computes in another dtype"):
        make_sampler("vllm", model, tokenizer, dtype="bfloat16", verify=True, tolerance=1e-4, **SMALL)


def test_bad_requests_are_named(samplers: dict[str, Any]) -> None:
    with pytest.raises(
        ValueError, match=r"prompts\[0\]: 3 tokens and a completion of up to 126 are over the 128 positions"
    ):
        samplers["tied"].sample([[1, 2, 3]], 1, length=126, seed=0)
    with pytest.raises(ValueError, match="count must be an integer >= 1, got 0"):
        samplers["tied"].sample([[1]], 0, length=1, seed=0)
