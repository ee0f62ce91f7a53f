"""Values and errors in a message of one line."""

from __future__ import annotations

import pytest

from pessimism.messages import one_line, reason, show


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "null"), ("a", "'a'"), (1.5, "1.5"), ("x" * 38, repr("x" * 38)), ("x" * 39, "'" + "x" * 36 + "...")],
)
def test_a_value_is_quoted_in_at_most_40_characters(value: object, text: str) -> None:
    assert show(value) == text
    assert len(show(value)) <= 40


def test_an_error_of_several_lines_is_one() -> None:
    assert one_line(ValueError("first\n   second\t third")) == "first second third"
    assert len(one_line(ValueError("word " * 100))) <= 120


def test_why_a_file_failed_is_what_the_system_says_or_else_the_text() -> None:
    assert reason(OSError(28, "No space left on device", "out.csv")) == "No space left on device"
    assert reason(OSError("cannot\nseek")) == "cannot seek"
    assert reason(ValueError("embedded null byte")) == "embedded null byte"
