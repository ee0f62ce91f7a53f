"""Lists of numbers on the command line."""

from __future__ import annotations

import pytest

from pessimism.cli.problems import parse_numbers


@pytest.mark.parametrize("text", ["0.4,0.6", "[0.4, 0.6]", " 4e-1 ,.6 "])
def test_spellings_of_a_list(text: str) -> None:
    assert parse_numbers("--behavior", text) == [0.4, 0.6]


@pytest.mark.parametrize(("text", "wrong"), [("0.4,x", "x"), ("0.4,,0.6", ""), ("0.4 0.6", "0.4 0.6"), ("", "")])
def test_the_entry_that_is_no_number_is_named(text: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=f"^--behavior must be numbers separated by commas, got '{wrong}'$"):
        parse_numbers("--behavior", text)
