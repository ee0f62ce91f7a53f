"""Records of CSV: where each starts, in one piece or in many, and what is no CSV."""

from __future__ import annotations

from pathlib import Path

import pytest

from pessimism.rollouts import csv_files
from pessimism.rollouts.csv_files import csv_chunks, csv_table

Bad = list[tuple[str, object, int]]
TEXT = 'a,b\n1,2\n\n"x\n\ny",3\n4\n"5",6,7\n'


def _table(path: Path) -> tuple[list[str], list[tuple[int, list[str]]], Bad]:
    found: Bad = []
    with csv_table(path, lambda *what: found.append(what)) as (header, records):
        return header, list(records), found


@pytest.mark.parametrize("together", [1, 2, 64])
def test_each_record_has_the_line_on_which_it_starts(
    together: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_files, "_TOGETHER", together)
    path = tmp_path / "log.csv"
    path.write_text(TEXT)
    records = [(2, ["1", "2"]), (4, ["x\n\ny", "3"]), (7, ["4"]), (8, ["5", "6", "7"])]
    assert _table(path) == (["a", "b"], records, [])
    with csv_chunks(path, lambda *_: None) as (_, chunks):
        seen = [(list(lines), fields) for lines, fields, _ in chunks]
    assert [line for lines, _ in seen for line in lines] == [2, 3, 4, 7, 8]
    assert max(len(fields) for _, fields in seen) == min(together, 5)


@pytest.mark.parametrize("together", [1, 64])
def test_what_is_no_csv_counts_with_all_its_lines(
    together: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_files, "_TOGETHER", together)
    path = tmp_path / "log.csv"
    path.write_text('a,b\n1,2\n"x"y,3\n4,5\n"open,6\n7,8\n')
    header, records, bad = _table(path)
    assert (header, records) == (["a", "b"], [(2, ["1", "2"]), (4, ["4", "5"])])
    assert [(place, lines) for place, _, lines in bad] == [(f"{path}:3", 1), (f"{path}:5", 2)]


def test_a_file_without_a_header_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("")
    with pytest.raises(ValueError, match=r"log\.csv: the file is empty, without a header line$"):
        _table(path)
    path.write_text("\na,b\n")
    with pytest.raises(ValueError, match=r"log\.csv:1: no header line"):
        _table(path)
    path.write_text('"a"b\n1\n')
    with pytest.raises(ValueError, match=r"log\.csv:1: bad CSV header"):
        _table(path)


def test_fields_may_be_longer_than_those_of_the_csv_module_and_its_limit_comes_back(tmp_path: Path) -> None:
    before = csv_files.csv.field_size_limit()
    path = tmp_path / "log.csv"
    path.write_text(f"a\n{'x' * (before + 1)}\n")
    assert len(_table(path)[1][0][1][0]) == before + 1
    assert csv_files.csv.field_size_limit() == before
