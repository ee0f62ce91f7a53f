"""The Lambert family and its neighbors."""

from __future__ import annotations

from typing import Any

import pessimism as ps
from tests.cases.case import Case


def _case(name: str, hyper: dict[str, Any], **laws: Any) -> Case:
    return Case(ps.objectives()[name](**hyper), **laws)


_NOT_DIFFERENTIATED = "the gradient does not differentiate the weights, so that their loss is not what descends"

# Hyper-parameters that are no special case, then second settings where they change the kind of target.
CASES: dict[str, Case] = {
    "nominal": _case("nominal", {"beta": 0.3}),
    "a_star_po": _case(
        "a_star_po",
        {"beta1": 0.7, "beta2": 0.3},
        softening=("beta2", 1),
        descends=False,
        because=_NOT_DIFFERENTIATED,
    ),
    "oapl": _case("oapl", {"beta1": 0.9, "beta2": 0.3}, softening=("beta2", 1)),
    "kimi": _case("kimi", {"beta": 0.3}),
    "shifted_mean": _case("shifted_mean", {"beta": 0.3, "shift": 0.7}),
    "optimal_value": _case("optimal_value", {"beta": 0.3}),
    "constant_baseline": _case("constant_baseline", {"beta": 0.3, "value": -0.2}, moves_with="value"),
    "std_normalized": _case("std_normalized", {"beta": 0.8, "eps": 1e-2}, units={"beta": 0}),
    "tba": _case("tba", {"beta": 0.3}),
    "rebel": _case("rebel", {"eta": 2.5}, softening=("eta", -1)),
    "awr": _case("awr", {"beta": 0.4, "w_max": 2.0}),
    "asym_re": _case(
        "asym_re",
        {"shift": -0.4},
        units={"shift": 1},
        softening=None,
        split=False,
        descends=False,
        routes=False,
        because="a shrinking support: the loss is unbounded, its limit flows on logits, whose number matters",
    ),
    "truncated_is": _case("truncated_is", {"beta": 0.3, "cap": 1.3}, descends=False, because=_NOT_DIFFERENTIATED),
    "mixed_chi2_kl": _case("mixed_chi2_kl", {"beta": 0.3, "gamma": 0.6}),
    "a_star_po-off_policy": _case(
        "a_star_po", {"beta1": 0.7, "beta2": 0.3, "sampling": "off_policy"}, softening=("beta2", 1)
    ),
    "oapl-published": _case(
        "oapl",
        {},
        softening=("beta2", 1),
        routes=False,
        gradient=False,
        because="one-hot in float64 on rewards of order 1; its own tests use smaller rewards",
    ),
    "awr-uncapped": _case("awr", {"beta": 0.4, "w_max": float("inf")}),
    "asym_re-full_support": _case(
        "asym_re",
        {"shift": -20.0},
        units={"shift": 1},
        softening=("shift", 1),
    ),
    "truncated_is-small_cap": _case(
        "truncated_is", {"beta": 0.3, "cap": 0.2}, descends=False, because=_NOT_DIFFERENTIATED
    ),
    "constant_baseline-negative": _case(
        "constant_baseline",
        {"beta": 0.3, "value": 2.5},
        moves_with="value",
        descends=False,
        routes=False,
        gradient=False,
        because="negative regime: one of several local minima, which the generic route does not look for",
    ),
}
