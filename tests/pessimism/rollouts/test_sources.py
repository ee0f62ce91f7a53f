"""What is given as a log, what of it is read and in which order, and what is unpacked."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from datasets import Dataset, DatasetDict

from pessimism.rollouts import sources
from pessimism.rollouts.read import read_rollouts
from tests.pessimism.rollouts.logs import ROWS, message, tuples, write

NAMES = ("step", "prompt", "reward")
RECORDS = [dict(zip(NAMES, row, strict=True)) for row in ROWS]


def zstd(content: bytes) -> bytes:
    return bytes(pa.Codec("zstd").compress(content, asbytes=True))


def read(source: Any, **options: Any) -> list[str]:
    """Names of the files read."""
    return [Path(name).name for name in read_rollouts(source, **options).attrs["files"]]


def test_subfolders_in_natural_order_and_what_is_passed_over(tmp_path: Path) -> None:
    for name in ("step_10/a.jsonl", "step_9/b.csv", "step_9/.hidden.jsonl", ".old/c.jsonl", "0.parquet"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write(tmp_path / name)
    (tmp_path / "step_9" / "notes.md").write_text("x")
    (tmp_path / "LICENSE").write_text("x")
    (tmp_path / "config.json").write_text('{"lr": 1}')
    (tmp_path / "link").symlink_to(tmp_path / "step_9")
    frame = read_rollouts(tmp_path)
    assert [os.path.relpath(name, tmp_path) for name in frame.attrs["files"]] == [
        "0.parquet",
        "step_9/b.csv",
        "step_10/a.jsonl",
    ]
    passed = {os.path.relpath(name, tmp_path): why for name, why in frame.attrs["passed_over"].items()}
    assert passed == {
        "step_9/notes.md": "'.md' is not the suffix of a log",
        "LICENSE": "has no suffix",
        "link": "is a link to a folder",
        "config.json": "no column of a prompt",
    }


def test_a_folder_without_a_log_is_an_error_and_a_file_asked_for_by_name_too(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"lr": 1}')
    good = write(tmp_path / "log.jsonl")
    assert read(tmp_path) == ["log.jsonl"]
    assert "there is no prompt or input column; columns found" in message([good, path])
    good.unlink()
    assert "there is no prompt or input column" in message(tmp_path)
    path.unlink()
    assert message(tmp_path).startswith(f"{tmp_path}: no file with a known suffix")


def test_a_log_without_a_column_that_was_named_is_no_foreign_file(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl")
    write(tmp_path / "b.jsonl", [("p", 1.0)], ("prompt", "reward"))
    assert "step_column 'step' is not a column" in message(tmp_path, step_column="step")


def test_patterns(tmp_path: Path) -> None:
    for name in ("run_1/a.jsonl", "run_1/sub/b.jsonl", "run_10/c.jsonl", "run_2/d.jsonl", "other/e.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write(tmp_path / name)
    assert read(f"{tmp_path}/run_*/*.jsonl") == ["a.jsonl", "d.jsonl", "c.jsonl"]
    assert read(tmp_path / "run_*") == ["a.jsonl", "b.jsonl", "d.jsonl", "c.jsonl"]
    assert read(f"{tmp_path}/run_1/**/*.jsonl") == ["a.jsonl", "b.jsonl"]
    assert message(f"{tmp_path}/run_?/*.csv") == f"{tmp_path}/run_?/*.csv: no such file or folder"
    odd = tmp_path / "[1]"
    odd.mkdir()
    write(odd / "a*.jsonl")
    assert read(odd) == read(odd / "a*.jsonl") == ["a*.jsonl"]  # what is there is no pattern


def test_several_paths_in_their_order_each_once(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a.jsonl"), write(tmp_path / "b.csv")
    frame = read_rollouts([b, str(a), tmp_path])
    assert [Path(name).name for name in frame.attrs["files"]] == ["b.csv", "a.jsonl"]
    assert frame.attrs["passed_over"] == {str(a): "was there already", str(b): "was there already"}
    assert message([]) == "no file is given"
    assert message([a, tmp_path / "no.csv"]) == f"{tmp_path / 'no.csv'}: no such file or folder"
    assert message([3, a]) == "the list: has no records"
    assert message(3).startswith("the log is 3: give a frame")
    assert message({"prompt": ["a"]}).startswith("the log is {'prompt': ['a']}: give a frame")


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".json"])
@pytest.mark.parametrize("packed", [".gz", ".zst"])
def test_packed_files(tmp_path: Path, suffix: str, packed: str) -> None:
    path = tmp_path / f"log{suffix}"
    if suffix == ".json":
        path.write_text(json.dumps(RECORDS))
    else:
        write(path)
    content = path.read_bytes()
    path.unlink()
    half = len(content) // 2
    pack = gzip.compress if packed == ".gz" else zstd
    path = tmp_path / f"log{suffix}{packed}"
    path.write_bytes(pack(content[:half]) + pack(content[half:]))  # as tools that append write them
    assert tuples(read_rollouts(path)) == tuples(read_rollouts(tmp_path)) == ROWS


@pytest.mark.parametrize("packed", [".gz", ".zst"])
def test_packed_files_that_are_damaged(tmp_path: Path, packed: str) -> None:
    content = "".join(json.dumps(record | {"n": i}) + "\n" for i in range(5000) for record in RECORDS).encode()
    whole = (gzip.compress if packed == ".gz" else zstd)(content)
    path = tmp_path / f"log.jsonl{packed}"
    for damaged in (whole[: len(whole) // 2], b"nonsense" + whole, whole[:-50] + b"\xff" * 50):
        path.write_bytes(damaged)
        assert message(path, skip_bad=True).startswith(f"{path}: cannot be unpacked (")


@pytest.mark.parametrize("packed", [".gz", ".zst"])
def test_a_small_file_that_unpacks_to_a_huge_one_is_refused(
    tmp_path: Path, packed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "UNPACKED", 2**20)
    path = tmp_path / f"log.jsonl{packed}"
    content = b'{"prompt": "a", "reward": 1}\n' * 2**17
    path.write_bytes((gzip.compress if packed == ".gz" else zstd)(content))
    said = message(path)
    assert said == f"{path}: {path.stat().st_size} bytes that unpack to more than 0 GiB and 100 times as many"


def test_lists_of_records_and_frames_read_like_files() -> None:
    assert tuples(read_rollouts(RECORDS)) == ROWS
    assert read_rollouts(RECORDS).attrs["layouts"] == {"the list": "columns"}
    assert message([*RECORDS, 3]) == "row 4: 3 is no record"
    assert message([*RECORDS, {"prompt": "a"}]) == "row 4: missing key 'reward'"
    assert read_rollouts([*RECORDS, 3], skip_bad=True).attrs["skipped"] == 1
    assert message([1, 2]) == "the list: has no records"


def test_data_sets_and_folders_that_they_are_saved_to(tmp_path: Path) -> None:
    data = Dataset.from_list(RECORDS)
    assert tuples(read_rollouts(data)) == ROWS
    assert tuples(read_rollouts(data.filter(lambda row: row["step"] == 0))) == ROWS[:3]
    data.save_to_disk(tmp_path / "saved", num_shards=2)
    frame = read_rollouts(tmp_path / "saved")
    assert tuples(frame) == ROWS
    assert len(frame.attrs["files"]) == 2
    assert not frame.attrs["passed_over"]
    write(tmp_path / "saved" / "cache.jsonl")
    assert list(read_rollouts(tmp_path / "saved").attrs["passed_over"].values()) == ["is no part of the data set"]
    assert message(data.rename_column("prompt", "text")).startswith("prompt_column is required")
    both = DatasetDict({"train": data, "test": data})
    assert message(both) == "the data set has the splits train, test: give one of them"
    both.save_to_disk(tmp_path / "both")
    said = f"{tmp_path / 'both'}: has the splits test, train: name one of them, as in {tmp_path / 'both' / 'train'}"
    assert message(tmp_path / "both") == said
    assert tuples(read_rollouts(tmp_path / "both" / "train")) == ROWS
    assert "IterableDataset" in message(data.to_iterable_dataset())


def test_damaged_data_sets(tmp_path: Path) -> None:
    Dataset.from_list([record | {"text": "x" * 100} for record in RECORDS] * 50).save_to_disk(tmp_path)
    (path,) = tmp_path.glob("*.arrow")
    whole = path.read_bytes()
    for end in (0, 3, 200, len(whole) // 2, len(whole) - 300):
        path.write_bytes(whole[:end])
        assert message(tmp_path, skip_bad=True).startswith(f"{path}: ")
    path.unlink()
    assert message(tmp_path) == f"{tmp_path}: {path.name} of the data set is not there"
    (tmp_path / "state.json").write_text('{"_data_files": 3}')
    assert message(tmp_path) == f"{tmp_path / 'state.json'}: does not say which files the data set has"


@pytest.mark.parametrize("codec", [None, "zstd", "lz4"])
def test_compressed_batches_of_arrow_are_refused(tmp_path: Path, codec: Any) -> None:
    path = tmp_path / "log.arrow"
    table = pa.Table.from_pandas(pd.DataFrame(RECORDS))
    with pa.ipc.new_stream(str(path), table.schema, options=pa.ipc.IpcWriteOptions(compression=codec)) as writer:
        writer.write_table(table)
    if codec is None:
        assert tuples(read_rollouts(path)) == ROWS
    else:
        assert message(path) == f"{path}: is compressed inside, as save_to_disk of datasets writes nothing"
    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table)
    assert "is an Arrow file, not the stream" in message(path)


def test_offsets_that_lead_anywhere_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.arrow"
    table = pa.table({"prompt": ["abcd", "efgh"] * 9, "reward": [1.0, 0.0] * 9})
    with pa.ipc.new_stream(str(path), table.schema) as writer:
        writer.write_table(table)
    content = path.read_bytes()
    assert content.count((4).to_bytes(4, "little") + (8).to_bytes(4, "little")) == 1
    path.write_bytes(content.replace((4).to_bytes(4, "little") + (8).to_bytes(4, "little"), b"\xff\xff\xff\x7f" * 2))
    assert message(path).startswith(f"{path}: cannot be read from row 0 on (")
