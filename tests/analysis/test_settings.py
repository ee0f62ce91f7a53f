"""Objectives at one temperature: what keeps its defaults, and what a table says of them."""

from __future__ import annotations

import pytest

import pessimism as ps
from analysis.settings import at_temperature, besides_temperature


def test_settings_take_the_temperature_and_keep_the_rest() -> None:
    settings = at_temperature(0.2)
    for name, objective in settings.items():
        has_none = ps.objectives()[name]().temperature is None
        assert objective.temperature == (None if has_none else pytest.approx(0.2)), name
    assert settings["asym_re"].temperature is None
    assert besides_temperature(settings["a_star_po"]) == "beta1=0.5, on_policy"
    assert besides_temperature(settings["rebel"]) == ""


def test_a_text_of_settings_leaves_the_temperature_out() -> None:
    assert besides_temperature(ps.OAPL(beta1=0.5, beta2=0.1)) == "beta1=0.5"
    assert besides_temperature(ps.REBEL(eta=3.0)) == ""
    assert besides_temperature(ps.AsymRE(shift=-0.2)) == "shift=-0.2, no temperature"
    assert besides_temperature(ps.CHORD()).endswith("no temperature")


@pytest.mark.parametrize("beta", [0.0, -1.0, float("nan")])
def test_a_temperature_is_positive(beta: float) -> None:
    with pytest.raises(ValueError, match="^beta must be > 0, got "):
        at_temperature(beta)
    with pytest.raises(ValueError, match="^unknown objective 'nobody'"):
        at_temperature(0.1, ["nobody"])
