"""One adapter for each kind of golden case.

An adapter takes a `Case` and returns what we compute under the case's tensor names, in the
original's layout (`B, C, T`), as arrays or `Check`s. It knows of a case what its `small_config` and
its inputs say; what we do not build is refused (`Settings.only`). What it computes it compiles as
few programs: thousands of single operations take minutes.
"""

from __future__ import annotations

from tests.golden.adapters import (
    ap_bwe,
    bigvgan,
    codec_models,
    codec_parts,
    critics,
    diffusion,
    discriminators,
    heads,
    hifi_gan_bwe,
    losses,
    metrics,
    musichifi,
    signal,
    streaming,
    vocos,
)

ADAPTERS = {
    **ap_bwe.ADAPTERS,
    **bigvgan.ADAPTERS,
    **codec_models.ADAPTERS,
    **codec_parts.ADAPTERS,
    **critics.ADAPTERS,
    **diffusion.ADAPTERS,
    **discriminators.ADAPTERS,
    **heads.ADAPTERS,
    **hifi_gan_bwe.ADAPTERS,
    **losses.ADAPTERS,
    **metrics.ADAPTERS,
    **musichifi.ADAPTERS,
    **signal.ADAPTERS,
    **streaming.ADAPTERS,
    **vocos.ADAPTERS,
}

# kind -> function of `full_config` that gives the names and shapes of the official checkpoint
FULL_NETWORKS = {
    **ap_bwe.FULL_NETWORKS,
    **bigvgan.FULL_NETWORKS,
    **codec_models.FULL_NETWORKS,
    **codec_parts.FULL_NETWORKS,
    **critics.FULL_NETWORKS,
    **discriminators.FULL_NETWORKS,
    **heads.FULL_NETWORKS,
    **hifi_gan_bwe.FULL_NETWORKS,
    **musichifi.FULL_NETWORKS,
    **streaming.FULL_NETWORKS,
    **vocos.FULL_NETWORKS,
}
