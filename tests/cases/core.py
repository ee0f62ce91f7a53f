"""The Lambert family and its neighbors."""

from __future__ import annotations

from tests.cases.case import Case, registered

_NOT_DIFFERENTIATED = "the gradient does not differentiate the weights, so that their loss is not what descends"

_ONE_PLUS_TAU = "tau is a temperature of the rewards, and 1 + tau a number: no scale of both keeps their product"

# Hyper-parameters that are no special case, then second settings where they change the kind of target.
CASES: dict[str, Case] = {
    "nominal": registered("nominal", {"beta": 0.3}),
    "a_star_po": registered(
        "a_star_po",
        {"beta1": 0.7, "beta2": 0.3},
        softening=("beta2", 1),
        descends=False,
        because=_NOT_DIFFERENTIATED,
    ),
    "oapl": registered("oapl", {"beta1": 0.9, "beta2": 0.3}, softening=("beta2", 1)),
    "kimi": registered("kimi", {"beta": 0.3}),
    "shifted_mean": registered("shifted_mean", {"beta": 0.3, "shift": 0.7}),
    "optimal_value": registered("optimal_value", {"beta": 0.3}),
    "constant_baseline": registered("constant_baseline", {"beta": 0.3, "value": -0.2}, moves_with="value"),
    "std_normalized": registered("std_normalized", {"beta": 0.8, "eps": 1e-2}, units={"beta": 0}),
    "dro": registered("dro", {"beta": 0.3}),
    "opmd": registered(
        "opmd",
        {"tau": 0.5, "kl_coef": 0.2},
        units={"tau": 0, "kl_coef": 1},
        softening=("kl_coef", 1),
    ),
    "opmd-logavgexp": registered(
        "opmd",
        {"opmd_baseline": "logavgexp", "tau": 0.5, "kl_coef": 0.2},
        units=None,
        softening=("kl_coef", 1),
        because=_ONE_PLUS_TAU,
    ),
    "tba": registered("tba", {"beta": 0.3}),
    "rebel": registered("rebel", {"eta": 2.5}, softening=("eta", -1)),
    "awr": registered("awr", {"beta": 0.4, "w_max": 2.0}),
    "asym_re": registered(
        "asym_re",
        {"shift": -0.4},
        units={"shift": 1},
        softening=None,
        split=False,
        descends=False,
        routes=False,
        because="a shrinking support: the loss is unbounded, its limit flows on logits, whose number matters",
    ),
    "truncated_is": registered("truncated_is", {"beta": 0.3, "cap": 1.3}, descends=False, because=_NOT_DIFFERENTIATED),
    "mixed_chi2_kl": registered("mixed_chi2_kl", {"beta": 0.3, "gamma": 0.6}),
    "a_star_po-off_policy": registered(
        "a_star_po", {"beta1": 0.7, "beta2": 0.3, "sampling": "off_policy"}, softening=("beta2", 1)
    ),
    "oapl-published": registered(
        "oapl",
        {},
        softening=("beta2", 1),
        gradient=False,
        because="one-hot in float64 on rewards of order 1: the gradient test takes smaller ones for it",
    ),
    "awr-uncapped": registered("awr", {"beta": 0.4, "w_max": float("inf")}),
    "asym_re-full_support": registered(
        "asym_re",
        {"shift": -20.0},
        units={"shift": 1},
        softening=("shift", 1),
    ),
    "truncated_is-small_cap": registered(
        "truncated_is", {"beta": 0.3, "cap": 0.2}, descends=False, because=_NOT_DIFFERENTIATED
    ),
    "constant_baseline-negative": registered(
        "constant_baseline",
        {"beta": 0.3, "value": 2.5},
        moves_with="value",
        descends=False,
        routes=False,
        gradient=False,
        because="negative regime: one of several local minima, which the generic route does not look for",
    ),
}
