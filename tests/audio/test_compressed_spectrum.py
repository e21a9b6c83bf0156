"""The compressed spectrum: against PyTorch, there and back, and at silence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from codecbwe_jax.audio.compressed_spectrum import CompressedSpectrum
from codecbwe_jax.audio.stft import istft


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(("exponent", "gain"), [(0.2, 1.0), (0.5, 0.3)])
def test_it_is_magnitudes_and_phases(exponent: float, gain: float) -> None:
    x = noise(2, 1000)
    window = torch.signal.windows.hann(128)
    z = torch.stft(torch.from_numpy(x), 128, 64, window=window, return_complex=True).numpy()
    z = z.swapaxes(1, 2)[..., :-1] + 1e-4
    theirs = gain * np.abs(z) ** exponent * np.exp(1j * np.angle(z))
    ours = CompressedSpectrum(128, 64, exponent, gain).analyse(x)
    assert ours.shape == (2, 16, 64, 2)
    # the slope of |X|^0.2 enlarges the rounding of small bins
    np.testing.assert_allclose(ours[..., 0] + 1j * ours[..., 1], theirs, atol=2e-4)


@pytest.mark.parametrize("samples", [None, 960, 1000])
def test_there_and_back(samples: int | None) -> None:
    """Of a signal without what is lost: the mean of neighbours has no Nyquist bin."""
    x = noise(1, 1001)
    x = (x[:, 1:] + x[:, :-1]) / 2
    transform = CompressedSpectrum(128, 64, offset=0.0)
    again = transform.synthesise(transform.analyse(x), samples)
    assert again.shape == (1, samples or 960)
    # the last frame's Nyquist bin is not 0, the signal being reflected there
    np.testing.assert_allclose(again[:, :900], x[:, :900], atol=0.02)


@pytest.mark.parametrize("samples", [None, 500, 570])
def test_istft_of_a_window_and_a_length_is_torchs(samples: int | None) -> None:
    z = (noise(2, 9, 65) + 1j * noise(2, 9, 65)).astype(np.complex64)
    window = torch.signal.windows.hann(128)
    turned = torch.from_numpy(z.swapaxes(1, 2).copy())
    theirs = torch.istft(turned, 128, 64, window=window, length=samples).numpy()
    ours = istft(z, 128, 64, window="symmetric_hann", samples=samples)
    assert ours.shape == theirs.shape == (2, samples or 512)
    # after the last frame's middle rounding is divided by the window's end
    np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.parametrize("offset", [1e-4, 0.0])
def test_silence_has_gradients(offset: float) -> None:
    transform = CompressedSpectrum(128, 64, offset=offset)

    def power(x: jax.Array) -> jax.Array:
        return jnp.sum(jnp.square(transform.synthesise(transform.analyse(x))))

    silence = jnp.zeros((1, 512))
    values = jax.value_and_grad(power)(silence)
    slopes = jax.grad(lambda x: jnp.sum(transform.analyse(x)))(silence)
    assert all(np.all(np.isfinite(value)) for value in (*values, slopes))
