"""A trained model measured by enumeration and by sampling."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import pessimism as ps
from llm.measurement.comparison import COLUMNS
from llm.measurement.measure import measure
from llm.models.enumeration import Completions
from llm.validation.exact_training import fit
from pessimism.diagnosis.readings import READINGS

OBJECTIVE = ps.Kimi(beta=0.3)
EXAMPLES = [{"prompt": "3+4=", "answer": "7"}, {"prompt": "1+1=", "answer": "2"}]


def right(completions: list[str], answer: list[str], **_: Any) -> list[float]:
    return [float(text == expected) for text, expected in zip(completions, answer, strict=True)]


@pytest.fixture(scope="module")
def posed(folder: Path) -> tuple[Any, Any, Any, dict[str, Any]]:
    """A model trained to the end on the first example, the behavior, the tokenizer, and what `fit` says."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    policy, behavior = (AutoModelForCausalLM.from_pretrained(folder) for _ in range(2))
    completions = Completions(len(tokenizer), tokenizer.eos_token_id, 2, tokenizer.pad_token_id)
    said = tokenizer.batch_decode(completions.tokens, skip_special_tokens=True)
    reward = np.array(right(said, [EXAMPLES[0]["answer"]] * len(said)))
    found = fit(policy, completions, tokenizer(EXAMPLES[0]["prompt"])["input_ids"], reward, OBJECTIVE)
    return policy, behavior, tokenizer, found


def test_enumeration_says_what_the_fit_said(posed: tuple[Any, Any, Any, dict[str, Any]]) -> None:
    policy, behavior, tokenizer, said = posed
    frame = measure(policy, behavior, tokenizer, EXAMPLES[:1], right, OBJECTIVE, length=2, exact=True)
    row = frame.iloc[0]
    # `fit` takes draws in place of all completions.
    assert row["kappa_fit"] == pytest.approx(said["kappa_fit"], abs=2 * said["kappa_fit_error"])
    assert said["kappa_fit_error"] < 2e-4
    assert row["kappa_identity"] == pytest.approx(said["kappa_identity"], abs=1e-5)
    assert row["predicted_kappa"] == pytest.approx(said["kappa"], abs=1e-6)
    assert row["value"] == pytest.approx(said["value"], abs=1e-6)
    assert row["gap"] == pytest.approx(0.0, abs=0.02)
    assert row["effective_temperature"] == pytest.approx(row["predicted_effective_temperature"], rel=0.01)
    assert row["n"] == 241
    assert (row[[f"{name}_error" for name in READINGS]] == 0.0).all()


