"""A tokenizer of single characters, in the format that `AutoTokenizer` and vLLM load."""

from __future__ import annotations

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

SPECIAL = ("<pad>", "<bos>", "<eos>", "<unk>")


def character_tokenizer(alphabet: str) -> PreTrainedTokenizerFast:
    """One token per character, after `SPECIAL`; it adds nothing by itself and pads on the left.

    Raises
    ------
    ValueError
        If a character stands twice in the alphabet.

    Examples
    --------
    >>> tokenizer = character_tokenizer("0123456789+=")
    >>> tokenizer("07+38=")["input_ids"], len(tokenizer)
    ([4, 11, 14, 7, 12, 15], 16)
    >>> tokenizer.decode([8, 9, 2], skip_special_tokens=True)
    '45'
    """
    if len(set(alphabet)) < len(alphabet):
        raise ValueError(f"alphabet must not repeat a character, got {alphabet!r}")
    vocabulary = {token: i for i, token in enumerate((*SPECIAL, *alphabet))}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    inner.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=inner,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unk>",
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
