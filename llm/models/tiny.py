"""A small model in Hugging Face format, pretrained here on sums, and kept in a folder named by its settings."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from tqdm import tqdm
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from llm.data.addition import Addition
from llm.sealed import seal, why_broken
from pessimism.messages import plain, reason

FORMAT = 1  # of the cache: raise it when the same settings no longer give the same model
_ARCHITECTURES = {"llama": (LlamaConfig, LlamaForCausalLM), "qwen3": (Qwen3Config, Qwen3ForCausalLM)}
SPECIAL = ("<pad>", "<bos>", "<eos>", "<unk>")


@dataclass(frozen=True)
class TinyModel:
    """Settings of a small pretrained model; equal settings give the same model.

    Attributes
    ----------
    task : Addition
        The task that it is trained on.
    architecture : {"llama", "qwen3"}
        Its architecture.
    hidden, layers, heads, head_dim, feed_forward : int
        Its size.
    tied : bool
        Whether input and output embeddings are one.
    steps, batch : int
        Steps of the pretraining, and examples in each.
    learning_rate : float
        Learning rate of AdamW, which is constant.
    seed : int
        Seed of the weights and the examples.

    Notes
    -----
    The defaults reach about 40 % pass@1 with healthy entropy on two-digit sums, in about two minutes on a CPU. The
    noise of the labels leaves room to learn, not a short training, so that the most likely answer is mostly right.

    Examples
    --------
    >>> TinyModel(steps=10).name
    'llama-64-2-d5509ea0'
    """

    task: Addition = field(default_factory=Addition)
    architecture: Literal["llama", "qwen3"] = "llama"
    hidden: int = 64
    layers: int = 2
    heads: int = 4
    head_dim: int = 32
    feed_forward: int = 256
    tied: bool = True
    steps: int = 2000
    batch: int = 256
    learning_rate: float = 1e-3
    seed: int = 0

    def __post_init__(self) -> None:
        if self.architecture not in _ARCHITECTURES:
            raise ValueError(f"architecture must be one of {', '.join(_ARCHITECTURES)}, got {self.architecture!r}")
        for name in ("hidden", "layers", "heads", "head_dim", "feed_forward", "steps", "batch", "seed"):
            value, least = getattr(self, name), 0 if name == "seed" else 1
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"{name} must be an integer >= {least}, got {value!r}")
        if not isinstance(self.tied, bool):
            raise ValueError(f"tied must be true or false, got {self.tied!r}")
        rate = self.learning_rate
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < math.inf:
            raise ValueError(f"learning_rate must be a finite number > 0, got {rate!r}")
        object.__setattr__(self, "learning_rate", float(rate))  # 1 and 1.0 are one setting, and one name

    @property
    def name(self) -> str:
        """Name of its folder in a cache."""
        said = json.dumps([FORMAT, asdict(self)], sort_keys=True)
        return f"{self.architecture}-{self.hidden}-{self.layers}-{hashlib.sha256(said.encode()).hexdigest()[:8]}"


def pretrained(settings: TinyModel, cache: Path) -> Path:
    """Pretrain a small model and its tokenizer, unless they are in the cache already; their folder.

    It loads with ``AutoModelForCausalLM`` and ``AutoTokenizer``, and in vLLM, as a hub model does. The folder appears
    when it is complete: a killed run leaves nothing that a later one would take for a model. One with a damaged file is
    made again, with a line on stderr.
    """
    folder = cache / settings.name
    why = why_broken(folder) if folder.is_dir() else None
    if folder.is_dir() and why is None:
        return folder
    if why:
        print(plain(f"{folder} is not whole ({why}): made again"), file=sys.stderr)
    cache.mkdir(parents=True, exist_ok=True)
    model, tokenizer, loss = _train(settings)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{settings.name}-", dir=cache))
    broken = unfinished.with_name(f"{unfinished.name}-broken")
    try:
        model.save_pretrained(unfinished)
        tokenizer.save_pretrained(unfinished)
        about = {"settings": asdict(settings), "loss": loss, "parameters": model.num_parameters()}
        (unfinished / "pretraining.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        unfinished.chmod(0o755)
        seal(unfinished)
        if folder.is_dir() and why_broken(folder):
            os.replace(folder, broken)
        try:
            os.replace(unfinished, folder)
        except OSError:
            if not folder.is_dir():  # else somebody else was faster, with the same model
                raise
    except (OSError, SafetensorError) as error:
        raise OSError(f"{folder} cannot be written ({reason(error)})") from error
    finally:
        shutil.rmtree(broken, ignore_errors=True)
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _train(settings: TinyModel) -> tuple[Any, PreTrainedTokenizerFast, float]:
    tokenizer = character_tokenizer(settings.task.alphabet)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model = _new_model(settings, tokenizer)
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, betas=(0.9, 0.98))
    batches = settings.task.examples(settings.seed, settings.batch)
    bar = tqdm(range(settings.steps), desc=f"pretrain {settings.name}", delay=2, disable=None, leave=False)
    model.train()
    for step in bar:
        if not sys.stderr.isatty() and step % max(1, settings.steps // 10) == 0:  # which has no bar
            said = f"pretrain {settings.name}: step {step} of {settings.steps}, kept when it is done"
            print(said, file=sys.stderr, flush=True)
        ids, labels = _encoded(next(batches), tokenizer)
        loss = model(input_ids=ids, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
    return model.eval(), tokenizer, loss.item()


def _new_model(settings: TinyModel, tokenizer: PreTrainedTokenizerFast) -> Any:
    make_config, make_model = _ARCHITECTURES[settings.architecture]
    config = make_config(
        vocab_size=len(tokenizer),
        hidden_size=settings.hidden,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=settings.heads,
        head_dim=settings.head_dim,
        intermediate_size=settings.feed_forward,
        tie_word_embeddings=settings.tied,
        max_position_embeddings=128,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return make_model(config)  # type: ignore[no-untyped-call]


def _encoded(rows: list[tuple[str, str]], tokenizer: PreTrainedTokenizerFast) -> tuple[Tensor, Tensor]:
    """Make token ids and labels ``(batch, T)`` of rows of one length; the loss is that of the completion."""
    eos = tokenizer.eos_token
    ids = torch.tensor(tokenizer([f"{prompt}{completion}{eos}" for prompt, completion in rows])["input_ids"])
    labels = ids.clone()
    labels[:, : len(rows[0][0])] = -100
    return ids, labels


def character_tokenizer(alphabet: str) -> PreTrainedTokenizerFast:
    """Make a tokenizer with one token for each character, after the tokens of `SPECIAL`.

    Parameters
    ----------
    alphabet : str
        The characters, each of them once.

    Returns
    -------
    transformers.PreTrainedTokenizerFast
        A tokenizer that adds no tokens by itself and pads on the left.

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
