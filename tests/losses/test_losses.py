"""Properties of losses that golden numbers do not show."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from codecbwe_jax.audio.mel import MelSettings
from codecbwe_jax.losses import adversarial, mel, spectral, stft, waveform

LOSSES = {
    "log_mel_l1": lambda t, p: mel.log_mel_l1(t, p, MelSettings(48000, 1024, 256, 80)),
    "multi_scale_mel": lambda t, p: mel.multi_scale_mel(t, p, 48000),
    "upper_band_mel": lambda t, p: mel.upper_band_mel(t, p, 48000, 8000.0),
    "multi_resolution_stft": lambda t, p: stft.multi_resolution_stft(t, p)[0],
    "log_magnitude_distance": stft.log_magnitude_distance,
    "waveform_l1": waveform.waveform_l1,
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_and_gradients_are_finite_and_zero_at_the_target(name: str) -> None:
    loss = jax.jit(jax.value_and_grad(lambda p, t: LOSSES[name](t, p)))
    noise = np.random.default_rng(0).standard_normal((2, 4800)).astype(np.float32) * 0.1
    signals = {"silence": 0 * noise, "dc": 0 * noise + 0.5, "full scale": np.sign(noise)}
    for signal in [*signals.values(), noise]:
        for target in [*signals.values(), noise]:
            value, gradient = loss(signal, target)
            assert np.isfinite(value)
            assert np.all(np.isfinite(gradient))
    # the two transforms may be compiled differently: float32 rounding
    assert loss(noise, noise)[0] == pytest.approx(0, abs=1e-6)


def test_upper_band_mel_hears_only_the_upper_band() -> None:
    t = np.arange(9600) / 48000
    low, high = (np.sin(2 * np.pi * f * t).astype(np.float32)[None] for f in (2000, 12000))
    silence = np.zeros_like(low)

    def distance(x: np.ndarray) -> float:
        return float(mel.upper_band_mel(silence + 1e-9, x * np.hanning(9600), 48000, 8000.0))

    assert distance(high.astype(np.float32)) > 20 * distance(low.astype(np.float32))


def test_an_item_counts_the_same_whatever_it_is_batched_with() -> None:
    rng = np.random.default_rng(0)
    target, predicted = rng.standard_normal((2, 2, 4800)).astype(np.float32)
    target[1] *= 0.001  # a quiet item, which the norm over a batch would drown
    distance = jax.jit(stft.multi_resolution_stft)
    together = distance(target, predicted)[0]
    alone = [distance(target[i : i + 1], predicted[i : i + 1])[0] for i in (0, 1)]
    np.testing.assert_allclose(together, np.mean(alone), rtol=1e-5)
    batched = functools.partial(stft.multi_resolution_stft, norm_over="batch")
    batch = jax.jit(batched)(target, predicted)[0]
    assert abs(batch - together) > 1.0


def test_anti_wrap_is_periodic_and_has_slope_one() -> None:
    x = jnp.linspace(-9.0, 9.0, 301)
    np.testing.assert_allclose(spectral.anti_wrap(x + 2 * jnp.pi), spectral.anti_wrap(x), atol=2e-6)
    slopes = jax.vmap(jax.grad(spectral.anti_wrap))(x[x != 0])
    np.testing.assert_array_equal(np.abs(slopes), 1.0)


def test_mean_divides_by_sub_discriminators_and_sum_does_not() -> None:
    fake = [jnp.full((2, 3), 0.5), jnp.full((4,), -1.0)]
    total = adversarial.hinge_generator(fake, "sum")
    assert total == pytest.approx(0.5 + 2.0)
    assert adversarial.hinge_generator(fake, "mean") == pytest.approx(total / 2)


def test_feature_matching_does_not_train_the_critic_towards_the_fake() -> None:
    gradient = jax.grad(lambda real: adversarial.feature_matching([[real]], [[jnp.ones(3)]]))
    np.testing.assert_array_equal(gradient(jnp.zeros(3)), 0)


def test_si_sdr_ignores_scale() -> None:
    x = np.random.default_rng(0).standard_normal((1, 800)).astype(np.float32)
    y = x + 0.1 * np.random.default_rng(1).standard_normal((1, 800)).astype(np.float32)
    np.testing.assert_allclose(waveform.si_sdr(x, 3 * y), waveform.si_sdr(x, y), atol=1e-4)
    assert waveform.si_sdr(x, y)[0] == pytest.approx(20.0, abs=0.5)
