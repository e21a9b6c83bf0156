"""Cuts by energy, and splices at them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from codecbwe_jax.audio.cutoff import energy_cut
from codecbwe_jax.audio.splice import splice
from codecbwe_jax.audio.stft import stft


def scanned(magnitudes: np.ndarray, share: float) -> int:
    """As the originals look: from the top, for the first bin below the share."""
    sums = np.cumsum(magnitudes.sum(0))
    for i in range(1, len(sums)):
        if sums[-i] < share * sums[-1]:
            return len(sums) - i
    return 0


def test_the_cut_is_where_a_scan_from_the_top_ends() -> None:
    rng = np.random.default_rng(0)
    falling = rng.random((3, 4, 5, 40)) * np.exp(-np.arange(40) / rng.uniform(1, 30, (3, 4, 1, 1)))
    for share in (0.5, 0.97, 0.9995):
        cuts = energy_cut(falling.astype(np.float32), share)
        assert cuts.dtype == jnp.int32
        expected = [[scanned(x, share) for x in row] for row in falling]
        np.testing.assert_array_equal(cuts, expected)
    # what the scan does not reach: all in the first bin, nothing anywhere
    edge = np.zeros((2, 5, 40), np.float32)
    edge[0, :, 0] = 1
    np.testing.assert_array_equal(energy_cut(edge, 0.99), [0, 0])


# longer and shorter predictions; a length that is no multiple of the hop
@pytest.mark.parametrize(("samples", "more"), [(4000, 0), (4000, 130), (4017, -130), (4017, 90)])
def test_a_splice_is_that_of_torchs_transforms(samples: int, more: int) -> None:
    rng = np.random.default_rng(1)
    source, predicted = (
        rng.standard_normal((2, n)).astype(np.float32) for n in (samples, samples + more)
    )
    cut, window = np.array([40, 200]), torch.hann_window(512)
    theirs = [
        torch.stft(
            torch.from_numpy(x), 512, 120, window=window, pad_mode="constant", return_complex=True
        )
        for x in (source, predicted)
    ]
    known, made = (z[..., : min(z.shape[-1] for z in theirs)] for z in theirs)
    low = torch.from_numpy(np.arange(257)[:, None] < cut[:, None, None])
    expected = torch.istft(torch.where(low, known, made), 512, 120, window=window, length=samples)
    ours = jax.jit(splice, static_argnums=(2, 3))(source, predicted, 512, 120, cut)
    # float32 FFTs of noise
    np.testing.assert_allclose(ours, expected.numpy(), atol=1e-5)


def test_a_splice_keeps_what_both_agree_on() -> None:
    x = np.random.default_rng(2).standard_normal((2, 3001)).astype(np.float32)
    np.testing.assert_allclose(splice(x, x, 512, 128, 100), x, atol=1e-5)  # two float32 FFTs


def test_zeros_at_the_ends_are_torchs() -> None:
    x = np.random.default_rng(3).standard_normal((1, 200)).astype(np.float32)
    ours = stft(x, 512, 100, padding="zeros")
    theirs = torch.stft(
        torch.from_numpy(x),
        512,
        100,
        window=torch.hann_window(512),
        pad_mode="constant",
        return_complex=True,
    )
    np.testing.assert_allclose(ours, theirs.numpy().swapaxes(1, 2), atol=1e-4)  # as in test_stft
