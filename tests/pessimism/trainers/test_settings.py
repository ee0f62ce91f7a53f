"""Single settings as somebody wrote them, and the result in one line."""

from __future__ import annotations

import math
from typing import Any

import pytest

import pessimism as ps
from pessimism.trainers.settings import Settings, TrainerSettings, no_objective

DEFAULTS = {"a.rate": 0.5, "a.kind": "one", "a.on": False, "a.bound": None, "a.pair": (0, 1), "size": 4, "b.size": 8}


def settings(given: dict[str, Any]) -> Settings:
    return Settings(given, DEFAULTS, "here", harmless=("a.rates",))


@pytest.mark.parametrize(
    ("value", "number"), [("1e-6", 1e-6), (2, 2.0), ("inf", math.inf), (" 3 ", 3.0)], ids=str
)  # YAML 1.1 takes 1e-6 for text
def test_numbers_may_be_text(value: Any, number: float) -> None:
    assert settings({"a.rate": value}).number("a.rate") == number


@pytest.mark.parametrize("value", ["null", "None", "~", "", None])
def test_nothing_is_written_in_several_ways(value: Any) -> None:
    assert settings({"a.bound": value}).maybe_number("a.bound") is None
    assert not settings({"a.bound": value}).given("a.bound")


@pytest.mark.parametrize(
    ("read", "key", "value", "rule"),
    [
        ("number", "a.rate", "fast", "must be a number, got 'fast'"),
        ("number", "a.rate", "1_000", "must be a number, got '1_000'"),
        ("number", "a.rate", "٣", "must be a number, got '٣'"),
        ("number", "a.rate", 10**400, "must be a number, got 1000000000000000000000000000000000000..."),
        ("number", "a.rate", True, "must be a number, got True"),
        ("number", "a.rate", "nan", "must be a number, got 'nan'"),
        ("number", "a.rate", None, "must be a number, got null"),
        ("flag", "a.on", "maybe", "must be true or false, got 'maybe'"),
        ("flag", "a.on", 2, "must be true or false, got 2"),
        ("numbers", "a.pair", ["x"], "must be numbers, got ['x']"),
        ("numbers", "a.pair", "1_0 2", "must be numbers, got '1_0 2'"),
        ("numbers", "a.pair", [10**400], "must be numbers, got [100000000000000000000000000000000000..."),
        ("numbers", "a.pair", {"x": 1}, "must be numbers, got {'x': 1}"),
        ("choice", "a.kind", 1, "must be one of one, two, got 1"),
        ("integer", "size", 2.5, "must be an integer >= 1, got 2.5"),
        ("integer", "size", 0, "must be an integer >= 1, got 0"),
        ("integer", "size", "inf", "must be an integer >= 1, got 'inf'"),
    ],
)
def test_an_error_names_the_setting_and_its_rule(read: str, key: str, value: Any, rule: str) -> None:
    more = {"choice": (("one", "two"),), "integer": (1,)}.get(read, ())
    with pytest.raises(ValueError, match="^here: ") as error:
        getattr(settings({key: value}), read)(key, *more)
    assert str(error.value) == f"here: {key} {rule}"


@pytest.mark.parametrize("text", ["${b.size}", "${oc.select:b.size,1}"])
def test_an_interpolation_is_followed(text: str) -> None:
    assert settings({"size": text}).integer("size", 1) == 8
    assert settings({"size": text, "b.size": 3}).integer("size", 1) == 3


@pytest.mark.parametrize("text", ["${c.size}", "$N", "${size}"])
def test_an_interpolation_that_leads_nowhere_is_said(text: str) -> None:
    with pytest.raises(ValueError, match="here: size refers to what is not here, write its value, got "):
        settings({"size": text}).integer("size", 1)


def test_a_misspelled_setting_is_found_and_others_pass() -> None:
    with pytest.raises(ValueError, match=r"^here: unknown setting 'a\.bounds'; did you mean 'bound'\?$"):
        settings({"a.bounds": 1})
    settings({"a.rates": 1, "c.bounds": 1, "learning_rate": 1})


