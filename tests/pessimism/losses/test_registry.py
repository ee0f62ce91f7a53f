"""Docstrings of the registered objectives, beside their fields."""

from __future__ import annotations

import ast
import inspect
from dataclasses import fields

import pytest
from numpydoc.docscrape import NumpyDocString

import pessimism as ps


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
