"""Depthwise 2-D convolutions against XLA's and PyTorch's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from codecbwe_jax.nn.depthwise import ReflectDepthwiseConv, depthwise


def drawn(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("size", [(4, 9), (12, 4), (13, 20)])
def test_it_is_torchs(size: tuple[int, int]) -> None:
    x = drawn(2, *size, 5)
    layer = ReflectDepthwiseConv(7, kernel_init=jax.nn.initializers.normal(1.0))
    params = layer.init(jax.random.key(0), x)["params"]
    params["bias"] = jnp.arange(5.0)
    twin = torch.nn.Conv2d(5, 5, 7, padding=3, groups=5, padding_mode="reflect")
    with torch.no_grad():
        # torch's axes are bins and frames
        twin.weight.copy_(torch.from_numpy(np.asarray(params["kernel"]).T.copy()))
        twin.bias.copy_(torch.from_numpy(np.asarray(params["bias"]).copy()))
        theirs = twin(torch.from_numpy(x.T.transpose(3, 0, 1, 2).copy())).numpy()
    ours = layer.apply({"params": params}, x)
    np.testing.assert_allclose(ours, theirs.transpose(0, 3, 2, 1), atol=1e-5)  # 49 products


def test_what_cannot_be_reflected_is_refused() -> None:
    with pytest.raises(ValueError, match="9 x 3 is too small to reflect 3"):
        ReflectDepthwiseConv(7).init(jax.random.key(0), drawn(1, 9, 3, 2))


@pytest.mark.parametrize("kernel", [(7, 7), (3, 5)])
def test_the_gradient_is_that_of_a_grouped_convolution(kernel: tuple[int, int]) -> None:
    x, weights = drawn(2, 11, 9, 3), drawn(*kernel, 3)

    def grouped(x: jax.Array, kernel: jax.Array) -> jax.Array:
        layout = ("NHWC", "HWIO", "NHWC")
        kernel = kernel[:, :, None]
        return jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "VALID", dimension_numbers=layout, feature_group_count=3
        )

    def gradient(conv: object) -> tuple[jax.Array, jax.Array]:
        return jax.jit(jax.grad(lambda *a: jnp.sum(jnp.sin(conv(*a))), argnums=(0, 1)))(x, weights)

    for ours, theirs in zip(gradient(depthwise), gradient(grouped), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=3e-5)  # sums of up to 126 products
