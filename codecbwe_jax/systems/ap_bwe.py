"""AP-BWE: amplitude and phase spectra by two ConvNeXt streams; 8, 12, 24 to 48 kHz and 2, 4, 8 to
16 kHz too.

Lu, Ai, Du, Ling, "Towards High-Quality and Efficient Speech Bandwidth Extension with Parallel
Amplitude and Phase Prediction", TASLP 33 (2024). At official size 29 760 515 parameters and
17.8 GMAC/s at 48 kHz; one model for each pair of rates, which differ in nothing else.

Source: arXiv 2401.06387, yxlu-0102/AP-BWE (MIT)
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from codecbwe_jax.audio.resample import resample, whole_hops
from codecbwe_jax.audio.sinc import SINC_FILTERS, SincFilterName, sinc_kernel
from codecbwe_jax.audio.stft import istft, phase, stft
from codecbwe_jax.fields import Fraction, Layers, Precision, Rate, Size
from codecbwe_jax.nn.convnext import ConvNeXtBlock
from codecbwe_jax.nn.init import torch_uniform
from codecbwe_jax.systems.base import Features, OneNetwork, Params, Regression
from codecbwe_jax.systems.sampling import Sampling
from codecbwe_jax.weights.rules import Rule

# Added to every magnitude before its logarithm (datasets/dataset.py amp_pha_stft).
AMPLITUDE_FLOOR = 1e-4


class ApBweNetwork(nn.Module):
    """Two ConvNeXt streams that exchange their features before every block.

    Attributes:
      channels: width C of both streams.
      layers: ConvNeXt blocks in each stream.
      dtype: of convolutions and matrix products.
      new_bins: (first, end) of the bins that alone are predicted; None: all.
    """

    channels: Size = 512
    layers: Layers = 8
    dtype: jnp.dtype = jnp.float32
    new_bins: tuple[int, int] | None = None

    @nn.compact
    def __call__(self, log_amplitude: jax.Array, phase: jax.Array) -> dict[str, jax.Array]:
        """Predict the wide-band spectrum.

        Args:
          log_amplitude: natural log of the magnitude, `[B, T, bins]`.
          phase: angles in (-pi, pi] `[B, T, bins]`, or directions `[B, T, 2 * bins]`; see `seen`.

        Returns:
          "log_amplitude", and "real" and "imag", whose direction is the phase; all float32
          `[B, T, bins]`, or as many as `new_bins`.
        """
        first, end = self.new_bins or (0, log_amplitude.shape[-1])
        bins = end - first
        mag = self._enter("mag", log_amplitude)
        pha = self._enter("pha", phase)
        for i in range(self.layers):
            mag = mag + pha
            pha = pha + mag  # the amplitude stream as just updated, so pha gets mag + 2 pha
            mag = self._block("mag", i, mag)
            pha = self._block("pha", i, pha)
        mag, pha = self._norm("norm_post_mag", mag), self._norm("norm_post_pha", pha)
        residual = self._head("linear_post_mag", mag, bins)
        return {
            "log_amplitude": log_amplitude[..., first:end] + residual,
            "real": self._head("linear_post_pha_r", pha, bins),
            "imag": self._head("linear_post_pha_i", pha, bins),
        }

    def _enter(self, stream: str, x: jax.Array) -> jax.Array:
        init = nn.initializers.normal(0.02)
        conv = nn.Conv(
            self.channels,
            (7,),
            padding=((3, 3),),
            dtype=self.dtype,
            kernel_init=init,
            name=f"conv_pre_{stream}",
        )
        return self._norm(f"norm_pre_{stream}", conv(x))

    def _norm(self, name: str, x: jax.Array) -> jax.Array:
        return nn.LayerNorm(1e-6, dtype=self.dtype, name=name)(x)

    def _block(self, stream: str, i: int, x: jax.Array) -> jax.Array:
        name = f"convnext_{stream}_{i}"
        return ConvNeXtBlock(3 * self.channels, 1 / self.layers, self.dtype, name=name)(x)

    def _head(self, name: str, x: jax.Array, bins: int) -> jax.Array:
        init = torch_uniform(self.channels)
        # float32 from here on: rounding to bfloat16 is audible in a log-magnitude or a phase.
        head = nn.Dense(bins, dtype=jnp.float32, kernel_init=init, bias_init=init, name=name)
        return head(x)


@dataclasses.dataclass(frozen=True)
class ApBwe(OneNetwork, Regression):
    """AP-BWE as a system.

    Attributes:
      input_rate, output_rate: in Hz; output_rate is a multiple of input_rate.
      channels, layers: size of the network.
      n_fft, hop_length, win_length: of the STFT, in samples at output_rate.
      resampler: filter of the input's upsampling, a name in `audio.sinc.SINC_FILTERS`. The
        published weights need "torchaudio"; it is part of what they learnt.
      phase_floor: share of a frame's largest magnitude up to which a bin counts as empty (see
        `seen`); 0, as the published weights need it: no bin does.
      compute_dtype: "float32" or "bfloat16"; spectra and heads are float32 always.
    """

    torch_rules: ClassVar[tuple[Rule, ...]] = (
        Rule("conv_pre_{stream}", "conv_pre_{stream}", "conv"),
        Rule("norm_pre_{stream}", "norm_pre_{stream}", "norm"),
        Rule("convnext_{stream}_{i}/dwconv", "convnext_{stream}.{i}.dwconv", "depthwise"),
        Rule("convnext_{stream}_{i}/norm", "convnext_{stream}.{i}.norm", "norm"),
        Rule("convnext_{stream}_{i}/pwconv1", "convnext_{stream}.{i}.pwconv1", "dense"),
        Rule("convnext_{stream}_{i}/pwconv2", "convnext_{stream}.{i}.pwconv2", "dense"),
        Rule("convnext_{stream}_{i}/gamma", "convnext_{stream}.{i}.gamma", "array"),
        Rule("norm_post_{stream}", "norm_post_{stream}", "norm"),
        Rule("linear_post_mag", "linear_post_mag", "dense"),
        Rule("linear_post_pha_{part}", "linear_post_pha_{part}", "dense"),
    )

    input_rate: Rate = 16000
    output_rate: Rate = 48000
    channels: Size = 512
    layers: Layers = 8
    n_fft: Size = 1024
    hop_length: Size = 80
    win_length: Size = 320
    resampler: SincFilterName = "torchaudio"
    phase_floor: Fraction = 0.0
    compute_dtype: Precision = "float32"

    @property
    def network(self) -> ApBweNetwork:
        return ApBweNetwork(self.channels, self.layers, jnp.dtype(self.compute_dtype))

    @property
    def receptive_field(self) -> int:
        width = sinc_kernel(self.input_rate, self.output_rate, SINC_FILTERS[self.resampler])[1]
        frames = 3 * (self.layers + 1) + 1
        samples = frames * self.hop_length + self.win_length
        return math.ceil(samples * self.input_rate / self.output_rate) + width + 1

    @property
    def alignment(self) -> int:
        return whole_hops(self.hop_length, self.input_rate, self.output_rate)

    @property
    def decided_by_rounding(self) -> bool:
        return self.phase_floor == 0.0

    @property
    def example(self) -> tuple[jax.ShapeDtypeStruct, ...]:
        spectrum = jax.ShapeDtypeStruct((1, 8, self.n_fft // 2 + 1), jnp.complex64)
        return jax.eval_shape(lambda z: seen(z, self.phase_floor), spectrum)

    def analyse(self, waveform: jax.Array) -> Features:
        """Spectral features of a waveform `[B, samples]` at output_rate.

        Returns:
          "log_amplitude", "phase" and complex "spectrum", each `[B, samples // hop + 1, bins]`.
          The magnitude of "spectrum" has `AMPLITUDE_FLOOR` added, as in the original.
        """
        z = stft(waveform, self.n_fft, self.hop_length, self.win_length)
        log_amplitude = jnp.log(jnp.abs(z) + AMPLITUDE_FLOOR)
        return {
            "log_amplitude": log_amplitude,
            "phase": phase(z),
            "spectrum": _with_floor(z),
            "waveform": waveform,
        }

    def synthesise(self, spectrum: jax.Array) -> jax.Array:
        """Complex spectrum `[B, T, bins]` -> waveform `[B, (T - 1) * hop_length]`."""
        return istft(spectrum, self.n_fft, self.hop_length, self.win_length)

    def upsample(self, waveform: jax.Array) -> jax.Array:
        """Waveform `[B, n]` at input_rate -> `[B, ceil(n * output_rate / input_rate)]`."""
        return resample(waveform, self.input_rate, self.output_rate, self.resampler)

    def generate(self, params: Params, wide: jax.Array) -> dict[str, jax.Array]:
        """The network on an upsampled waveform `[B, samples]`: its outputs (see `ApBweNetwork`)
        and the complex "spectrum" that they describe."""
        z = stft(wide, self.n_fft, self.hop_length, self.win_length)
        out = self.network.bind({"params": params})(*seen(z, self.phase_floor))
        return out | {"spectrum": polar(out["log_amplitude"], out["real"], out["imag"])}

    def resynthesise(self, params: Params, wide: jax.Array) -> jax.Array:
        """An upsampled waveform `[B, samples]` through the network, of whole hops."""
        return self.synthesise(self.generate(params, wide)["spectrum"])

    def extend(
        self, params: Params, inputs: jax.Array, sampling: Sampling | None = None
    ) -> jax.Array:
        """Waveform `[B, n]` at input_rate -> `[B, hop * (samples // hop)]` at output_rate."""
        return self.resynthesise(params, self.upsample(inputs))

    def predict(self, params: Params, batch: Mapping[str, jax.Array]) -> Features:
        """Predicted "log_amplitude", "phase", "spectrum", the "reanalysed" spectrum of their
        waveform (the consistency loss compares the two), and the "waveform"."""
        wide = self.upsample(batch["input"])[:, : batch["target"].shape[1]]
        out = self.generate(params, wide)
        waveform = self.synthesise(out["spectrum"])
        again = stft(waveform, self.n_fft, self.hop_length, self.win_length)
        return {
            "log_amplitude": out["log_amplitude"],
            "phase": phase(jax.lax.complex(out["real"], out["imag"])),
            "spectrum": out["spectrum"],
            "reanalysed": _with_floor(again),
            "waveform": waveform,
        }

    def target(self, batch: Mapping[str, Any]) -> Features:
        """The same features of the true waveform, cut to whole hops as the prediction is."""
        waveform = batch["target"]
        whole = waveform.shape[1] // self.hop_length * self.hop_length
        return self.analyse(waveform) | {"waveform": waveform[:, :whole]}


def seen(spectrum: jax.Array, phase_floor: float) -> tuple[jax.Array, jax.Array]:
    """What the two streams see of a spectrum.

    An empty bin holds rounding alone, so that its phase is random, and the angle of a full one
    jumps by a whole turn at -pi: through either, the last bit of the input decides the output. With
    a floor, empty bins have phase 0, and phases are seen as directions, which do not jump.

    Args:
      spectrum: complex64 `[B, T, bins]`.
      phase_floor: share of a frame's largest magnitude, 0 or more.

    Returns:
      Log-amplitude and phase, float32. Without a floor, as in the original, the phase is the angle
      of every bin, `[B, T, bins]`. With one, no magnitude is below it, and the phase is its cosines
      and then its sines, `[B, T, 2 * bins]`: those of 0 up to the floor, the bin's own from twice
      the floor on, and on a straight line in between.
    """
    magnitude = jnp.abs(spectrum)
    if not phase_floor:
        return jnp.log(magnitude + AMPLITUDE_FLOOR), phase(spectrum)
    floor = phase_floor * jnp.max(magnitude, axis=-1, keepdims=True)
    floor = jnp.maximum(floor, 1e-20)  # digital silence
    magnitude = jnp.maximum(magnitude, floor)
    own = jnp.clip(magnitude / floor - 1.0, 0.0, 1.0)
    cosine = 1.0 - own + own * spectrum.real / magnitude
    sine = own * spectrum.imag / magnitude
    return jnp.log(magnitude + AMPLITUDE_FLOOR), jnp.concatenate([cosine, sine], axis=-1)


def polar(log_amplitude: jax.Array, real: jax.Array, imag: jax.Array) -> jax.Array:
    """exp(log_amplitude) in the direction of real + j imag, complex64; direction 1 at 0.

    Dividing by the length gives the cosine and the sine of the phase without computing it.
    """
    squared = real * real + imag * imag
    empty = squared < 1e-30
    scale = jnp.exp(log_amplitude) * jax.lax.rsqrt(jnp.where(empty, 1.0, squared))
    return jax.lax.complex(scale * jnp.where(empty, 1.0, real), jnp.where(empty, 0.0, scale * imag))


def _with_floor(z: jax.Array) -> jax.Array:
    magnitude = jnp.abs(z)
    empty = magnitude == 0
    raised = z * (1.0 + AMPLITUDE_FLOOR / jnp.where(empty, 1.0, magnitude))
    return jnp.where(empty, AMPLITUDE_FLOOR + 0.0j, raised)
