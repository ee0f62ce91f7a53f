"""What a parquet file unpacks to is read off its pages, whatever its footer says."""

from __future__ import annotations

import random
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pessimism.cli.problem_files import read_problems
from pessimism.rollouts import formats, parquet_pages
from pessimism.rollouts.parquet_pages import unpacked
from pessimism.rollouts.read import read_rollouts

ROWS = 5000
TABLE = pa.table(
    {
        "prompt": pa.array([f"{i % 7} {'x' * 50}" for i in range(ROWS)]),
        "reward": np.random.default_rng(0).uniform(size=ROWS),
        "messages": pa.array([[{"role": "user", "content": f"{i % 3}"}] for i in range(ROWS)]),
        "log_probs": pa.array([[-1.0] * (i % 5) for i in range(ROWS)]),
    }
)
WRITERS: dict[str, dict[str, Any]] = {
    "as usual": {},
    "plain": {"use_dictionary": False},
    "zstd": {"compression": "zstd"},
    "uncompressed": {"compression": None, "use_dictionary": False},
    "new pages": {"data_page_version": "2.0"},
    "small groups": {"row_group_size": 100},
    "small pages": {"data_page_size": 1000},
    "with an index": {"write_page_index": True, "write_page_checksum": True},
    "no statistics": {"write_statistics": False},
    "old": {"version": "1.0"},
}


def footer(content: bytes) -> tuple[int, int]:
    """Where the footer of a file begins and ends."""
    length = struct.unpack("<I", content[-8:-4])[0]
    return len(content) - 8 - length, len(content) - 8


def varint(number: int, length: int = 1) -> bytes:
    """A number of Thrift's compact protocol, padded to a length as no writer does but every reader takes."""
    number, found = number << 1, list[int]()
    while number > 127 or len(found) < length - 1:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])


