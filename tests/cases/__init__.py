"""The objectives of the common suite, a file per family, each with the laws that it obeys."""

from tests.cases import core, gated, likelihood, logged, ratio, systems
from tests.cases.case import Case

CASES: dict[str, Case] = {
    **core.CASES,
    **likelihood.CASES,
    **ratio.CASES,
    **logged.CASES,
    **systems.CASES,
    **gated.CASES,
}

__all__ = ["CASES", "Case"]
