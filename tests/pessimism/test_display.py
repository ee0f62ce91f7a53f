"""Text and tables of results: escaping, shares that add up, medians of what is known."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np

from pessimism.display import as_call, html_table, median, shares, short


def test_a_table_is_well_formed_whatever_it_holds() -> None:
    table = ElementTree.fromstring(html_table([("<a>", "b & c", 0.5)], header=["", '"x"', "y"], caption="1 < 2"))
    assert [cell.text or "" for cell in table.iter() if cell.tag in ("th", "td")] == [
        "",
        '"x"',
        "y",
        "<a>",
        "b & c",
        "0.5",
    ]
    assert table.findtext("caption") == "1 < 2"
    assert html_table([]) == "<table></table>"


def test_shares_are_rounded_without_hiding_anything() -> None:
    assert shares(np.array(["b", "a", "b"])) == "b 67%, a 33%"
    assert shares(np.array("a")) == "a 100%"
    assert shares(["a"] * 499 + ["b"]) == "a >99%, b <1%"
    assert shares([]) == ""


def test_numbers_in_text() -> None:
    assert [short(x) for x in (1 / 3, np.float32(0.25), np.array(1e-9), 7, None)] == [
        "0.3333",
        "0.25",
        "1e-09",
        "7",
        "None",
    ]
    assert short(np.arange(100.0)) == "[ 0.  1.  2. ... 97. 98. 99.]"
    assert median([[1.0, np.nan], [2.0, 6.0]]) == "2"
    assert as_call("A", []) == "A()"