def lying(path: Path, old: int, new: int) -> None:
    """Replace a number in the footer."""
    content = path.read_bytes()
    start, end = footer(content)
    said = varint(old)
    assert content[start:end].count(said) >= 1
    path.write_bytes(content[:start] + content[start:end].replace(said, varint(new, len(said))) + content[end:])


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("name", [*TABLE.column_names, None])
def test_an_honest_footer_says_the_same(writer: str, name: str | None, tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    pq.write_table(TABLE, path, **WRITERS[writer])
    about = pq.read_metadata(path)
    chunks = [about.row_group(g).column(c) for g in range(about.num_row_groups) for c in range(about.num_columns)]
    chunks = [chunk for chunk in chunks if name in (None, chunk.path_in_schema.split(".")[0])]
    found = unpacked(path, None if name is None else [name])
    values = 8 * sum(chunk.num_values for chunk in chunks)
    said = sum(chunk.total_uncompressed_size for chunk in chunks)  # headers included, a value of a bit as a bit
    assert max(0.8 * said, values) <= found.size <= said + values
    if name == "reward" and writer in ("plain", "uncompressed"):
        assert 8 * ROWS <= found.size <= 8 * ROWS + 1000
    texts = {"prompt", "messages"} if name is None else {"prompt", "messages"} & {name}
    assert set(found.dictionaries) == (set() if writer in ("plain", "uncompressed") else texts)


def test_the_footer_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log.parquet"
    table = pa.table({"prompt": pa.array(["a" * 200_000] * 60), "reward": [1.0] * 60})
    pq.write_table(table, path, compression="zstd", use_dictionary=False)
    size = pq.read_metadata(path).row_group(0).total_byte_size
    lying(path, size, 1000)
    assert pq.read_metadata(path).row_group(0).total_byte_size == 1000
    assert len(pq.read_table(path)) == 60  # nobody else minds
    monkeypatch.setattr(formats, "UNPACKED", 2**20)
    for read in (read_rollouts, read_problems):
        with pytest.raises(ValueError, match=r"bytes that unpack to 0.0112 GiB, more than 0 GiB and 100 times as many"):
            read(path)


def test_few_rows_in_the_footer_and_long_lists_in_the_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of a million equal numbers takes a few bytes, and one row."""
    path = tmp_path / "problems.parquet"
    lists = pa.array([np.full(2**20, 2.0**-20)])
    pq.write_table(pa.table({"behavior": lists, "reward": lists}), path, compression="zstd")
    assert path.stat().st_size < 2**17
    assert unpacked(path).size >= 2**24
    monkeypatch.setattr(formats, "UNPACKED", 2**20)
    with pytest.raises(ValueError, match="bytes that unpack to"):
        read_problems(path)


@pytest.mark.parametrize("nested", [True, False])
def test_a_text_of_a_dictionary_does_not_fill_the_memory(
    nested: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, text = 64, "a" * 50_000
    path = tmp_path / "log.parquet"
    prompts = [[{"role": "user", "content": text}]] * rows if nested else [text] * rows
    pq.write_table(pa.table({"prompt": prompts, "reward": [float(i % 2) for i in range(rows)]}), path)
    assert unpacked(path).dictionaries == {"prompt": pytest.approx(50_004, abs=20)}
    monkeypatch.setattr(formats, "UNPACKED", 500_000)
    taken = []
    batches = pq.ParquetFile.iter_batches

    def counted(self: Any, size: int, **named: Any) -> Any:
        taken.append(size)
        return batches(self, size, **named)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", counted)
    log = read_rollouts(path)
    assert taken == [9 if nested else formats.BATCH]  # a plain prompt stays the number of its entry
    assert len(log) == rows
    assert log["reward"].sum() == rows / 2


def test_problems_of_one_text_in_many_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "problems.parquet"
    text = ",".join(["0.001"] * 1000)
    pq.write_table(pa.table({"behavior": [text] * 500, "reward": [text] * 500}), path)
    assert len(read_problems(path)) == 500
    monkeypatch.setattr(formats, "UNPACKED", 2**20)
    with pytest.raises(ValueError, match=f"^{path}: unpacks to more than"):
        read_problems(path)


def test_damage_is_a_value_error(tmp_path: Path) -> None:
    path, draw = tmp_path / "log.parquet", random.Random(0)
    pq.write_table(TABLE.slice(0, 200), path, data_page_size=500)
    whole = path.read_bytes()
    start, end = footer(whole)
    refused = 0
    for trial in range(1500):
        content = bytearray(whole)
        for _ in range(draw.choice((1, 1, 2, 5))):
            content[draw.randrange(start if trial % 2 else 4, end + 8)] = draw.randrange(256)
        path.write_bytes(content[: draw.randrange(len(content))] if trial % 10 == 0 else content)
        try:
            unpacked(path)
        except ValueError:
            refused += 1
    assert 300 < refused < 1500


@pytest.mark.parametrize(
    "header",
    [
        b"\x1c" * 1000,  # structs in structs
        b"\x19\xf9" * 500,  # lists of lists
        b"\x19\xfc\xff\xff\xff\xff\xff\xff\xff\xff\x7f",  # a list that is as long as no memory
        b"\x18\xff\xff\xff\xff\xff\xff\xff\xff\x7f",  # a text, likewise
        b"\x1b\xff\xff\xff\xff\xff\xff\xff\xff\x7f\x55",  # a mapping
        b"\x15" + b"\xff" * 11,  # a number without an end
        b"\x1d\x00",  # of no type
        b"",
    ],
)
def test_a_footer_that_is_none(header: bytes, tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    path.write_bytes(b"PAR1" + header + struct.pack("<I", len(header)) + b"PAR1")
    with pytest.raises(ValueError, match=r"^(a header|a number of a header) "):
        unpacked(path)


def test_a_file_that_is_too_short(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    for content in (b"", b"PAR1", b"PAR1\0\0\0\0PAR2", b"PAR1\xff\0\0\0PAR1"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="^no parquet footer$"):
            unpacked(path)


def test_more_pages_than_any_writer_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log.parquet"
    pq.write_table(TABLE, path, row_group_size=100)
    monkeypatch.setattr(parquet_pages, "_PAGES", 100)
    with pytest.raises(ValueError, match="^more than 100 pages$"):
        unpacked(path)
