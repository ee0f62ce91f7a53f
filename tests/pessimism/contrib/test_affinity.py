"""HINT's Affinity against its definition, its ends and its refusals."""

from __future__ import annotations

from typing import Any

import array_api_strict
import numpy as np
import pytest
import torch

from pessimism.contrib.affinity import affinity


def test_affinity_is_what_the_paper_computes() -> None:
    rng = np.random.default_rng(0)
    u, A = 0.3 * rng.normal(size=(4, 50)), rng.normal(size=(4, 50))
    found = affinity(u, A)
    for row in range(4):
        ratio, size = np.exp(u[row]), np.abs(A[row])
        inside = (ratio >= 0.8) & (ratio <= 1.2)
        mean = np.average(u[row][inside], weights=size[inside])
        spread = np.sqrt(np.average((u[row][inside] - mean) ** 2, weights=size[inside]))
        share = size[inside].sum() / size.sum()
        assert found.effective_update_ratio[row] == pytest.approx(share, rel=1e-13)
        assert found.update_consistency[row] == pytest.approx(spread, rel=1e-12)
        assert found.value[row] == pytest.approx(share * np.exp(-spread / (np.log(1.2) / 2)), rel=1e-12)
    tensors = affinity(torch.tensor(u, requires_grad=True), torch.tensor(A))
    assert not tensors.value.requires_grad
    np.testing.assert_allclose(tensors.value.numpy(), found.value, rtol=1e-12)
    strict = affinity(array_api_strict.asarray(u), array_api_strict.asarray(A))
    np.testing.assert_allclose(np.asarray(strict.value), found.value, rtol=1e-12)


def test_ends_of_affinity() -> None:
    assert float(affinity([0.0, 0.0], [1.0, -2.0]).value) == 1.0  # the behavior itself
    assert float(affinity([0.1, 0.1], [1.0, -2.0]).value) == pytest.approx(1.0, abs=1e-15)  # evenly ahead of it
    assert float(affinity([1.0, -1.0], [1.0, 1.0]).value) == 0.0  # nothing inside the clip
    assert float(affinity([0.0, 0.1], [0.0, 0.0]).value) == 0.0  # no signal, as in the authors' code
    assert float(affinity([0.0, 0.3], [1.0, 1.0], eps=0.5).effective_update_ratio) == 1.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.0], [1.0], 1.0), r"^eps must be a number inside \(0, 1\), got 1.0$"),
        (([np.nan], [1.0]), "^log_ratio must be finite$"),
        (([0.0], [np.inf]), "^advantage must be finite$"),
        ((0.0, [1.0]), "^log_ratio must have at least one dimension$"),
        (([0.0, 0.0], [1.0, 1.0, 1.0]), "^log_ratio and advantage must broadcast against each other, got shapes"),
    ],
)
def test_refusals_of_affinity(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        affinity(*arguments)


def test_affinity_shows_itself() -> None:
    one, three = affinity(torch.zeros(2), [1.0, -1.0]), affinity(np.zeros((3, 2)), [1.0, -1.0])
    assert repr(one) == "Affinity(value=1, effective_update_ratio=1, update_consistency=0)"
    assert repr(three).startswith("Affinity(shape=(3,), median value=1, ")
    assert "<th>value</th><td>1</td>" in one._repr_html_()