@pytest.mark.parametrize("key", ["bound", "rate"])
def test_the_end_of_a_name_is_no_name(key: str) -> None:
    """Read as another program's it would leave the default in its place without a word."""
    with pytest.raises(ValueError, match=rf"^here: unknown setting '{key}'; did you mean 'a\.{key}'\?$"):
        settings({key: 1})


@pytest.mark.parametrize(
    ("trainer", "key", "whole"),
    [
        ("verl", "adv_estimator", "algorithm.adv_estimator"),
        ("verl", "actor.policy_loss.loss_mode", "actor_rollout_ref.actor.policy_loss.loss_mode"),
        ("openrlhf", "advantage.estimator", "algo.advantage.estimator"),
        ("prime-rl", "dppo_mask_high", "trainer.loss.dppo_mask_high"),
    ],
)
def test_no_trainer_passes_over_the_end_of_a_name(trainer: str, key: str, whole: str) -> None:
    with pytest.raises(ValueError, match=rf"unknown setting '{key}'; did you mean '{whole}'\?"):
        ps.from_config({key: "rloo"}, trainer=trainer)


@pytest.mark.parametrize(
    ("key", "value", "differs"),
    [
        ("a.rate", "0.50", False),
        ("a.rate", 0.4, True),
        ("a.on", "False", False),
        ("a.on", 1, True),
        ("a.bound", "none", False),
        ("a.bound", 0.0, True),
        ("a.bound", False, False),
        ("a.pair", [0.0, 1.0], False),
        ("a.pair", "0 2", True),
        ("a.kind", "two", True),
    ],
)
def test_another_way_to_write_a_default_is_none(key: str, value: Any, differs: bool) -> None:
    assert settings({key: value}).differs(key) is differs


FOUND = TrainerSettings("verl", "vanilla", ps.GRPO(), "token", "mean", 8, 4, 3, True, "reward")


def test_what_the_loss_does_not_read_is_named() -> None:
    made = settings({"a.rate": 0.4, "a.kind": "one", "size": 2})
    made.integer("size", 1)
    made.note("First.")
    made.note("First.")
    notes = made.finish(FOUND).not_modelled
    assert notes == ("First.", "a.rate = 0.4: the trainer does not read it with loss vanilla.")


def test_cuts_of_the_sampling() -> None:
    defaults = {"top_p": 1.0, "top_k": 0, "min_p": None, "repetition_penalty": 1.0}
    given: tuple[dict[str, Any], ...] = ({"top_p": 0.9}, {"top_k": 5}, {"min_p": 0.1}, {"repetition_penalty": 1.1})
    for one in (*given, {"top_p": 1}, {"top_k": -1}, {"min_p": 0}):
        made = Settings(one, defaults, "here")
        made.note_cuts(*defaults)
        assert len(made.finish(FOUND).not_modelled) == (one in given)


def test_the_result_in_one_line() -> None:
    assert str(FOUND) == (
        "verl, loss vanilla: grpo; token level; group size 8; lag 3 in optimizer steps; equal groups dropped; "
        "a group of one has A = r; mean"
    )
    nothing = TrainerSettings("prime-rl", "custom", None, "token", "mean", None, 1, None, False, None)
    assert str(nothing) == (
        "prime-rl, loss custom: no objective of this package; token level; group size unknown; "
        "an unknown lag in optimizer steps; equal groups kept; mean"
    )
    assert nothing.spec == ""


def test_a_loss_that_is_no_objective() -> None:
    made = settings({})
    no_objective(made, "kind = three: something else")
    assert made.finish(FOUND).not_modelled == (
        "kind = three: something else, which no objective of this package is: name the one to compute with.",
    )


def test_a_log_is_read_as_the_trainer_groups_unless_told_otherwise() -> None:
    found = ps.from_config(["algorithm.adv_estimator=grpo", "algorithm.filter_groups.enable=true"])
    given = ps.LogOptions(step_column="epoch")
    assert found.of_log(given) == ps.LogOptions(step_column="epoch", drop_equal=True, singleton="reward")
    assert found.of_log(ps.LogOptions(singleton="zero")).singleton == "zero"
    plain = ps.from_config({"loss_type": "grpo"})
    assert plain.of_log(ps.LogOptions(drop_equal=True)) == ps.LogOptions(drop_equal=True, singleton="zero")
