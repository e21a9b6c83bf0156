"""High-band residual: the input, interpolated and kept, plus what it lacks, from 7.4 kHz on.

The interpolated input never passes a network or a filter bank; what is added to it has no energy
to speak of below 7 kHz, whatever the network gives. So the low band is kept: the added part,
low-passed at 7 kHz, is 85 dB below itself or less.

The added band begins at 7.4 kHz, where the interpolation still passes everything: begun at 8 kHz,
the sum would have a notch of 25 dB there.

These are the frequencies of an input at 16 kHz. They follow its rate: at 24 kHz they are half as
high again. Losses below them have no gradient: what is added has nothing there that they could see.

Source: ours
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from codecbwe_jax.audio.crossover import high_pass, high_pass_taps
from codecbwe_jax.audio.pqmf import Pqmf
from codecbwe_jax.audio.resample import resample
from codecbwe_jax.audio.sinc import SINC_FILTERS, sinc_kernel
from codecbwe_jax.audio.stft import istft, stft
from codecbwe_jax.decoders.convnext import ConvNeXtBackbone, ConvNeXtSettings
from codecbwe_jax.decoders.istft_head import spectrum_of
from codecbwe_jax.errors import UserError
from codecbwe_jax.fields import Layers, NotNegative, Precision, Rate, Size, SomeOf
from codecbwe_jax.systems.base import OneNetwork, Params, Regression
from codecbwe_jax.systems.sampling import Sampling
from codecbwe_jax.weights.rules import Rule, under

RESAMPLER = "hann24"
# shares of the input's band: where what is added begins, and what a high-pass keeps it away from
BEGIN = 0.925
KEPT = 0.875
# log magnitude that the network begins with: next to nothing is added
QUIET = -6.0
CLIP = 100.0
WINDOW_SECONDS = 0.02
HOPS = 4
PQMF_TAPS = 192


class HighBandNetwork(nn.Module):
    """Spectral features `[B, T, C]` -> `[B, T, heads, 2 * bins]`: log magnitudes, then phases.

    Attributes:
      settings: of the backbone.
      heads: spectra for each frame.
      bins: of each.
      dtype: of matrix products; the head is float32.
    """

    settings: ConvNeXtSettings
    heads: int
    bins: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = ConvNeXtBackbone(self.settings, self.dtype, name="backbone")(x)
        start = np.tile(np.repeat([QUIET, 0.0], self.bins), self.heads)

        def quiet(key: jax.Array, shape: tuple[int, ...], dtype: type) -> jax.Array:
            return jnp.asarray(start, dtype)

        y = nn.Dense(len(start), bias_init=quiet, name="head")(x)
        return y.reshape(*y.shape[:2], self.heads, 2 * self.bins)


@dataclasses.dataclass(frozen=True)
class HighBand(OneNetwork, Regression):
    """The high-band residual as a system.

    Attributes:
      input_rate, output_rate: in Hz; 16000 to 32000 or 48000, 24000 to 48000.
      synthesis: "stft": the missing bins of one spectrum, from 7.4 kHz; "pqmf": the missing bands
        of a filter bank, high-passed, which cannot fill the seam: even a perfect residual leaves
        5 to 8 dB missing from 7.2 to 8 kHz.
      size, intermediate, layers: of the ConvNeXt backbone, at 200 frames a second.
      gain: factor on what is added.
      seen: share of the input's band, from 0 Hz, that the network sees. Near its upper end an input
        tells more of the filter that made it than of the speaker.
      compute_dtype: "float32" or "bfloat16"; spectra and the head are float32 always.
    """

    torch_rules: ClassVar[tuple[Rule, ...]] = (
        *under("backbone", "backbone", ConvNeXtBackbone.torch_rules),
        Rule("head", "head", "dense"),
    )

    input_rate: Rate = 16000
    output_rate: Rate = 32000
    synthesis: Literal["stft", "pqmf"] = "stft"
    size: Size = 384
    intermediate: Size = 1152
    layers: Layers = 8
    gain: NotNegative = 1.0
    seen: SomeOf = 1.0
    compute_dtype: Precision = "float32"

    def __post_init__(self) -> None:
        if self.output_rate % self.input_rate or self.ratio < 2:
            raise UserError(
                f"output_rate {self.output_rate} is not twice, three times, ... "
                f"input_rate {self.input_rate}"
            )

    @property
    def ratio(self) -> int:
        return self.output_rate // self.input_rate

    @property
    def window(self) -> int:
        """Window of the input's spectrum, in samples at input_rate: 20 ms."""
        return round(WINDOW_SECONDS * self.input_rate)

    @property
    def hop_length(self) -> int:
        """In samples at input_rate: 5 ms."""
        return self.window // HOPS

    @property
    def seen_bins(self) -> int:
        """Of the input's spectrum, from 0 Hz."""
        return int(self.seen * self.window / 2) + 1

    @property
    def first_bin(self) -> int:
        """Of the added spectrum, whose bins are as far apart as the input's."""
        return round(BEGIN * self.input_rate / 2 * WINDOW_SECONDS)

    @property
    def high_pass_hz(self) -> tuple[float, float]:
        """What a filter bank adds is stopped up to the first and passed from the second."""
        return KEPT * self.input_rate / 2, self.input_rate / 2

    @property
    def network(self) -> HighBandNetwork:
        settings = ConvNeXtSettings(self.size, self.intermediate, self.layers)
        dtype = jnp.dtype(self.compute_dtype)
        if self.synthesis == "pqmf":
            return HighBandNetwork(settings, self.ratio - 1, self.window // 2 + 1, dtype)
        bins = self.window * self.ratio // 2 - self.first_bin
        return HighBandNetwork(settings, 1, bins, dtype)

    @property
    def receptive_field(self) -> int:
        frames = 3 * (self.layers + 1) + HOPS + 1
        filters = sinc_kernel(1, self.ratio, SINC_FILTERS[RESAMPLER])[1]
        if self.synthesis == "pqmf":
            taps = PQMF_TAPS + len(high_pass_taps(self.output_rate, *self.high_pass_hz))
            filters += math.ceil(taps / 2 / self.ratio)
        return frames * self.hop_length + self.window + filters

    @property
    def alignment(self) -> int:
        return self.hop_length

    @property
    def example(self) -> tuple[jax.ShapeDtypeStruct]:
        return (jax.ShapeDtypeStruct((1, 8, 3 * self.seen_bins), jnp.float32),)

    def features(self, waveform: jax.Array) -> jax.Array:
        """Log magnitudes, and compressed real and imaginary parts: `[B, n]` -> `[B, n / hop + 1,
        3 * seen_bins]`."""
        z = stft(waveform, self.window, self.hop_length)[..., : self.seen_bins]
        power = jnp.square(z.real) + jnp.square(z.imag) + 1e-10
        compressed = power**-0.35  # to the power 0.3 of the magnitude
        parts = (0.5 * jnp.log(power), compressed * z.real, compressed * z.imag)
        return jnp.concatenate(parts, axis=-1)

    def interpolate(self, inputs: jax.Array) -> jax.Array:
        """The part that is kept: `[B, n]` -> `[B, n * ratio]`."""
        return resample(inputs, self.input_rate, self.output_rate, RESAMPLER)

    def residual(self, params: Params, inputs: jax.Array) -> jax.Array:
        """The part that is added: `[B, n]`, n a multiple of the hop -> `[B, n * ratio]`."""
        outputs = self.network.bind({"params": params})(self.features(inputs))
        return self.gain * self.synthesise(outputs)

    def synthesise(self, outputs: jax.Array) -> jax.Array:
        """What the network's outputs `[B, T, heads, 2 * bins]` sound like."""
        spectra = spectrum_of(outputs, CLIP)
        if self.synthesis == "stft":
            n_fft = self.window * self.ratio
            # nothing below 7.4 kHz, nothing at Nyquist
            whole = jnp.pad(spectra[:, :, 0], ((0, 0), (0, 0), (self.first_bin, 1)))
            return istft(whole, n_fft, n_fft // HOPS)
        waves = istft(spectra.swapaxes(1, 2), self.window, self.hop_length).swapaxes(1, 2)
        waves = jnp.pad(waves, ((0, 0), (0, 0), (1, 0)))
        joined = Pqmf(self.ratio, PQMF_TAPS).synthesis(waves)
        return high_pass(joined, self.output_rate, *self.high_pass_hz)

    def extend(
        self, params: Params, inputs: jax.Array, sampling: Sampling | None = None
    ) -> jax.Array:
        """Waveform `[B, n]` at input_rate -> `[B, n * ratio]`."""
        samples = inputs.shape[1]
        whole = jnp.pad(inputs, ((0, 0), (0, -samples % self.hop_length)))
        added = self.residual(params, whole)[:, : samples * self.ratio]
        return self.interpolate(inputs) + added
