"""What every critic that a config may name has to bear."""

import jax
import numpy as np
import pytest
from flax import linen as nn

from codecbwe_jax.errors import UserError
from codecbwe_jax.nn.init import fresh_variables
from codecbwe_jax.objectives.critics import CRITICS, build_critic

NARROW = (2, 2, 2, 2, 2)
SPECTRAL = {"channels": 2, "resolutions": ((512, 128, 512),)}
SMALL = {
    "mpd": {"periods": (2, 3), "channels": NARROW},
    "dac": {"channels": 2, "periods": (2, 3), "windows": (512,), "period_channels": NARROW},
    "banded_stft": {"channels": 2, "windows": (512,)},
    "complex_stft": {"channels": 2, "windows": (512,)},
    "magnitude_stft": SPECTRAL,
    "mrad": SPECTRAL,
    "mrpd": SPECTRAL,
    "subband": {"features": (NARROW,) * 3},
    "msd": {"channels": (16,) * 7},
    "hifi_gan_plus": {
        "channels": (4, 4, 4, 4, 4, 4),
        "groups": (1, 1, 1, 1, 1, 1),
        "mel_channels": 4,
        "trains": False,
    },
}


@pytest.mark.parametrize("name", CRITICS)
def test_silence_and_any_length(name: str) -> None:
    """Parameters made for one length judge another; digital silence has finite gradients."""
    critic = build_critic(name, SMALL[name])
    wave = jax.ShapeDtypeStruct((1, 65536), np.float32)
    everything = nn.DenyList("intermediates")
    params = fresh_variables(critic, jax.random.key(0), wave, mutable=everything)

    def total(waveform: jax.Array) -> jax.Array:
        judged = critic.apply(params, waveform)
        assert all(score.shape[0] % len(waveform) == 0 for score, _ in judged)
        return sum(score.sum() + sum(m.sum() for m in maps) for score, maps in judged)

    even, odd = (40000, 40401) if name == "hifi_gan_plus" else (9000, 9601)
    assert jax.eval_shape(total, np.zeros((2, even), np.float32)).shape == ()
    gradient = jax.jit(jax.grad(total))(np.zeros((2, odd), np.float32))
    assert np.isfinite(gradient).all()


def test_a_wrong_setting_is_named() -> None:
    with pytest.raises(UserError, match=r"critics\.patch: known are mpd, msd, hifi_gan_plus"):
        build_critic("patch", {})
    with pytest.raises(UserError, match=r"critics\.dac: .*'widths'"):
        build_critic("dac", {"widths": 3})


@pytest.mark.parametrize(("samples", "rate", "divisor"), [(1501, 44100, 2), (1000, 44100, 8)])
def test_dac_hears_whole_samples_of_the_lower_rate(samples: int, rate: int, divisor: int) -> None:
    """As julius: the part of a sample at the end is left out, and 44100 Hz over 8 is 5512 Hz."""
    settings = {"rates": (divisor,), "periods": (), "windows": (), "sample_rate": rate}
    critic = build_critic("dac", settings | {"rate_channels": (4,) * 6, "rate_groups": (1,) * 6})
    wave = jax.ShapeDtypeStruct((1, samples), np.float32)
    ((_, maps),) = jax.eval_shape(critic.init_with_output, jax.random.key(0), wave)[0]
    assert maps[0].shape[1] == samples * (rate // divisor) // rate


def test_banded_critic_takes_any_bands() -> None:
    bands = ((0.0, 0.5), (0.25, 1.0))
    settings = {"periods": (), "windows": (64,), "channels": 4, "bands": bands}
    wave = jax.ShapeDtypeStruct((1, 256), np.float32)
    critic = build_critic("dac", settings)
    ((_, maps),) = jax.eval_shape(critic.init_with_output, jax.random.key(0), wave)[0]
    assert len(maps) == 5 * len(bands)
    assert [maps[0].shape[2], maps[5].shape[2]] == [16, 25]  # of 33 bins
