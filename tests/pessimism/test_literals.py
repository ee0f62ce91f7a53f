"""Numbers in texts."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pessimism.literals import real, whole

WRONG = [
    "",
    " ",
    "1_000",
    "1_0",
    "١",
    "１",
    "²",
    "0x10",
    "1,5",
    "1e",
    "e5",
    ".",
    "--1",
    "1 0",
    "\u20031",
    "nan1",
    "1\x00",
]


@pytest.mark.parametrize("read", [real, whole])
@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_number_is_refused(read: Callable[[str], float], text: str) -> None:
    with pytest.raises(ValueError, match=r"^not an? (number|integer)$"):
        read(text)


@given(st.floats())
def test_every_float_comes_back(number: float) -> None:
    assert real(repr(number)) == number or math.isnan(number)


@given(st.integers())
def test_every_integer_comes_back(number: int) -> None:
    assert whole(f" {number}\r\n") == number


@pytest.mark.parametrize(("text", "number"), [("1.", 1.0), (".5", 0.5), ("+1E+2", 100.0), ("-Inf", -math.inf)])
def test_other_spellings_of_a_number(text: str, number: float) -> None:
    assert real(text) == number


@pytest.mark.parametrize("text", ["1.0", "1e3", "9" * 4001])
def test_what_is_no_integer_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not an integer"):
        whole(text)


@pytest.mark.parametrize(
    "text", ["1" * 10**6 + "x", "1." + "1" * 10**6 + "x", "." + "1" * 10**6 + "x", "1e" + "1" * 10**6 + "x"]
)
def test_a_long_text_that_is_no_number_is_refused_in_one_pass(text: str) -> None:
    with pytest.raises(ValueError, match="^not a number$"):  # hours where digits are tried one by one
        real(text)
