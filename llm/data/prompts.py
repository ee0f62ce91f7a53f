"""Prompts and completions between text and tokens, in TRL's two forms: plain texts, and conversations.

A completion ends where it does for TRL, too: at the eos of the tokenizer and at those that the model recommends.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers import GenerationConfig

from pessimism.messages import one_line, show


def token_ids(tokenizer: Any, prompts: Sequence[Any], chat: Mapping[str, Any] | None = None) -> list[list[int]]:
    """Turn prompts into token ids.

    Parameters
    ----------
    tokenizer : transformers.PreTrainedTokenizerBase
        Tokenizer of the model.
    prompts : sequence
        Texts, or conversations (lists of messages), which go through the chat template up to where the answer begins.
    chat : mapping, optional
        Variables of the chat template beside the messages (TRL's ``chat_template_kwargs``).

    Returns
    -------
    list of list of int
        Token ids of each prompt.

    Raises
    ------
    ValueError
        If the tokenizer knows nothing of a prompt, or its chat template cannot be used.

    Examples
    --------
    >>> from llm.models.tiny import character_tokenizer
    >>> token_ids(character_tokenizer("0123456789+="), ["7+8=", "1="])
    [[11, 14, 12, 15], [5, 15]]
    """
    if all(isinstance(prompt, str) for prompt in prompts):
        found = tokenizer(list(prompts))
    else:
        with template_named():
            found = tokenizer.apply_chat_template(
                list(prompts), add_generation_prompt=True, tokenize=True, return_dict=True, **(chat or {})
            )
    ids: list[list[int]] = found["input_ids"]
    for prompt, row in zip(prompts, ids, strict=True):
        require_known(row, tokenizer, show(prompt))
    return ids


@contextmanager
def template_named() -> Iterator[None]:
    """Turn the error of a chat template, missing or refusing its messages, into a `ValueError` that says what to do."""
    from jinja2 import TemplateError

    try:
        yield
    except (TemplateError, ValueError) as error:
        raise ValueError(
            f"the chat template of the tokenizer cannot be used ({one_line(error)}): take a model that has one for "
            "such messages, or prompts that are text (chat: false)"
        ) from error


def require_room(prompt: Sequence[int], length: int, positions: int | None, place: str) -> None:
    """Refuse a prompt that leaves no room for a completion among the positions of a model.

    Parameters
    ----------
    prompt : sequence of int
        Token ids.
    length : int
        Largest number of tokens of a completion.
    positions : int or None
        Number of positions that the model has; None where there is no limit.
    place : str
        Name of the prompt, for the error message.

    Raises
    ------
    ValueError
        If prompt and completion may need more positions than there are.

    Examples
    --------
    >>> require_room([1, 2, 3], 6, 8, "prompts[1]")
    Traceback (most recent call last):
    ...
    ValueError: prompts[1]: 3 tokens and a completion of up to 6 are over the 8 positions of the model
    """
    if positions is not None and len(prompt) + length > positions:
        raise ValueError(
            f"{place}: {len(prompt)} tokens and a completion of up to {length} are over the {positions} positions of "
            "the model"
        )


def require_known(prompt: Sequence[int], tokenizer: Any, place: str) -> None:
    """Refuse a prompt of which the model would see nothing: one without tokens, or with unknown ones only."""
    said = set(prompt) - set(tokenizer.all_special_ids)
    if not said and (not prompt or tokenizer.unk_token_id in prompt):
        raise ValueError(f"{place}: the tokenizer knows nothing of this prompt, which becomes {list(prompt[:8])}")


def as_completions(tokenizer: Any, prompts: Sequence[Any], completions: Sequence[Sequence[int]]) -> list[Any]:
    """Turn completions into what rewards get: text without special tokens, as a message where the prompt is messages.

    Parameters
    ----------
    tokenizer : transformers.PreTrainedTokenizerBase
        Tokenizer of the model.
    prompts : sequence
        The prompt of each completion: a text, or a list of messages.
    completions : sequence of sequence of int
        Token ids of each completion.

    Returns
    -------
    list
        A text, or a list of one message of the assistant, for each completion.

    Examples
    --------
    >>> from llm.models.tiny import character_tokenizer
    >>> as_completions(character_tokenizer("0123456789+="), ["7+8="], [[5, 9, 2]])
    ['15']
    """
    texts = tokenizer.batch_decode(list(completions), skip_special_tokens=True)
    return [
        text if isinstance(prompt, str) else [{"role": "assistant", "content": text}]
        for prompt, text in zip(prompts, texts, strict=True)
    ]


def required_tokens(tokenizer: Any, model: Any) -> tuple[list[int], int]:
    """Find the tokens that end a completion, and the one that fills up.

    Parameters
    ----------
    tokenizer : transformers.PreTrainedTokenizerBase
        Tokenizer of the model.
    model : transformers.PreTrainedModel, str or Path
        The model, its folder or its hub id, whose generation config may name further ends.

    Returns
    -------
    ends : list of int
        Tokens that end a completion, the eos of the tokenizer first.
    pad : int
        Token that fills up.

    Raises
    ------
    ValueError
        If the tokenizer has no eos or no pad.
    """
    for name in ("eos_token", "pad_token"):
        if getattr(tokenizer, name, None) is None:
            raise ValueError(f"tokenizer has no {name}: set it, a completion must be able to end and to be filled up")
    theirs = getattr(_recommended(model), "eos_token_id", None)
    ends = [tokenizer.eos_token_id, *(theirs if isinstance(theirs, list) else [] if theirs is None else [theirs])]
    return [int(token) for token in dict.fromkeys(ends)], int(tokenizer.pad_token_id)


def _recommended(model: str | Path | Any) -> GenerationConfig | None:
    """Read the generation config of a model, its folder or its repository; None where there is none."""
    if not isinstance(model, str | Path):
        return getattr(model, "generation_config", None)
    try:
        return GenerationConfig.from_pretrained(str(model))
    except OSError:
        return None
