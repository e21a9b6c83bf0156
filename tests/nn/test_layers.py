"""Layers against PyTorch's, for the settings that trip ports up."""

import jax
import numpy as np
import pytest
import torch

from codecbwe_jax.nn.conv import DepthwiseConv, WeightNormConv
from codecbwe_jax.nn.convnext import ConvNeXtBlock
from codecbwe_jax.nn.rotary import rotated


@pytest.mark.parametrize("kernel", [3, 7, 31])
def test_depthwise_conv_is_a_grouped_conv(kernel: int) -> None:
    x = np.random.default_rng(0).standard_normal((2, 40, 6)).astype(np.float32)
    layer = DepthwiseConv(kernel)
    params = layer.init(jax.random.key(0), x)
    weight = np.asarray(params["params"]["kernel"]).T[:, None, :]
    theirs = torch.nn.functional.conv1d(
        torch.from_numpy(x.swapaxes(1, 2).copy()),
        torch.from_numpy(weight.copy()),
        padding=kernel // 2,
        groups=6,
    )
    # sums of 31 float32 products of order 0.02
    np.testing.assert_allclose(layer.apply(params, x), theirs.numpy().swapaxes(1, 2), atol=1e-6)


@pytest.mark.parametrize(("stride", "kernel", "pad"), [(3, 5, 2), (1, 3, 1), (4, 8, 3)])
def test_weight_norm_conv_is_torchs(stride: int, kernel: int, pad: int) -> None:
    x = np.random.default_rng(1).standard_normal((2, 33, 3)).astype(np.float32)
    layer = WeightNormConv(5, (kernel,), (stride,), ((pad, pad),))
    params = layer.init(jax.random.key(1), x)["params"]
    params["g"] = params["g"] * 1.7
    twin = torch.nn.utils.parametrizations.weight_norm(torch.nn.Conv1d(3, 5, kernel, stride, pad))
    weights = twin.parametrizations.weight
    with torch.no_grad():
        weights.original0.copy_(torch.from_numpy(np.asarray(params["g"])[:, None, None].copy()))
        weights.original1.copy_(torch.from_numpy(np.asarray(params["v"]).T.copy()))
        twin.bias.copy_(torch.from_numpy(np.array(params["bias"])))
        theirs = twin(torch.from_numpy(x.swapaxes(1, 2).copy())).numpy()
    ours = layer.apply({"params": params}, x)
    np.testing.assert_allclose(ours, theirs.swapaxes(1, 2), atol=2e-6)  # sums of 24 products


def test_weight_norm_starts_as_the_plain_kernel() -> None:
    layer = WeightNormConv(4, (3,), (1,), ((1, 1),))
    params = layer.init(jax.random.key(0), np.zeros((1, 8, 2), np.float32))["params"]
    norm = np.sqrt(np.sum(np.asarray(params["v"]) ** 2, axis=(0, 1)))
    np.testing.assert_allclose(params["g"], norm, rtol=1e-6)


def test_bfloat16_stays_near_float32() -> None:
    x = np.random.default_rng(2).standard_normal((1, 50, 16)).astype(np.float32)
    params = ConvNeXtBlock(48, 0.5).init(jax.random.key(0), x)
    exact = ConvNeXtBlock(48, 0.5).apply(params, x)
    rough = ConvNeXtBlock(48, 0.5, jax.numpy.bfloat16).apply(params, x)
    # bfloat16 has 8 bits of mantissa: 0.4 % of values of order 3
    np.testing.assert_allclose(np.asarray(rough, np.float32), exact, atol=0.05)


def test_rotated_heads_know_how_far_apart_they_are() -> None:
    q, k = np.random.default_rng(3).standard_normal((2, 1, 1, 1, 8)).astype(np.float32)
    q, k = (rotated(np.broadcast_to(x, (1, 300, 1, 8)), 50000.0)[0, :, 0] for x in (q, k))
    logits = np.asarray(q @ k.T)
    for apart in (-40, 0, 1, 100):
        along = np.diagonal(logits, apart)
        # angles up to 300 in float32
        np.testing.assert_allclose(along, along[0], atol=3e-4)
    assert np.std(logits[0]) > 0.1
    np.testing.assert_allclose(np.linalg.norm(q, axis=-1), np.linalg.norm(q[0]), rtol=1e-5)
