r"""Questions with their answers, from files, data sets and sums made here, as a data set that TRL trains on.

The usual data sets are read as they come: DeepScaleR (problem, answer, solution), MATH (problem, solution with the
answer in its last ``\boxed{}``), AIME (problem or Problem, answer or Answer, often integers).
"""

from __future__ import annotations

import math
import re
import string
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import datasets
from datasets import Dataset

from llm.data.addition import read_sums, sums_task
from llm.data.records import READERS, Where, read_file
from llm.data.rewards import OF_TRL
from llm.settings import DataConfig
from pessimism.messages import one_line, show

PROMPT_COLUMNS = ("prompt", "problem", "Problem", "question", "Question")
ANSWER_COLUMNS = ("answer", "Answer")
SOLUTION_COLUMNS = ("solution", "Solution")
# Of these a reward would get another thing or nothing, or TRL would take them for more than data.
RESERVED = (*OF_TRL, "completion", "image", "images", "environment")
_HUB = re.compile(r"(?P<name>\w[\w.-]*(/[\w.-]+)?)(:(?P<config>[\w.-]+))?")
_BOX = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])\s*")


def examples_of(settings: DataConfig) -> Dataset:
    """Read the questions and answers that the settings of a command name.

    Parameters
    ----------
    settings : DataConfig
        Settings of a command.

    Returns
    -------
    datasets.Dataset
        As `load_examples` returns it.

    Raises
    ------
    ValueError
        As `load_examples`; or if the reward is "exact" and a right completion writes down its steps.
    """
    if settings.reward == "exact" and settings.data.startswith("addition:") and sums_task(settings.data).steps:
        raise ValueError(f"reward exact is never earned with written steps ({settings.data}): use final")
    return load_examples(
        settings.data,
        split=settings.split,
        prompt_column=settings.prompt_column,
        answer_column=settings.answer_column,
        limit=settings.limit,
        prompt_template=settings.prompt_template,
        chat=settings.chat,
    )


