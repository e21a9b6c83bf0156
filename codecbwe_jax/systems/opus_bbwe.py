"""Opus' blind bandwidth extension: adaptive filters set by a small network.

Buethe, Valin, "A lightweight and robust method for blind wideband-to-fullband extension of speech".
The waveform passes through classical operators alone: adaptive filters, fixed interpolators, one
non-linearity, gains; a network of 367 890 parameters, at 100 frames a second, sets them. 91 MMAC/s.

Source: arXiv 2412.11392, BBWENet of xiph/opus (dnn/torch/osce)
"""

from __future__ import annotations

import dataclasses
import functools
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from codecbwe_jax.fields import Rate, Size
from codecbwe_jax.nn.causal import CausalConv, Gru, recall, remember, with_past
from codecbwe_jax.systems.streaming import StreamingSystem
from codecbwe_jax.weights.rules import Rule

FRAME = 160  # 10 ms at 16 kHz
WINDOW = 2 * FRAME
# of the 320-point transform: 5 bins apart, the last at Nyquist
BAND_CENTRES = (*range(0, 151, 5), 160)
COHERENT_BINS = 41
# decibels, as a factor on the logarithm
MAX_GAIN = 12 * np.log(10) / 20
# SILK's interpolators, in units of 2^-16 and 2^-15 (silk/resampler_rom.c)
ALLPASS = ((1746, 14986, 39083), (6854, 25769, 55542))
FRACTIONS = (
    (189, -600, 617, 30567, 2996, -1375, 425, -46),
    (-103, 896, -3487, 11950, 26341, -3350, 529, -4),
    (-48, 758, -3956, 23973, 15143, -3957, 967, -107),
)
ALLPASS_TAPS = 128


