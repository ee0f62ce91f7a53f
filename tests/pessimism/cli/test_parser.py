"""The parser of a command: values that look like options, and mistakes in our words."""

from __future__ import annotations

import pytest

from pessimism.cli.parser import Parser, integer, number, read_arguments


def parser() -> Parser:
    made = Parser("demo", "[options]", "What it does.")
    made.add_argument("--behavior")
    made.add_argument("--beta-one", type=number)
    made.add_argument("--rows", type=integer)
    made.add_argument("--json", action="store_true")
    return made


def test_a_value_may_begin_with_a_sign_and_an_option_may_have_underscores() -> None:
    found = read_arguments(parser(), ["--behavior", "-1,0", "--beta_one", "-.5", "--rows=-3"])
    assert found is not None
    assert (found.behavior, found.beta_one, found.rows, found.json) == ("-1,0", -0.5, -3, False)
    infinite = read_arguments(parser(), ["--beta-one", "-inf"])
    assert infinite is not None
    assert infinite.beta_one == float("-inf")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--behavior"], "--behavior needs a value"),
        (["--json=yes"], "--json takes no value"),
        (["--beta-one", "hot"], "--beta-one must be a number, got 'hot'"),
        (["--rows", "1.5"], "--rows must be an integer, got '1.5'"),
        (["--beta", "1"], "unknown option --beta"),  # no abbreviations
    ],
)
def test_mistakes_name_the_option_and_where_help_is(arguments: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=f"^{said} .see pessimism demo --help.$"):
        read_arguments(parser(), arguments)


def test_help_is_printed_and_ends(capsys: pytest.CaptureFixture[str]) -> None:
    assert read_arguments(parser(), ["--help"]) is None
    out = capsys.readouterr().out
    assert out.startswith("usage: pessimism demo [options]\n")
    assert "What it does." in out
