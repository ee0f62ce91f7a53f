"""Damaged logs against a second reader, written here: a row that is read stands there, and none is lost."""

from __future__ import annotations

import csv
import io
import json
import math
import random
import re
from pathlib import Path
from typing import Any

import pytest

from pessimism.rollouts.read import read_rollouts
from tests.pessimism.rollouts.logs import write

Row = tuple[int, str, float]
PIECES = [
    *(
        "1_000",
        "١",
        "NaN",
        "Infinity",
        "null",
        "true",
        "1e999",
        "-0.0",
        "0x1",
        '"',
        "\\",
        "\n",
        "\r",
        "\r\n",
        ",",
        "{",
        "}",
    ),
    *(
        "[",
        "]",
        ":",
        "\x00",
        "\x1b[2J",
        "\u202e",
        "\u2028",
        "\ufeff",
        "\ud800",
        '"reward": 2, ',
        '"prompt": "z", ',
        "=1+1",
    ),
    *("9007199254740993", "1.5", "", " ", "\t", "step", "reward", "é", "9" * 400),
]
NUMBER = re.compile(r"[ \t]*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?[ \t]*")


def damaged(content: bytes, draw: random.Random) -> bytes:
    """A log with a few accidents: bits flipped, pieces inserted, stretches lost, doubled or moved."""
    for _ in range(draw.choice((0, 1, 1, 2, 3, 8))):
        at = draw.randrange(len(content) + 1)
        end = min(len(content), at + draw.choice((1, 1, 3, 10, 40)))
        piece = draw.choice(PIECES).encode("utf-8", "surrogatepass")
        content = draw.choice(
            (
                content[:at] + piece + content[at:],
                content[:at] + piece + content[end:],
                content[:at] + content[end:],
                content[:end] + content[at:],
                content[:at] + bytes(b ^ (1 << draw.randrange(8)) for b in content[at:end]) + content[end:],
                content[:at],
            )
        )
    return content


def unicode_text(text: str) -> bool:
    return not any("\ud800" <= c <= "\udfff" for c in text)


def keys_of(line: bytes) -> list[str]:
    """The keys of a line that is a JSON object, each of them once."""
    try:
        keys = [key for key, _ in json.loads(line.decode(), object_pairs_hook=list)]
    except (ValueError, TypeError, RecursionError):
        return []
    return keys if len(set(keys)) == len(keys) else []


def of_json(content: bytes) -> tuple[list[Row], int]:
    """Read JSON lines of integers, texts and floats as plainly as can be: the rows, and how many lines are none."""
    found, bad = [], 0
    dated = any(
        "step" in keys_of(line) for line in content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    )  # else all are 0
    for number, line in enumerate(content.split(b"\n")):
        raw = line.removeprefix(b"\xef\xbb\xbf") if not number else line
        if not raw or raw.isspace():
            continue
        try:
            pairs = json.loads(raw.strip(b" \t\r\n\f\v").decode(), object_pairs_hook=list)
            record = dict(pairs)
            assert len(record) == len(pairs)
            assert raw.lstrip().startswith(b"{")
            step, prompt, reward = record["step"] if dated else 0, record["prompt"], record["reward"]
            step = float(step) if isinstance(step, str) and NUMBER.fullmatch(step) else step
            assert type(step) in (int, float)
            assert -(2**63) <= step < 2**63
            assert step == int(step)
            assert type(step) is int or abs(step) <= 2**53
            assert type(reward) in (int, float, bool)
            assert math.isfinite(float(reward))
            assert type(prompt) is str
            assert unicode_text(prompt)
        except (AssertionError, KeyError, ValueError, OverflowError, RecursionError, TypeError):
            bad += 1
        else:
            found.append((int(step), prompt, float(reward)))
    return found, bad


