"""Time of every registered objective at its settings of the common suite, as a ratio to ``kimi`` in the same run.

    python benchmarks/bench_registry.py [--names chi_po,ipo] [--seconds 5] [--problems 2000x16,10000x64]

One call of ``induced_target`` and its policy, on distinct random bandits. A ratio is the median of several, each of two
calls taken in turn, so that both meet the same state of the machine. Where the whole batch would take longer than
``--seconds``, a smaller one is timed and its time scaled up by the number of problems (marked ~).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the settings are those of the suite

import pessimism as ps
from tests.helpers import accepted, cases

REPEATS = 7
FIRST = 20  # problems that tell how long a batch would take


def problem(rows: int, actions: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Dirichlet behaviors and normal rewards."""
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.ones(actions), rows), rng.normal(size=(rows, actions))


def policy_of(behavior: np.ndarray, reward: np.ndarray, label: str) -> object:
    """What is timed."""
    return ps.induced_target(behavior, reward, cases()[label]).policy


def seconds(call: Callable[[], object]) -> float:
    """Wall-clock time of a call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def timed(behavior: np.ndarray, reward: np.ndarray, label: str, budget: float) -> tuple[float, float, bool]:
    """Return seconds for the whole batch, the median ratio to kimi, and whether it was scaled up from a part."""
    rewards, rows = accepted(label, reward), len(reward)
    try:
        alone = seconds(partial(policy_of, behavior[:1], rewards[:1], label))  # warms up, too
    except ValueError:  # it takes no such bandit
        return np.nan, np.nan, False
    # Those of which one takes long are not tried twenty at once.
    few = FIRST if min(alone, seconds(partial(policy_of, behavior[:1], rewards[:1], label))) * FIRST < budget else 1
    first = seconds(partial(policy_of, behavior[:few], rewards[:few], label))
    most = max(few, int(budget / REPEATS / first * few))
    repeats = REPEATS if most >= rows or most > few else 1
    part = slice(0, min(rows, most))
    base, own = partial(policy_of, behavior, reward, "kimi"), partial(policy_of, behavior[part], rewards[part], label)
    scale = rows / len(reward[part])
    pairs = [(seconds(base), scale * seconds(own)) for _ in range(repeats + 1)][1 if repeats > 1 else 0 :]
    return median(b for _, b in pairs), median(b / a for a, b in pairs), scale > 1


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", default=",".join(cases()), help="labels of the suite, separated by commas")
    parser.add_argument("--seconds", type=float, default=5.0, help="about the longest time for an objective and a size")
    parser.add_argument("--problems", default="2000x16,10000x64", help="sizes, problems x actions")
    arguments = parser.parse_args()
    sizes = [tuple(map(int, size.split("x"))) for size in arguments.problems.split(",")]
    print("objective" + " " * 27 + "".join(f"{f'{n} x {k}':>16} {'us a row':>10} " for n, k in sizes))
    for label in arguments.names.split(","):
        line = f"{label:<36}"
        for rows, actions in sizes:
            total, ratio, scaled = timed(*problem(rows, actions), label, arguments.seconds)
            line += f"{'~' if scaled else ' '}{ratio:>14.2f}x {1e6 * total / rows:>10.2f} "
        print(line, flush=True)


if __name__ == "__main__":
    main()
