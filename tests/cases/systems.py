"""Offline systems: conservative Q, divergence-augmented and estimated-reference objectives."""

from __future__ import annotations

from typing import Any

from tests.cases.case import Case, registered

# The softmax of Q has temperature 1 and starts from the uniform policy: no scaling, and the number of actions matters.
_SOFTMAX: dict[str, Any] = {
    "units": None,
    "softening": None,
    "split": False,
    "because": "softmax(Q) at temperature 1 over a uniform base: units and the number of actions matter",
}
_NOT_DIFFERENTIATED = "the gradient does not differentiate the divergence, so that the loss is not what descends"


def _augmented(divergence: str, **laws: Any) -> Case:
    # Beside a weak divergence the target moves by A/(beta D'(1)): D'(1) = 1 for KL and rKL alone.
    hyper = {"beta": 0.4, "divergence": divergence, "normalize": False}
    return registered("divergence_augmented", hyper, **laws)


CASES: dict[str, Case] = {
    "cql": registered("cql", {"alpha": 0.7}, **_SOFTMAX),
    "cql-bold": registered("cql", {"alpha": 0.05}, **_SOFTMAX),
    "cql_huber": registered("cql_huber", {"alpha": 0.8}, **_SOFTMAX),
    "cql_huber-capped": registered("cql_huber", {"alpha": 3.0}, **_SOFTMAX),
    "cql_reference": registered("cql_reference", {"alpha": 0.5, "beta": 0.3}, units={"alpha": 1}),
    "divergence_augmented": _augmented("kl"),
    "divergence_augmented-rkl": _augmented("rkl", descends=False, because=_NOT_DIFFERENTIATED),
    "divergence_augmented-hellinger": _augmented(
        "hellinger", softening=None, descends=False, because=_NOT_DIFFERENTIATED
    ),
    "divergence_augmented-inf": _augmented(
        "inf",
        softening=None,
        split=False,
        descends=False,
        because=f"{_NOT_DIFFERENTIATED}; and it is a distance of probabilities, not of ratios",
    ),
    "divergence_augmented-entropy": _augmented(
        "entropy",
        softening=None,
        split=False,
        because="it starts from the uniform policy: the number of actions matters",
    ),
    "awac": registered("awac", {"beta": 0.4}),
    "brac": registered("brac", {"beta": 0.3}),
}
