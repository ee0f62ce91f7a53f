"""Importance weights with a KL whose temperature differs by token: the fixed point, token by token."""

from __future__ import annotations

import numpy as np

from pessimism.tokens.weighted import tilt_of_weights


def test_the_tilt_is_the_fixed_point() -> None:
    rng = np.random.default_rng(0)
    nu, weight, advantage = rng.dirichlet(np.ones(5), 8), rng.uniform(0.1, 2.0, (8, 5)), rng.normal(size=(8, 5))
    for beta in (0.05, 1.0, 30.0):
        u, lam = tilt_of_weights(nu, weight, advantage, beta)
        np.testing.assert_allclose((nu * np.exp(u)).sum(axis=-1), 1.0, rtol=1e-12)
        np.testing.assert_allclose(weight * (advantage - beta * u), np.broadcast_to(lam[:, None], u.shape), atol=1e-10)