def load_examples(
    source: str,
    *,
    split: str = "train",
    prompt_column: str | None = None,
    answer_column: str | None = None,
    limit: int | None = None,
    prompt_template: str | None = None,
    chat: bool = False,
) -> Dataset:
    r"""Read the questions and answers of a data set, whatever its columns are called.

    Parameters
    ----------
    source : str
        One of

        - a file (.jsonl, .ndjson, .json, .csv, .parquet);
        - a folder that was saved with ``save_to_disk``, or any other that ``datasets.load_dataset`` reads;
        - the name of a data set, "name" or "name:configuration";
        - "addition:digits=2", with ``steps=true`` and ``seed=1`` where wanted: the sums of
          `llm.data.addition.Addition`, all of them in order, or `limit` of them drawn without repetition.
    split : str, default "train"
        Split of a data set that has several; files and sums have only one.
    prompt_column : str, optional
        Column of the question; by default the first there is of prompt, problem, Problem, question, Question.
    answer_column : str, optional
        Column of the answer; by default answer or Answer, else the content of the last ``\boxed{}`` in solution or
        Solution. Where there is none of these either, there are no answers, and a reward that needs them says so.
    limit : int, optional
        Number of records taken, from the first on. The records after them are not looked at, but must be readable.
    prompt_template : str, optional
        A ``str.format`` template around the question, such as ``"{prompt}\nThink step by step."``.
    chat : bool, default False
        Make each prompt a conversation of one user message. Prompts that are lists of messages stay as they are.

    Returns
    -------
    datasets.Dataset
        Columns ``prompt`` (text, or messages), ``answer`` (text without blanks at its ends; integers as digits) where
        there is one, and the other columns unless they have one of these two names.

    Raises
    ------
    ValueError
        In one line that names file, line (for JSON arrays, parquet and data sets the row, from 0) and column, if

        - there is no such file, it is empty, or a line of it is broken;
        - there is no such column, or none of a question (the message lists those there are);
        - a record lacks its question or its answer, or a solution has no ``\boxed{}``;
        - an answer is neither text nor a number;
        - a column has a name that TRL uses for something else;
        - `split` is given for a source that has none.

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
    asked = _named(source, data, "prompt_column", prompt_column) or _first(data, PROMPT_COLUMNS)
    if asked is None:
        raise ValueError(f"{source}: no column {' or '.join(PROMPT_COLUMNS)}; prompt_column names it; {_present(data)}")
    told = _named(source, data, "answer_column", answer_column) or _first(data, ANSWER_COLUMNS)
    boxed = _first(data, SOLUTION_COLUMNS)
    made = {"prompt": _formatted(_converted(data, where, asked, question), prompt_template, chat)}
    if told is not None:
        made["answer"] = _converted(data, where, told, answer)
    elif boxed is not None:
        made["answer"] = _converted(data, where, boxed, boxed_answer)
    others = [name for name in data.column_names if name not in {*made, asked, told}]
    if clash := [name for name in others if name in RESERVED]:
        raise ValueError(f"{source}: column {clash[0]!r} must be renamed: a reward would not get it by that name")
    found = Dataset.from_dict(made)
    return datasets.concatenate_datasets([found, data.select_columns(others)], axis=1) if others else found


def _read(source: str, split: str, limit: int | None) -> tuple[Dataset, Where]:
    path, known = Path(source), _HUB.fullmatch(source)
    if not source:
        raise ValueError("source must be a file, a folder or the name of a data set, got ''")
    sums = source.partition(":")[0] == "addition"
    if sums or path.is_file():
        if split != "train":
            raise ValueError(f"{source}: split must be left out, it has one only, got {split!r}")
        return (read_sums(source, limit), lambda row: f"{source}: row {row}") if sums else read_file(path)
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
        _require_readable(path)
        raise ValueError(f"{source}: split {split!r} cannot be loaded ({one_line(error)})") from error
    return data, lambda row: f"{source}: row {row}"


def _require_readable(folder: Path) -> None:
    """Read all files of a folder, to say where one is broken; `datasets` does not say it."""
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        if path.suffix.lower() in READERS:
            read_file(path)


def _loaded(folder: Path, split: str) -> Dataset:
    if not any((folder / name).is_file() for name in ("dataset_dict.json", "state.json")):
        return datasets.load_dataset(str(folder), split=split)
    saved = datasets.load_from_disk(folder)
    if isinstance(saved, Dataset):
        if split not in ("train", str(saved.split)):
            raise ValueError("it has one only: leave split out")
        return saved
    if split not in saved:
        raise ValueError(f"it has {', '.join(saved)}")
    return saved[split]


@contextmanager
def _quiet() -> Iterator[None]:
    """Show no progress bars of `datasets` where there is no terminal."""
    switch = not sys.stderr.isatty() and datasets.is_progress_bar_enabled()
    if switch:
        datasets.disable_progress_bars()
    try:
        yield
    finally:
        if switch:
            datasets.enable_progress_bars()


def _named(source: str, data: Dataset, field: str, given: str | None) -> str | None:
    if given is not None and given not in data.column_names:
        raise ValueError(f"{source}: {field} is {given!r}, which is not a column; {_present(data)}")
    return given


def _first(data: Dataset, names: tuple[str, ...]) -> str | None:
    return next((name for name in names if name in data.column_names), None)


def _present(data: Dataset) -> str:
    return f"its columns are {', '.join(data.column_names)}"


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


def question(value: Any) -> Any:
    """Check a question: text, or a conversation (a list of messages with role and content).

    Parameters
    ----------
    value : object
        Value of the column.

    Returns
    -------
    str or list of dict
        The value itself.

    Raises
    ------
    ValueError
        If it is something else; the message says what.
    """
    if (
        isinstance(value, list)
        and value
        and all(isinstance(m, dict) and {"role", "content"} <= m.keys() for m in value)
    ):
        return value
    if value is not None and not isinstance(value, str):
        raise ValueError(f"is {show(value)}, neither text nor a list of messages")
    answer(value)
    return value


def answer(value: Any) -> str:
    """Make text of an answer.

    Parameters
    ----------
    value : object
        Value of the column: text or a number.

    Returns
    -------
    str
        Text without blanks at its ends; an integer in digits.

    Raises
    ------
    ValueError
        If it is something else; the message says what.

    Examples
    --------
    >>> answer(" 1/2 "), answer("025"), answer(204), answer(204.0), answer(0.5)
    ('1/2', '025', '204', '204', '0.5')
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        raise ValueError("is missing or null")
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise ValueError(f"is {show(value)}, neither text nor a number")
    if isinstance(value, float) and value.is_integer():  # an integer that stood beside a null
        value = int(value)
    if not (text := str(value).strip()):
        raise ValueError("is empty")
    return text


def boxed_answer(value: Any) -> str:
    r"""Cut the answer out of a solution: the content of its last ``\boxed{}``."""
    found = last_boxed(answer(value))
    if not found:
        raise ValueError(r"has no \boxed{...} with an answer in it, and there is no answer column")
    return found


def last_boxed(text: str) -> str | None:
    r"""Cut out the content of the last ``\boxed{}`` (or ``\fbox{}``) of a text.

    Parameters
    ----------
    text : str
        A solution in LaTeX.

    Returns
    -------
    str or None
        The content; None where there is no box, or the last one does not close.

    Examples
    --------
    >>> last_boxed(r"so $x = \boxed{1}$, no, $\boxed{\frac{1}{\sqrt{2}}}$."), last_boxed(r"it is $\boxed 7$ cm")
    ('\\frac{1}{\\sqrt{2}}', '7')
    """
    boxes = list(_BOX.finditer(text))
    if not boxes:
        return None
    rest = text[boxes[-1].end() :]
    if not rest.startswith("{"):  # \boxed 7, up to the end of the formula
        return rest.partition("$")[0].strip()
    depth = 0
    for mark in re.finditer(r"\\.|[{}]", rest, re.DOTALL):  # an escaped brace is no brace
        depth += {"{": 1, "}": -1}.get(mark[0], 0)
        if depth == 0:
            return rest[1 : mark.start()].strip()
    return None
