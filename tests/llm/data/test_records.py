"""Files of every kind read alike, and every way in which one can be broken, named with its place."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llm.data.examples import load_examples
from tests.llm.data.files import EXPECTED, RECORDS, as_array, as_csv, as_lines, as_parquet, refused


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
