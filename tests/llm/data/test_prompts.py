"""Prompts as tokens, and which tokens end a completion."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer, GenerationConfig

from llm.data.prompts import as_completions, require_room, required_tokens, token_ids


def test_ends_of_a_folder(folder: Path, tokenizer: Any, tmp_path: Path) -> None:
    assert required_tokens(tokenizer, folder)[0] == [tokenizer.eos_token_id]
    shutil.copytree(folder, tmp_path / "model")
    GenerationConfig(eos_token_id=[6, tokenizer.eos_token_id]).save_pretrained(tmp_path / "model")
    assert required_tokens(tokenizer, str(tmp_path / "model"))[0] == [tokenizer.eos_token_id, 6]
    (tmp_path / "model" / "generation_config.json").unlink()
    assert required_tokens(tokenizer, tmp_path / "model")[0] == [tokenizer.eos_token_id]


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(folder)


def test_a_prompt_that_fills_the_model_but_for_its_completion_has_room() -> None:
    require_room([1, 2], 6, 8, "here")
    require_room([1, 2], 600, None, "here")
    with pytest.raises(ValueError, match="^here: 3 tokens and a completion of up to 6 are over the 8 positions"):
        require_room([1, 2, 3], 6, 8, "here")


def test_a_prompt_of_which_nothing_is_known_is_refused(tokenizer: Any) -> None:
    assert token_ids(tokenizer, ["1?"])[0][0] not in tokenizer.all_special_ids  # some of it is known
    for prompt in ("?", ""):
        with pytest.raises(ValueError, match="the tokenizer knows nothing of this prompt"):
            token_ids(tokenizer, ["1+1=", prompt])


def test_messages_need_a_template_that_takes_them(folder: Path) -> None:
    tokenizer, asked = AutoTokenizer.from_pretrained(folder), [[{"role": "user", "content": "3+4"}]]
    for template in (None, "{{ raise_exception('no') }}"):
        tokenizer.chat_template = template
        with pytest.raises(ValueError, match="^the chat template of the tokenizer cannot be used "):
            token_ids(tokenizer, asked)
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}={{ more }}"
    assert token_ids(tokenizer, asked, {"more": "1"}) == token_ids(tokenizer, ["3+4=1"])


def test_completions_are_text_or_messages_as_their_prompts_are(tokenizer: Any) -> None:
    ids = [tokenizer("7<eos>")["input_ids"]] * 2
    found = as_completions(tokenizer, ["3+4=", [{"role": "user", "content": "3+4"}]], ids)
    assert found == ["7", [{"role": "assistant", "content": "7"}]]


@pytest.mark.parametrize("name", ["eos_token", "pad_token"])
def test_a_tokenizer_must_be_able_to_end_and_to_fill_up(name: str, folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    setattr(tokenizer, name, None)
    with pytest.raises(ValueError, match=f"^tokenizer has no {name}: "):
        required_tokens(tokenizer, folder)
