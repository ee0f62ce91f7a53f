"""Data sets of every layout read as they come, and every way in which one can be broken, named with its place."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pytest
from datasets import Dataset, DatasetDict

from llm.data.addition import Addition, addition_examples
from llm.data.examples import RESERVED, last_boxed, load_examples

RECORDS = [
    {"problem": "What is $1/4 + 1/4$?", "answer": r"\frac{1}{2}", "solution": "Add.", "level": 1},
    {"problem": "Zahl π,\n7?", "answer": "025", "solution": 'It "is".', "level": 2},
]
EXPECTED = {
    "prompt": [record["problem"] for record in RECORDS],
    "answer": [r"\frac{1}{2}", "025"],
    "solution": ["Add.", 'It "is".'],
    "level": [1, 2],
}


def as_lines(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def as_array(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text(json.dumps(records, indent=1), encoding="utf-8")
    return path


def as_csv(path: Path, records: list[dict[str, Any]]) -> Path:
    pd.DataFrame(records).to_csv(path, index=False)
    return path


def as_parquet(path: Path, records: list[dict[str, Any]]) -> Path:
    pd.DataFrame(records).to_parquet(path, index=False)
    return path


def refused(source: Path | str, said: str, **options: Any) -> None:
    """One line, with nothing of the message left out."""
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        load_examples(str(source), **options)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.jsonl", as_lines),
        ("a.ndjson", as_lines),
        ("a.json", as_lines),
        ("b.json", as_array),
        ("a.csv", as_csv),
        ("a.parquet", as_parquet),
    ],
)
def test_every_kind_of_file_gives_the_same(
    name: str, write: Callable[[Path, list[dict[str, Any]]], Path], tmp_path: Path
) -> None:
    found = load_examples(str(write(tmp_path / name, RECORDS)))[:]
    if name.endswith("csv"):
        found["level"] = [int(level) for level in found["level"]]
    assert found == EXPECTED


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


GOOD = b'{"prompt": "p", "answer": "1"}\n'


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", b"", ": no records"),
        ("a.json", b" \n", ": no records"),
        ("a.json", b"[]", ": no records"),
        ("a.csv", b"", ": no records"),
        ("a.csv", b"prompt,answer\n", ": no records"),
        ("a.jsonl", GOOD + b"\n" + b'{"prompt": "p", \n', ":3: bad JSON, "),
        ("a.json", GOOD + b'{"prompt" "p"}\n', ":2: bad JSON, Expecting ':' delimiter (column 11)"),
        ("a.json", b'[\n{"prompt": "p",\n "answer" 1}]', ":3: bad JSON, Expecting ':' delimiter (column 11)"),
        ("a.json", b'[{"prompt": "p"}, 3]', ": row 1: expected a JSON object, found 3"),
        ("a.json", b'["\xff"]', ": not valid UTF-8 (byte 3)"),
        ("a.jsonl", GOOD + b'{"prompt": "\xff"}\n', ":2: not valid UTF-8 (byte 13)"),
        ("a.jsonl", GOOD + b"[1]\n", ":2: expected a JSON object, found [1]"),
        ("a.jsonl", GOOD + b"\n" + b'{"prompt": "q"}\n', ":3: column 'answer' is missing or null"),
        ("a.jsonl", GOOD + b'{"answer": "q"}\n', ":2: column 'prompt' is missing or null"),
        ("a.jsonl", GOOD + b'{"prompt": "p", "answer": null}\n', ":2: column 'answer' is missing or null"),
        ("a.jsonl", b'{"prompt": "p", "answer": NaN}\n', ":1: column 'answer' is missing or null"),
        ("a.jsonl", b'{"prompt": "p", "answer": " "}\n', ":1: column 'answer' is empty"),
        ("a.jsonl", b'{"prompt": " ", "answer": "1"}\n', ":1: column 'prompt' is empty"),
        ("a.jsonl", b'{"prompt": 1, "answer": "1"}\n', ":1: column 'prompt' is 1, neither text nor a list of messages"),
        (
            "a.jsonl",
            b'{"prompt": [{"role": "user"}], "answer": "1"}\n',
            ":1: column 'prompt' is [{'role': 'user'}], neither text nor a list of messages",
        ),
        ("a.jsonl", b'{"prompt": "p", "answer": true}\n', ":1: column 'answer' is True, neither text nor a number"),
        ("a.jsonl", b'{"prompt": "p", "answer": ["1"]}\n', ":1: column 'answer' is ['1'], neither text nor a number"),
        (
            "a.jsonl",
            b'{"problem": "p", "solution": "\\\\boxed{1}"}\n{"problem": "p", "solution": "It is 1."}\n',
            r":2: column 'solution' has no \boxed{...} with an answer in it, and there is no answer column",
        ),
        (
            "a.jsonl",
            b'{"problem": "p", "solution": "\\\\boxed{}"}\n',
            r":1: column 'solution' has no \boxed{...} with an answer in it, and there is no answer column",
        ),
        ("a.csv", b'prompt,answer\n"a\nb",1\n\nc\n', ":5: 1 fields, the header has 2"),
        ("a.csv", b"prompt,answer\na,1\nb,1,2\n", ":3: 3 fields, the header has 2"),
        ("a.csv", b'prompt,answer\n"a\nb",1\nc,\n', ":4: column 'answer' is empty"),
        ("a.csv", b'prompt,answer\na,1\n"b,2\n', ":3: bad CSV, unexpected end of data"),
        ("a.csv", b"prompt,answer\na,\xff\n", ":2: not valid UTF-8 (byte 3)"),
        ("a.csv", b"prompt,prompt\na,1\n", ":1: two columns have one name, in prompt, prompt"),
        ("a.txt", b"p", ": unknown suffix '.txt'; known are .jsonl, .ndjson, .json, .csv, .parquet"),
    ],
)
def test_broken_files_are_named_with_the_place(name: str, content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path) + said)}") as caught:
        load_examples(str(path))
    assert "\n" not in str(caught.value)


def test_parquet_that_is_none_or_has_nulls(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1 but not really PAR1")
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: cannot be read \\(.+\\)$"):
        load_examples(str(path))
    as_parquet(path, [{"prompt": "p", "answer": 1.0}, {"prompt": "q", "answer": None}])
    refused(path, f"{path}: row 1: column 'answer' is missing or null")


def test_a_gap_is_no_word(tmp_path: Path) -> None:
    """pandas writes one as NaN."""
    for name, rest in (("answer", {"prompt": "p"}), ("prompt", {"answer": "1"})):
        path = tmp_path / "a.jsonl"
        path.write_text("".join(json.dumps({name: value, **rest}) + "\n" for value in ("1/2", float("nan"))))
        refused(path, f"{path}:2: column '{name}' is missing or null")


def test_values_that_do_not_go_together(tmp_path: Path) -> None:
    path = as_lines(
        tmp_path / "a.jsonl", [{"prompt": "p", "answer": "1", "x": 1}, {"prompt": "p", "answer": "1", "x": [1]}]
    )
    with pytest.raises(ValueError, match=r"a.jsonl: column 'x' has values that do not go together \("):
        load_examples(str(path))
    as_lines(path, [{"prompt": "p", "answer": "1", "level": 5}, {"prompt": "p", "answer": "1", "level": "?", "y": 1}])
    assert load_examples(str(path))[:] == {
        **{"prompt": ["p", "p"], "answer": ["1", "1"]},
        **{"level": ["5", "?"], "y": [None, 1]},  # a key that only the second record has is not lost
    }


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


@pytest.mark.parametrize("task", [Addition(digits=1), Addition(digits=2), Addition(digits=3, steps=True)])
def test_sums_are_right_and_distinct(task: Addition) -> None:
    count = 200 if task.digits > 2 else None
    found = addition_examples(task, count, seed=1)[:]
    assert len(set(found["prompt"])) == len(found["prompt"]) == (count or {1: 55, 2: 5050}[task.digits])
    for prompt, answer in zip(found["prompt"], found["answer"], strict=True):
        a, b = (int(number) for number in prompt[:-1].split("+"))
        assert int(answer) == a + b
        assert len(answer) == task.digits
        assert task.final(task.solution(a, b)) == answer


def test_drawn_sums_are_uniform_and_the_same_for_a_seed() -> None:
    task = Addition(digits=1)
    draws = [tuple(addition_examples(task, 11, seed)["prompt"][:]) for seed in range(300)]
    assert draws[3] == tuple(load_examples("addition:digits=1,seed=3", limit=11)["prompt"][:])
    counts = Counter(prompt for draw in draws for prompt in draw)
    assert len(counts) == 55  # each in a fifth of the draws: 60, standard deviation 6.9
    assert max(abs(count - 60) for count in counts.values()) < 4.5 * 6.9
    assert sorted(addition_examples(task, 55, 0)["prompt"]) == addition_examples(task)["prompt"][:]


def test_sums_as_a_source() -> None:
    assert load_examples("addition")[:] == load_examples("addition:digits=2")[:]
    chain = load_examples("addition:digits=3, steps=true", limit=2)
    assert [len(prompt) for prompt in chain["prompt"]] == [8, 8]
    refused(
        "addition:digits=3", "addition:digits=3: limit is required for more than 2 digits, to say how many sums to draw"
    )
    refused("addition:digit=3", "addition:digit=3: unknown setting 'digit'; known are digits, steps, seed")
    refused("addition:digits=x", "addition:digits=x: digits must be an integer")
    refused("addition:steps=1", "addition:steps=1: steps must be true or false")
    refused("addition:digits=0", "addition:digits=0: digits must be an integer >= 1, got 0")
    said = "addition: prompt_column is 'x', which is not a column; its columns are prompt, answer"
    refused("addition", said, prompt_column="x")
    for bad in (0, 56):
        with pytest.raises(ValueError, match=f"^count must be from 1 to 55, the number of sums, got {bad}$"):
            addition_examples(Addition(digits=1), bad)
