"""The style: a look for every objective, a context that ends, sizes of a paper."""

from __future__ import annotations

import matplotlib as mpl
from matplotlib.colors import to_rgb

import pessimism as ps
from figures.style import FAMILIES, LOOKS, context, look, size


def test_every_objective_has_a_look_of_its_own() -> None:
    assert set(LOOKS) == set(ps.objectives())
    assert len({(entry.color, str(entry.linestyle)) for entry in LOOKS.values()}) == len(LOOKS)
    assert len({(entry.color, entry.marker) for entry in LOOKS.values()}) == len(LOOKS)
    assert len({(str(entry.linestyle), entry.marker) for entry in LOOKS.values()}) == len(LOOKS)  # never by color alone
    heads = [look(names[0]) for names in FAMILIES.values()]
    assert {entry.linestyle for entry in heads} == {"-"}
    assert len({entry.marker for entry in heads}) == len(FAMILIES)
    assert all(to_rgb(entry.color) for entry in LOOKS.values())
    assert look("mine").color not in {entry.color for entry in LOOKS.values()}


def test_the_style_ends_with_its_context() -> None:
    before = dict(mpl.rcParams)
    with mpl.rc_context({"font.size": 30}), context():
        assert mpl.rcParams["font.size"] < 10
    assert dict(mpl.rcParams) == before


def test_sizes_are_those_of_a_two_column_paper() -> None:
    assert (size(1)[0], size(2)[0]) == (3.25, 6.75)
