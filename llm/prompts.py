"""Prompts and completions between text and tokens, as TRL takes and gives them: plain, or as conversations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def token_ids(tokenizer: Any, prompts: Sequence[Any]) -> list[list[int]]:
    """Token ids of prompts; a list of messages goes through the chat template, up to where the answer begins.

    Examples
    --------
    >>> from llm.tokenizer import character_tokenizer
    >>> token_ids(character_tokenizer("0123456789+="), ["7+8=", "1="])
    [[11, 14, 12, 15], [5, 15]]
    """
    if all(isinstance(prompt, str) for prompt in prompts):
        found = tokenizer(list(prompts))
    else:
        found = tokenizer.apply_chat_template(
            list(prompts), add_generation_prompt=True, tokenize=True, return_dict=True
        )
    ids: list[list[int]] = found["input_ids"]
    return ids


def as_completions(tokenizer: Any, prompts: Sequence[Any], completions: Sequence[Sequence[int]]) -> list[Any]:
    """Completions as rewards get them: text without special tokens, in a message of the assistant after messages.

    Examples
    --------
    >>> from llm.tokenizer import character_tokenizer
    >>> as_completions(character_tokenizer("0123456789+="), ["7+8="], [[5, 9, 2]])
    ['15']
    """
    texts = tokenizer.batch_decode(list(completions), skip_special_tokens=True)
    return [
        text if isinstance(prompt, str) else [{"role": "assistant", "content": text}]
        for prompt, text in zip(prompts, texts, strict=True)
    ]
