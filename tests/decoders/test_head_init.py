"""A 16 kHz decoder at another rate, before any training."""

import jax
import numpy as np
import pytest

from codecbwe_jax.decoders.head_init import rescaled_head
from codecbwe_jax.decoders.istft_head import IstftHead
from codecbwe_jax.errors import UserError
from tests.golden.adapters.heads import muted

OLD_N_FFT = 1280


@pytest.fixture(scope="module")
def head() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal((24, OLD_N_FFT + 2)).astype(np.float32) / 24**0.5
    return {"kernel": kernel, "bias": rng.standard_normal(OLD_N_FFT + 2).astype(np.float32)}


def audio(head: dict[str, np.ndarray], hop: int, ratio: float) -> np.ndarray:
    features = np.random.default_rng(1).standard_normal((1, 12, 24), np.float32)
    network = IstftHead(hop, clip=100.0 * ratio)
    with jax.default_matmul_precision("highest"):
        return np.asarray(network.apply({"params": {"linear": head}}, features))[0]


@pytest.mark.parametrize(
    ("rate", "shared"), [(24000, (3, 2)), (32000, (2, 1)), (44100, (441, 160)), (48000, (3, 1))]
)
def test_the_old_audio_on_the_shared_samples(
    head: dict[str, np.ndarray], rate: int, shared: tuple[int, int]
) -> None:
    """With the new bins muted, a fresh decoder gives the old one's samples where both have one."""
    ratio = rate / 16000
    new = rescaled_head(head, ratio, round(OLD_N_FFT * ratio))
    new = muted(new, OLD_N_FFT // 2 + 1)
    ours, old = audio(new, rate // 50, ratio), audio(head, 320, 1.0)
    assert len(ours) == 12 * rate // 50
    # rounding of two float32 transforms of different lengths
    np.testing.assert_allclose(ours[:: shared[0]], old[:: shared[1]], atol=3e-6 * np.abs(old).max())


@pytest.mark.parametrize("rate", [16000, 24000, 32000])
def test_a_head_at_a_lower_rate_gives_the_samples_below_its_band(rate: int) -> None:
    """With everything from the new Nyquist frequency up muted in both."""
    rng = np.random.default_rng(2)
    old = {
        "kernel": rng.standard_normal((24, 3842)).astype(np.float32) / 24**0.5,
        "bias": rng.standard_normal(3842).astype(np.float32),
    }
    n_fft = round(3840 * rate / 48000)
    new = rescaled_head(old, rate / 48000, n_fft)
    ours = audio(muted(new, n_fft // 2), rate // 50, rate / 16000)
    theirs = audio(muted(old, n_fft // 2), 960, 3.0)
    shared = {16000: (1, 3), 24000: (1, 2), 32000: (2, 3)}[rate]
    # rounding of two float32 transforms of different lengths
    atol = 3e-6 * np.abs(theirs).max()
    np.testing.assert_allclose(ours[:: shared[0]], theirs[:: shared[1]], atol=atol)


def test_new_rows_stand_6_db_below_those_they_repeat(head: dict[str, np.ndarray]) -> None:
    new = rescaled_head(head, 3.0, 3840)
    k = np.arange(641, 1921)
    source = 320 + (k - 320) % 320
    np.testing.assert_array_equal(new["kernel"][:, k], head["kernel"][:, source])
    np.testing.assert_array_equal(new["kernel"][:, 1921 + k], head["kernel"][:, 641 + source])
    louder = new["bias"][k] - head["bias"][source]
    np.testing.assert_allclose(louder, np.log(3.0) - 6 * np.log(10) / 20, atol=1e-6)


def test_what_cannot_be_is_refused(head: dict[str, np.ndarray]) -> None:
    with pytest.raises(UserError, match="n_fft must be 3840"):
        rescaled_head(head, 3.0, 4096)
    with pytest.raises(UserError, match="'nearest'; known: equal_hz, interpolate"):
        rescaled_head(head, 3.0, 3840, "nearest")
