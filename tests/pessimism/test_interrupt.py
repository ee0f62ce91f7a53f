"""Ctrl-C ends every computation that may take long, within seconds, and leaves the process usable."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

# Each would take minutes. They run one after the other in one process, which is interrupted in each of them.
LONG = {
    "solver": "[ps.induced_target(q, r, 'oapl') for _ in range(10**5)]",
    "flows": "ps.induced_target(q, r, 'grpo', eps_low=0.9, eps_high=5.0)",
    "coupled": "[ps.induced_target(q[row], r[row], 'chord') for row in range(10**4)]",
    "route": "ps.induced_target(q, r, 'kimi', method='fixed_point')",
    "minima": "[ps.stationary_points(q[row], r[row], 'constant_baseline', value=3.5) for row in range(4000)]",
    "sgd": "ps.sgd(q[0], r[0], 'kimi', steps=10**7, lr=0.1)",
    "samples": "ps.sgd(q[0], r[0], 'kimi', steps=10**7, lr=0.1, batch_size=64, group_size=8)",
    "refreshed": "ps.sgd(q[0], r[0], 'kimi', steps=10**7, lr=0.1, refresh_every=2, lag=10**5)",
    "stepped": "ps.lagged_iteration(q[:9], r[:9], 'kimi', rounds=9, steps_per_round=10**6, lr=0.1)",
    "advice": "[ps.advise(log, objective='oapl') for _ in range(10**3)]",
    "rounds": "ps.lagged_iteration(q, r, 'kimi', rounds=1000, samples=100)",
    "flow": "[ps.gradient_flow(q[row], r[row], 'chord') for row in range(10**4)]",
    "beta1": "ps.smallest_beta1(0.1, 2**17, [0.01 * i for i in range(1, 100)] * 100)",
    "draws": "ps.finite_group('std_normalized', 1000, q[0], r[0], draws=2**17)",
    "shares": "ps.finite_group('oapl', 2**17, q[0], r[0], draws=2**15).regime_shares",
}
SCRIPT = """
import numpy as np, scipy.integrate, pandas
import pessimism as ps
from scipy.optimize import elementwise
rng = np.random.default_rng(0)
q, r = rng.dirichlet(np.ones(100), 4000), rng.normal(size=(4000, 100))
log = pandas.DataFrame({{"prompt": np.arange(80) // 8, "reward": (np.arange(80) % 7 < 3) * 1.0}})
ps.advise(log, objective="oapl", kl_per_step=0.01)
for code in {codes}:
    print("begins", flush=True)
    try:
        eval(code)
        print("ended by itself", flush=True)
    except KeyboardInterrupt:
        print("stopped", flush=True)
assert np.isfinite(ps.induced_target(q[0], r[0], "kimi").policy).all()
print("usable", flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_interrupt_ends_long_computations() -> None:
    script = SCRIPT.format(codes=list(LONG.values()))
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            for name in LONG:
                assert process.stdout.readline() == "begins\n", name
                time.sleep(0.3)
                process.send_signal(signal.SIGINT)
                start = time.monotonic()
                assert process.stdout.readline() == "stopped\n", name
                # A step of any of them is far below a second; the rest is for a loaded machine.
                assert time.monotonic() - start < 20.0, name
            assert process.stdout.readline() == "usable\n"
        finally:
            process.kill()
