"""The PyTorch step that the training is measured against."""

import numpy as np
import torch

from benchmarks.torch_critics import TrainingStep
from codecbwe_jax.interop.torch.ap_bwe import ApBwe
from codecbwe_jax.systems import ap_bwe, settings_of


def test_frozen_critics_change_no_step() -> None:
    """It is the same step, computed with less."""
    config = settings_of(ap_bwe.ApBwe(channels=8, layers=1))
    wide = torch.from_numpy(0.1 * np.random.default_rng(0).standard_normal((1, 8000))).float()
    moved = []
    for frozen in (False, True):
        torch.manual_seed(0)
        step = TrainingStep(ApBwe(config), frozen, width=4)
        began = [p.detach().clone() for p in step.generator.parameters()]
        loss = step(wide, wide[:, ::3].contiguous())
        ends = [p.detach() for p in step.generator.parameters()]
        assert np.isfinite(loss)
        assert any(not torch.equal(a, b) for a, b in zip(began, ends, strict=True))
        moved.append((loss, ends))
    assert moved[0][0] == moved[1][0]
    assert all(torch.equal(a, b) for a, b in zip(moved[0][1], moved[1][1], strict=True))
