"""Batches of rows as arrays: the same rows, and the same complaints, as one by one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import pessimism as ps
from pessimism.rollouts import columnar
from pessimism.rollouts.columnar import Gathered
from pessimism.rollouts.read import read_rollouts

PROMPTS = ["a", "b,\n2", "", 'say "x"', "ä\u2028", "7"]
REWARDS = [0, 1, 0.5, "1e3", "+2", ".5", "5.", " 1", "1_0", "inf", "nan", "", "true", "0x1", "１", "1\n", "--1", 2**70]
STEPS = [0, 1, -3, "+4", "2.0", "x", "", "9" * 30, True]


def _outcome(path: Path, **options: Any) -> object:
    try:
        frame = read_rollouts(path, **options)
    except ValueError as error:
        return str(error)
    rows = frame.assign(prompt=frame["prompt"].astype(str)).to_dict("list")
    return rows, frame["prompt"].cat.categories.tolist(), frame.attrs["skipped"]


def _logs(suffix: str, folder: Path, count: int) -> list[Path]:
    rng, paths = np.random.default_rng(0), []
    for number in range(count):
        odd = rng.random() < 0.5
        rows = []
        for _ in range(int(rng.integers(1, 9))):
            pick = [rng.integers(len(values) if odd else 2) for values in (STEPS, PROMPTS, REWARDS)]
            rows.append([values[i] for values, i in zip((STEPS, PROMPTS, REWARDS), pick, strict=True)])
        path = folder / f"{number}.{suffix}"
        if suffix == "csv":
            pd.DataFrame(rows, columns=["step", "prompt", "reward"]).to_csv(path, index=False)
        else:
            records = [dict(zip(("step", "prompt", "reward"), row, strict=True)) for row in rows]
            if odd:
                records[-1].pop("reward")
            path.write_text("\n".join(map(json.dumps, records)))
        paths.append(path)
    return paths


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
@pytest.mark.parametrize("together", [2, 4096])
def test_batches_say_what_rows_say(suffix: str, together: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = _logs(suffix, tmp_path, 150)
    monkeypatch.setattr(columnar, "_ROWS", together)
    found = [_outcome(path, skip_bad=skip) for path in paths for skip in (False, True)]
    monkeypatch.setattr(columnar, "add_clean", lambda *_: False)
    one_by_one = [_outcome(path, skip_bad=skip) for path in paths for skip in (False, True)]
    assert found == one_by_one
    assert 20 < sum(isinstance(outcome, str) for outcome in found) < 280


def test_what_is_beyond_doubt_is_taken_as_arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []

    def add_clean(*arguments: Any) -> bool:
        taken.append(columnar_add_clean(*arguments))
        return taken[-1]

    columnar_add_clean = columnar.add_clean
    monkeypatch.setattr(columnar, "add_clean", add_clean)
    for path in [_path for suffix in ("csv", "jsonl") for _path in _logs(suffix, tmp_path, 1)]:
        assert len(read_rollouts(path)) > 0
    assert taken == [True, True]


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_negative_zero_stays_one(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"log.{suffix}"
    path.write_text("prompt,reward\na,-0.0\n" if suffix == "csv" else '{"prompt": "a", "reward": -0.0}\n')
    assert np.signbit(read_rollouts(path)["reward"]).tolist() == [True]


def test_what_waits_is_bounded_by_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columnar, "_SIZE", 1000)
    most = [0]
    flush = Gathered.flush

    def watched(self: Gathered) -> None:
        most[0] = max(most[0], len(self.lines))
        flush(self)

    monkeypatch.setattr(Gathered, "flush", watched)
    path = tmp_path / "log.jsonl"
    path.write_text(f"{json.dumps({'prompt': 'p' * 300, 'reward': 1})}\n" * 50)
    assert len(read_rollouts(path)) == 50
    assert most[0] == 4


def test_the_first_fault_of_a_file_is_the_one_that_is_said(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text('prompt,reward\na,1\n"b\nb",x\nc,1,1\n"d')
    assert _outcome(path) == f"{path}:3: reward is 'x', not a number"
    path.write_text('prompt,reward\na,1\n"b\nb",0\nc,1,1\n"d')
    assert _outcome(path) == f"{path}:5: 3 fields, the header has 2"
    path.write_text('prompt,reward\na,1\n"b\nb",0\nc,1\n"d')
    assert str(_outcome(path)).startswith(f"{path}:6: bad CSV")
    rows, *_, skipped = _outcome(path, skip_bad=True)  # type: ignore[misc]
    assert (rows["prompt"], skipped) == (["a", "b\nb", "c"], 1)


def test_records_that_end_where_blocks_end_are_no_open_quote(tmp_path: Path) -> None:
    """64 records of 1,024 bytes fill each block of 65,536: many blocks, and never one record."""
    path = tmp_path / "log.csv"
    name = "reward".ljust(1023 - len("prompt,"), "x")
    path.write_text(f"prompt,{name}\n" + f"{'p' * 1021},1\n" * (64 * 300))
    assert len(ps.read_rollouts(path, reward_column=name)) == 64 * 300


@pytest.mark.parametrize("group", ["g", "g,h"])
@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet", "arrow", "frame"])
def test_a_group_without_an_id_is_malformed_in_every_format(suffix: str, group: str, tmp_path: Path) -> None:
    rows = pd.DataFrame({"prompt": "a", "reward": [1.0, 0.0, 0.5], "g": ["x", None, "x"], "h": ["y", "y", "z"]})
    path: Any = tmp_path / f"log.{suffix}"
    if suffix == "csv":
        rows.to_csv(path, index=False)
    elif suffix == "jsonl":
        rows.to_json(path, orient="records", lines=True)
    elif suffix == "parquet":
        rows.to_parquet(path)
    elif suffix == "frame":
        path = rows
    else:  # where the null is an entry of the dictionary
        coded = pa.DictionaryArray.from_arrays(pa.array([0, 1, 0]), pa.array(["x", None]))
        batch = pa.RecordBatch.from_pydict({**{n: pa.array(rows[n]) for n in ("prompt", "reward", "h")}, "g": coded})
        with pa.ipc.new_stream(path, batch.schema) as file:
            file.write_batch(batch)
    with pytest.raises(ValueError, match=r"(log\.csv:3|log\.jsonl:2|row 1): g is null"):
        read_rollouts(path, group_column=group)
    frame = read_rollouts(path, group_column=group, skip_bad=True)
    assert frame["reward"].tolist() == [1.0, 0.5]
    assert frame["group"].tolist() == ([0, 0] if group == "g" else [0, 1])
    assert frame.attrs["skipped"] == 1


def test_numbers_of_csv_are_the_nearest_floats_however_they_are_written(tmp_path: Path) -> None:
    """Python's float, which rounds correctly, is the other route: ties, subnormals, many digits, all exponents."""
    rng = np.random.default_rng(1)
    bits = rng.integers(0, 2**64, 3000, dtype=np.uint64).view(np.float64)
    texts = [repr(float(x)) for x in bits if np.isfinite(x)]
    texts += [f"{x:.{digits}e}" for x in rng.normal(size=50) for digits in range(1, 30)]
    texts += [
        "9007199254740993",
        "2.2250738585072011e-308",
        "5e-324",
        "1.7976931348623157e308",
        "0" * 30 + "1.5",
        "1e-400",
    ]
    path = tmp_path / "log.csv"
    path.write_text("prompt,reward\n" + "".join(f"a,{text}\n" for text in texts))
    found = read_rollouts(path)["reward"].to_numpy()
    assert found.tobytes() == np.array(list(map(float, texts))).tobytes()


def test_what_waits_of_a_csv_file_is_bounded_by_what_was_read_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Columns that are not kept count too: to within the block of 65,536 bytes that is read at once."""
    monkeypatch.setattr(columnar, "_SIZE", 2**17)
    most = [0]
    flush = Gathered.flush

    def watched(self: Gathered) -> None:
        most[0] = max(most[0], len(self.lines))
        flush(self)

    monkeypatch.setattr(Gathered, "flush", watched)
    path = tmp_path / "log.csv"
    path.write_text("prompt,reward,other\n" + f"{'p' * 5000},1,{'x' * 5000}\n" * 300)
    assert len(read_rollouts(path)) == 300
    assert 13 <= most[0] <= 64 + 26
