"""The registry: objectives by name, one of one's own, and what a wrong name is told."""

from __future__ import annotations

import ast
import inspect
import sys
from dataclasses import fields
from typing import Any

import pytest
from numpydoc.docscrape import NumpyDocString

import pessimism as ps
from pessimism.losses.registry import find_name, make_objective
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
    with pytest.raises(ValueError, match="^unknown objective 'spo'; did you mean 'sapo'"):
        make_objective("spo")
    with pytest.raises(ValueError, match="^objective 'kimi' has no hyper-parameter 'gamma'; it has beta$"):
        make_objective("kimi", gamma=1.0)
    with pytest.raises(ValueError, match="^beta is given as a keyword, but the objective is an object already"):
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


def test_a_subclass_takes_no_title_from_its_parent() -> None:
    class Calm(ps.Kimi):
        name = "calm"

    try:
        ps.register(Calm)
        assert {find_name(text) for text in ("Kimi", "KIMI", ps.Kimi.title)} == {"kimi"}
        assert {find_name(text) for text in ("Calm", "CALM")} == {"calm"}
    finally:
        sys.modules["pessimism.losses.registry"]._OWN.pop("calm", None)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("KIMI", "^objective name 'KIMI' is taken by Kimi$"),
        ("shifted mean", "^objective name 'shifted mean' is taken by ShiftedMean$"),
        ("my:own", "^objective name must be a text without a colon or blanks around it, got 'my:own'$"),
        ("", "^objective name must be a text"),
        (" mine", "^objective name must be a text"),
        (3, "^objective name must be a text"),
    ],
)
def test_a_name_that_cannot_be_written_is_refused(name: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ps.register(type("Mine", (ps.Kimi,), {"name": name}))


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


@pytest.mark.parametrize("name", ps.objectives())
def test_a_name_is_found_in_any_spelling(name: str) -> None:
    cls = ps.objectives()[name]
    written = [name.upper(), name.replace("_", "-"), name.replace("_", " "), cls.title, cls.short or name, cls.__name__]
    assert {find_name(text) for text in written} == {name}


def test_a_near_miss_names_the_nearest_three() -> None:
    with pytest.raises(ValueError, match="^unknown objective 'grppo'; did you mean 'grpo', 'ppo' or 'dr_grpo'[?]"):
        find_name("grppo")
    with pytest.raises(ValueError, match="^unknown objective ''; `pessimism objectives` lists all$"):
        find_name("")


def test_settings_after_a_colon() -> None:
    target = ps.induced_target([0.5, 0.5], [0.0, 1.0], "Kimi:beta=0.1")
    assert target.objective == ps.Kimi(beta=0.1)
    assert make_objective("shifted-mean:shift=2", beta=0.3) == ps.ShiftedMean(beta=0.3, shift=2.0)


@pytest.mark.parametrize(
    ("spec", "hyper", "said"),
    [
        ("kimi:", {}, "objective 'kimi:': nothing after the colon, expected key=value"),
        ("kimi:beta", {}, "objective 'kimi:beta': 'beta' must be key=value"),
        ("kimi:beta=1,beta=2", {}, "objective 'kimi:beta=1,beta=2': beta is given twice"),
        ("kimi:beta=1", {"beta": 2.0}, "beta is given twice, in 'kimi:beta=1' and as a keyword"),
        ("kimi:gamma=1", {}, "objective 'kimi' has no hyper-parameter 'gamma'; it has beta"),
        ("kimi:beta=x", {}, "kimi: beta must be a finite number, got 'x'"),
    ],
)
def test_mistakes_in_a_spelling(spec: str, hyper: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=f"^{said}$"):
        make_objective(spec, **hyper)


@pytest.mark.parametrize("written", ["REINFORCE+++", "GRPO++", "TBA!", "DPO*"])
def test_other_signs_tell_methods_apart(written: str) -> None:
    with pytest.raises(ValueError, match="^unknown objective "):
        find_name(written)


def test_settings_in_parentheses_are_shown_the_colon() -> None:
    with pytest.raises(ValueError, match="hyper-parameters stand after a colon, as in 'oapl:beta1=0.5,beta2=0.1'$"):
        find_name("oapl(beta1=0.5, beta2=0.1)")