def of_csv(content: bytes) -> list[Row] | None:
    """Read a CSV file whose quotes are in order; None where they are not, or the header is not what it was."""
    text = content.removeprefix(b"\xef\xbb\xbf").decode(errors="surrogateescape")
    if "\r" in text.replace("\r\n", ""):  # which ends no line
        return None
    try:
        header, *rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    except (csv.Error, ValueError):
        return None
    if sorted(header) != ["prompt", "reward", "step"]:
        return None
    found = []
    for fields in rows:
        record = dict(zip(header, fields, strict=False))
        if len(fields) != 3 or not record["prompt"] or not unicode_text(record["prompt"]):
            continue
        reward = {"true": "1", "false": "0"}.get(record["reward"].strip().lower(), record["reward"])
        step = record["step"]
        if not NUMBER.fullmatch(reward.strip(" \t\r\n")) or not NUMBER.fullmatch(step.strip(" \t\r\n")):
            continue
        try:
            whole = int(step)
        except ValueError:
            if not math.isfinite(float(step)) or float(step) != int(float(step)) or abs(float(step)) > 2**53:
                continue
            whole = int(float(step))
        if math.isfinite(float(reward)) and -(2**63) <= whole < 2**63:
            found.append((whole, record["prompt"], float(reward)))
    return found


def read(path: Path, **options: Any) -> tuple[list[Row], int] | str:
    try:
        frame = read_rollouts(path, **options)
    except ValueError as error:
        said = str(error)
        assert str(path) in said
        assert "\n" not in said
        assert len(said) < 2000
        return said
    return list(frame.astype({"prompt": "str"}).itertuples(index=False, name=None)), frame.attrs["skipped"]


def rows_of(draw: random.Random) -> list[Row]:
    prompts = ["a", "2 + 2 = ?", "a,b", 'say "x"', "two\nlines", "=SUM(A1)", "é\u202e", "-3"]
    return [
        (draw.randrange(3), draw.choice(prompts), draw.choice((0.0, 1.0, -0.5, 1e-300, draw.random())))
        for _ in range(draw.randrange(1, 8))
    ]


def attack(seed: int, folder: Path) -> str:
    """Damage one log, read it, and compare; say how it went."""
    draw = random.Random(seed)
    suffix = draw.choice(("jsonl", "csv", "parquet"))
    path = write(folder / f"log.{suffix}", rows_of(draw))
    whole = read(path)
    content = damaged(path.read_bytes(), draw)
    path.write_bytes(content)
    strict, lenient = read(path), read(path, skip_bad=True)
    if not isinstance(strict, str):
        assert lenient == strict, seed
        assert strict[1] == 0
    if suffix == "jsonl":
        expected, bad = of_json(content)
        if isinstance(lenient, str):
            # Columns are chosen among those that are there; without any row there is nothing to return.
            assert not expected or "_column" in lenient or "times" in lenient or "stands" in lenient, (seed, lenient)
        elif b'"input"' not in content:
            assert repr(lenient) == repr((expected, bad)), seed
            assert isinstance(strict, str) == bool(bad), seed
    elif suffix == "csv":
        expected_rows = of_csv(content)
        if expected_rows is not None and not isinstance(lenient, str):
            assert repr(lenient[0]) == repr(expected_rows), seed
    elif not isinstance(strict, str) and not isinstance(whole, str) and content == path.read_bytes():
        # Parquet has no checksum of its values: what is read is a table of the right types.
        assert all(math.isfinite(reward) for _, _, reward in strict[0])
    return f"{suffix} {'refused' if isinstance(strict, str) else 'read'}"


@pytest.mark.parametrize("block", range(4))
def test_damaged_logs_are_read_right_or_refused(block: int, tmp_path: Path) -> None:
    ends = {attack(seed, tmp_path) for seed in range(100 * block, 100 * (block + 1))}
    assert {"jsonl read", "jsonl refused", "csv read", "csv refused", "parquet refused"} <= ends


@pytest.mark.slow
def test_thousands_of_damaged_logs_are_read_right_or_refused(tmp_path: Path) -> None:
    assert len({attack(seed, tmp_path) for seed in range(10_000, 20_000)}) == 6
