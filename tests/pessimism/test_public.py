"""The public surface: names, documentation, serialisation."""

from __future__ import annotations

import inspect
import pickle
import pkgutil
from typing import Any

import pytest

import pessimism as ps


@pytest.mark.parametrize("name", ps.__all__)
def test_public_names_are_documented(name: str) -> None:
    item = getattr(ps, name)
    text = inspect.getdoc(item) or ""
    assert len(text.splitlines()[0]) > 20
    # An example for everything that is called on its own.
    base_or_result = name in ("Objective", "InducedTarget", "StationaryPoint", "Logs")
    assert base_or_result or "Examples\n--------\n>>> " in text


def test_dir_lists_the_public_names_only() -> None:
    assert dir(ps) == sorted(ps.__all__)
    assert len(set(ps.__all__)) == len(ps.__all__)
    assert all(getattr(ps, name).__name__ == name for name in ps.__all__)


def test_a_star_import_brings_them_all() -> None:
    brought: dict[str, Any] = {}
    exec("from pessimism import *", brought)
    assert {name for name in brought if name != "__builtins__"} == set(ps.__all__)


def test_no_public_name_is_also_that_of_a_module() -> None:
    assert not {module.name for module in pkgutil.iter_modules(ps.__path__)} & set(ps.__all__)


def test_classes_and_functions_pickle_by_name() -> None:
    for name in ps.__all__:
        item = getattr(ps, name)
        assert pickle.loads(pickle.dumps(item)) is item


def test_all_is_complete() -> None:
    for name in (
        "induced_target",
        "nominal_target",
        "stationary_points",
        "effective_temperature",
        "objectives",
        "diagnose",
    ):
        assert callable(getattr(ps, name))
    for cls in ps.objectives().values():
        assert cls.__name__ in ps.__all__
