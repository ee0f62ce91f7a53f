"""Every objective has a short name of its own for people."""

from __future__ import annotations

import pessimism as ps
from analysis.names import display_name


def test_names_are_different_short_and_can_be_joined_by_commas() -> None:
    names = [display_name(name) for name in ps.objectives()]
    assert len(set(names)) == len(names)
    assert max(map(len, names)) <= 22
    assert not any("," in name or "_" in name for name in names)


def test_one_that_is_not_registered_keeps_its_name() -> None:
    assert display_name("mine") == "mine"
