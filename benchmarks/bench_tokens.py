"""Time and memory of the token tree beside a softmax over the same array, in the same run.

    python benchmarks/bench_tokens.py [--depth 4] [--tokens 32] [--repeats 3]

A full tree of random behaviors with rewards of 0 and 1: 32 tokens and a depth of 5 are 1.1 million prefixes and 34
million tokens. Values are the pass from the leaves up; targets are those of a squared loss, positive everywhere. Memory
is the largest resident size less that before the tree was built, in arrays of one float for each token, with the tree.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import pessimism as ps


def full_tree(depth: int, tokens: int, seed: int = 0) -> ps.TokenTree:
    """A tree in which every prefix above the depth has all tokens."""
    rng = np.random.default_rng(seed)
    count = sum(tokens**d for d in range(depth))
    size = count * tokens
    log_behavior = rng.standard_exponential((count, tokens))
    log_behavior /= log_behavior.sum(axis=-1, keepdims=True)
    np.log(log_behavior, out=log_behavior)
    child = np.full(size, -1, dtype=np.int32)
    child[: count - 1] = np.arange(1, count)
    reward = (rng.random(size - count + 1) < 0.3).astype(np.float64)
    node, token = np.repeat(np.arange(count, dtype=np.int32), tokens), np.tile(np.arange(tokens, dtype=np.int32), count)
    return ps.TokenTree.from_arrays(node, token, child, log_behavior.ravel(), reward)


def softmax(x: np.ndarray) -> np.ndarray:
    """Probabilities of rows."""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def seconds(call: Callable[[], object], repeats: int) -> float:
    """Shortest processor time of a call."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times)


def main(arguments: list[str] | None = None) -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args(arguments)
    ps.token_target(full_tree(2, 4), "shifted_mean", beta=1.0)  # warms up
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tree = full_tree(given.depth, given.tokens)
    size = 8 * len(tree.node)
    ps.token_target(tree, "shifted_mean", beta=1.0)
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / size
    unit = seconds(lambda: softmax(tree.log_behavior.reshape(-1, given.tokens)), given.repeats)
    passes = seconds(lambda: tree.below(tree.leaf_reward), given.repeats)
    whole = seconds(lambda: ps.token_target(tree, "shifted_mean", beta=1.0), given.repeats)
    print(f"{len(tree.value)} prefixes, {len(tree.node)} tokens; softmax {unit:.3f} s")
    print(f"values {passes / unit:.1f}, token_target {whole / unit:.1f} times a softmax; memory {memory:.1f} arrays")


if __name__ == "__main__":
    main()
