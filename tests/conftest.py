"""Set-up shared by the whole suite."""

from __future__ import annotations

import os

# Two workers on two cores: one thread each. Must be set before numpy or torch is imported.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ["MPLBACKEND"] = "Agg"

from collections.abc import Iterator
from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import settings

# The same examples on every machine, no time limit per example (first calls compile and import), no files written.
settings.register_profile("suite", deadline=None, derandomize=True, database=None)
# HYPOTHESIS_PROFILE=explore looks for new counterexamples.
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))


# `make test-vllm` runs them, in an environment that has vLLM; where it is missing, asking for them is an error.
collect_ignore = [] if find_spec("vllm") else ["vllm"]


@pytest.fixture(autouse=True)
def _global_random_state_untouched() -> Iterator[None]:
    """Fail any test whose code draws from, or seeds, numpy's global generator."""
    before = np.random.get_state(legacy=False)["state"]
    yield
    after = np.random.get_state(legacy=False)["state"]
    assert before["pos"] == after["pos"], "the global random state of numpy was used"
    assert np.array_equal(before["key"], after["key"]), "the global random state of numpy was used"
