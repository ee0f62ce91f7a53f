"""The studies by name: what each finds, and the page that has every one once."""

from __future__ import annotations

import pytest

from analysis import studies
from tests.smoke import smoke


@pytest.mark.parametrize("name", studies.NAMES)
def test_what_is_found_is_short_and_says_a_number(name: str) -> None:
    frame, study = smoke(name), studies.study(name)
    assert len(study.headline(frame)) <= 160
    said = study.finding(frame)
    assert any(letter.isdigit() for letter in said)
    assert "nan" not in said
    assert said.endswith(".")


def test_the_page_has_every_study_once() -> None:
    page = studies.PAGE.read_text(encoding="utf-8")
    assert [line.split("`")[1] for line in page.splitlines() if line.startswith("`")] == list(studies.NAMES)


def test_an_unknown_study_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown study 'nonsense'; known: lambert_tempering, "):
        studies.study("nonsense")


def test_parameters_given_win_over_the_quick_ones() -> None:
    quick = studies.study("lag").smoke
    name = next(iter(quick))
    assert studies.parameters("lag", smoke=True)[name] == quick[name]
    assert studies.parameters("lag", smoke=True, **{name: "mine"})[name] == "mine"
    assert studies.parameters("lag")[name] != quick[name]
    with pytest.raises(TypeError, match="nonsense"):
        studies.parameters("lag", nonsense=1)
