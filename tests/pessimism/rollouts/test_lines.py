"""Lines of JSON: broken ones named by their number, bytes that are no text."""

from __future__ import annotations

from pathlib import Path

import pytest

from pessimism.rollouts import lines as of_lines
from pessimism.rollouts.lines import read_lines
from pessimism.rollouts.read import read_rollouts
from tests.pessimism.rollouts.logs import message, tuples

BROKEN_JSONL = [
    ('{"prompt": "a", "reward": 1', "bad JSON, "),
    ("nonsense", "bad JSON, "),
    ("[1, 2]", "expected a JSON object, found [1, 2]"),
    ("[" * 100_000, "bad JSON, "),
    ('{"prompt": "a"}', "missing key 'reward'"),
    ('{"reward": 1}', "missing key 'prompt'"),
    (
        '{"prompt": "a", "reward": "0.5"}',
        "reward is the text '0.5', not a number: write it without quotes, or give its column a numeric type",
    ),
    ('{"prompt": "a", "reward": "half"}', "reward is 'half', not a number"),
    ('{"prompt": "a", "reward": null}', "reward is null, not a number"),
    ('{"prompt": "a", "reward": [1]}', "reward is [1], not a number"),
    ('{"prompt": "a", "reward": NaN}', "reward is nan, not a finite number"),
    ('{"prompt": "a", "reward": -Infinity}', "reward is -inf, not a finite number"),
    ('{"prompt": "a", "reward": 1e999}', "reward is inf, not a finite number"),
    ('{"prompt": "a", "reward": 1' + "0" * 400 + "}", "not a finite number"),
    ('{"prompt": null, "reward": 1}', "prompt is null"),
    ('{"prompt": NaN, "reward": 1}', "prompt is null"),
    ('{"prompt": "\\ud800", "reward": 1}', "prompt is not valid Unicode text"),
]


@pytest.mark.parametrize(("line", "what"), BROKEN_JSONL)
def test_a_broken_jsonl_line(tmp_path: Path, line: str, what: str) -> None:
    path, good = tmp_path / "log.jsonl", '{"prompt": "a", "reward": 1}'
    for place, lines in ((1, [line, good]), (4, [good, "", good, line, good])):
        path.write_text("\n".join(lines))
        text = message(path)
        assert text.startswith(f"{path}:{place}: ")
        assert what in text
        frame = read_rollouts(path, skip_bad=True)
        assert frame.attrs["skipped"] == 1
        assert len(frame) == lines.count(good)


def test_a_jsonl_line_that_is_not_utf8_and_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"prompt": "a", "reward": 1}\r\n{"prompt": "\xff", "reward": 1}\n')
    assert message(path) == f"{path}:2: not valid UTF-8 (byte 13)"
    assert tuples(read_rollouts(path, skip_bad=True)) == [(0, "a", 1.0)]
    path.write_text('{"prompt": "a\u2028b", "reward": true}\n{"prompt": "", "reward": false}\n', encoding="utf-8")
    assert tuples(read_rollouts(path)) == [
        (0, "a\u2028b", 1.0),
        (0, "", 0.0),
    ]  # U+2028 ends no line; true and false are 1 and 0


def test_only_broken_lines(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text("x\ny\n")
    assert message(path).startswith(f"{path}:1: bad JSON")
    assert message(path, skip_bad=True) == f"{path}: no usable row, 2 malformed"


@pytest.mark.parametrize("block", [1, 7, 64, 4096])
def test_lines_are_the_same_however_they_are_read(block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_lines, "_BLOCK", block)
    monkeypatch.setattr(of_lines, "LINE", 30)
    path, text = tmp_path / "log.jsonl", b"a\r\rb\n\n\x0b\x0c\x1c\xe2\x80\xa8\n" + b"x" * 29 + b"\nlast"
    path.write_bytes(text)
    assert list(read_lines(path)) == text.replace(b"\n", b"\n|").split(b"|")
    path.write_bytes(text + b"\n" + b"y" * 30 + b"\nz\n" + b"w" * 40)
    seen = []
    with pytest.raises(ValueError, match=r"log\.jsonl:6: longer than"):
        seen += [seen.append(line) for line in read_lines(path)]  # type: ignore[func-returns-value]
    assert seen == [*text.replace(b"\n", b"\n|").split(b"|")[:-1], b"last\n"]
