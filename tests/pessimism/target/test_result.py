"""A result as data: dictionaries for JSON, its line of text, messages, frozen fields."""

from __future__ import annotations

import inspect
import json
import math
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


def test_repr_and_message_say_where_there_is_no_target() -> None:
    lost = ps.induced_target([0.5, 0.5], [0.0, 1.0], "asym_re", shift=0.1)
    assert repr(lost).startswith("InducedTarget(asym_re(shift=0.1), status=no_target, regime=negative, ")
    assert lost.message == {(): "no target: shift must be below 0, the loss is unbounded"}
    behavior = [[[0.5, 0.5]], [[0.5, 0.6]], [[0.5, 0.5]]]
    batch = ps.induced_target(behavior, [0.0, 1.0], "asym_re", shift=0.1, on_error="status")
    assert repr(batch) == "InducedTarget(asym_re(shift=0.1), shape=(3, 1, 2), status: 1 invalid_input, 2 no_target)"
    assert list(batch.message) == [(0, 0), (1, 0), (2, 0)]
    assert batch.message[1, 0] == "behavior[1, 0] must sum to 1 within 1e-06, got 1.1"
    assert batch.message[2, 0] == lost.message[()]
    kept = ps.induced_target([[0.5, 0.5]] * 3, [[0.0, 1.0], [1.0, 1.0], [0.0, 0.01]], "asym_re")
    assert repr(kept) == "InducedTarget(asym_re(shift=-0.1), shape=(3, 2), status: 2 converged, 1 vanishing_support)"
    assert kept.message == {}
    assert repr(ps.induced_target([[0.5, 0.5]], [0.0, 1.0], "kimi")) == "InducedTarget(kimi(beta=0.01), shape=(1, 2))"


@pytest.mark.parametrize("as_torch", [False, True])
def test_a_solver_that_did_not_converge_says_so(as_torch: bool) -> None:
    behavior = [[0.5, 0.5], [0.5, 0.5]]
    target = ps.induced_target(torch.tensor(behavior) if as_torch else behavior, [0.0, 1.0], "kimi")
    status = target.solution.status
    status[1] = Status.NOT_CONVERGED
    assert repr(target).endswith("status: 1 converged, 1 not_converged)")
    assert list(target.message) == [(1,)]
    assert target.message[1,].startswith("not converged: the solver found no fixed point to working accuracy")


def test_repr_names_objective_regime_and_policy() -> None:
    target = ps.induced_target([0.5, 0.5], [0.0, 1.0], "kimi", beta=0.5)
    assert repr(target).startswith("InducedTarget(kimi(beta=0.5), regime=positive, kappa=")
    assert "policy=[" in repr(target)
    batch = ps.induced_target([0.5, 0.5], np.zeros((4, 3, 2)), "kimi", beta=0.5)
    assert repr(batch) == "InducedTarget(kimi(beta=0.5), shape=(4, 3, 2))"
    tensor = ps.induced_target(torch.tensor([0.5, 0.5]), torch.tensor([0.0, 1.0]), "kimi", beta=0.5)
    assert repr(tensor).startswith("InducedTarget(kimi(beta=0.5), regime=positive")
    invalid = ps.induced_target([0.5, 0.6], [0.0, 1.0], "kimi", on_error="status")
    assert "regime=undefined, kappa=nan" in repr(invalid)


def test_results_are_frozen() -> None:
    target = ps.induced_target([0.5, 0.5], [0.0, 1.0], "kimi")
    with pytest.raises(AttributeError):
        target.kappa = 1.0  # type: ignore[misc]
    with pytest.raises(AttributeError):
        ps.Kimi().beta = 1.0  # type: ignore[misc]
