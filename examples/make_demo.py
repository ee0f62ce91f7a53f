"""The rollouts of ``pessimism demo``, simulated: a tabular policy that learns with GRPO on data that lag.

    python examples/make_demo.py [pessimism/demo/rollouts.jsonl]

There are 32 additions, and for each a policy over 12 answers. Every prompt is trained alone by `pessimism.sgd`, with
exact gradients and the settings of ``pessimism/demo/grpo.yaml``; each generation of completions serves four optimizer
steps and is two steps old when it begins to. A completion is logged with its log-probability under the policy that
sampled it and under the one that is trained on it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

import pessimism as ps

PROMPTS, ANSWERS, GROUP, BATCH = 32, 12, 8, 16
REFRESH, LAG, STEPS, LEARNING_RATE = 4, 2, 24, 0.4
LOG = Path(__file__).parents[1] / "pessimism" / "demo" / "rollouts.jsonl"


def rollouts() -> list[dict[str, object]]:
    """Return the rows of the log, in the order in which they were sampled."""
    rng = np.random.default_rng(0)
    rows = []
    for prompt in range(PROMPTS):
        one, other = rng.integers(10, 90, size=2).tolist()
        answers = [one + other, *(one + other + d for d in (-1, 1, 10, -10, 2, -2, 11, 9, -9, -11, 100))]
        behavior = rng.dirichlet([0.2 + 3.0 * rng.random() ** 2, *[0.5] * (ANSWERS - 1)])
        reward = np.array([1.0] + [0.0] * (ANSWERS - 1))
        run = ps.sgd(
            *(behavior, reward, "grpo"),
            steps=STEPS,
            lr=LEARNING_RATE,
            refresh_every=REFRESH,
            lag=LAG,
            record_every=1,
            beta=0.04,
        )
        batches = PROMPTS // BATCH
        for step in range(REFRESH * (prompt % batches), STEPS, REFRESH * batches):
            behind, now = (run.policies[max(at, 0)] for at in (step - LAG, step))
            for answer in rng.choice(ANSWERS, size=GROUP, p=behind / behind.sum()).tolist():
                rows.append(
                    {
                        "step": step,
                        "prompt": [
                            {"role": "system", "content": "Answer with a number."},
                            {"role": "user", "content": f"What is {one} + {other}?"},
                        ],
                        "completion": str(answers[answer]),
                        "reward": reward[answer],
                        "behavior_log_prob": round(float(np.log(behind[answer])), 6),
                        "policy_log_prob": round(float(np.log(now[answer])), 6),
                    }
                )
    return sorted(rows, key=lambda row: int(str(row["step"])))


def main() -> None:
    """Write the log."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else LOG
    path.write_text("".join(json.dumps(row) + "\n" for row in rollouts()), encoding="utf-8")


if __name__ == "__main__":
    main()
