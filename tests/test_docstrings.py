"""The public names describe themselves completely; what `make lint` checks in every docstring is not repeated here."""

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