@functools.cache
def band_filters() -> np.ndarray:
    """Triangles around `BAND_CENTRES`, each of sum 1: float32 `[32, 161]`."""
    bins, bands = np.arange(WINDOW // 2 + 1), []
    for i, centre in enumerate(BAND_CENTRES):
        below = BAND_CENTRES[max(i - 1, 0)]
        above = BAND_CENTRES[min(i + 1, len(BAND_CENTRES) - 1)]
        rise = np.interp(bins, (below, centre), (0, 1)) if i else np.ones(len(bins))
        fall = np.interp(bins, (centre, above), (1, 0)) if above > centre else 1.0
        band = np.where(bins <= centre, rise * (bins >= below), fall)
        bands.append(band / band.sum())
    return np.stack(bands).astype(np.float32)


@functools.cache
def allpass_responses() -> np.ndarray:
    """The first 128 samples of the two branches that double a rate, latest first, float32 `[2,
    128]`: three first-order all-pass sections each."""
    rows = []
    for coefficients in ALLPASS:
        x = np.zeros(ALLPASS_TAPS)
        x[0] = 1
        for a in np.array(coefficients) / 65536:
            y, state = np.zeros_like(x), 0.0
            for n, value in enumerate(x):
                scaled = a * (value - state)
                y[n], state = state + scaled, value + scaled
            x = y
        rows.append(x[::-1])
    return np.stack(rows).astype(np.float32)


def fraction_filters() -> np.ndarray:
    """The filters of the three phases of 3/2 interpolation, float32 `[3, 8]`."""
    return (np.array(FRACTIONS) / 32768).astype(np.float32)


class SpectralFeatures(nn.Module):
    """`[B, n]` at 16 kHz -> `[B, n / 160, 114]`: 32 log magnitudes, and what the low bins turned
    by since the frame before."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        blocks = x.reshape(x.shape[0], -1, FRAME)
        joined = with_past(self, blocks, 1)
        frames = jnp.concatenate([joined[:, :-1], joined[:, 1:]], axis=-1)
        window = np.sin(np.pi * (np.arange(WINDOW) + 0.5) / WINDOW).astype(np.float32)
        z = jnp.fft.rfft(frames * window)
        bands = jnp.matmul(jnp.abs(z), band_filters().T, precision=jax.lax.Precision.HIGHEST)
        low = z[..., :COHERENT_BINS]
        # a stream's first frame has no frame before it; the original takes this for one
        first = jnp.full((x.shape[0], 1, COHERENT_BINS), 1e-9, low.dtype)
        before = jnp.concatenate([recall(self, "spectrum", first), low[:, :-1]], axis=1)
        remember(self, "spectrum", low[:, -1:])
        turn = low * jnp.conj(before)
        turn = turn / (jnp.abs(turn) + 1e-9)
        return jnp.concatenate([jnp.log(bands + 1e-9), turn.real, turn.imag], axis=-1)


class FeatureNetwork(nn.Module):
    """`[B, F, 114]` -> `[B, 2 F, size]`.

    Attributes:
      size: width.
    """

    size: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for name in ("conv1", "conv2"):
            x = jnp.tanh(CausalConv(self.size, 3, name=name)(x))
        x = jnp.tanh(FrameDoubling(self.size, name="tconv")(x))
        return Gru(self.size, name="gru")(x)


class FrameDoubling(nn.Module):
    """Two frames of each, by a matrix for each (a transposed convolution of two taps, stride 2).

    Attributes:
      size: output channels.
    """

    size: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        init = nn.initializers.lecun_normal(in_axis=2, out_axis=1)
        kernel = self.param("kernel", init, (2, self.size, x.shape[-1]))
        bias = self.param("bias", nn.initializers.zeros, (self.size,))
        y = jnp.einsum("btc,pfc->btpf", x, kernel) + bias
        return y.reshape(x.shape[0], -1, self.size)


class AdaptiveConv(nn.Module):
    """Filters a waveform by kernels that change with every subframe: `[B, T, C]` and conditions
    `[B, F, size]` -> `[B, T, features]`. A subframe begins with a cross-fade of half its length
    from the kernel before.

    Attributes:
      features: output channels.
      taps: of the kernels.
    """

    features: int
    taps: int

    @nn.compact
    def __call__(self, x: jax.Array, conditions: jax.Array) -> jax.Array:
        kernels = self._kernels(conditions, x.shape[-1])
        batch, samples = x.shape[:2]
        count = conditions.shape[1]
        length = samples // count
        before = recall(self, "kernel", jnp.zeros_like(kernels[:, :1]))
        before = jnp.concatenate([before, kernels[:, :-1]], axis=1)
        remember(self, "kernel", kernels[:, -1:])
        joined = with_past(self, x, self.taps - 1)
        shifted = [joined[:, k : k + samples] for k in range(self.taps)]
        views = jnp.stack(shifted, axis=-1).reshape(batch, count, length, -1)
        overlap = length // 2
        now = jnp.einsum("bfnk,bfko->bfno", views, kernels)
        old = jnp.einsum("bfnk,bfko->bfno", views[:, :, :overlap], before)
        angles = np.pi * (np.arange(overlap, dtype=np.float32) + 0.5) / overlap
        fade = (0.5 + 0.5 * np.cos(angles)).astype(np.float32)[:, None]
        crossed = fade * old + (1 - fade) * now[:, :, :overlap]
        return jnp.concatenate([crossed, now[:, :, overlap:]], axis=2).reshape(
            batch, samples, self.features
        )

    def _kernels(self, conditions: jax.Array, channels: int) -> jax.Array:
        """`[B, F, channels * taps, features]`: of norm 1, times a gain within 12 dB."""
        shape = (*conditions.shape[:2], self.features, channels * self.taps)
        dense = nn.Dense(self.features * channels * self.taps, name="conv_kernel")
        kernels = dense(conditions).reshape(shape)
        norm = jnp.sqrt(jnp.sum(jnp.square(kernels), axis=-1, keepdims=True))
        gain = nn.Dense(self.features, name="filter_gain")(conditions)
        gain = jnp.exp(MAX_GAIN * jnp.tanh(gain))[..., None]
        return (gain * kernels / (1e-6 + norm)).swapaxes(2, 3)


class AdaptiveShape(nn.Module):
    """Multiplies a waveform `[B, T]` by gains that follow its envelope and conditions `[B, F,
    size]`.

    Attributes:
      pool: samples of each value of the envelope.
    """

    pool: int

    interpolation: ClassVar[int] = 2

    @nn.compact
    def __call__(self, x: jax.Array, conditions: jax.Array) -> jax.Array:
        batch, count = conditions.shape[:2]
        envelope = jnp.mean(jnp.abs(x).reshape(batch, count, -1, self.pool), axis=-1)
        envelope = jnp.log(envelope + 2.0**-16)
        mean = jnp.mean(envelope, axis=-1, keepdims=True)
        envelope = jnp.concatenate([envelope - mean, mean], axis=-1)
        gains = x.shape[1] // count // self.interpolation

        def conv(name: str) -> CausalConv:
            return CausalConv(gains, 2, use_bias=False, name=name)

        y = conv("feature_alpha1_f")(conditions) + conv("feature_alpha1_t")(envelope)
        log_gain = conv("feature_alpha2")(nn.leaky_relu(y, 0.2))
        log_gain = jnp.repeat(log_gain.reshape(batch, -1), self.interpolation, axis=1)
        # the first sample has none before it, and is its own neighbour
        past = recall(self, "log_gain", jnp.full((batch, 1), jnp.nan))
        past = jnp.where(jnp.isnan(past), log_gain[:, :1], past)
        remember(self, "log_gain", log_gain[:, -1:])
        before = jnp.concatenate([past, log_gain[:, :-1]], axis=1)
        return x * jnp.exp((before + log_gain) / 2)


class DoubleRate(nn.Module):
    """`[B, T, C]` -> `[B, 2 T, C]` by SILK's two all-pass branches."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        joined = with_past(self, x, ALLPASS_TAPS - 1)
        y = filter_channels(joined, allpass_responses(), 1)
        return y.reshape(x.shape[0], -1, x.shape[2])


class ThreeHalvesRate(nn.Module):
    """`[B, T, C]` -> `[B, 3 T / 2, C]` by SILK's fractional filters."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        joined = with_past(self, x, 8)
        # the last phase is one sample later
        filters = np.zeros((3, 9), np.float32)
        filters[:2, :8], filters[2, 1:] = fraction_filters()[:2], fraction_filters()[2]
        y = filter_channels(joined[:, : joined.shape[1] - 1], filters, 2)
        return y.reshape(x.shape[0], -1, x.shape[2])


def filter_channels(x: jax.Array, filters: np.ndarray, stride: int) -> jax.Array:
    """Every channel of `[B, T, C]` by every filter `[P, taps]`: `[B, T', P, C]`."""
    batch, samples, channels = x.shape
    columns = x.swapaxes(1, 2).reshape(batch * channels, samples, 1)
    y = jax.lax.conv_general_dilated(
        columns,
        jnp.asarray(filters.T[:, None]),
        (stride,),
        "VALID",
        dimension_numbers=("NWC", "WIO", "NWC"),
        precision=jax.lax.Precision.HIGHEST,
    )
    return y.reshape(batch, channels, -1, len(filters)).transpose(0, 2, 3, 1)


def fold_over(x: jax.Array) -> jax.Array:
    """`x sin(ln(|x| + 1e-6))`: makes new frequencies at every level alike."""
    return x * jnp.sin(jnp.log(jnp.abs(x) + 1e-6))


class OpusBbweNetwork(nn.Module):
    """`[B, n]` at 16 kHz -> `[B, 2 n]` or `[B, 3 n]`.

    Attributes:
      size: width of the feature network.
      taps: of the three adaptive filters.
      ratio: 3, or 2 to end after the second filter (ours).
    """

    size: int
    taps: tuple[int, int, int]
    ratio: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        conditions = FeatureNetwork(self.size, name="feature_net")(
            SpectralFeatures(name="features")(x)
        )
        y = AdaptiveConv(3, self.taps[0], name="af1")(x[..., None], conditions)
        y = DoubleRate(name="up32")(y)
        y = self._enriched(y, conditions, 8, "tdshape1")
        y = AdaptiveConv(3 if self.ratio == 3 else 1, self.taps[1], name="af2")(y, conditions)
        if self.ratio == 3:
            y = ThreeHalvesRate(name="up48")(y)
            y = self._enriched(y, conditions, 12, "tdshape2")
            y = AdaptiveConv(1, self.taps[2], name="af3")(y, conditions)
        return y[..., 0]

    def _enriched(self, y: jax.Array, conditions: jax.Array, pool: int, name: str) -> jax.Array:
        """The first channel as it is, the second shaped, the third folded over."""
        shaped = AdaptiveShape(pool, name=name)(y[..., 1], conditions)
        return jnp.stack([y[..., 0], shaped, fold_over(y[..., 2])], axis=-1)


@dataclasses.dataclass(frozen=True)
class OpusBbwe(StreamingSystem):
    """Opus' extension as a system.

    Attributes:
      input_rate, output_rate: 16000, and 32000 or 48000 Hz.
      output_rate: 48000, or 32000: our variant, which ends after the second filter.
      size: width of the feature network.
      taps: of the three adaptive filters.
      compute_dtype: "float32"; nothing here is large enough for another.
    """

    frame_length: ClassVar[int] = FRAME
    torch_rules: ClassVar[tuple[Rule, ...]] = (
        Rule("feature_net/conv{n}", "feature_net.conv{n}", "conv"),
        Rule("feature_net/tconv", "feature_net.tconv", "conv"),
        Rule("feature_net/gru/weight_{x}", "feature_net.gru.weight_{x}", "kernel"),
        Rule("feature_net/gru/bias_{x}", "feature_net.gru.bias_{x}", "array"),
        Rule("af{n}/{dense}", "af{n}.{dense}", "dense"),
        Rule("tdshape{n}/{conv}", "tdshape{n}.{conv}", "conv"),
    )

    input_rate: Rate = 16000
    output_rate: Rate = 48000
    size: Size = 128
    taps: tuple[Size, Size, Size] = (15, 25, 15)
    compute_dtype: Literal["float32"] = "float32"

    @property
    def network(self) -> OpusBbweNetwork:
        return OpusBbweNetwork(self.size, self.taps, self.output_rate // self.input_rate)

    @property
    def lag(self) -> int:
        return 13 if self.output_rate == 48000 else 4

    @property
    def receptive_field(self) -> int:
        # the recurrent state has no end; half a second is where it was measured to fade
        return self.input_rate // 2

    def interpolate(self, inputs: jax.Array) -> jax.Array:
        """The fixed interpolators alone: see `StreamingSystem.interpolate`."""
        y = DoubleRate().bind({})(inputs[..., None])
        return (y if self.output_rate == 32000 else ThreeHalvesRate().bind({})(y))[..., 0]

    @property
    def torch_constants(self) -> dict[str, np.ndarray]:
        """What the original's checkpoints hold beside parameters."""
        constants = {
            "upsampler.hq_2x_up_even": allpass_responses()[0],
            "upsampler.hq_2x_up_odd": allpass_responses()[1],
        }
        for name, row in zip(("01", "17", "09"), fraction_filters(), strict=True):
            constants[f"upsampler.frac_{name}_24"] = row
        constants = {name: row[None, None] for name, row in constants.items()}
        for i, overlap in enumerate((40, 80, 120)[: self.output_rate // self.input_rate], 1):
            fade = 0.5 + 0.5 * np.cos(np.pi * (np.arange(overlap) + 0.5) / overlap)
            constants[f"af{i}.overlap_win"] = fade.astype(np.float32)
        for i in range(1, self.output_rate // self.input_rate):
            constants[f"tdshape{i}.interpolate_weight"] = np.full((1, 1, 2), 0.5, np.float32)
        return constants
