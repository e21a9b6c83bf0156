"""Batch norm against PyTorch's."""

import jax
import numpy as np
import pytest
import torch

from codecbwe_jax.nn.batch_norm import STATISTICS, BatchNorm, with_statistics


def twins(size: int) -> tuple[dict, torch.nn.BatchNorm2d]:
    """Parameters of ours and a layer of theirs with the same, no value its default."""
    rng, layer = np.random.default_rng(0), torch.nn.BatchNorm2d(size)
    params = {k: rng.uniform(0.5, 2, size).astype(np.float32) for k in ("scale", "bias")}
    params |= {k: rng.uniform(0.5, 2, size).astype(np.float32) for k in ("mean", "var")}
    names = ("weight", "bias", "running_mean", "running_var")
    state = {n: torch.from_numpy(v) for n, v in zip(names, params.values(), strict=True)}
    layer.load_state_dict(state | {"num_batches_tracked": torch.tensor(0)})
    return params, layer


@pytest.mark.parametrize("training", [False, True])
def test_batch_norm_is_torchs_and_so_are_its_next_statistics(training: bool) -> None:
    x = np.random.default_rng(1).normal(3, 2, (2, 3, 4, 5)).astype(np.float32)
    params, layer = twins(5)
    layer.train(training)
    theirs = layer(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).detach().numpy()
    ours, state = BatchNorm().apply({"params": params}, x, training, mutable=[STATISTICS])
    # rounding of float32 values of order 10
    np.testing.assert_allclose(ours, theirs.transpose(0, 2, 3, 1), atol=5e-6)
    after = with_statistics(params, state.get(STATISTICS, {}))
    np.testing.assert_allclose(after["mean"], layer.running_mean, rtol=1e-6)
    np.testing.assert_allclose(after["var"], layer.running_var, rtol=1e-6)
    assert np.array_equal(after["mean"], params["mean"]) is not training
    assert after["scale"] is params["scale"]


@pytest.mark.parametrize("training", [False, True])
def test_no_gradient_reaches_running_statistics(training: bool) -> None:
    x = np.random.default_rng(2).normal(1, 1, (4, 5)).astype(np.float32)
    params, _ = twins(5)

    def loss(params: dict) -> jax.Array:
        return (BatchNorm().apply({"params": params}, x, training) ** 3).sum()

    gradient = jax.grad(loss)(params)
    assert {k for k, g in gradient.items() if np.any(g)} == {"scale", "bias"}


def test_what_cannot_be_normalised_or_is_not_there_is_told() -> None:
    params, _ = twins(5)
    with pytest.raises(ValueError, match="one value has no variance"):
        BatchNorm().apply({"params": params}, np.ones((1, 1, 5), np.float32), True)
    with pytest.raises(ValueError, match="of these names: norm/mean"):
        with_statistics(params, {"norm": {"mean": params["mean"]}})
