"""The KL of an optimizer step: given, measured in the log, or a curve with the reason."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

import pessimism as ps
from pessimism.advice.step import CURVE, step_of

SETTINGS = ps.from_config({"loss_type": "grpo"})


def log(old: int) -> pd.DataFrame:
    """Completions of 40 prompts that a policy some versions older sampled, each logit 0.1 normal apart."""
    rng = np.random.default_rng(0)
    prompts = np.repeat(np.arange(40), 8)
    mu = rng.normal(-3.0, 0.2, size=320)
    u = rng.normal(-0.005, 0.1, size=320)  # mean of exp(u) is 1
    columns = {"prompt": [f"p{i}" for i in prompts], "reward": (rng.random(320) < 0.4).astype(float), "step": 9}
    return pd.DataFrame(columns | {"sampling_client_step": 9 - old, "mu": mu, "pi": mu + u})


def measured(old: int) -> ps.Diagnosis:
    return ps.diagnose(log(old), "kimi", log_prob_columns="mu,pi")


def test_what_is_given_is_taken() -> None:
    report = measured(1)
    assert report.logged is not None
    assert step_of(report.logged, None, 0.5) == ((0.5,), "The KL per step, 0.5, is as given.")


def test_the_log_is_measured() -> None:
    frame = log(1)
    u = (frame["pi"] - frame["mu"]).to_numpy()
    report = measured(1)
    assert report.logged is not None
    found = step_of(report.logged, None, None)
    (kl,) = found.kl
    assert kl == pytest.approx(np.mean(np.expm1(u) - u), rel=1e-9)
    assert found.told.startswith(f"The KL per step is {kl:.2g}, measured in the log over all its prompts")


def test_of_several_steps_there_are_two_ends() -> None:
    one, three = measured(1), measured(3)
    assert one.logged is not None
    assert three.logged is not None
    kl = step_of(one.logged, None, None).kl[0]
    found = step_of(three.logged, None, None)
    np.testing.assert_allclose(found.kl, [kl / 9, kl / 3])
    assert "if the steps go one way" in found.told


def test_a_version_of_a_trainer_may_serve_several_steps() -> None:
    report = measured(1)
    assert report.logged is not None
    kl = step_of(report.logged, None, None).kl[0]
    of_trl = dataclasses.replace(SETTINGS, reuse=4)
    assert step_of(report.logged, of_trl, None).kl == (kl,)
    of_verl = dataclasses.replace(of_trl, trainer="verl")
    found = step_of(report.logged, of_verl, None)
    np.testing.assert_allclose(found.kl, [kl / 16, kl / 4])
    assert "4 optimizer steps counted a version" in found.told


def test_a_log_that_cannot_tell_gets_a_curve_and_the_reason() -> None:
    report = ps.diagnose(log(1).drop(columns=["mu", "pi"]), "kimi")
    assert report.logged is not None
    found = step_of(report.logged, None, None)
    assert found.kl == CURVE
    assert "1e-05 to 0.01 nats a step: the log " in found.told


def test_advice_takes_what_is_measured() -> None:
    found = ps.advise(log(3), objective="kimi:beta=1", candidates=["nominal"], log_prob_columns="mu,pi")
    assert found.lag["kl_per_step"].nunique() == 2
    assert found.kl_from.startswith("The KL per step lies between")
