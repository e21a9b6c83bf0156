"""Adversarial and feature-matching losses over a list of sub-discriminators.

A weight on one of these means something only together with its rule: "sum" adds the
sub-discriminators (AP-BWE, HiFi-GAN, DAC), "mean" divides by their number (Vocos, EnCodec).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp

Scores = Sequence[jax.Array]
Maps = Sequence[Sequence[jax.Array]]
Rule = Literal["sum", "mean"]


def _reduce(terms: Sequence[jax.Array], rule: Rule) -> jax.Array:
    total = jnp.sum(jnp.stack(terms))
    return total / len(terms) if rule == "mean" else total


def _float32(x: jax.Array) -> jax.Array:
    return x.astype(jnp.float32)


def hinge_discriminator(real: Scores, fake: Scores, rule: Rule = "sum") -> jax.Array:
    """mean relu(1 - D(real)) + mean relu(1 + D(fake)), over sub-discriminators."""
    pairs = zip(real, fake, strict=True)
    return _reduce(
        [
            jnp.mean(jax.nn.relu(1 - _float32(r))) + jnp.mean(jax.nn.relu(1 + _float32(f)))
            for r, f in pairs
        ],
        rule,
    )


def hinge_generator(fake: Scores, rule: Rule = "sum") -> jax.Array:
    """mean relu(1 - D(fake)): clamped for the generator too (Vocos, AP-BWE)."""
    return _reduce([jnp.mean(jax.nn.relu(1 - _float32(f))) for f in fake], rule)


def least_squares_discriminator(real: Scores, fake: Scores, rule: Rule = "sum") -> jax.Array:
    """mean (1 - D(real))^2 + mean D(fake)^2, over sub-discriminators."""
    pairs = zip(real, fake, strict=True)
    return _reduce(
        [jnp.mean((1 - _float32(r)) ** 2) + jnp.mean(_float32(f) ** 2) for r, f in pairs], rule
    )


def least_squares_generator(fake: Scores, rule: Rule = "sum") -> jax.Array:
    """mean (1 - D(fake))^2, over sub-discriminators."""
    return _reduce([jnp.mean((1 - _float32(f)) ** 2) for f in fake], rule)


def feature_matching(
    real: Maps, fake: Maps, rule: Rule = "sum", relative: bool = False
) -> jax.Array:
    """Mean absolute difference of each pair of feature maps.

    "sum" adds all maps of all sub-discriminators; "mean" divides by their number. Real maps are
    constants; with `relative`, each difference is divided by their mean absolute value (EnCodec,
    arXiv 2210.13438, equation 2). HiFi-GAN's factor 2 belongs to the weight.
    """
    terms = []
    for real_maps, fake_maps in zip(real, fake, strict=True):
        for r, f in zip(real_maps, fake_maps, strict=True):
            r, f = _float32(jax.lax.stop_gradient(r)), _float32(f)
            difference = jnp.mean(jnp.abs(r - f))
            terms.append(difference / jnp.mean(jnp.abs(r)) if relative else difference)
    return _reduce(terms, rule)


ADVERSARIAL = {
    "hinge": (hinge_discriminator, hinge_generator),
    "least_squares": (least_squares_discriminator, least_squares_generator),
}
