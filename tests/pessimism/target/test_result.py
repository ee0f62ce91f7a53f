"""A result as data: dictionaries for JSON, its line of text, messages, frozen fields."""

from __future__ import annotations

import inspect
import json
import math
import pickle
import re
from html import unescape
from typing import Any

import numpy as np
import pytest
import torch

import pessimism as ps
from pessimism.core.solution import Status
from tests.helpers import PROBLEMS, cases, posed

FIELDS = (
    *("policy", "log_policy", "log_ratio", "kappa", "multiplier", "baseline"),
    *("advantage", "regime", "leak", "status", "residual", "nominal"),
)


def test_every_status_is_documented() -> None:
    text = inspect.getdoc(ps.InducedTarget) or ""
    assert all(f'"{status.label}"' in text for status in Status)


def leaves(value: Any) -> list[Any]:
    return [leaf for item in value for leaf in leaves(item)] if isinstance(value, list) else [value]


@pytest.mark.parametrize("name", cases())
@pytest.mark.parametrize("as_torch", [False, True])
def test_to_dict_is_json(name: str, as_torch: bool) -> None:
    behavior, reward = posed(name, "unseen_actions")
    arrays = [torch.tensor(a) if as_torch else a for a in (behavior, np.stack([reward, reward[::-1].copy()]))]
    target = ps.induced_target(*arrays, cases()[name])
    found = target.to_dict()
    assert tuple(found) == FIELDS
    again = json.loads(json.dumps(found, allow_nan=False))
    assert again == found
    for field in FIELDS:
        value = np.asarray(getattr(target, field))
        assert np.shape(found[field]) == value.shape, field
        for plain, exact in zip(leaves(found[field]), value.ravel().tolist(), strict=True):
            assert type(plain) in (float, str, type(None)), field
            assert plain == exact or (plain is None and not math.isfinite(exact)), field


def test_to_dict_of_one_problem_holds_plain_values() -> None:
    found = ps.induced_target(*PROBLEMS["two_actions"], "asym_re").to_dict()
    for field, value in found.items():
        assert {type(leaf) for leaf in leaves(value)} <= {float, str, type(None)}, field


def facts(target: ps.InducedTarget) -> dict[str, str]:
    """The text of a target as labels and values, its objective under the label ""."""
    text = repr(target)
    assert str(target) == text
    assert "\n" not in text
    inside = re.fullmatch(r"InducedTarget\((\w+\(.*?\))((?:, (?:shape|status|regime)=.*)?)\)", text)
    assert inside is not None, text
    found = {"": inside[1]} | dict(re.findall(r", ([a-z ]+)=(.*?)(?=, [a-z ]+=|$)", inside[2]))
    table = re.findall(r"<tr><th>(.*?)</th><td>(.*?)</td></tr>", target._repr_html_())
    assert [("" if label == "objective" else label, unescape(cell)) for label, cell in table] == list(found.items())
    return found


@pytest.mark.parametrize("as_torch", [False, True])
def test_one_problem_shows_its_policy_regime_kappa_and_factor(as_torch: bool) -> None:
    behavior, reward = [0.5, 0.3, 0.2], [0.0, 0.5, 1.0]
    arrays = [torch.tensor(behavior), torch.tensor(reward, requires_grad=True)] if as_torch else [behavior, reward]
    target = ps.induced_target(*arrays, "kimi", beta=0.1)
    exact = ps.induced_target(behavior, reward, "kimi", beta=0.1)
    assert facts(target) == {
        "": "kimi(beta=0.1)",
        "regime": "positive",
        "kappa": f"{exact.kappa:.4g}",
        "factor": f"{exact.conservatism()['pessimism_factor'][0]:.4g}",
        "policy": np.array2string(exact.policy, precision=4),
    }


def test_one_problem_without_temperature_or_target() -> None:
    assert list(facts(ps.induced_target([0.5, 0.5], [0.0, 1.0], "asym_re", shift=-1.0))) == [
        "",
        "regime",
        "kappa",
        "policy",
    ]
    lost = ps.induced_target([0.5, 0.5], [0.0, 1.0], "asym_re", shift=0.1)
    found = facts(lost)
    assert (found["status"], found["regime"], found["policy"]) == ("no_target", "negative", "[nan nan]")
    assert lost.message == {(): "no target: shift must be below 0, the loss is unbounded"}
    invalid = facts(ps.induced_target([0.5, 0.6], [0.0, 1.0], "kimi", on_error="status"))
    assert [invalid[name] for name in ("status", "regime", "kappa", "factor")] == [
        *("invalid_input", "undefined", "nan", "nan")
    ]
    wide = ps.induced_target(None, np.linspace(0.0, 1.0, 8) ** 3, "kimi", beta=0.05)
    assert facts(wide)["policy"].count("e-") == 8  # one line, however long


def test_a_batch_shows_its_shares_and_medians() -> None:
    reward = [[0.0, 0.5, 1.0], [1.0, 1.0, 1.0], [0.0, 0.0, 1.0]]
    target = ps.induced_target(None, reward, "kimi", beta=0.5, unseen=True)
    assert facts(target) == {
        "": "kimi(beta=0.5)",
        "shape": "(3, 3)",
        "regime": "positive 67%, boundary 33%",
        "status": "converged 100%",
        "median kappa": f"{np.median(target.kappa):.4g}",
        "median factor": f"{target.conservatism()['pessimism_factor'].median():.4g}",
    }
    assert facts(ps.induced_target([0.5, 0.5], np.zeros((4, 3, 2)), "kimi"))["shape"] == "(4, 3, 2)"
    sweep = ps.induced_target([0.5, 0.5], [0.0, 1.0], "kimi", beta=np.linspace(0.1, 1.0, 60).reshape(4, 15))
    assert facts(sweep)["shape"] == "(4, 15, 2)"
    assert facts(ps.induced_target(None, np.zeros((0, 2)), "kimi")) == {"": "kimi(beta=0.01)", "shape": "(0, 2)"}


