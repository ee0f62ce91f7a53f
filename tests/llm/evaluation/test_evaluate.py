"""An evaluation of the small model against the exact values that enumeration gives, and its ways of going on."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer

from llm.data.examples import load_examples
from llm.data.prompts import as_completions, token_ids
from llm.data.rewards import reward_function
from llm.evaluation.evaluate import evaluate, summary
from llm.generation.make import make_sampler
from llm.generation.sampler import Samples
from llm.models.enumeration import Completions
from tests.pessimism.test_files import files_of_at_most

LENGTH = 2
REWARD = reward_function("exact")


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder)


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def examples() -> Dataset:
    return load_examples("addition:digits=1")


@pytest.fixture(scope="module")
def exact(model: Any, tokenizer: Any, examples: Dataset) -> pd.DataFrame:
    """Pass rate, entropy, length and share that ends, of each prompt, over all its completions."""
    every = Completions(len(tokenizer), tokenizer.eos_token_id, LENGTH, tokenizer.pad_token_id)
    ids = [row[:n] for row, n in zip(every.tokens.tolist(), every.lengths.tolist(), strict=True)]
    texts = [text.strip() for text in tokenizer.batch_decode(ids, skip_special_tokens=True)]
    ended = np.array([row[-1] == tokenizer.eos_token_id for row in ids])
    rows = []
    for example in examples:
        with torch.no_grad():
            logs = every.log_probabilities(model, tokenizer(example["prompt"])["input_ids"]).double().numpy()
        p = np.exp(logs)
        right = np.array([text == example["answer"] for text in texts])
        rows.append([p[right].sum(), p @ every.lengths.numpy(), p[ended].sum(), -p @ logs])
    return pd.DataFrame(rows, columns=["pass@1", "length", "ended", "sequence_entropy"])


@pytest.fixture(scope="module")
def frame(model: Any, tokenizer: Any, examples: Dataset) -> pd.DataFrame:
    return evaluated(model, tokenizer, examples, samples=64, ks=(1, 8))


def evaluated(model: Any, tokenizer: Any, examples: Dataset, **options: Any) -> pd.DataFrame:
    sampler = options.pop("sampler", None) or make_sampler("transformers", model, tokenizer, batch_size=512)
    reward = options.pop("reward", REWARD)
    given: dict[str, Any] = {"length": LENGTH, "prompts_per_batch": 10, "batch_size": 512, **options}
    return evaluate(model, tokenizer, examples, reward, sampler=sampler, **given)


def test_a_row_per_prompt(frame: pd.DataFrame, examples: Dataset) -> None:
    assert list(frame) == [
        *("prompt", "answer", "n", "correct", "pass@1", "pass@8"),
        *("reward", "length", "ended", "token_entropy", "sequence_entropy"),
    ]
    assert frame["prompt"].tolist() == examples["prompt"][:]
    assert frame["answer"].tolist() == examples["answer"][:]
    assert frame["pass@1"].tolist() == pytest.approx((frame["correct"] / 64).tolist())
    assert (frame["reward"] == frame["correct"] / 64).all()
    assert (frame["pass@8"] >= frame["pass@1"]).all()


def test_the_means_are_those_of_enumeration(frame: pd.DataFrame, exact: pd.DataFrame) -> None:
    """Within four standard errors of sampling, which are small: these prompts are all there are."""
    for name, least in (("pass@1", 0.01), ("length", 0.01), ("ended", 0.0), ("sequence_entropy", 0.03)):
        errors = frame[name] - exact[name]
        error = errors.std() / np.sqrt(len(errors))
        assert abs(errors.mean()) < 4 * error
        assert error < max(least, 0.02)
    p = exact["pass@1"]
    z = (frame["pass@1"] - p) / np.sqrt(p * (1 - p) / 64)
    assert 0.7 < z.std() < 1.3
    assert np.corrcoef(frame["pass@1"], p)[0, 1] > 0.8
    assert (frame["pass@8"] - (1 - (1 - p) ** 8)).mean() == pytest.approx(0.0, abs=0.02)


def test_the_intervals_hold_the_exact_means(frame: pd.DataFrame, exact: pd.DataFrame) -> None:
    found = summary(frame)
    assert len(found) == 1
    row = found.iloc[0]
    assert (row["prompts"], row["samples"]) == (55, 64)
    for name in exact:
        assert row[f"{name}_low"] < exact[name].mean() < row[f"{name}_high"]
        assert row[name] == pytest.approx(frame[name].mean())
    wide = summary(frame, level=0.99).iloc[0]
    assert wide["pass@1_low"] < row["pass@1_low"]


def test_entropies_are_one_by_the_chain_rule(model: Any, tokenizer: Any, frame: pd.DataFrame) -> None:
    """Summed over tokens, next-token entropies have the expectation of minus the log-probability."""
    by_tokens = frame["token_entropy"] * frame["length"]
    gap = by_tokens - frame["sequence_entropy"]
    assert abs(gap.mean()) < 4 * gap.std() / np.sqrt(len(gap))
    assert gap.std() > 0


class Scripted:
    """A sampler of what it is told, which counts its calls."""

    def __init__(self, tokenizer: Any, texts: Sequence[str]) -> None:
        self.ids = [tokenizer(text)["input_ids"] for text in texts]
        self.seeds: list[int] = []

    def sample(self, prompts: Sequence[Sequence[int]], count: int, *, length: int, seed: int) -> Samples:
        self.seeds.append(seed)
        drawn = [self.ids[i % len(self.ids)][:length] for _ in prompts for i in range(count)]
        return Samples(drawn, [[0.0] * len(ids) for ids in drawn])

    def load(self, model: Any) -> None:
        raise AssertionError("evaluation samples from the sampler as it is")


def test_each_number_by_hand(model: Any, tokenizer: Any) -> None:
    data = Dataset.from_dict({"prompt": ["3+4=", "1+1="], "answer": ["7", "2"], "bonus": [0.5, 0.25]})

    def graded(prompts: Any, completions: Any, completion_ids: Any, answer: Any, bonus: Any) -> list[float]:
        assert prompts == ["3+4="] * 4 + ["1+1="] * 4
        assert completions == ["7", "77", "2", "7"] * 2
        assert [len(ids) for ids in completion_ids] == [2, 2, 2, 1] * 2
        return [b + (c == a) for c, a, b in zip(completions, answer, bonus, strict=True)]

    script = Scripted(tokenizer, ["7<eos>", "77", "2<eos>", "7"])
    frame = evaluated(model, tokenizer, data, sampler=script, reward=graded, samples=4, ks=(1, 2), right=1.5)
    assert frame["correct"].tolist() == [2, 0]  # right from 1.5 on: the bonus decides
    assert frame["pass@1"].tolist() == pytest.approx([0.5, 0.0])
    assert frame["pass@2"].tolist() == pytest.approx([5 / 6, 0.0])
    assert frame["reward"].tolist() == [1.0, 0.5]
    assert frame["length"].tolist() == [1.75, 1.75]
    assert frame["ended"].tolist() == [
        0.75,
        0.75,
    ]  # 77 is of full length without eos, the short 7 was stopped by another
    with torch.no_grad():
        steps = model(input_ids=torch.tensor([tokenizer("3+4=77")["input_ids"]])).logits[0].double().log_softmax(-1)
    seven, two, eos = (tokenizer.convert_tokens_to_ids(token) for token in ("7", "2", "<eos>"))
    after = steps[3:5]
    with torch.no_grad():
        other = model(input_ids=torch.tensor([tokenizer("3+4=2")["input_ids"]])).logits[0, -1].double().log_softmax(-1)
    information = (
        -(
            (after[0, seven] + after[1, eos])
            + (after[0, seven] + after[1, seven])
            + (after[0, two] + other[eos])
            + after[0, seven]
        )
        / 4
    )
    assert frame["sequence_entropy"][0] == pytest.approx(float(information), rel=1e-5)
    first, second, third = (float(-(step.exp() @ step)) for step in (after[0], after[1], other))
    assert frame["token_entropy"][0] == pytest.approx((4 * first + 2 * second + third) / 7, rel=1e-5)


def test_equal_seeds_give_equal_frames(model: Any, tokenizer: Any, examples: Dataset) -> None:
    some = examples.select(range(20))
    first, again, other = (evaluated(model, tokenizer, some, samples=4, seed=seed) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first, again)
    assert not first["sequence_entropy"].equals(other["sequence_entropy"])


class KilledError(Exception):
    pass


def test_a_killed_evaluation_goes_on(model: Any, tokenizer: Any, examples: Dataset, tmp_path: Path) -> None:
    sampler = make_sampler("transformers", model, tokenizer)
    path, calls = tmp_path / "new" / "kept.jsonl", []

    class Fragile:
        def sample(self, *arguments: Any, **options: Any) -> Samples:
            calls.append(options["seed"])
            if len(calls) == 3:
                raise KilledError
            return sampler.sample(*arguments, **options)

    options: dict[str, Any] = {"samples": 4, "sampler": Fragile(), "resume": path}
    with pytest.raises(KilledError):
        evaluated(model, tokenizer, examples, **options)
    with path.open("a") as file:
        file.write('[{"correct": 1, "rew')  # killed while writing
    resumed = evaluated(model, tokenizer, examples, **options)
    assert len(calls) == 7  # six batches, one of them twice
    pd.testing.assert_frame_equal(resumed, evaluated(model, tokenizer, examples, samples=4))
    finished = evaluated(model, tokenizer, examples, **options, ks=(1, 4))
    assert len(calls) == 7
    pd.testing.assert_frame_equal(finished.drop(columns="pass@4"), resumed)
    assert len(path.read_text().splitlines()) == 7


def test_a_file_of_something_else_is_refused(
    folder: Path, model: Any, tokenizer: Any, examples: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "kept.jsonl"
    few, others = examples.select(range(3)), examples.select(range(3, 6))
    options: dict[str, Any] = {"samples": 2, "resume": path}
    evaluated(model, tokenizer, few, **options)
    before = path.read_bytes()
    for change, said in (({"seed": 5}, "seed=0"), ({"length": 1}, "length=2"), ({"samples": 3}, "samples=2")):
        with pytest.raises(ValueError, match=f"^{re.escape(f'{path} holds an evaluation with {said}: ')}name"):
            evaluated(model, tokenizer, few, **{**options, **change})
    for sampler in (make_sampler("transformers", model, tokenizer, batch_size=3), Scripted(tokenizer, ["7"])):
        with pytest.raises(ValueError, match=r"holds an evaluation with sampler=\['TransformersSampler', 512\]"):
            evaluated(model, tokenizer, few, **options, sampler=sampler)
    half = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    with pytest.raises(ValueError, match=r"dtype='float32'"):
        evaluated(half, tokenizer, few, **options)
    with pytest.raises(ValueError, match=r"holds an evaluation of other examples \(examples_sha256='"):
        evaluated(model, tokenizer, others, **options)
    with pytest.raises(ValueError, match="holds an evaluation with reward='exact'"):
        evaluated(model, tokenizer, few, **options, reward=reward_function("final"))
    moved = AutoModelForCausalLM.from_pretrained(folder)
    moved.model.norm.weight.data[0] += 1e-4
    with pytest.raises(ValueError, match="holds an evaluation with weights_sha256='"):
        evaluated(moved, tokenizer, few, **options)
    monkeypatch.setattr("llm.storage.fingerprints.of_reward", lambda _: "another")
    with pytest.raises(ValueError, match="holds an evaluation with reward_sha256=None"):
        evaluated(model, tokenizer, few, **options)
    monkeypatch.undo()
    assert path.read_bytes() == before
    for broken in (b"[1]\n", b"no\n", json.dumps({"a": 1}).encode() + b"\n{\n"):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match=f"^{re.escape(f'{path} ')}(is no file|holds)"):
            evaluated(model, tokenizer, few, **options)
        assert path.read_bytes() == broken


def test_any_damage_of_kept_rows_is_found(
    model: Any, tokenizer: Any, examples: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, few = tmp_path / "kept.jsonl", examples.select(range(4))
    sampler = make_sampler("transformers", model, tokenizer)
    options: dict[str, Any] = {"samples": 2, "prompts_per_batch": 1, "resume": path, "sampler": sampler}
    whole = evaluated(model, tokenizer, few, **options)
    good, chance = path.read_bytes(), random.Random(0)
    start = good.index(b"\n") + 1
    assert capsys.readouterr().err == ""
    for at in [start, len(good) - 2, *(chance.randrange(start, len(good) - 1) for _ in range(6))]:
        width = min(64, len(good) - 1 - at)
        for spoiled in (bytes([good[at] ^ 1 << chance.randrange(8)]), bytes(b ^ 0xFF for b in good[at : at + width])):
            path.write_bytes(good[:at] + spoiled + good[at + len(spoiled) :])
            pd.testing.assert_frame_equal(evaluated(model, tokenizer, few, **options), whole)
            line = good.count(b"\n", 0, at) + 1
            assert capsys.readouterr().err == f"{path}: line {line} is damaged: made again from there\n"
            assert path.read_bytes() == good
    for cut in (len(good) - 1, start, start + 5, chance.randrange(start, len(good)), 5, 0):
        path.write_bytes(good[:cut])
        pd.testing.assert_frame_equal(evaluated(model, tokenizer, few, **options), whole)
        assert path.read_bytes() == good
    for spoiled in (b"\0" * 64 + good[64:], good[:50] + b"x" + good[51:], b"\n" + good):
        path.write_bytes(spoiled)
        with pytest.raises(ValueError, match=f"^{path} is no file of an evaluation, or its first line is damaged"):
            evaluated(model, tokenizer, few, **options)
        assert path.read_bytes() == spoiled
    path.unlink()
    path.mkdir()
    with pytest.raises(OSError, match=f"{path}"):
        evaluated(model, tokenizer, few, **options)


def test_a_disk_that_takes_no_more_rows(model: Any, tokenizer: Any, examples: Dataset, tmp_path: Path) -> None:
    path, few = tmp_path / "kept.jsonl", examples.select(range(4))
    sampler = make_sampler("transformers", model, tokenizer)
    options: dict[str, Any] = {"samples": 2, "prompts_per_batch": 1, "resume": path, "sampler": sampler}
    whole = evaluated(model, tokenizer, few, **options)
    good = path.read_bytes()
    lines = good.splitlines(keepends=True)
    path.unlink()
    with files_of_at_most(len(good) - 10), pytest.raises(OSError, match=rf"^{path} cannot be written \(File too large"):
        evaluated(model, tokenizer, few, **options)
    assert path.read_bytes() == b"".join(lines[:-1])
    pd.testing.assert_frame_equal(evaluated(model, tokenizer, few, **options), whole)
    assert path.read_bytes() == good


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"ks": (1, 5)}, "k must be an integer from 1 to n=4, got 5"),
        ({"samples": 0}, "samples must be an integer >= 1, got 0"),
        ({"length": 0}, "length must be an integer >= 1, got 0"),
        ({"seed": -1}, "seed must be an integer >= 0, got -1"),
        ({"prompts_per_batch": 1.5}, "prompts_per_batch must be an integer >= 1, got 1.5"),
    ],
)
def test_bad_settings_are_refused_before_the_work(
    model: Any, tokenizer: Any, examples: Dataset, change: dict[str, Any], said: str
) -> None:
    script = Scripted(tokenizer, ["7"])
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        evaluated(model, tokenizer, examples, **{"samples": 4, "sampler": script, **change})
    assert script.seeds == []


def test_one_process_at_a_time(model: Any, tokenizer: Any, examples: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "kept.jsonl"
    sampler = make_sampler("transformers", model, tokenizer)

    class Meanwhile:
        def sample(self, *arguments: Any, **options: Any) -> Samples:
            with pytest.raises(ValueError, match=f"^{path} is being written by another process"):
                evaluated(model, tokenizer, examples, samples=2, resume=path)
            return sampler.sample(*arguments, **options)

    evaluated(model, tokenizer, examples.select(range(2)), samples=2, resume=path, sampler=Meanwhile())


def test_examples_without_answers(model: Any, tokenizer: Any, examples: Dataset) -> None:
    frame = evaluated(
        model, tokenizer, examples.select(range(3)).remove_columns("answer"), samples=2, reward=short, ks=(2,)
    )
    assert list(frame)[:4] == ["prompt", "n", "correct", "pass@2"]
    assert (frame["reward"] == frame["correct"] / 2).all()


def short(completions: Sequence[str], **_: Any) -> list[float]:
    return [float(len(text) < 2) for text in completions]


def test_rewards_of_0_and_1_are_shares() -> None:
    """They have the interval of pass@1, which they are; others have Student's."""
    frame = pd.DataFrame({"n": 4, "correct": [0, 3, 4], "pass@1": [0.0, 0.75, 1.0], "reward": [0.0, 0.75, 1.0]})
    row = summary(frame).iloc[0]
    assert (row["reward_low"], row["reward_high"]) == (row["pass@1_low"], row["pass@1_high"])
    partly = summary(frame.assign(reward=[0.1, 0.75, 1.0])).iloc[0]
    assert partly["reward_low"] < row["reward_low"] - 0.1


