"""A run that saves at every step, to be killed: python -m tests.llm.killed MODEL OUT [most bytes of a file]."""

from __future__ import annotations

import resource
import signal
import sys
from pathlib import Path
from typing import Any

from llm.storage import checkpoints
from tests.llm.runs import trained

STEPS = 24
GIVEN: dict[str, Any] = {"objective": "tba", "lag": 3, "lag_mode": "constant", "max_steps": STEPS}
GIVEN |= {"save_strategy": "steps", "save_steps": 1, "save_total_limit": 2}

if __name__ == "__main__":
    model, out = Path(sys.argv[1]), Path(sys.argv[2])
    if len(sys.argv) > 3:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # the write fails instead
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
    trained(model, out, resume=checkpoints.latest(out), **GIVEN)
