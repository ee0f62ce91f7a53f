"""JSON files, a value at a time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pessimism.rollouts import json_files
from pessimism.rollouts.json_files import JsonError, json_records, json_values
from pessimism.rollouts.read import read_rollouts
from tests.pessimism.rollouts.logs import message, tuples

ROWS: list[dict[str, Any]] = [{"prompt": f'é\\"{i}]}},' * 3, "reward": i / 4, "step": 10**i} for i in range(9)]
READ = [(row["step"], row["prompt"], row["reward"]) for row in ROWS]
TABLE = {"columns": ["step", "prompt", "reward"], "data": [list(row) for row in READ], "ncols": 3}


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 2**20])
@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("content", [ROWS, TABLE, {"version": 1, "data": ROWS}])
def test_arrays_tables_and_data_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: Any, indent: int | None, piece: int
) -> None:
    monkeypatch.setattr(json_files, "_PIECE", piece)
    path = tmp_path / "log.json"
    path.write_bytes(b"\xef\xbb\xbf \n" + json.dumps(content, indent=indent, ensure_ascii=False).encode() + b"\n \n")
    assert tuples(read_rollouts(path)) == READ


@pytest.mark.parametrize("ends", ["\n", "\n\n"])
def test_lines_of_objects_may_be_called_json(tmp_path: Path, ends: str) -> None:
    path = tmp_path / "log.json"
    path.write_text("".join(json.dumps(row) + ends for row in ROWS))
    assert tuples(read_rollouts(path)) == READ


def test_numbers_and_words_at_the_end_of_a_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "values.json"
    values = [123456, -1.5e-3, True, None, "a\\b", [], {}, [1, [2]], 7]
    path.write_text(json.dumps(values))
    for piece in range(1, 12):
        monkeypatch.setattr(json_files, "_PIECE", piece)
        assert [value for _, _, value in json_values(path)] == values


GOOD = '{"prompt": "a", "reward": 1}'
BROKEN = [
    (f'[{GOOD}, {{"prompt": "a"}}, {GOOD}]', 1, "missing key 'reward'", 2, 1),
    (f'[{GOOD}, {{"prompt": "a", "reward": 1, "reward": 0}}, {GOOD}]', 1, "stands there twice", 2, 1),
    (f"[{GOOD}, 3, null, {GOOD}]", 1, "3 is no record", 2, 2),
    (f"[{GOOD}, {GOOD}", 2, "the file ends where", 2, 1),
    (f"[{GOOD}, {GOOD[:-3]}", 1, "bad JSON, ", 1, 1),
    (f"[{GOOD} {GOOD}]", 1, "is due", 1, 1),
    (f"[{GOOD}, ]", 1, "bad JSON, Expecting value", 1, 1),
    (f"[{GOOD}] {GOOD}", 1, "the file goes on after its value", 1, 1),
    (f"[{GOOD}, {'[' * 100_000}", 1, "bad JSON, ", 1, 1),
    ('{"columns": ["prompt", "reward"], "data": [["a", 1], ["a"], ["b", 0]]}', 1, "1 fields, the table has 2", 2, 1),
    ('{"columns": ["prompt", "reward"], "data": [["a", 1], 7]}', 1, "7 is no row of the table", 1, 1),
]


@pytest.mark.parametrize(("text", "row", "said", "good", "bad"), BROKEN)
def test_a_broken_value_is_named_by_its_row(
    tmp_path: Path, text: str, row: int, said: str, good: int, bad: int
) -> None:
    path = tmp_path / "log.json"
    path.write_text(text)
    told = message(path)
    assert told.startswith(f"{path}: row {row}: ")
    assert said in told
    frame = read_rollouts(path, skip_bad=True)
    assert (len(frame), frame.attrs["skipped"]) == (good, bad)


@pytest.mark.parametrize("text", ["[]", "{}", "[1, 2]", '{"a": 1}', '{"data": []}'])
def test_what_holds_no_rows(tmp_path: Path, text: str) -> None:
    path = tmp_path / "log.json"
    path.write_text(text)
    assert message(path).startswith((f"{path}: has no JSON objects", "prompt_column is required"))


@pytest.mark.parametrize("text", ["", "7", '"a"', "nonsense", "[", '{"a"', '{"a": ', "{7: 1}", '{"data": [', b"[\xff]"])
def test_what_is_no_json(tmp_path: Path, text: str | bytes) -> None:
    path = tmp_path / "log.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert message(path, skip_bad=True).startswith(f"{path}: row 0: ")
    (tmp_path / "log.jsonl").write_text(GOOD)
    assert message(tmp_path).startswith(f"{path}: row 0: ")  # it may have been a log


def test_a_value_beyond_the_limit_is_refused_or_foreign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_files, "LINE", 2**20)
    monkeypatch.setattr(json_files, "_PIECE", 2**16)
    path = tmp_path / "log.json"
    path.write_text(f'[{GOOD}, {{"prompt": "{"a" * 2**21}", "reward": 1}}]')
    assert message(path) == f"{path}: row 1: a value of more than 1 MiB, the most that one may have"
    path.write_text(json.dumps({"model": 1, "vocab": "a" * 2**21}))
    assert message(path) == f"{path}: one JSON object of more than 1 MiB"
    (tmp_path / "log.jsonl").write_text(GOOD)
    assert read_rollouts(tmp_path).attrs["passed_over"] == {str(path): "one JSON object of more than 1 MiB"}
    path.write_text('{"a": ' + '"' + "b" * 2**21)
    with pytest.raises(JsonError):
        list(json_records(path))