def test_no_examples_and_a_reward_that_fails(model: Any, tokenizer: Any, examples: Dataset) -> None:
    with pytest.raises(ValueError, match="^examples must have at least one row, got none$"):
        evaluated(model, tokenizer, examples.select([]))
    data = examples.remove_columns("answer").add_column("answer", ["45°"] * len(examples))
    with pytest.raises(ValueError, match="^reward math_verify, row 0 .*the reference answer '45°' cannot be read"):
        evaluated(model, tokenizer, data, samples=2, reward=reward_function("math_verify"))


def test_conversations_go_through_the_chat_template(model: Any, folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}={% endif %}"
    )
    data = Dataset.from_dict({"prompt": [[{"role": "user", "content": "3+4"}]] * 3, "answer": ["7"] * 3})
    assert token_ids(tokenizer, data["prompt"][:]) == token_ids(tokenizer, ["3+4="] * 3)
    message = [{"role": "assistant", "content": "7"}]
    assert as_completions(tokenizer, data["prompt"][:1], [tokenizer("7<eos>")["input_ids"]]) == [message]
    plain = Dataset.from_dict({"prompt": ["3+4="] * 3, "answer": ["7"] * 3})
    frames = [evaluated(model, tokenizer, each, samples=8).drop(columns="prompt") for each in (data, plain)]
    pd.testing.assert_frame_equal(*frames)
    tokenizer.chat_template += "{{ more }}"
    assert token_ids(tokenizer, data["prompt"][:1], {"more": "1"}) == token_ids(tokenizer, ["3+4=1"])
    longer = Dataset.from_dict({"prompt": ["3+4=1"] * 3, "answer": ["7"] * 3})
    frames = [
        evaluated(model, tokenizer, data, samples=8, chat={"more": "1"}),
        evaluated(model, tokenizer, longer, samples=8),
    ]
    pd.testing.assert_frame_equal(*(frame.drop(columns="prompt") for frame in frames))


def test_any_of_several_ends_is_one(model: Any, tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for the samplers: a completion of full length whose last token is one of them has ended."""
    data = Dataset.from_dict({"prompt": ["3+4="], "answer": ["7"]})
    said = Scripted(tokenizer, ["11", "17"])
    length = len(tokenizer("11")["input_ids"])
    assert evaluated(model, tokenizer, data, samples=2, length=length, sampler=said)["ended"][0] == 0.0
    ends = [tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("7")]
    monkeypatch.setattr(model.generation_config, "eos_token_id", ends)
    assert evaluated(model, tokenizer, data, samples=2, length=length, sampler=said)["ended"][0] == 0.5


def test_one_prompt_has_means_without_intervals(frame: pd.DataFrame) -> None:
    row = summary(frame.iloc[:1]).iloc[0]
    assert row["pass@1"] == frame["pass@1"][0]
    assert row[["pass@1_low", "length_high", "ended_low"]].isna().all()