def test_a_large_batch_leaves_out_the_factor(monkeypatch: pytest.MonkeyPatch) -> None:
    target = ps.induced_target(None, [[0.0, 0.5, 1.0]] * 4, "kimi", beta=0.5)
    monkeypatch.setattr("pessimism.target.result._MANY", 11)
    assert list(facts(target)) == ["", "shape", "regime", "status", "median kappa"]
    monkeypatch.setattr("pessimism.target.result._MANY", 12)
    assert list(facts(target))[-1] == "median factor"


def test_a_batch_says_where_there_is_no_target() -> None:
    behavior = [[[0.5, 0.5]], [[0.5, 0.6]], [[0.5, 0.5]]]
    batch = ps.induced_target(behavior, [0.0, 1.0], "asym_re", shift=0.1, on_error="status")
    found = facts(batch)
    assert (found["shape"], found["status"]) == ("(3, 1, 2)", "no_target 67%, invalid_input 33%")
    assert (found["regime"], found["median kappa"]) == ("negative 67%, undefined 33%", "nan")
    assert list(batch.message) == [(0, 0), (1, 0), (2, 0)]
    assert batch.message[1, 0] == "behavior[1, 0] must sum to 1 within 1e-06, got 1.1"
    assert batch.message[2, 0] == "no target: shift must be below 0, the loss is unbounded"
    kept = ps.induced_target([[0.5, 0.5]] * 3, [[0.0, 1.0], [1.0, 1.0], [0.0, 0.01]], "asym_re")
    assert facts(kept)["status"] == "converged 67%, vanishing_support 33%"
    assert kept.message == {}


@pytest.mark.parametrize("as_torch", [False, True])
def test_a_solver_that_did_not_converge_says_so(as_torch: bool) -> None:
    behavior = [[0.5, 0.5], [0.5, 0.5]]
    target = ps.induced_target(torch.tensor(behavior) if as_torch else behavior, [0.0, 1.0], "kimi")
    status = target.solution.status
    status[1] = Status.NOT_CONVERGED
    assert facts(target)["status"] == "converged 50%, not_converged 50%"
    assert list(target.message) == [(1,)]
    assert target.message[1,].startswith("not converged: the solver found no fixed point to working accuracy")


@pytest.mark.parametrize("name", cases())
def test_every_target_shows_itself(name: str) -> None:
    behavior, reward = posed(name, "unseen_actions")
    one = facts(ps.induced_target(behavior, reward, cases()[name], on_error="status"))
    batch = ps.induced_target(behavior, np.stack([reward, reward[::-1]]), cases()[name], on_error="status")
    assert ("factor" in one) == (batch.beta is not None) == ("median factor" in facts(batch))


def test_results_are_frozen() -> None:
    target = ps.induced_target([0.5, 0.5], [0.0, 1.0], "kimi")
    with pytest.raises(AttributeError):
        target.kappa = 1.0  # type: ignore[misc]
    with pytest.raises(AttributeError):
        ps.Kimi().beta = 1.0  # type: ignore[misc]


@pytest.mark.parametrize(
    "objective", [ps.Kimi(beta=0.1), ps.DPO(beta=0.5), ps.Kimi(beta=np.array([0.1, 0.2]))], ids=str
)
def test_a_target_is_pickled(objective: ps.Objective) -> None:
    target = ps.induced_target([0.5, 0.5], [0.0, 1.0], objective)
    again = pickle.loads(pickle.dumps(target))
    np.testing.assert_array_equal(again.policy, target.policy)
    assert again.certificate().equals(target.certificate())


@pytest.mark.parametrize(
    ("second", "said"),
    [
        (("oapl", {}), "one objective"),
        (("kimi", {"beta": 0.5}), "one objective"),
        (("kimi", {"beta": [0.01]}), "without arrays over the batch"),
        (("kimi", {"reference": [0.3, 0.7]}), "the behavior as their reference"),
    ],
)
def test_what_cannot_be_concatenated_is_refused(second: tuple[str, dict[str, Any]], said: str) -> None:
    name, options = second
    targets = [ps.induced_target([[0.5, 0.5]], [0.0, 1.0], "kimi")]
    targets.append(ps.induced_target([[0.5, 0.5]], [0.0, 1.0], name, **options))
    with pytest.raises(ValueError, match=f"^targets must have .*{said}"):
        ps.InducedTarget.concatenate(targets)
    bad = ps.induced_target([[0.5, 0.6]], [0.0, 1.0], "kimi", on_error="status")
    with pytest.raises(ValueError, match="no invalid rows"):
        ps.InducedTarget.concatenate([*targets[:1], bad])


def test_text_says_how_much_leaks() -> None:
    target = ps.induced_target([0.5, 0.5], [0.0, 1.0], "constant_baseline", beta=0.25, value=1.5, unseen=True)
    assert f"leak={float(target.leak):.4g}" in repr(target)
    batch = ps.induced_target([0.5, 0.5], [[0.0, 1.0], [1.0, 2.0]], target.objective, unseen=True)
    assert f"largest leak={float(batch.leak.max()):.4g}" in repr(batch)
