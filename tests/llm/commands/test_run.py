"""Files that a command writes, and what a terminal shows of its frames."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from llm.commands.run import SHOWN, intervals, require_writable, table, write


def test_a_file_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is a folder: name a file$"):
        require_writable(str(tmp_path))
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"^out \S+ cannot be written \("):
        require_writable(str(tmp_path / "file" / "x.csv"))
    require_writable(None)
    require_writable(str(tmp_path / "new" / "x.csv"))
    assert list((tmp_path / "new").iterdir()) == []


def test_a_frame_is_written_where_a_file_is_named(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1, 2]})
    write(frame, str(tmp_path / "x.csv"))
    write(frame, None)
    assert (tmp_path / "x.csv").read_text() == "a\n1\n2\n"


def test_the_table_has_a_row_for_each_prompt_and_each_note_once() -> None:
    row = dict.fromkeys(SHOWN, 0.25) | {"kind": "prompt", "kappa_fit_error": 0.5, "note": "no signal"}
    rows = [row | {"prompt": "1+1="}, row | {"prompt": "1+2="}, row | {"kind": "pooled", "prompt": "", "note": None}]
    frame = pd.DataFrame(rows)
    frame.attrs = {"objective": "kimi(beta=0.5)", "group_size": 4, "exact": True}
    first, heads, *lines = table(frame).splitlines()
    assert first == "kimi(beta=0.5), groups of 4; completions enumerated"
    assert heads.split() == list(SHOWN)
    assert [line.split()[0] for line in lines] == ["1+1=", "1+2=", "pooled", "no"]
    assert all("0.250 ± 0.500" in line for line in lines[:3])


def test_the_table_does_not_control_a_terminal() -> None:
    row = dict.fromkeys(SHOWN, 0.25) | {"kind": "prompt", "kappa_fit_error": 0.5, "note": "\x1b[31mred"}
    frame = pd.DataFrame([row | {"prompt": "a\x1b[2J\u202e\nb"}, row | {"kind": "pooled", "prompt": ""}])
    frame.attrs = {"objective": "kimi(beta=0.5)", "group_size": 4, "exact": True}
    shown = table(frame)
    assert shown.count("\n") == 4
    assert r"a\x1b[2J\u202e\nb" in shown
    assert all(character == "\n" or character.isprintable() for character in shown)


def test_intervals_are_those_of_the_summary() -> None:
    found = {"prompts": 3, "samples": 4, "a": 0.5, "a_low": 0.25, "a_high": 0.75, "b": 1.0}
    lines = intervals(pd.DataFrame([found])).splitlines()[1:]
    assert [line.split() for line in lines] == [["a", "0.500", "[0.250,", "0.750]"]]
