r"""Questions with their answers, from files, `datasets` and the made task, as a dataset that TRL trains on.

The records of the usual sets are read as they come: DeepScaleR (problem, answer, solution), MATH (problem, solution
with the answer in its last ``\boxed{}``), AIME (problem or Problem, answer or Answer, often integers).
"""

from __future__ import annotations

import re
import string
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from datasets import Dataset

from llm import fields
from llm.records import READERS, Where, read_file
from llm.tasks import Addition
from pessimism.log_lines import one_line

PROMPT_COLUMNS = ("prompt", "problem", "Problem", "question", "Question")
ANSWER_COLUMNS = ("answer", "Answer")
SOLUTION_COLUMNS = ("solution", "Solution")
RESERVED = ("prompts", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric")  # TRL's to a reward
_HUB = re.compile(r"(?P<name>\w[\w.-]*(/[\w.-]+)?)(:(?P<config>[\w.-]+))?")


def load_examples(
    source: str,
    *,
    split: str = "train",
    prompt: str | None = None,
    answer: str | None = None,
    limit: int | None = None,
    prompt_template: str | None = None,
    chat: bool = False,
) -> Dataset:
    r"""Questions and answers of a data set, whatever its columns are called.

    Parameters
    ----------
    source : a file (.jsonl, .ndjson, .json, .csv, .parquet); a folder saved with ``save_to_disk``, or any other that
        ``datasets.load_dataset`` reads; the name of a data set, ``"name"`` or ``"name:configuration"``; or
        ``"addition:digits=2"``, with ``steps=true`` and ``seed=1`` where wanted: the sums of `llm.tasks.Addition`, all
        of them in order, or ``limit`` drawn without repetition.
    split : of a data set that has several; files and sums have one only.
    prompt : column of the question; by default the first of prompt, problem, Problem, question, Question.
    answer : column of the answer; by default answer or Answer, else what the last ``\boxed{}`` of solution or Solution
        holds.
    limit : take the first so many records only; what comes after them is not looked at, but must be readable.
    prompt_template : a ``str.format`` template around the question, such as ``"{prompt}\nThink step by step."``.
    chat : make each prompt a conversation of one user message. Prompts that are lists of messages stay as they are.

    Returns
    -------
    datasets.Dataset
        Columns ``prompt`` (text, or messages) and ``answer`` (text without blanks at its ends; integers as digits), and
        the other columns unless these are their names.

    Raises
    ------
    ValueError
        Of one line, naming file, line (JSON arrays, parquet and data sets: row, from 0) and column: no such file,
        nothing in it, a broken line, no such column (it lists those present), a record without question or answer, a
        solution without ``\boxed{}``, an answer that is neither text nor number, a column of a name that TRL gives to
        something else it hands to rewards.

    Examples
    --------
    >>> load_examples("addition:digits=2", limit=2)[:]
    {'prompt': ['30+04=', '51+26='], 'answer': ['34', '77']}
    >>> load_examples("addition:digits=1", prompt_template="What is {prompt}?", chat=True)["prompt"][12]
    [{'role': 'user', 'content': 'What is 1+2=?'}]
    """
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise ValueError(f"limit must be an integer >= 1, got {limit!r}")
    data, where = _read(source, split, limit)
    if len(data) == 0:
        raise ValueError(f"{source}: no records")
    data = data.select(range(len(data) if limit is None else min(limit, len(data))))
    asked = _pick(source, data, "prompt", prompt, PROMPT_COLUMNS)
    boxed = answer is None and not set(ANSWER_COLUMNS).intersection(data.column_names)
    told = _pick(source, data, "answer", answer, SOLUTION_COLUMNS if boxed else ANSWER_COLUMNS)
    prompts = _formatted(_converted(data, where, asked, fields.question), prompt_template, chat)
    answers = _converted(data, where, told, fields.boxed_answer if boxed else fields.answer)
    found = Dataset.from_dict({"prompt": prompts, "answer": answers})
    taken = {"prompt", "answer", asked} | (set() if boxed else {told})
    others = [name for name in data.column_names if name not in taken]
    if clash := [name for name in others if name in RESERVED]:
        raise ValueError(f"{source}: column {clash[0]!r} must be renamed: a reward gets another thing by that name")
    return datasets.concatenate_datasets([found, data.select_columns(others)], axis=1) if others else found


def addition_examples(task: Addition, count: int | None = None, seed: int = 0) -> Dataset:
    """Sums with their final answers: all of up to two digits, in order, or ``count`` drawn without repetition.

    Raises
    ------
    ValueError
        If ``count`` is not from 1 to the number of sums, or is None for more than two digits.

    Examples
    --------
    >>> addition_examples(Addition(digits=3, steps=True), 1, seed=3)[0]
    {'prompt': '811+085=', 'answer': '896'}
    >>> len(addition_examples(Addition(digits=2)))
    5050
    """
    pairs = task.pairs().tolist() if count is None else _distinct_pairs(task, count, np.random.default_rng(seed))
    return Dataset.from_dict(
        {"prompt": [task.prompt(a, b) for a, b in pairs], "answer": [task.answer(a, b) for a, b in pairs]}
    )


def _read(source: str, split: str, limit: int | None) -> tuple[Dataset, Where]:
    path, known = Path(source), _HUB.fullmatch(source)
    if not source:
        raise ValueError("source must be a file, a folder or the name of a data set, got ''")
    if source.partition(":")[0] == "addition":
        return _sums(source, limit), lambda row: f"{source}: row {row}"
    if path.is_file():
        return read_file(path)
    if not path.is_dir() and (known is None or path.suffix.lower() in READERS):
        raise ValueError(f"{source}: no such file or folder")
    try:
        with _quiet():
            data = (
                _loaded(path, split)
                if path.is_dir() or known is None
                else datasets.load_dataset(known["name"], known["config"], split=split)
            )
    except Exception as error:  # whatever datasets and the hub raise
        raise ValueError(f"{source}: split {split!r} cannot be loaded ({one_line(error)})") from error
    return data, lambda row: f"{source}: row {row}"


def _loaded(folder: Path, split: str) -> Dataset:
    if not any((folder / name).is_file() for name in ("dataset_dict.json", "state.json")):
        return datasets.load_dataset(str(folder), split=split)
    saved = datasets.load_from_disk(folder)
    if isinstance(saved, Dataset):
        return saved
    if split not in saved:
        raise ValueError(f"it has {', '.join(saved)}")
    return saved[split]


@contextmanager
def _quiet() -> Iterator[None]:
    """No bars of `datasets` where there is no terminal."""
    switch = not sys.stderr.isatty() and datasets.is_progress_bar_enabled()
    if switch:
        datasets.disable_progress_bars()
    try:
        yield
    finally:
        if switch:
            datasets.enable_progress_bars()


def _sums(source: str, limit: int | None) -> Dataset:
    given: dict[str, Any] = {"digits": 2, "steps": False, "seed": 0}
    for pair in filter(None, source.partition(":")[2].split(",")):
        name, _, value = (part.strip() for part in pair.partition("="))
        if name not in given:
            raise ValueError(f"{source}: unknown setting {name!r}; known are {', '.join(given)}")
        number = {"true": True, "false": False}.get(value.lower()) if name == "steps" else _digits(value)
        if number is None:
            raise ValueError(f"{source}: {name} must be {'true or false' if name == 'steps' else 'an integer'}")
        given[name] = number
    task = Addition(digits=given["digits"], steps=given["steps"])
    if limit is None and task.digits > 2:
        raise ValueError(f"{source}: limit is required for more than 2 digits, to say how many sums to draw")
    return addition_examples(task, None if limit is None else min(limit, _sums_of(task)), given["seed"])


def _digits(value: str) -> int | None:
    return int(value) if value.isdecimal() else None


def _sums_of(task: Addition) -> int:
    top: int = 10**task.digits
    return top * (top + 1) // 2


def _distinct_pairs(task: Addition, count: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    if not 1 <= count <= _sums_of(task):
        raise ValueError(f"count must be from 1 to {_sums_of(task)}, the number of sums, got {count!r}")
    pairs: dict[tuple[int, int], None] = {}
    while len(pairs) < count:
        pairs.update(dict.fromkeys((a, b) for a, b in task.draw(rng, count).tolist()))
    return list(pairs)[:count]


def _pick(source: str, data: Dataset, what: str, given: str | None, names: tuple[str, ...]) -> str:
    present = f"its columns are {', '.join(data.column_names)}"
    if given is not None and given not in data.column_names:
        raise ValueError(f"{source}: {what} is {given!r}, which is not a column; {present}")
    found = given or next((name for name in names if name in data.column_names), None)
    if found is None:
        usual = {"prompt": PROMPT_COLUMNS, "answer": ANSWER_COLUMNS + SOLUTION_COLUMNS}[what]
        raise ValueError(f"{source}: no column {' or '.join(usual)}; name the {what}'s; {present}")
    return found


def _converted(data: Dataset, where: Where, name: str, convert: Callable[[Any], Any]) -> list[Any]:
    values = []
    for row, value in enumerate(data[name][:]):
        try:
            values.append(convert(value))
        except ValueError as error:
            raise ValueError(f"{where(row)}: column {name!r} {error}") from None
    return values


def _formatted(prompts: list[Any], template: str | None, chat: bool) -> list[Any]:
    if template is not None:
        _check_template(template)
        if not isinstance(prompts[0], str):
            raise ValueError("prompt_template is for prompts that are text, these are lists of messages")
        prompts = [template.format(prompt=prompt) for prompt in prompts]
    if chat:
        prompts = [[{"role": "user", "content": p}] if isinstance(p, str) else p for p in prompts]
    return prompts


def _check_template(template: str) -> None:
    try:
        named = {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}
    except ValueError as error:
        raise ValueError(f"prompt_template {template!r} is no str.format template: {error}") from None
    if named != {"prompt"}:
        raise ValueError(f"prompt_template must hold {{prompt}} and no other field (double other braces): {template!r}")
