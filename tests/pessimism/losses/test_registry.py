"""The registry: objectives by name, one of one's own, and what a wrong name is told."""

from __future__ import annotations

import ast
import inspect
import sys
from dataclasses import fields

import pytest
from numpydoc.docscrape import NumpyDocString

import pessimism as ps
from pessimism.losses.registry import make_objective
from tests.helpers import (
    PROBLEMS,
    assert_log_policies_agree,
    cases,
    log_policy,
)

CASES = cases()


GENERIC = PROBLEMS["generic"]


every_objective = pytest.mark.parametrize("name", CASES)


@every_objective
def test_facts_and_text(name: str) -> None:
    objective = CASES[name]
    assert ps.objectives()[objective.name] is type(objective)
    assert str(objective).startswith(f"{objective.name}(")
    for fact in ("title", "paper", "formula", "induces"):
        assert getattr(objective, fact), fact
    assert objective.paper in (type(objective).__doc__ or "")


def test_errors_of_make_objective() -> None:
    with pytest.raises(ValueError, match="^unknown objective 'spo'; did you mean 'gspo'"):
        make_objective("spo")
    with pytest.raises(ValueError, match="^objective 'kimi' has no hyper-parameter 'gamma'; it has beta$"):
        make_objective("kimi", gamma=1.0)
    with pytest.raises(ValueError, match=r"^hyper-parameters \['beta'\] go with a name"):
        make_objective(ps.Kimi(), beta=1.0)
    with pytest.raises(
        TypeError, match="^objective must be a name or have the methods advantage, score_weight and loss"
    ):
        make_objective(3.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match='^a_star_po: sampling must be "on_policy" or "off_policy", got \'both\'$'):
        make_objective("a_star_po", sampling="both")


def test_a_registered_objective_works_by_name() -> None:
    class Mine(ps.Kimi):
        name = "mine"

    before = ps.objectives()
    try:
        assert ps.register(Mine) is Mine
        assert ps.register(Mine) is Mine  # again is no conflict
        assert "mine" not in before
        expected = log_policy(*GENERIC, "kimi", beta=0.2)
        assert_log_policies_agree(log_policy(*GENERIC, "mine", beta=0.2), expected, tolerance=0.0)

        class Other(ps.Kimi):
            name = "mine"

        with pytest.raises(ValueError, match="objective name 'mine' is taken by Mine"):
            ps.register(Other)
    finally:
        sys.modules["pessimism.losses.registry"]._OWN.pop("mine", None)
    assert ps.objectives() == before


def test_every_class_is_registered_under_its_name() -> None:
    assert all(cls.name == name for name, cls in ps.objectives().items())


@pytest.mark.parametrize("name", ps.objectives())
def test_docstring_has_every_hyper_parameter_with_its_default(name: str) -> None:
    cls = ps.objectives()[name]
    text = inspect.cleandoc(cls.__doc__ or "")
    doc = NumpyDocString(text)
    described = {parameter.name: parameter for parameter in doc["Parameters"]}
    assert list(described) == [field.name for field in fields(cls)]
    for field in fields(cls):
        said = described[field.name].type
        if field.default is None:
            assert said.endswith(", optional"), field.name
        else:
            assert ast.literal_eval(said.partition(", default ")[2]) == field.default, field.name
    assert "induces" in text
    assert doc["Examples"]
    assert any(cls.paper in line for line in doc["References"])
