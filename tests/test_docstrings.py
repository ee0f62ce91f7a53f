"""The public names describe themselves completely; what `make lint` checks in every docstring is not repeated here."""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import pytest
from numpydoc.docscrape import NumpyDocString
from numpydoc.validate import validate

import pessimism as ps
from pessimism.target import result

PUBLIC = {name: getattr(ps, name) for name in ps.__all__}
FUNCTIONS = [name for name, value in PUBLIC.items() if callable(value) and not isinstance(value, type)]
CLASSES = [name for name, value in PUBLIC.items() if isinstance(value, type)]


def names_of_fields(cls: type[Any]) -> list[str]:
    if cls is ps.InducedTarget:  # made by the verbs alone; its fields are what the properties are computed from
        return list(result.FIELDS)
    if is_dataclass(cls):
        return [field.name for field in fields(cls) if not field.name.startswith("_")]
    return list(getattr(cls, "_fields", ()))


def documented(cls: type[Any]) -> dict[str, str]:
    """Type of each field that the docstring describes; `a, b : float` describes two."""
    page = NumpyDocString(cls.__doc__ or "")
    rows = [*page["Parameters"], *page["Attributes"]]
    return {name: row.type for row in rows for name in row.name.split(", ")}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_describes_its_parameters_and_what_it_returns(name: str) -> None:
    wanted = {"PR01", "PR03", "PR04", "PR07", "RT01", "RT03"}
    assert [text for code, text in validate(f"pessimism.{name}")["errors"] if code in wanted] == []


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_describes_each_field_once(name: str) -> None:
    cls = PUBLIC[name]
    found = documented(cls)
    assert [field for field in names_of_fields(cls) if not found.get(field)] == []
    page = NumpyDocString(cls.__doc__ or "")
    both = {row.name for row in page["Parameters"]} & {row.name for row in page["Attributes"]}
    assert not both


def documented_objects() -> Iterator[tuple[str, Any]]:
    """Public functions, classes and methods of all packages that can be imported here."""
    for package in ("pessimism", "analysis", "figures", "llm"):
        for module in pkgutil.walk_packages([package], f"{package}."):
            if module.name.endswith("__main__") or "vllm" in module.name:
                continue
            for name, value in vars(importlib.import_module(module.name)).items():
                if name.startswith("_") or getattr(value, "__module__", None) != module.name:
                    continue
                if inspect.isfunction(value) or inspect.isclass(value):
                    yield f"{module.name}.{name}", value
                for method, inside in vars(value).items() if inspect.isclass(value) else ():
                    if inspect.isfunction(inside) and not method.startswith("_"):
                        yield f"{module.name}.{name}.{method}", inside


def is_a_type(text: str) -> bool:
    """Whether a text is a type, as numpydoc wants it, and not the description that belongs on the next line."""
    without_choices = re.sub(r"\{.*?\}", "", text)
    described = re.search(r"\. |; |^(the|a|an|as|that|to|see|from|with) |\b(is|are|was)\b", without_choices)
    return len(without_choices) <= 60 and not described


def test_a_type_stands_where_a_type_belongs() -> None:
    wrong = [
        f"{place}: {row.name} : {row.type}"
        for place, value in documented_objects()
        for section in ("Parameters", "Attributes", "Returns")
        for row in NumpyDocString(inspect.getdoc(value) or "")[section]
        if not is_a_type(row.type)
    ]
    assert wrong == []


@pytest.mark.parametrize("text", ["the baseline, in reward units", "rewards ``(..., K)``; broadcast against behavior"])
def test_a_description_is_no_type(text: str) -> None:
    assert not is_a_type(text)
