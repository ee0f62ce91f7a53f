"""Kernel estimators: exact model, order of the smoothing bias on a dense grid of actions, the forms by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm

from pessimism import evaluate, make_logs
from pessimism.evaluation.kernel import KERNELS, quadrature
from tests.helpers import Array

TAU = 0.2
HALF = 3.0  # actions are uniform on [-3, 3]


def _reward(context: Any, action: Array) -> Array:
    """Smooth, not symmetric about TAU."""
    return np.cos(2 * action) + 0.3 * action


def _grid(n: int = 60_001) -> dict[str, Array]:
    """Midpoints, so that means over rounds are integrals over actions to many digits."""
    action = HALF * (2 * (np.arange(n) + 0.5) / n - 1)
    return {"action": action, "reward": _reward(None, action), "pscore": np.full(n, 1 / (2 * HALF))}


def _random(n: int = 400) -> dict[str, Array]:
    rng = np.random.default_rng(1)
    x = rng.normal(size=n)
    action = 0.8 * x + rng.normal(size=n)
    reward = np.sin(action) - x**2 + rng.normal(size=n)
    return {"action": action, "reward": reward, "pscore": norm.pdf(action - 0.8 * x), "context": x[:, None]}


@pytest.mark.parametrize("kernel", list(KERNELS))
def test_exact_model_leaves_no_bias_at_any_bandwidth(kernel: str) -> None:
    logs = _random() | {"context": None}
    logs["reward"] = _reward(None, logs["action"])
    for h in (0.01, 0.3, 5.0):
        found = evaluate(TAU, logs, "kernel", form="d", reward_model=_reward, kernel=kernel, bandwidth=h)
        assert found.value == pytest.approx(float(_reward(None, np.array(TAU))), abs=1e-14)


@pytest.mark.parametrize("kernel", list(KERNELS))
def test_smoothing_bias_is_of_second_order_and_half_with_half_the_model(kernel: str) -> None:
    logs, truth = _grid(), float(_reward(None, np.array(TAU)))
    second = quad(lambda u: u**2 * float(KERNELS[kernel](np.array(u))), -8, 8, points=[-1, 0, 1])[0]

    def half(context: Any, action: Array) -> Array:
        return 0.5 * _reward(context, action)

    def bias(form: str, h: float) -> float:
        model = None if form == "is" else half
        options = {"form": form, "reward_model": model, "kernel": kernel, "bandwidth": h}
        return evaluate(TAU, logs, "kernel", **options).value - truth

    predicted = 0.5 * second * -4 * np.cos(2 * TAU)  # half the kernel's variance times the second derivative
    for form, share in (("is", 1.0), ("k", 1.0), ("obp", 1.0), ("d", 0.5)):
        assert bias(form, 0.05) / 0.05**2 == pytest.approx(share * predicted, rel=0.01)
        assert bias(form, 0.2) / bias(form, 0.1) == pytest.approx(4.0, rel=0.05)


def test_forms_by_hand() -> None:
    logs, h = _random(), 0.4
    x, a, r, mu = logs["context"][:, 0], logs["action"], logs["reward"], logs["pscore"]
    tau = 0.5 * x

    def model(context: Array, action: Array) -> Array:
        return np.asarray(action**3 - context[:, 0])

    w = norm.pdf((tau - a) / h) / h / mu
    q, q_tau = a**3 - x, tau**3 - x
    smeared = tau**3 + 3 * tau * h**2 - x  # E[(tau + h u)^3], u standard normal
    expected = {
        "is": w * r,
        "d": w * (r - q) + q_tau,
        "k": w * (r - q) + smeared,
        "obp": w * (r - q_tau) + q_tau,
    }
    for form, terms in expected.items():
        options = {"form": form, "reward_model": None if form == "is" else model, "bandwidth": h}
        for policy in (tau, lambda context: 0.5 * context[:, 0]):
            found = evaluate(policy, logs, "kernel", **options)
            assert found.value == pytest.approx(terms.mean(), rel=1e-12)
            assert found.upper - found.value == pytest.approx(1.959964 * terms.std(ddof=1) / 20, rel=1e-6)
            assert found.ess == pytest.approx(w.sum() ** 2 / (w**2).sum(), rel=1e-12)
    assert evaluate(tau, logs, "kernel", reward_model=model).options["form"] == "d"
    assert evaluate(tau, logs, "kernel").options["form"] == "is"


def test_one_number_in_any_spelling_is_the_action_of_all_rounds() -> None:
    logs = _random()
    expected = evaluate(np.full(400, 0.25), logs, "kernel")
    for policy in (0.25, np.float64(0.25), np.array(0.25), torch.tensor(0.25), lambda context: np.array(0.25)):
        assert evaluate(policy, logs, "kernel") == expected


def test_default_bandwidth_is_a_length() -> None:
    logs = _random()
    scaled = logs | {"action": 100 * logs["action"], "pscore": logs["pscore"] / 100}
    a, b = evaluate(TAU, logs, "kernel"), evaluate(100 * TAU, scaled, "kernel")
    assert a.options["bandwidth"] == pytest.approx(np.std(logs["action"], ddof=1) * 400**-0.2)
    assert b.value == pytest.approx(a.value, rel=1e-12)


@pytest.mark.parametrize("kernel", list(KERNELS))
def test_kernels_are_densities(kernel: str) -> None:
    nodes, masses = quadrature(kernel)
    assert masses.sum() == pytest.approx(1.0, abs=1e-12)
    assert masses @ nodes == pytest.approx(0.0, abs=1e-12)
    total, _ = quad(lambda u: float(KERNELS[kernel](np.array(u))), -10, 10, points=[-1, 0, 1])
    fourth, _ = quad(lambda u: u**4 * float(KERNELS[kernel](np.array(u))), -10, 10, points=[-1, 0, 1])
    assert total == pytest.approx(1.0, abs=1e-10)
    assert masses @ nodes**4 == pytest.approx(fourth, rel=1e-8)


@pytest.mark.parametrize(
    ("policy", "options", "message"),
    [
        (TAU, {"form": "x"}, "^form must be one of is, d, k, obp, got 'x'$"),
        (TAU, {"kernel": "box"}, "^kernel must be one of gaussian, epanechnikov, triangular, cosine, got 'box'$"),
        (TAU, {"form": "d"}, "^reward_model: form 'd' needs a reward model$"),
        (TAU, {"form": "is", "reward_model": _reward}, "^reward_model: form 'is' takes no reward model$"),
        (TAU, {"bandwidth": 0.0}, "^bandwidth must be greater than 0, got 0.0$"),
        (TAU, {"kernel": ["box"]}, r"^kernel must be one of gaussian, .*, got \['box'\]$"),
        (TAU, {"form": ["is"]}, r"^form must be one of is, d, k, obp, got \['is'\]$"),
        (TAU, {"reward_model": 3}, "^reward_model must be a function of the context and the actions, got 3$"),
        ("a", {}, "^policy must be a finite number, got 'a'$"),
        ([TAU], {}, "^policy must have one entry per round, got 1 entries for 400 rounds$"),
        (None, {}, "^policy must be given: the actions that it takes, one per round$"),
        (TAU, {"reward_model": lambda c, a: a * np.nan}, r"^reward_model\[0\] must be finite, got nan$"),
    ],
)
def test_refusals(policy: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(policy, _random(), "kernel", **options)


def test_refusals_of_logs() -> None:
    with pytest.raises(ValueError, match="^logs must hold pscore for estimator kernel$"):
        evaluate(TAU, make_logs(action=[0.1], reward=[1.0]), "kernel")
    small = make_logs(action=[0.1, 0.2], reward=[1.0, 2.0], pscore=[1.0, 1e-309])
    with pytest.raises(ValueError, match=r"^pscore\[1\] must not be so small that the ratio overflows, got 1e-309$"):
        evaluate([0.1, 0.2], small, "kernel")
    with pytest.raises(ValueError, match="^bandwidth must be given: the logged actions do not vary$"):
        evaluate(TAU, make_logs(action=[0.1, 0.1], reward=[1.0, 2.0], pscore=[1.0, 1.0]), "kernel")
