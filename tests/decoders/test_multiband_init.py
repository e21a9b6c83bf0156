"""A 16 kHz decoder in several bands, before any training."""

import jax
import numpy as np
import pytest
import soxr

from codecbwe_jax.audio.pqmf import Pqmf
from codecbwe_jax.decoders.istft_head import IstftHead
from codecbwe_jax.decoders.multiband_head import MultibandIstftHead, MultistreamIstftHead
from codecbwe_jax.decoders.multiband_init import multiband_head
from codecbwe_jax.errors import UserError

N_FFT = 1280
Head = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def head() -> Head:
    """Random, and quieter towards 8 kHz, as a voice is."""
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal((24, N_FFT + 2)).astype(np.float32) / 24**0.5
    bias = rng.standard_normal(N_FFT + 2).astype(np.float32)
    bias[: N_FFT // 2 + 1] -= np.linspace(0, 4, N_FFT // 2 + 1)
    return {"kernel": kernel, "bias": bias}


def snr_db(ours: np.ndarray, wanted: np.ndarray) -> float:
    inside = slice(4000, -4000)  # the resampler and the bank have ends
    error = ours[inside] - wanted[inside]
    return float(20 * np.log10(np.linalg.norm(wanted[inside]) / np.linalg.norm(error)))


# Decibels against the old audio with silent new rows. Bands that meet at 8 kHz hold all of the old
# band but for folded sums near it; where they meet at 6 kHz, sums of two rows are lost there.
@pytest.mark.parametrize(
    ("rate", "bands", "least"), [(48000, 3, 30), (32000, 2, 30), (48000, 4, 20), (24000, 2, 20)]
)
def test_the_bands_together_speak_as_the_old_head(
    head: Head, rate: int, bands: int, least: float
) -> None:
    features = np.random.default_rng(1).standard_normal((1, 40, 24)).astype(np.float32)
    old = np.asarray(IstftHead(320, 1e9).apply({"params": {"linear": head}}, features))[0]
    wanted = soxr.resample(old, 16000, rate)
    new = multiband_head(head, 16000, rate, Pqmf(bands), new_rows_db=-300.0)
    network = MultibandIstftHead(bands, rate // 50 // bands, 1e9)
    ours = np.asarray(network.apply({"params": {"linear": new}}, features))[0]
    assert ours.shape == wanted.shape
    assert snr_db(ours, wanted) > least
    # the filters' responses matter: without them the first band alone is a few decibels right
    plain = np.zeros_like(new["kernel"]), np.full_like(new["bias"], -30.0)
    plain[0][:, : N_FFT + 2], plain[1][: N_FFT + 2] = (
        (head["kernel"], head["bias"]) if bands == 3 else (0, 0)
    )
    if bands == 3:
        params = {"linear": {"kernel": plain[0], "bias": plain[1]}}
        assert snr_db(np.asarray(network.apply({"params": params}, features))[0], wanted) < 10


def test_streams_begin_as_bands(head: Head) -> None:
    features = np.random.default_rng(1).standard_normal((1, 10, 24)).astype(np.float32)
    linear = multiband_head(head, 16000, 48000, Pqmf(3))
    bands, streams = (kind(3, 320) for kind in (MultibandIstftHead, MultistreamIstftHead))
    params = streams.init(jax.random.key(0), features)["params"] | {"linear": linear}
    np.testing.assert_allclose(
        streams.apply({"params": params}, features),
        bands.apply({"params": {"linear": linear}}, features),
        atol=1e-5,  # the same products, summed by another program
    )


def test_new_rows_repeat_what_lies_below(head: Head) -> None:
    new = multiband_head(head, 16000, 48000, Pqmf(3))
    third = new["kernel"][:, 2 * 1282 :]
    at_20_khz = 320  # 16 kHz + 320 * 12.5 Hz, the 1600th row of the whole
    np.testing.assert_array_equal(third[:, at_20_khz], head["kernel"][:, 320 + (1600 - 320) % 320])


def test_what_does_not_divide_is_refused(head: Head) -> None:
    with pytest.raises(UserError, match="1280 at 16000 Hz does not divide into 7 bands at 48000"):
        multiband_head(head, 16000, 48000, Pqmf(7))
