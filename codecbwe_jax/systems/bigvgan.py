"""BigVGAN: a vocoder, which gives a waveform back from its log-mels, those of FLowHigh.

It extends nothing: it makes waveforms of the mels that another system makes. The sizes are what
the size of FLowHigh's published file says of its weights: read the settings that come with them.

Source: arXiv 2206.04658, NVIDIA/BigVGAN, resemble-ai/flowhigh
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from codecbwe_jax.audio.mel import MelSettings, log_mel
from codecbwe_jax.decoders.bigvgan import BigVgan
from codecbwe_jax.errors import UserError
from codecbwe_jax.fields import NotNegative, Positive, Precision, Rate, Size
from codecbwe_jax.nn.snake import kaiser_sinc_taps
from codecbwe_jax.systems.base import OneNetwork, Params, Regression
from codecbwe_jax.systems.sampling import Sampling
from codecbwe_jax.weights.rules import Rule


@dataclasses.dataclass(frozen=True)
class Bigvgan(OneNetwork, Regression):
    """BigVGAN as a system. Its output is in (-1, 1).

    Attributes:
      rate: of what it takes and gives, in Hz.
      channels, up_factors, up_kernels, kernels, dilations: see `BigVgan`; the factors give
        `hop_length` samples a frame.
      n_fft, hop_length: of the mel spectrum, in samples.
      n_mels, f_min, f_max: of its filters; f_max None is Nyquist.
      power_floor: added under the root of its magnitudes.
      compute_dtype: "float32" or "bfloat16"; spectra and Snakes are float32 always.
    """

    torch_rules: ClassVar[tuple[Rule, ...]] = BigVgan.torch_rules

    rate: Rate = 48000
    channels: Size = 512
    up_factors: tuple[Size, ...] = (6, 5, 4, 2, 2)
    up_kernels: tuple[Size, ...] = (12, 10, 8, 4, 4)
    kernels: tuple[Size, ...] = (3, 7, 11)
    dilations: tuple[tuple[Size, ...], ...] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))
    n_fft: Size = 2048
    hop_length: Size = 480
    n_mels: Size = 256
    f_min: NotNegative = 20.0
    f_max: Positive | None = 24000.0
    power_floor: NotNegative = 1e-9
    compute_dtype: Precision = "float32"

    def __post_init__(self) -> None:
        if self.network.hop_length != self.hop_length:
            raise UserError(
                f"up_factors {self.up_factors} give {self.network.hop_length} samples a frame; "
                f"hop_length is {self.hop_length}"
            )
        if self.n_fft < self.hop_length or (self.n_fft - self.hop_length) % 2:
            raise UserError(
                f"n_fft {self.n_fft} less hop_length {self.hop_length} must be even, from 0 on"
            )
        pairs = zip(self.up_factors, self.up_kernels, strict=True)
        if any(taps < factor for factor, taps in pairs):
            raise UserError(
                f"up_kernels {self.up_kernels} must not be below up_factors {self.up_factors}"
            )

    @property
    def input_rate(self) -> int:
        return self.rate

    @property
    def output_rate(self) -> int:
        return self.rate

    @property
    def network(self) -> BigVgan:
        return BigVgan(
            self.channels,
            self.up_factors,
            self.up_kernels,
            self.kernels,
            self.dilations,
            final="tanh",
            final_bias=True,
            dtype=jnp.dtype(self.compute_dtype),
        )

    @property
    def example(self) -> tuple[jax.ShapeDtypeStruct]:
        return (jax.ShapeDtypeStruct((1, 8, self.n_mels), jnp.float32),)

    @property
    def mel(self) -> MelSettings:
        """Of what the network sees."""
        return MelSettings(
            self.rate,
            self.n_fft,
            self.hop_length,
            self.n_mels,
            f_min=self.f_min,
            f_max=self.f_max,
            padding="same",
            power_floor=self.power_floor,
        )

    @property
    def receptive_field(self) -> int:
        first, last = self.network.frames_seen()
        side = (self.n_fft - self.hop_length) // 2
        places = np.arange(self.hop_length)
        # the window of a frame begins with a 0
        before = places - (first * self.hop_length - side + 1)
        after = last * self.hop_length - side + self.n_fft - 1 - places
        return int(max(before.max(), after.max()))

    @property
    def alignment(self) -> int:
        return self.hop_length

    @property
    def torch_constants(self) -> dict[str, np.ndarray]:
        """Filters of the Snakes, which checkpoints hold, and of the mels, for an export."""
        places = ["activation_post"] + [
            f"resblocks.{i * len(self.kernels) + k}.activations.{j}"
            for i in range(len(self.up_factors))
            for k, dilations in enumerate(self.dilations)
            for j in range(2 * len(dilations))
        ]
        filters = {
            f"{place}.{name}.filter": kaiser_sinc_taps()[None, None]
            for place in places
            for name in ("upsample", "downsample.lowpass")
        }
        return {**filters, "mel_basis": np.ascontiguousarray(self.mel.filterbank().T)}

    def analyse(self, waveform: jax.Array) -> jax.Array:
        """`[B, n]` -> natural log-mels `[B, n // hop_length, n_mels]`; a frame's window is centred
        on its hop."""
        return log_mel(waveform, self.mel)

    def decode(self, params: Params, log_mels: jax.Array) -> jax.Array:
        """Log-mels as of `analyse`, `[B, T, n_mels]` -> `[B, T * hop_length]`."""
        wave = self.network.bind({"params": params})(log_mels)
        # as in the original, a stage whose kernel less its factor is odd gives a sample more
        return wave[:, : log_mels.shape[1] * self.hop_length]

    def extend(
        self, params: Params, inputs: jax.Array, sampling: Sampling | None = None
    ) -> jax.Array:
        """Waveform `[B, n]` -> `[B, n]`, of its mels; silence fills its last frame."""
        padded = jnp.pad(inputs, ((0, 0), (0, -inputs.shape[1] % self.hop_length)))
        return self.decode(params, self.analyse(padded))[:, : inputs.shape[1]]
