import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from codecbwe_jax.decoders.backbones import BACKBONES, backbone_settings
from codecbwe_jax.systems import build, settings_of

SIZES = {
    "transformer": {"size": 64, "intermediate": 256, "layers": 6, "heads": 4, "head_size": 16},
    "convnext": {"size": 64, "intermediate": 256, "layers": 6},
    "wavtokenizer": {"size": 64, "intermediate": 256, "layers": 6},
    "resnet": {"size": 64, "layers": 6},
}
REMAT = {"remat": True}


def gradient(settings: Any, x: jax.Array) -> tuple[Any, int]:
    """Of the same loss for the same first values, and bytes kept from forward to backward. (How
    much memory the compiled program takes says nothing here: XLA's CPU compiler undoes it.)"""
    network = settings.module(jnp.float32)
    params = network.init(jax.random.key(0), x)
    weights = jax.random.normal(jax.random.key(2), x.shape)
    value, pull = jax.vjp(lambda p: jnp.mean(network.apply(p, x) * weights), params)
    own = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
    return pull(jnp.ones_like(value))[0], sum(leaf.nbytes for leaf in jax.tree.leaves(pull)) - own


@pytest.mark.parametrize("kind", BACKBONES)
def test_computing_again_keeps_less_for_the_same_gradient(kind: str) -> None:
    kept = backbone_settings({"kind": kind, **SIZES[kind]})
    again = dataclasses.replace(kept, remat=True)
    assert again == kept  # the same network: who has the weights of one has those of the other
    x = jax.random.normal(jax.random.key(1), (2, 400, 64))
    expected, much = gradient(kept, x)
    result, little = gradient(again, x)
    assert jax.tree.structure(result) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(result), jax.tree.leaves(expected), strict=True):
        # float32 sums in another order
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * float(jnp.abs(b).max()))
    assert little < 0.4 * much


def test_what_is_exported_does_not_know_how_gradients_were_computed() -> None:
    backbone = {"kind": "convnext", **SIZES["convnext"]}
    both = [build({"name": "native_istft", "backbone": b | backbone}) for b in ({}, REMAT)]
    assert both[1].backbone.remat
    assert settings_of(both[0]) == settings_of(both[1])
    assert build(settings_of(both[1])) == both[1]
