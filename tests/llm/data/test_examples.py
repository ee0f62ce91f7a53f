"""Data sets of every layout read as they come, and every way in which one can be broken, named with its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pytest
from datasets import Dataset, DatasetDict

from llm.data.examples import RESERVED, last_boxed, load_examples
from tests.llm.data.files import EXPECTED, RECORDS, as_lines, as_parquet, refused


def test_a_saved_data_set_and_its_splits(tmp_path: Path) -> None:
    data = Dataset.from_list(RECORDS)
    data.save_to_disk(tmp_path / "one")
    one = tmp_path / "one"
    assert load_examples(str(one))[:] == EXPECTED
    refused(one, f"{one}: split 'test' cannot be loaded (it has one only: leave split out)", split="test")
    DatasetDict(train=data, test=data.select([1])).save_to_disk(str(tmp_path / "two"))
    assert load_examples(str(tmp_path / "two"), split="test")["answer"][:] == ["025"]
    two = tmp_path / "two"
    refused(two, f"{two}: split 'dev' cannot be loaded (it has train, test)", split="dev")


def test_a_folder_that_datasets_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "data").mkdir()
    as_lines(tmp_path / "data" / "test.jsonl", RECORDS)
    assert load_examples(str(tmp_path / "data"), split="test")[:] == EXPECTED
    with pytest.raises(ValueError, match="split 'train' cannot be loaded .*Unknown split"):
        load_examples(str(tmp_path / "data"), split="train")
    broken = tmp_path / "data" / "train.jsonl"
    broken.write_text('{"problem": "1", "answer": "1"}\n{"problem"\n')
    refused(tmp_path / "data", f"{broken}:2: bad JSON, Expecting ':' delimiter (column 11)", split="train")


@pytest.mark.parametrize("source", ["addition:digits=1", "a.jsonl"])
def test_what_has_no_splits(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_lines(tmp_path / "a.jsonl", RECORDS)
    monkeypatch.chdir(tmp_path)
    refused(source, f"{source}: split must be left out, it has one only, got 'test'", split="test")


def test_a_name_goes_to_datasets(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load(name: str, config: str | None, *, split: str) -> Dataset:
        asked.append((name, config, split))
        if name == "gone":
            raise FileNotFoundError("no\nsuch thing")
        return Dataset.from_list([*RECORDS, {"problem": "?", "answer": None}])

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert load_examples("some-one/AIME_24", limit=2)[:] == EXPECTED
    refused("a/math:algebra", "a/math:algebra: row 2: column 'answer' is missing or null", split="test")
    refused("gone", "gone: split 'train' cannot be loaded (no such thing)")
    assert asked == [("some-one/AIME_24", None, "train"), ("a/math", "algebra", "test"), ("gone", None, "train")]


@pytest.mark.parametrize(
    ("record", "prompt", "answer", "others"),
    [
        # DeepScaleR, MATH, three layouts of AIME, and a set that has all three columns of MATH.
        ({"problem": "p", "answer": "3", "solution": r"\boxed{4}"}, "p", "3", {"solution"}),
        (
            {"problem": "p", "level": "Level 5", "type": "Algebra", "solution": r"$\boxed{\frac{\sqrt{3}}{2}}$."},
            "p",
            r"\frac{\sqrt{3}}{2}",
            {"level", "type", "solution"},
        ),
        ({"id": 60, "problem": "p", "answer": 204}, "p", "204", {"id"}),
        ({"ID": "2024-I-4", "Problem": "p", "Solution": "s", "Answer": 33}, "p", "33", {"ID", "Solution"}),
        ({"question": "p", "answer": "025"}, "p", "025", set()),
        ({"problem": "p", "solution": r"\boxed{204}", "url": "u"}, "p", "204", {"solution", "url"}),
        ({"prompt": "p", "problem": "q", "answer": " 1/2\n"}, "p", "1/2", {"problem"}),
    ],
)
def test_records_of_the_usual_sets(
    record: dict[str, Any], prompt: str, answer: str, others: set[str], tmp_path: Path
) -> None:
    found = load_examples(str(as_lines(tmp_path / "a.jsonl", [record])))
    assert (found["prompt"][0], found["answer"][0]) == (prompt, answer)
    assert set(found.column_names) == {"prompt", "answer"} | others
    assert all(found[name][0] == record[name] for name in others)


def test_columns_by_name_and_those_that_collide(tmp_path: Path) -> None:
    path = as_lines(tmp_path / "a.jsonl", [{"q": "ask", "r": 7, "prompt": "old", "answer": "old", "kept": 1}])
    assert load_examples(str(path), prompt_column="q", answer_column="r")[:] == {
        "prompt": ["ask"],
        "answer": ["7"],
        "kept": [1],
    }


def test_numbers_are_answers_in_digits(tmp_path: Path) -> None:
    values = [204, "025", 0.5, 33.0, 12345678901234567890123, 1e25]
    path = as_lines(tmp_path / "a.jsonl", [{"prompt": "p", "answer": value} for value in values])
    assert load_examples(str(path))["answer"][:4] == ["204", "025", "0.5", "33"]
    assert load_examples(str(path))["answer"][4:] == ["12345678901234567890123", "1e+25"]
    frame = pd.DataFrame({"prompt": ["p", "q"], "answer": [204.0, 33.0]})
    assert load_examples(str(as_parquet(tmp_path / "a.parquet", frame)))["answer"][:] == ["204", "33"]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        (r"\boxed{5}", "5"),
        (r"first \boxed{1}, then \boxed{2}.", "2"),
        (r"\boxed{\frac{a}{b^{2}}} and {more}", r"\frac{a}{b^{2}}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{x \\{y}}", r"x \\{y}"),
        (r"\boxed { 7 }", "7"),
        (r"$\boxed 9$ apples", "9"),
        (r"\fbox{east}", "east"),
        ("\\boxed{\n3\n}", "3"),
        (r"\boxed{}", ""),
        (r"\boxed{\frac{1}{2}", None),
        (r"\boxed{1} and \boxed{2", None),
        (r"\boxedness{1}", None),
        ("nothing", None),
    ],
)
def test_what_stands_in_the_last_box(text: str, inside: str | None) -> None:
    assert last_boxed(text) == inside


def test_templates_and_conversations(tmp_path: Path) -> None:
    path = str(as_lines(tmp_path / "a.jsonl", [{"prompt": r"\frac{1}{2}?", "answer": "1"}]))
    template = r"{prompt} Answer in \boxed{{}}."
    plain = load_examples(path, prompt_template=template)
    assert plain["prompt"][0] == r"\frac{1}{2}? Answer in \boxed{}."
    message = {"role": "user", "content": plain["prompt"][0]}
    assert load_examples(path, prompt_template=template, chat=True)["prompt"][:] == [[message]]
    said = [{"role": "system", "content": "Think."}, {"role": "user", "content": "1+1?"}]
    chat = str(as_lines(tmp_path / "chat.jsonl", [{"prompt": said, "answer": "2"}]))
    assert load_examples(chat, chat=True)["prompt"][0] == load_examples(chat)["prompt"][0] == said
    refused(
        chat, "prompt_template is for prompts that are text, these are lists of messages", prompt_template="{prompt}"
    )


@pytest.mark.parametrize("template", ["no field", "{prompt} {name}", "{}", "{prompt.real}", "{question}"])
def test_templates_that_are_none(template: str) -> None:
    rule = "prompt_template must hold {prompt} and no other field (double other braces): "
    refused("addition", rule + repr(template), prompt_template=template)
    with pytest.raises(ValueError, match="is no str.format template"):
        load_examples("addition", prompt_template="{prompt} \\boxed{")


LISTED = "its columns are problem, answer, solution, level"


def test_missing_columns_list_what_there_is(tmp_path: Path) -> None:
    path = as_lines(tmp_path / "a.jsonl", RECORDS)
    refused(path, f"{path}: prompt_column is 'promt', which is not a column; {LISTED}", prompt_column="promt")
    refused(path, f"{path}: answer_column is 'ans', which is not a column; {LISTED}", answer_column="ans")
    path = as_lines(tmp_path / "b.jsonl", [{"text": "a", "label": "b"}])
    usual = "prompt or problem or Problem or question or Question"
    refused(path, f"{path}: no column {usual}; prompt_column names it; its columns are text, label")


def test_answers_are_not_needed(tmp_path: Path) -> None:
    """By a reward that looks at the completion alone; one that needs them says so."""
    path = as_lines(tmp_path / "b.jsonl", [{"text": "a", "label": "b"}])
    assert load_examples(str(path), prompt_column="text")[:] == {"prompt": ["a"], "label": ["b"]}


@pytest.mark.parametrize("name", RESERVED)
def test_a_column_that_a_reward_would_not_get(name: str, tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text(json.dumps({"prompt": "1+1=", "answer": "2", name: "x"}))
    refused(path, f"{path}: column {name!r} must be renamed: a reward would not get it by that name")


@pytest.mark.parametrize("source", ["/no/such/file.jsonl", "no_such.csv", "a/b/c", "./x", "name:with:colons"])
def test_what_is_not_there(source: str) -> None:
    refused(source, f"{source}: no such file or folder")


def test_an_empty_name() -> None:
    refused("", "source must be a file, a folder or the name of a data set, got ''")


def test_limit_takes_the_first(tmp_path: Path) -> None:
    path = as_lines(tmp_path / "a.jsonl", [*RECORDS, {"problem": "unseen", "answer": None}])
    assert load_examples(str(path), limit=2)[:] == EXPECTED
    assert len(load_examples("addition:digits=1", limit=1000)) == 55
    for bad in (0, -1, 1.5, True):
        refused(path, f"limit must be an integer >= 1, got {bad!r}", limit=bad)
