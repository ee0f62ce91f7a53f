"""Cost of looking at every claim of a target once more, as a ratio of times in the same run.

    python benchmarks/bench_acceptance.py [--repeats 15] [--names kimi,nominal]

One call of ``induced_target`` with and without ``pessimism.target.acceptance.accepted``, taken in turn; the ratio is
that of the shortest times. Objectives with a closed form are to stay below 1.05, those that are searched for below 1.3.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the settings are those of the suite

import pessimism as ps
from benchmarks.bench_registry import problem
from tests.helpers import accepted, cases

FORMULAS = ("nominal", "kimi", "truncated_is", "mixed_chi2_kl", "ppo", "trpo", "pevi", "chi2", "log_smoothing")
SEARCHED = ("kimi_k25", "topr", "sapo", "chord", "dppo_tv", "cql")


LONGEST = 2.0  # seconds of a call, about


def seconds(call: Callable[[], object]) -> float:
    """Processor time of a call, which other processes do not lengthen."""
    start = time.process_time()
    call()
    return time.process_time() - start


def ratio(label: str, rows: int, actions: int, repeats: int) -> float:
    """Ratio of the shortest times with and without the check: other work on the machine only lengthens them."""
    behavior, reward = problem(rows, actions)
    rewards = accepted(label, reward)

    def call(first: int | None = None) -> object:
        return ps.induced_target(behavior[:first], rewards[:first], cases()[label])

    call(1)
    most = max(1, int(LONGEST / seconds(partial(call, 1))))
    behavior, rewards = behavior[:most], rewards[:most]

    def unchecked() -> object:
        with patch("pessimism.target.induced.accepted", lambda *given: given[3]):
            return call()

    call()
    pairs = [(seconds(call), seconds(unchecked)) for _ in range(repeats)]
    return min(a for a, _ in pairs) / min(b for _, b in pairs)


def main() -> None:
    """Print a ratio for each objective."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--names", default="", help="cases of the common suite, those listed here by default")
    given = parser.parse_args()
    chosen = [name for name in given.names.split(",") if name]
    for kind, labels, rows, limit in (("formula", FORMULAS, 20_000, 1.05), ("searched", SEARCHED, 20, 1.3)):
        for label in (name for name in labels if name in cases() and (not chosen or name in chosen)):
            found = ratio(label, rows, 16, given.repeats if kind == "formula" else 3)
            print(f"{kind:9s} {label:24s} {found:6.3f} {'' if found <= limit else f'above {limit}'}", flush=True)


if __name__ == "__main__":
    main()
