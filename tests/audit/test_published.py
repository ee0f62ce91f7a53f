"""Every registered objective, written down once more as it is published, ends where the package says."""

from __future__ import annotations

import os
from dataclasses import replace
from itertools import cycle
from zlib import crc32

import cvxpy as cp
import numpy as np
import pytest
import torch

import pessimism as ps
from tests.audit.audits import AUDITS, Audit, given
from tests.audit.bandits import KINDS, Problem
from tests.audit.compare import disagreement
from tests.audit.harness import against, field


def one_each(name: str, audit: Audit) -> list[tuple[str, int]]:
    """Every kind of bandit once and every setting at least once: kinds and indices of settings."""
    rounds = max(len(audit.kinds), len(audit.settings))
    pairs = zip(cycle(audit.kinds), cycle(range(len(audit.settings))), strict=False)
    return [pair for pair, _ in zip(pairs, range(rounds), strict=False)]


@pytest.mark.parametrize("name", AUDITS)
def test_published_loss_leads_to_the_target(name: str) -> None:
    audit = AUDITS[name]
    for kind, setting in one_each(name, audit):
        problem = KINDS[kind](crc32(f"{name} {kind}".encode()))
        wrong = disagreement(name, audit, problem, audit.settings[setting])
        assert not wrong, f"{name} {dict(audit.settings[setting])} on {kind} {problem}: {wrong}"


@pytest.mark.nightly
@pytest.mark.parametrize("name", AUDITS)
def test_published_loss_leads_to_the_target_on_many_bandits(name: str) -> None:
    seeds = 20 if os.environ.get("HYPOTHESIS_PROFILE") == "explore" else 2
    audit = AUDITS[name]
    wrong = [
        f"{dict(hyper)} on {kind} {seed}: {what}"
        for seed in range(seeds)
        for kind in audit.kinds
        for hyper in audit.settings
        if (what := disagreement(name, audit, KINDS[kind](seed), hyper))
    ]
    assert not wrong, "\n".join(wrong)


def test_lower_bound_that_no_reward_raises_leaves_a_set() -> None:
    """One success too rare for the bound: every policy without it has the least loss, zero; the nearest is q itself."""
    problem, audit = KINDS["rare"](5), AUDITS["empirical_likelihood_lcb"]
    best = problem.r == 1.0
    hyper = {"n": 5.0, "z": 1.96}
    loss = against(audit.loss, problem.q, problem.q, problem.r, **hyper)
    others = np.random.default_rng(2).normal(size=(500, 40)) * 3.0 + 3.0 * np.outer(np.linspace(-3.0, 3.0, 500), best)
    assert float(loss(torch.tensor(others)).min()) > 0.0
    target = ps.induced_target(problem.q, problem.r, "empirical_likelihood_lcb", **hyper)
    assert str(target.status) == "set_valued"
    np.testing.assert_allclose(target.policy, np.where(best, 0.0, problem.q) / problem.q[~best].sum(), atol=1e-14)


@pytest.mark.parametrize("kind", ["rare", "tied"])
@pytest.mark.parametrize("n", [5.0, 100.0])
def test_lower_bound_where_optima_may_be_a_set_is_the_value_of_a_program(kind: str, n: float) -> None:
    """The bound is concave in the ratios: tied at n = 5 its best value is 0 for two seeds, with no mass on rewards."""
    for seed in range(4):
        problem = KINDS[kind](seed)
        q, r = problem.q, problem.r
        target = ps.induced_target(q, r, "empirical_likelihood_lcb", n=n, z=1.96)
        ratio, root = cp.Variable(len(q), nonneg=True), np.append(np.sqrt(q * r), np.sqrt(1.0 - q @ r))
        # Of Bernoulli rewards w R has the second moment q r w^2: the deviations from the mean, and those of R = 0.
        mean = (q * r) @ ratio
        away = cp.hstack([cp.multiply(root[:-1], ratio - mean), root[-1] * mean])
        program = cp.Problem(cp.Minimize(-mean + 1.96 / np.sqrt(n) * cp.norm(away)), [q @ ratio == 1])
        program.solve(solver=cp.CLARABEL)
        w = np.divide(target.policy, q, out=np.zeros_like(q), where=q > 0)
        value = q @ (w * r)
        loss = -value + 1.96 / np.sqrt(n) * np.sqrt(max(q @ (w**2 * r) - value**2, 0.0))
        assert loss == pytest.approx(program.value, abs=1e-6)


def test_every_registered_objective_has_an_audit() -> None:
    registered = {name for name, one in ps.objectives().items() if one.__module__.startswith("pessimism.")}
    assert registered == set(AUDITS)


@pytest.mark.parametrize("name", [name for name, audit in AUDITS.items() if audit.kinks is not None])
def test_softened_jumps_are_the_published_gradient_elsewhere(name: str) -> None:
    audit, rng = AUDITS[name], np.random.default_rng(1)
    problem: Problem = KINDS["generic"](2)
    for hyper in audit.settings:
        losses = [
            against(audit.loss, problem.q, problem.q, problem.r, **given(problem, hyper), soft=soft)
            for soft in (0.0, 1e-9)
        ]
        logits = np.log(problem.q) + rng.normal(size=(20, len(problem.q)))
        hard, soft = (field(loss)(logits) for loss in losses)
        np.testing.assert_allclose(hard, soft, atol=1e-12)
        assert np.abs(hard).max() > 0.0


def test_a_wrong_loss_is_found() -> None:
    """Another temperature, baseline, loss or clip: the comparison must notice each, and nothing where none is."""
    audit = AUDITS["kimi"]
    problem = KINDS["generic"](3)
    assert not disagreement("kimi", audit, problem, {"beta": 0.3})
    hotter = replace(audit, loss=lambda *args, beta: audit.loss(*args, beta=1.01 * beta))
    assert disagreement("kimi", hotter, problem, {"beta": 0.3})
    assert disagreement("shifted_mean", audit, problem, {"beta": 0.3})
    assert disagreement("nominal", audit, problem, {"beta": 0.3})
    clips = {"eps_low": 0.2, "eps_high": 0.2}
    assert not disagreement("ppo", AUDITS["rloo_clipped"], problem, clips)
    wider = replace(AUDITS["ppo"], optima=lambda q, r, **_: AUDITS["ppo"].optima(q, r, eps_low=0.2, eps_high=0.21))
    assert disagreement("ppo", wider, problem, clips)