def test_what_ends_at_several_tokens_is_not_enumerated(
    posed: tuple[Any, Any, Any, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    policy, behavior, tokenizer, _ = posed
    monkeypatch.setattr(behavior.generation_config, "eos_token_id", [5, tokenizer.eos_token_id])
    with pytest.raises(ValueError, match=r"exact: completions of this model end at any of the tokens \[\d+, 5\]"):
        measure(policy, behavior, tokenizer, EXAMPLES, right, OBJECTIVE, length=2, exact=True)


def test_a_twin_is_read_on_the_same_completions(posed: tuple[Any, Any, Any, dict[str, Any]]) -> None:
    """A policy that is its own twin has no noise of its own, and the gap of least squares; another one has not."""
    policy, behavior, tokenizer, _ = posed
    for how in ({"exact": True}, {"samples": 256}):
        given = (behavior, tokenizer, EXAMPLES[:1], right, OBJECTIVE)
        alone, same, other = (
            measure(policy, *given, length=2, group_size=8, twin=twin, **how) for twin in (None, policy, behavior)
        )
        pd.testing.assert_frame_equal(alone, same)
        assert alone["gap"][0] != other["gap"][0]
        assert alone["kappa_fit"][0] == other["kappa_fit"][0]


def test_sampling_agrees_with_enumeration(posed: tuple[Any, Any, Any, dict[str, Any]]) -> None:
    policy, behavior, tokenizer, _ = posed
    options = {"length": 2, "group_size": 8}
    exact = measure(policy, behavior, tokenizer, EXAMPLES, right, OBJECTIVE, exact=True, **options)
    frame = measure(policy, behavior, tokenizer, EXAMPLES, right, OBJECTIVE, samples=1024, **options)
    assert list(frame) == list(exact) == list(COLUMNS)
    assert frame["kind"].tolist() == ["prompt", "prompt", "pooled"]
    assert frame["prompt"].tolist() == ["3+4=", "1+1=", ""]
    assert frame["n"].tolist() == [1024, 1024, 2048]
    for name in ("reward_mean", "kappa_fit", "kappa_identity", "kl", "kl_reverse", "value", "missing"):
        assert abs(frame[name][0] - exact[name][0]) <= 4.0 * frame[f"{name}_error"][0], name
        assert frame[f"{name}_error"][0] < 0.1, name
    # Not trained on, the other prompt lost its mass to completions that the behavior hardly draws, and says so.
    away, error = lost(posed, EXAMPLES[1]["prompt"]), frame["missing_error"][1]
    assert away > 4.0 * error
    assert frame["missing"][1] == pytest.approx(away, abs=4.0 * error)


def lost(posed: tuple[Any, Any, Any, dict[str, Any]], prompt: str) -> float:
    """Mass of the policy on completions that the behavior draws less than once in ten thousand times."""
    policy, behavior, tokenizer, _ = posed
    completions = Completions(len(tokenizer), tokenizer.eos_token_id, 2, tokenizer.pad_token_id)
    with torch.no_grad():
        ours, theirs = (
            completions.log_probabilities(m, tokenizer(prompt)["input_ids"]).exp() for m in (policy, behavior)
        )
    return float(ours[theirs < 1e-4].sum())


def test_a_seed_gives_one_frame(posed: tuple[Any, Any, Any, dict[str, Any]]) -> None:
    policy, behavior, tokenizer, _ = posed

    def found(seed: int) -> pd.DataFrame:
        options = {"length": 2, "group_size": 4, "samples": 8, "seed": seed}
        return measure(policy, behavior, tokenizer, EXAMPLES, right, OBJECTIVE, **options)

    pd.testing.assert_frame_equal(found(0), found(0))
    assert not found(0).equals(found(1))


def test_prompts_are_sampled_in_parts(
    posed: tuple[Any, Any, Any, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each with a seed of its own: equal prompts are not given equal completions."""
    policy, behavior, tokenizer, _ = posed
    monkeypatch.setattr("llm.measurement.measure._TOGETHER", 16)
    same = [EXAMPLES[0]] * 3
    frame = measure(policy, behavior, tokenizer, same, right, OBJECTIVE, length=2, group_size=8, samples=16)
    assert frame["n"].tolist() == [16, 16, 16, 48]
    assert frame["kl"][:3].nunique() == 3


def test_a_policy_that_is_its_behavior(posed: tuple[Any, Any, Any, dict[str, Any]]) -> None:
    _, behavior, tokenizer, _ = posed
    frame = measure(behavior, behavior, tokenizer, EXAMPLES, right, OBJECTIVE, length=2, group_size=8, samples=64)
    assert (frame[["kl", "kl_reverse", "missing"]] == 0.0).all(axis=None)
    assert (frame["max_ratio"] == 1.0).all()
    np.testing.assert_allclose(frame[["kappa_fit", "kappa_identity"]], 0.0, atol=1e-12)
    assert np.isinf(frame["effective_temperature"]).all()
    assert (frame["predicted_kappa"] > 0.01).all()
    assert (frame["gap"] < 0).all()


def test_prompts_without_a_signal_stay(posed: tuple[Any, Any, Any, dict[str, Any]]) -> None:
    policy, behavior, tokenizer, _ = posed
    examples = [*EXAMPLES, {"prompt": "2+2=", "answer": "never"}]
    frame = measure(policy, behavior, tokenizer, examples, right, OBJECTIVE, length=2, group_size=8, samples=64)
    assert len(frame) == 4
    assert frame["note"][2] == "all rewards are equal: no signal"
    assert frame["predicted_regime"].tolist() == ["positive", "positive", "boundary", "mixed"]
    assert np.isfinite(frame["gap"]).all()


def test_an_objective_without_kappa_says_so(posed: tuple[Any, Any, Any, dict[str, Any]]) -> None:
    policy, behavior, tokenizer, _ = posed
    frame = measure(policy, behavior, tokenizer, EXAMPLES, right, ps.TBA(beta=0.5), length=2, group_size=8, samples=16)
    assert frame["kappa_fit"].isna().all()
    assert frame["note"].iloc[-1].startswith("no kappa is read: targets of tba(beta=0.5) are not log w + kappa w")
    assert frame["kl"].notna().all()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"examples": []}, "examples must have at least one row, got none"),
        ({"group_size": None}, "samples must be whole groups, got samples=16 and group_size=None"),
        ({"group_size": 5}, "samples must be whole groups, got samples=16 and group_size=5"),
        ({"reward": lambda **_: [1.0]}, "reward <lambda> returned 1 values for 16 completions"),
        (
            {"reward": lambda **_: [None] * 16},
            "reward <lambda>, row 0 .completion '.*'.: returned null, not a finite number",
        ),
        (
            {"reward": lambda **_: [float("nan")] * 16},
            "reward <lambda>, row 0 .completion '.*'.: returned nan, not a finite number",
        ),
    ],
)
def test_bad_input_is_named(change: dict[str, Any], said: str, posed: tuple[Any, Any, Any, dict[str, Any]]) -> None:
    policy, behavior, tokenizer, _ = posed
    given = {"examples": EXAMPLES, "reward": right, "group_size": 8, **change}
    examples, reward = given.pop("examples"), given.pop("reward")
    with pytest.raises(ValueError, match=said):
        measure(policy, behavior, tokenizer, examples, reward, OBJECTIVE, length=2, samples=16, **given)
