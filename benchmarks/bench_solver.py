"""Speed and memory of the batched solver, as ratios to ``scipy.special.softmax`` on the same array in the same run.

    python benchmarks/bench_solver.py [--cvxpy]

Validation, the result object and its policy count. Bounds that the project sets itself: 6 x softmax for 10,000
problems of 64 actions, 15 x for 100,000 of 8, at every temperature; memory of 12 arrays of the input's size.
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
from collections.abc import Callable
from functools import partial

import numpy as np
from scipy.special import softmax

import pessimism as ps

BETAS = (1.0, 0.1, 0.01, 0.001)


def best_of_both(first: Callable[[], object], second: Callable[[], object], repeats: int = 15) -> tuple[float, float]:
    """Least CPU seconds of two calls, taken in turn so that both meet the same state of machine and memory."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats + 1):
        for call, taken in zip((first, second), times, strict=True):
            start = time.process_time()
            call()
            taken.append(time.process_time() - start)
    return min(times[0][1:]), min(times[1][1:])


def peak_arrays(call: Callable[[], object], size: int) -> float:
    """Peak of traced memory during a call, in float64 arrays of ``size`` elements."""
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / (8 * size)


def problem(rows: int, actions: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Dirichlet behaviors and normal rewards."""
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.ones(actions), rows), rng.normal(size=(rows, actions))


def policy_of(behavior: np.ndarray, reward: np.ndarray, name: str, beta: float) -> object:
    """What is timed."""
    return ps.induced_target(behavior, reward, name, beta=beta).policy


def cvxpy_loop_ms(behavior: np.ndarray, reward: np.ndarray, beta: float, rows: int = 20) -> float:
    """Milliseconds a problem of a loop over cvxpy on the u-program, min E[(beta u - A)^2] s.t. log E[e^u] <= 0."""
    import cvxpy as cp

    start = time.perf_counter()
    for q, r in zip(behavior[:rows], reward[:rows], strict=True):
        u = cp.Variable(len(q))
        loss = cp.sum(cp.multiply(q, cp.square(beta * u - (r - q @ r))))
        cp.Problem(cp.Minimize(loss), [cp.log_sum_exp(u + np.log(q)) <= 0]).solve(solver=cp.CLARABEL)
    return 1e3 * (time.perf_counter() - start) / rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cvxpy", action="store_true", help="also time a loop over cvxpy")
    arguments = parser.parse_args()
    print(" problems   actions     objective   beta  softmax ms  solver ms  ratio  arrays")
    for rows, actions, bound in ((10_000, 64, 6), (100_000, 8, 15), (1, 1_000_000, None)):
        behavior, reward = problem(rows, actions)
        for name in ("kimi", "shifted_mean"):
            for beta in BETAS:
                solve = partial(policy_of, behavior, reward, name, beta)

                base, own = best_of_both(partial(softmax, reward, axis=-1), solve)
                arrays = peak_arrays(solve, behavior.size)
                flag = "" if bound is None or own <= bound * base else f"  above {bound}"
                print(
                    f"{rows:>9} {actions:>9} {name:>13} {beta:>6g} {1e3 * base:>11.2f} {1e3 * own:>10.2f} "
                    f"{own / base:>6.2f} {arrays:>7.1f}{flag}"
                )
        if arguments.cvxpy and rows == 10_000:
            per_row = cvxpy_loop_ms(behavior, reward, 0.1)
            print(f"{'':>20} cvxpy loop, beta 0.1: {per_row:.2f} ms a problem, {per_row * rows / 1e3:.0f} s for all")


if __name__ == "__main__":
    main()
