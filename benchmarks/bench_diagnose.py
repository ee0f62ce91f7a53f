"""Time and peak memory of reading and diagnosing 1,000,000 completions, for each log format.

    python benchmarks/bench_diagnose.py [--rows 1000000] [--rewards real] [--objective shifted_mean] [--beta 0.1]

Every format is generated in a temporary folder and measured in a process of its own, whose peak resident memory is that
of the whole interpreter. Rewards 0 or 1 or, with ``--rewards real``, normal; prompts of 120 and completions of 80
characters. Groups of 16 completions; the ragged log has one group of every size from 1 up (1,414 sizes for 1,000,000
rows), which is what costs the most. Reading is compared, in the same process, with a bare read of the same columns by
pyarrow, by ``csv.reader``, and by the decoder of JSON lines that refuses keys that stand there twice; seconds are those
of the processor. Bounds that the project sets itself: 5 bare reads of parquet, 1.5 of CSV and JSON lines; under 2 GB.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

LOGS = ("parquet", "csv", "jsonl", "ragged.parquet")
GROUP = 16
REPEATS = 3


def write_log(path: Path, rows: int, rewards: str = "binary", seed: int = 0) -> None:
    """Write a log of `rows` completions, 64 prompts a step."""
    rng = np.random.default_rng(seed)
    group = np.arange(rows) // GROUP
    if "ragged" in path.name:
        sizes = np.arange(1, int((2 * rows) ** 0.5) + 2)
        group = np.repeat(sizes - 1, sizes)[:rows]
    right = rng.random(rows) < rng.beta(0.7, 1.0, size=group[-1] + 1)[group]
    reward = rng.normal(size=rows) if rewards == "real" else right.astype(float)
    log = pd.DataFrame(
        {
            "step": group // 64,
            "prompt": [f"Question {g}: what is {g} times {g}? ".ljust(120, ".") for g in group],
            "completion": [f"Step by step, the answer is {i}, ".ljust(80, "x") for i in range(rows)],
            "reward": reward,
            "advantage": reward - 0.5,
        }
    )
    if path.suffix == ".parquet":
        log.to_parquet(path)
    elif path.suffix == ".csv":
        log.to_csv(path, index=False)
    else:
        log = log.rename(columns={"prompt": "input", "completion": "output", "reward": "score"})
        log.to_json(path, orient="records", lines=True)


def peak_mb() -> float:
    """Peak resident memory of this process (the kernel's high-water mark; getrusage would count the parent's)."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 1024**2)


def bare_read(path: Path) -> None:
    """Read the columns that a diagnosis needs, and no more."""
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        pq.read_table(path, columns=["step", "prompt", "reward"])
    elif path.suffix == ".csv":
        with path.open(newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader)
            step, prompt, reward = (header.index(name) for name in ("step", "prompt", "reward"))
            width = len(header)
            rows = []
            for fields in reader:
                if len(fields) != width:
                    raise ValueError("wrong number of fields")
                rows.append((int(fields[step]), fields[prompt], float(fields[reward])))
    else:
        from pessimism.rollouts.lines import read_json

        with path.open("rb") as lines:
            records = map(read_json, (line.decode() for line in lines))
            rows = [(int(record["step"]), record["input"], float(record["score"])) for record in records]


def measure(path: str, objective: str, beta: float | None) -> dict[str, float]:
    """Read, then diagnose what was read: seconds of each and peak memory after each."""
    from pessimism.diagnosis.diagnose import diagnose
    from pessimism.diagnosis.summary import summarize
    from pessimism.rollouts.read import read_rollouts

    start = time.process_time()
    log = read_rollouts(path)
    read, read_mb = time.process_time() - start, peak_mb()
    report = diagnose(log, objective, **({} if beta is None else {"beta": beta}))
    summarize(report)
    found = {"rows": len(log), "groups": len(report), "read": read, "read_mb": read_mb}
    found |= {"total": time.process_time() - start, "mb": peak_mb()}
    del log, report
    reads: list[list[float]] = [[], []]
    for _ in range(REPEATS):  # in turn, so that both meet the same state of the machine
        for call, taken in zip((read_rollouts, bare_read), reads, strict=True):
            start = time.process_time()
            call(Path(path))
            taken.append(time.process_time() - start)
    return found | {"ratio": min(reads[0]) / min(reads[1])}


def main() -> None:
    """Print one line per log."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rewards", choices=("binary", "real"), default="binary")
    parser.add_argument("--objective", default="shifted_mean")
    parser.add_argument("--beta", type=float, help="default: the one of the objective")
    parser.add_argument("--write", help=argparse.SUPPRESS)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.write:
        return write_log(Path(args.write), args.rows, args.rewards)
    if args.measure:
        return print(json.dumps(measure(args.measure, args.objective, args.beta)))
    print("log             file MB      rows   groups  read s  bare reads  read+diagnose s  peak MB read  peak MB")
    with tempfile.TemporaryDirectory() as folder:
        for name in LOGS:
            path = Path(folder) / f"log.{name}"
            again = [sys.executable, __file__, "--rows", str(args.rows), "--rewards", args.rewards]
            again += ["--objective", args.objective]
            again += [] if args.beta is None else ["--beta", str(args.beta)]
            subprocess.run([*again, "--write", str(path)], check=True)
            out = subprocess.run([*again, "--measure", str(path)], check=True, stdout=subprocess.PIPE).stdout
            r = json.loads(out)
            print(
                f"{name:14} {path.stat().st_size / 2**20:8.1f} {r['rows']:9,} {r['groups']:8,} {r['read']:7.2f} "
                f"{r['ratio']:11.2f} {r['total']:16.2f} {r['read_mb']:13.0f} {r['mb']:8.0f}"
            )
            path.unlink()
    return None


if __name__ == "__main__":
    main()
