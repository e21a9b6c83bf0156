"""MusicHiFi-BWE: BigVGAN on log-mels of the narrow waveform, beside it; mono or stereo.

Zhu, Caceres, Duan, Bryan, "MusicHiFi: Fast High-Fidelity Stereo Vocoding", IEEE SPL 2024; for
16 -> 48 kHz as in huggingface/diffusers. At full size 13.3 M parameters and 34.3 GMAC/s.

Source: arXiv 2403.10493, diffusers' LTX2VocoderWithBWE
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from codecbwe_jax.audio.mel import mel_filterbank
from codecbwe_jax.audio.resample import resample
from codecbwe_jax.audio.sinc import SINC_FILTERS, sinc_kernel
from codecbwe_jax.audio.stft import stft
from codecbwe_jax.audio.window import hann
from codecbwe_jax.decoders.bigvgan import BigVgan
from codecbwe_jax.errors import UserError
from codecbwe_jax.fields import Precision, Rate, Size
from codecbwe_jax.nn.init import fresh_variables
from codecbwe_jax.nn.snake import TAPS_PER_RATIO, kaiser_sinc_taps
from codecbwe_jax.systems.base import Params, Regression
from codecbwe_jax.systems.sampling import Sampling
from codecbwe_jax.weights.rules import Rule

MEL_FLOOR = 1e-5
RESAMPLER = "torchaudio"
MAX_DILATIONS = 8


@dataclasses.dataclass(frozen=True)
class MusicHifiBwe(Regression):
    """MusicHiFi-BWE as a system. Two channels are extended as their mean and half difference.

    Attributes:
      input_rate, output_rate: in Hz.
      channels, up_factors, up_kernels, kernels, dilations: see `BigVgan`; the factors give
        `hop_length * output_rate / input_rate` samples a frame.
      n_fft, hop_length: of the mel spectrum, in samples at input_rate; frames see the past alone.
      n_mels: filters from 0 to Nyquist.
      compute_dtype: "float32" or "bfloat16"; spectra and Snakes are float32 always.
    """

    mid_side: ClassVar[bool] = True
    torch_rules: ClassVar[tuple[Rule, ...]] = (
        Rule("generator/conv_pre", "bwe_generator.conv_in", "wn_conv1d"),
        Rule("generator/ups_{i}", "bwe_generator.upsamplers.{i}", "wn_conv_transpose1d"),
        Rule(
            "generator/resblocks_{i}/convs{n}_{j}",
            "bwe_generator.resnets.{i}.convs{n}.{j}",
            "wn_conv1d",
        ),
        *(
            Rule(
                f"generator/resblocks_{{i}}/activations_{2 * j + n}/{{x}}",
                f"bwe_generator.resnets.{{i}}.acts{n + 1}.{j}.act.{{x}}",
                "array",
            )
            for j in range(MAX_DILATIONS)
            for n in (0, 1)
        ),
        Rule("generator/activation_post/{x}", "bwe_generator.act_out.act.{x}", "array"),
        Rule("generator/conv_post", "bwe_generator.conv_out", "wn_conv1d"),
        Rule("mel_basis", "mel_stft.mel_basis", "kernel"),
    )

    input_rate: Rate = 16000
    output_rate: Rate = 48000
    channels: Size = 512
    up_factors: tuple[Size, ...] = (6, 5, 2, 2, 2)
    up_kernels: tuple[Size, ...] = (12, 11, 4, 4, 4)
    kernels: tuple[Size, ...] = (3, 7, 11)
    dilations: tuple[tuple[Size, ...], ...] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))
    n_fft: Size = 512
    hop_length: Size = 80
    n_mels: Size = 64
    compute_dtype: Precision = "float32"

    def __post_init__(self) -> None:
        wanted = self.hop_length * self.output_rate / self.input_rate
        if math.prod(self.up_factors) != wanted:
            raise UserError(
                f"up_factors {self.up_factors} give {math.prod(self.up_factors)} samples "
                f"a frame; hop_length {self.hop_length} and the rates want {wanted:g}"
            )
        pairs = zip(self.up_factors, self.up_kernels, strict=True)
        if any((taps - factor) % 2 for factor, taps in pairs):
            raise UserError(
                f"up_kernels {self.up_kernels} less up_factors {self.up_factors} must be even"
            )

    @property
    def network(self) -> BigVgan:
        return BigVgan(
            self.channels,
            self.up_factors,
            self.up_kernels,
            self.kernels,
            self.dilations,
            final="none",
            dtype=jnp.dtype(self.compute_dtype),
        )

    @property
    def receptive_field(self) -> int:
        # in samples of the output, stage by stage from the last to the first
        side, stage = 3 + TAPS_PER_RATIO, 1
        for factor, taps in zip(reversed(self.up_factors), reversed(self.up_kernels), strict=True):
            blocks = (
                sum((kernel // 2) * (d + 1) + 2 * TAPS_PER_RATIO for d in dilations)
                for kernel, dilations in zip(self.kernels, self.dilations, strict=True)
            )
            side += stage * max(blocks)
            stage *= factor
            side += taps * stage // factor
        side += 3 * stage
        samples = math.ceil(side * self.input_rate / self.output_rate) + self.n_fft
        return samples + sinc_kernel(1, 3, SINC_FILTERS[RESAMPLER])[1]

    @property
    def alignment(self) -> int:
        return self.hop_length

    @property
    def torch_constants(self) -> dict[str, np.ndarray]:
        """What public checkpoints hold beside parameters."""
        turns = 2 * np.pi * np.arange(self.n_fft // 2 + 1)[:, None] * np.arange(self.n_fft)
        angles, window = turns / self.n_fft, hann(self.n_fft)
        basis = np.concatenate([np.cos(angles), -np.sin(angles)]) * window
        basis = basis.astype(np.float32)[:, None]
        constants = {
            "mel_stft.stft_fn.forward_basis": basis,
            "mel_stft.stft_fn.inverse_basis": np.zeros_like(basis),
        }
        blocks = len(self.up_factors) * len(self.kernels)
        places = [
            f"resnets.{i}.acts{n}.{j}"
            for i in range(blocks)
            for n in (1, 2)
            for j in range(len(self.dilations[i % len(self.kernels)]))
        ]
        for place in ("act_out", *places):
            for side in ("upsample", "downsample"):
                name = f"bwe_generator.{place}.{side}.filter"
                constants[name] = kaiser_sinc_taps()[None, None]
        return constants

    def init(self, key: jax.Array) -> Params:
        """Fresh parameters: "generator", and the "mel_basis" `[bins, n_mels]`, which training
        leaves as it is."""
        mels = jax.ShapeDtypeStruct((1, 8, self.n_mels), jnp.float32)
        basis = mel_filterbank(self.input_rate, self.n_fft, self.n_mels)
        return {
            "generator": fresh_variables(self.network, key, mels)["params"],
            "mel_basis": jnp.asarray(basis, jnp.float32),
        }

    def magnitudes(self, waveform: jax.Array) -> jax.Array:
        """`[B, n]` -> `[B, ceil(n / hop_length), bins]`; a frame ends with its hop."""
        missing = -waveform.shape[1] % self.hop_length
        padded = jnp.pad(waveform, ((0, 0), (self.n_fft - self.hop_length, missing)))
        return jnp.abs(stft(padded, self.n_fft, self.hop_length, padding="none"))

    def log_mel(self, params: Params, waveform: jax.Array) -> jax.Array:
        """`[B, n]` -> natural log `[B, ceil(n / hop_length), n_mels]`."""
        basis = jax.lax.stop_gradient(params["mel_basis"])
        magnitudes = self.magnitudes(waveform)
        mels = jnp.matmul(magnitudes, basis, precision=jax.lax.Precision.HIGHEST)
        return jnp.log(jnp.maximum(mels, MEL_FLOOR))

    def residual(self, params: Params, waveform: jax.Array) -> jax.Array:
        """What the generator adds to the interpolated input, of whole frames."""
        mels = self.log_mel(params, waveform)
        return self.network.bind({"params": params["generator"]})(mels)

    def skip(self, waveform: jax.Array) -> jax.Array:
        """The interpolated input, `[B, n]` -> `[B, ceil(n * output_rate / input_rate)]`."""
        return resample(waveform, self.input_rate, self.output_rate, RESAMPLER, ends="edge")

    def extend(
        self, params: Params, inputs: jax.Array, sampling: Sampling | None = None
    ) -> jax.Array:
        """Waveform `[B, n]` at input_rate -> `[B, ceil(n * output_rate / input_rate)]`."""
        # silence follows: the interpolation of the last samples sees it too
        padded = jnp.pad(inputs, ((0, 0), (0, -inputs.shape[1] % self.hop_length)))
        length = math.ceil(inputs.shape[1] * self.output_rate / self.input_rate)
        total = self.residual(params, inputs) + self.skip(padded)
        return jnp.clip(total, -1.0, 1.0)[:, :length]
