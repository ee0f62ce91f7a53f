"""What it costs to start: import and commands, as ratios to ``import numpy, scipy.special`` in the same run.

    python benchmarks/bench_startup.py [--rounds 15]

Every round starts each process once, one after the other, so that all meet the same state of the machine; the ratio is
the median over the rounds of those within a round. Seconds are those of the processor (user and system), which other
processes disturb less than the clock. Bounds that the project sets itself: 1.5 for the import, 2 for `target`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys

BANDIT = ("--behavior", "0.4,0.3,0.2,0.1", "--reward", "0.2,0.4,0.6,0.8")
BASE = ("-c", "import numpy, scipy.special")
STARTS: dict[str, tuple[tuple[str, ...], float | None]] = {
    "import pessimism": (("-c", "import pessimism"), 1.5),
    "from pessimism import OAPL": (("-c", "from pessimism import OAPL"), None),
    "from pessimism import induced_target": (("-c", "from pessimism import induced_target"), None),
    "from pessimism import *": (("-c", "from pessimism import *"), None),
    "pessimism --version": (("-m", "pessimism", "--version"), None),
    "pessimism --help": (("-m", "pessimism", "--help"), None),
    "pessimism target": (("-m", "pessimism", "target", *BANDIT, "--objective", "kimi", "--beta", "0.25"), 2.0),
    "pessimism target --help": (("-m", "pessimism", "target", "--help"), None),
    "pessimism objectives": (("-m", "pessimism", "objectives"), None),
    "pessimism compare": (("-m", "pessimism", "compare", *BANDIT), None),
    "pessimism diagnose": (("-m", "pessimism", "diagnose", "examples/trl_completions"), None),
}


def seconds(arguments: tuple[str, ...]) -> float:
    """Processor time of one process."""
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"python {' '.join(arguments)} failed")
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Print one line per start."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    taken: dict[str, list[float]] = {"import numpy, scipy.special": [], **{name: [] for name in STARTS}}
    for _ in range(rounds):
        for name, times in taken.items():
            times.append(seconds(STARTS[name][0] if name in STARTS else BASE))
    base = taken["import numpy, scipy.special"]
    print(f"{'start':37} {'seconds':>7} {'ratio':>6} {'bound':>6}")
    for name, times in taken.items():
        ratio = statistics.median(own / of for own, of in zip(times, base, strict=True))
        bound = STARTS[name][1] if name in STARTS else None
        flag = "" if bound is None else f" {bound:>6}{'' if ratio <= bound else '  above'}"
        print(f"{name:37} {statistics.median(times):>7.3f} {ratio:>6.2f}{flag}")


if __name__ == "__main__":
    main()
