"""A small model in Hugging Face format: it loads like any other, and a cache never holds half of one."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM, Qwen3ForCausalLM

from llm.models import tiny
from llm.models.tiny import SPECIAL, TinyModel, character_tokenizer, pretrained
from tests.llm.conftest import SETTINGS
from tests.pessimism.test_files import files_of_at_most


def test_it_loads_as_a_hub_model_does(folder: Path) -> None:
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert isinstance(model, LlamaForCausalLM)
    assert len(tokenizer) == model.config.vocab_size == len(SPECIAL) + len(SETTINGS.task.alphabet)
    assert model.config.eos_token_id == tokenizer.eos_token_id
    ids = tokenizer("3+4=7<eos>")["input_ids"]
    assert len(ids) == 6
    assert ids[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(ids, skip_special_tokens=True) == "3+4=7"
    assert tokenizer(["1+1=", "2"], padding=True)["input_ids"][1][:3] == [tokenizer.pad_token_id] * 3


def test_it_has_learned_something(folder: Path) -> None:
    """More mass on the right answers than before, on average over all prompts."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    task = SETTINGS.task
    rows = torch.tensor([tokenizer(task.prompt(a, b) + task.answer(a, b))["input_ids"] for a, b in task.pairs()])
    untrained = tiny._new_model(SETTINGS, tokenizer)
    with torch.no_grad():
        right = [m(rows).logits[:, -2].log_softmax(-1).gather(1, rows[:, -1:]).exp().mean() for m in (model, untrained)]
    assert right[0] > 1.5 * right[1]


@pytest.mark.slow
def test_equal_settings_give_equal_weights(folder: Path, tmp_path: Path) -> None:
    again = pretrained(SETTINGS, tmp_path)
    assert again.name == folder.name
    first, second = (AutoModelForCausalLM.from_pretrained(f).state_dict() for f in (folder, again))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert pretrained(replace(SETTINGS, seed=1, steps=1), tmp_path).name != folder.name


def test_a_finished_model_is_not_trained_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiny, "_train", lambda settings: pytest.fail("trained again"))
    assert pretrained(SETTINGS, folder.parent) == folder


def test_what_is_interrupted_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(LlamaForCausalLM, "save_pretrained", killed)
    with pytest.raises(KeyboardInterrupt):
        pretrained(replace(SETTINGS, steps=1), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_model_is_made_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings, chance = replace(SETTINGS, steps=1), random.Random(0)
    folder = pretrained(settings, tmp_path)
    files = {path: path.read_bytes() for path in folder.iterdir()}
    capsys.readouterr()
    for path, good in files.items():
        at = chance.randrange(len(good))
        path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        assert pretrained(settings, tmp_path) == folder
        first, *_ = capsys.readouterr().err.splitlines()
        assert re.fullmatch(rf"{folder} is not whole \({path.name} .*\): made again", first)
        assert {one: one.read_bytes() for one in folder.iterdir()} == files
        assert [*tmp_path.iterdir()] == [folder]


def test_a_disk_that_takes_no_model(tmp_path: Path) -> None:
    settings = replace(SETTINGS, steps=1)
    with (
        files_of_at_most(2000),
        pytest.raises(OSError, match=rf"^{tmp_path / settings.name} cannot be written \(.*large"),
    ):
        pretrained(settings, tmp_path)
    assert [*tmp_path.iterdir()] == []


def test_the_global_generator_is_left_alone(tmp_path: Path) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    pretrained(replace(SETTINGS, steps=1), tmp_path)
    assert torch.equal(before, torch.get_rng_state())


def test_the_other_architecture(tmp_path: Path) -> None:
    folder = pretrained(replace(SETTINGS, architecture="qwen3", tied=False, steps=1), tmp_path)
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert isinstance(model, Qwen3ForCausalLM)
    assert model.lm_head.weight is not model.model.embed_tokens.weight


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"architecture": "gpt"}, "architecture must be one of llama, qwen3, got 'gpt'"),
        ({"steps": 0}, "steps must be an integer >= 1, got 0"),
        ({"learning_rate": 0.0}, "learning_rate must be a finite number > 0, got 0.0"),
        ({"steps": 1.5}, "steps must be an integer >= 1, got 1.5"),
        ({"seed": -1}, "seed must be an integer >= 0, got -1"),
        ({"learning_rate": float("inf")}, "learning_rate must be a finite number > 0, got inf"),
    ],
)
def test_bad_settings_are_named(change: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        TinyModel(**change)  # type: ignore[arg-type]


def test_an_alphabet_has_each_character_once() -> None:
    with pytest.raises(ValueError, match="alphabet must not repeat a character, got '011'"):
        character_tokenizer("011")
