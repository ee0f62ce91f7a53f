"""What can be said about the vLLM engine without vLLM; the rest is in tests/vllm."""

from __future__ import annotations

import pytest
import torch

from llm.generation.vllm import SyncError, agreement, require_agreement


def test_only_what_the_mask_keeps_is_compared() -> None:
    sampled = torch.tensor([[-1.0, -2.0], [-3.0, torch.nan]])
    model = torch.tensor([[-1.00005, -2.0], [-3.0, -5.0]])
    mask = torch.tensor([[1, 1], [1, 0]])
    assert agreement(sampled, model, mask) == pytest.approx(5e-5, rel=0.01)
    assert agreement(sampled, model, torch.zeros(2, 2)) == 0.0
    require_agreement(sampled, model, mask)
    with pytest.raises(SyncError, match=r"differ from the model's by up to 4.99e-05 \(tolerance 1e-05\)"):
        require_agreement(sampled, model, mask, tolerance=1e-5)


def test_nan_is_no_agreement() -> None:
    one = torch.tensor([[-1.0, torch.nan]])
    with pytest.raises(SyncError, match="by up to nan"):
        require_agreement(one, torch.tensor([[-1.0, -1.0]]), torch.ones(1, 2))
