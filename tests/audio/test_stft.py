import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from codecbwe_jax.audio.stft import frame, istft, overlap_add, phase, stft

GEOMETRIES = [(512, 128, 512), (1024, 80, 320), (320, 160, 320), (100, 30, 60), (683, 60, 300)]


@pytest.mark.parametrize(("n_fft", "hop", "win"), GEOMETRIES)
@pytest.mark.parametrize("window", ["hann", "rectangular"])
def test_stft_is_torch_stft(n_fft: int, hop: int, win: int, window: str) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3001)).astype(np.float32)
    kind = torch.hann_window(win) if window == "hann" else torch.ones(win)
    theirs = torch.stft(torch.from_numpy(x), n_fft, hop, win, kind, return_complex=True)
    ours = stft(x, n_fft, hop, win, window)
    # float32 FFT rounding of sums of up to 683 values of order 1
    np.testing.assert_allclose(ours, theirs.numpy().swapaxes(1, 2), atol=2e-4)


@pytest.mark.parametrize(("n_fft", "hop", "win"), GEOMETRIES)
def test_istft_is_torch_istft(n_fft: int, hop: int, win: int) -> None:
    rng = np.random.default_rng(1)
    shape = (2, 20, n_fft // 2 + 1)
    z = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)
    theirs = torch.istft(
        torch.from_numpy(z.swapaxes(1, 2).copy()), n_fft, hop, win, torch.hann_window(win)
    ).numpy()
    ours = istft(z, n_fft, hop, win)
    assert ours.shape == theirs.shape
    # the envelope is small at the ends of sparse windows, where rounding is divided by it
    np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max())


@pytest.mark.parametrize("padding", ["center", "same"])
@pytest.mark.parametrize("samples", [4800, 4811, 5279])
def test_round_trip(padding: str, samples: int) -> None:
    x = np.random.default_rng(2).standard_normal((1, samples)).astype(np.float32)
    y = istft(stft(x, 512, 128, padding=padding), 512, 128, padding=padding)
    length = min(y.shape[1], samples)
    inside = slice(256, length - 256)
    np.testing.assert_allclose(y[:, inside], x[:, inside], atol=2e-5)  # two float32 FFTs


@pytest.mark.parametrize(("length", "hop"), [(40, 10), (40, 13), (7, 9)])
def test_overlap_add_is_the_transpose_of_frame(length: int, hop: int) -> None:
    rng = np.random.default_rng(3)
    samples = 5 * hop + length
    x = rng.standard_normal((1, samples)).astype(np.float32)
    y = rng.standard_normal((1, 6, length)).astype(np.float32)
    left = np.vdot(frame(x, length, hop), y)
    assert overlap_add(y, hop).shape == (1, samples)
    np.testing.assert_allclose(left, np.vdot(x, overlap_add(y, hop)), rtol=1e-4)


def test_phase_has_a_finite_gradient_on_silence() -> None:
    gradient = jax.grad(lambda x: jnp.sum(phase(stft(x, 64, 16))))(jnp.zeros((1, 256)))
    assert np.all(np.isfinite(gradient))


def test_phase_of_real_bins_is_never_minus_pi() -> None:
    x = -np.abs(np.random.default_rng(4).standard_normal((1, 600))).astype(np.float32)
    edges = np.asarray(phase(stft(x, 64, 16)))[..., [0, -1]]
    assert edges.min() == 0.0
    assert edges.max() == np.float32(np.pi)


def test_a_short_waveform_is_refused() -> None:
    with pytest.raises(ValueError, match="100 samples are too few to reflect 256"):
        stft(jnp.zeros((1, 100)), 512, 128)
