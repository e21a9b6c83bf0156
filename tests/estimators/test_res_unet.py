"""NVSR's U-Net: lengths, the bin that it leaves alone, training."""

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from codecbwe_jax.estimators.res_unet import ResUNet
from codecbwe_jax.nn.batch_norm import STATISTICS, with_statistics

NETWORK = ResUNet((3, 4, 5))


def noise(frames: int, mels: int = 16) -> np.ndarray:
    return np.random.default_rng(frames).normal(-2, 1, (2, frames, mels)).astype(np.float32)


def test_any_number_of_frames_comes_back_and_the_last_bin_is_left_alone() -> None:
    variables = NETWORK.init(jax.random.key(0), noise(8))
    for frames in (1, 8, 13):
        x = noise(frames)
        y = NETWORK.apply(variables, x)
        assert y.shape == x.shape
        assert not np.any(y[..., -1])
        assert np.all(y[..., :-1])
        x[..., -1] += 1
        np.testing.assert_array_equal(NETWORK.apply(variables, x), y)


def test_bins_that_the_levels_do_not_halve_are_refused() -> None:
    with pytest.raises(ValueError, match="20 mel bins are no multiple of 8"):
        NETWORK.init(jax.random.key(0), noise(8, 20))


def test_training_changes_the_running_statistics_of_all_norms_and_nothing_else() -> None:
    x = noise(13)
    params = NETWORK.init(jax.random.key(0), x)["params"]
    _, state = NETWORK.apply({"params": params}, x, True, mutable=[STATISTICS])
    after = with_statistics(params, state[STATISTICS])
    old, new = (flatten_dict(tree, sep="/") for tree in (params, after))
    assert old.keys() == new.keys()
    changed = {k for k in old if not np.array_equal(old[k], new[k])}
    assert changed == {k for k in old if k.endswith(("/mean", "/var"))}
