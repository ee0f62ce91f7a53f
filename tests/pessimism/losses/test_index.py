"""The index of objectives: facts of the registry beside what was measured, in words of the routes."""

from __future__ import annotations

import pytest

import pessimism as ps
from pessimism.losses import index
from pessimism.losses.registry import objectives


def test_a_description_tells_the_routes_and_the_share_that_they_solved() -> None:
    kimi = index.described(objectives()["kimi"])
    entry = index.measured()["kimi"]
    for route, name in index.ROUTES.items():
        assert f"{name} {entry['routes'][route]['worst']:.0e} " in kimi["verified"]
        assert f"({entry['routes'][route]['compared']}/{entry['problems']}" in kimi["verified"]
    assert kimi["defaults"] == "beta=0.01"
    assert (kimi["sampling"], index.described(objectives()["luffy"])["sampling"]) == ("off-policy", "mixed")


def test_what_was_not_measured_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "measured", dict)
    found = index.described(objectives()["kimi"])
    assert (found["regime"], found["verified"]) == ("not measured", "not measured")


def test_the_table_has_a_row_for_each_and_its_bars_are_escaped() -> None:
    lines = index.markdown().splitlines()
    assert len(lines) == 2 + len(objectives())
    bars = {line.replace("\\|", "").count("|") for line in lines}
    assert len(bars) == 1


def test_every_measured_route_is_within_its_tolerance() -> None:
    assert set(index.measured()) == set(ps.objectives())
    for name, entry in index.measured().items():
        for route, one in entry["routes"].items():
            assert one["compared"] <= entry["problems"]
            assert one["compared"] or one["why"], f"{name}: nothing is said of {route}"
            assert not one["compared"] or one["worst"] <= index.TOLERANCES[route], f"{name}: {route}"
        assert sum(one["compared"] for one in entry["routes"].values()), f"{name}: no route at all"
