"""The codec delays nothing: what it decodes lies on its source, sample for sample.

Measured by cross-correlation, which needs a codec that keeps phases. One with 30 bits a frame that
was fitted to a single recording does, as with its quantiser bypassed, and its tokens pass through
the same functions as any other's.
"""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import soundfile
import soxr

from codecbwe_jax.data import codec_pairs, recordings
from codecbwe_jax.inference.frozen_codec import FrozenCodec
from codecbwe_jax.inference.model import Model
from codecbwe_jax.losses.waveform import waveform_l1
from codecbwe_jax.systems import build
from codecbwe_jax.training.codec_input import CodecInput

# what they share takes long to make
pytestmark = pytest.mark.xdist_group("alignment")

# Height of a correlation peak that is beyond doubt: one second gave 0.85 and more in trials, a
# wrong place that was seen by chance (0.3 s only) 0.65.
CLEAR = 0.7
SETTINGS = {
    "name": "codec",
    "semantic": {"size": 32, "layers": 0},
    "backbone": {"size": 64, "intermediate": 64, "layers": 0, "heads": 1, "head_size": 64},
    "encoder_width": 4,
    "ratios": (64, 5),
    "levels": (8,) * 10,
}


@pytest.fixture(scope="module")
def source(voice: np.ndarray) -> np.ndarray:
    """1.4 s at 48 kHz, peak 0.5."""
    return 0.5 * voice[:67200] / np.abs(voice[:67200]).max()


@pytest.fixture(scope="module")
def faithful(source: np.ndarray) -> FrozenCodec:
    """A codec fitted to the source."""
    codec = build(SETTINGS)
    heard = codec.pad(soxr.resample(source, 48000, 16000)[None])
    params = codec.init(jax.random.key(0))
    steps = 105
    optimizer = optax.adam(optax.cosine_decay_schedule(4e-3, steps))

    def loss(params: dict) -> jax.Array:
        return waveform_l1(heard, codec.network.apply({"params": params}, heard))

    @jax.jit
    def step(params: dict, state: optax.OptState) -> tuple[dict, optax.OptState]:
        updates, state = optimizer.update(jax.grad(loss)(params), state)
        return optax.apply_updates(params, updates), state

    state = optimizer.init(params)
    for _ in range(steps):
        params, state = step(params, state)
    return FrozenCodec(Model("faithful", codec, params, {}), window_seconds=3.0, batch_size=32)


def delay_and_likeness(x: np.ndarray, reference: np.ndarray) -> tuple[int, float]:
    """Where within a hop the cross-correlation peaks, and its height (1: equal but for gain)."""
    products = np.correlate(np.pad(x, 320), reference, "valid")
    height = products.max() / (np.linalg.norm(x) * np.linalg.norm(reference))
    return int(np.argmax(products)) - 320, float(height)


def test_inference_at_lengths_all_over_a_hop(faithful: FrozenCodec, source: np.ndarray) -> None:
    wave16 = soxr.resample(source, 48000, 16000)
    lengths = range(15680, 16000, 5)  # which all run as one second
    tokens = faithful.encode_all([wave16[:n] for n in lengths])
    for n, decoded in zip(lengths, faithful.decode_all(tokens), strict=True):
        delay, likeness = delay_and_likeness(decoded[:n], wave16[:n])
        assert (n, delay) == (n, 0)
        assert likeness > CLEAR


def test_reconstruction_of_another_rate(faithful: FrozenCodec, source: np.ndarray) -> None:
    alone = FrozenCodec(faithful.model, window_seconds=3.0, batch_size=1)
    for n in range(60000, 60960, 119):
        wave = source[:n]
        decoded = alone.reconstruct(wave, 48000)
        assert len(decoded) == round(n / 3)
        delay, likeness = delay_and_likeness(decoded, soxr.resample(wave, 48000, 16000))
        assert (n, delay) == (n, 0)
        assert likeness > CLEAR


def test_training_pairs_at_every_length_of_a_hop(
    faithful: FrozenCodec, source: np.ndarray, tmp_path: Path
) -> None:
    """Recordings that end anywhere in a hop, segments that begin at any token."""
    soundfile.write(tmp_path / "voice.wav", source, 48000, subtype="FLOAT")
    (found,) = recordings.find(tmp_path).recordings
    cut = [dataclasses.replace(found, samples=3 * n) for n in range(22080, 22400)]
    codec = faithful.system
    settings = codec_pairs.CodecPairSettings(
        codec="faithful",
        compute_dtype="float32",
        encoder_rate=16000,
        output_rate=48000,
        segment_samples=48000,
        chunk_tokens=70,
        token_rate=50,
        window_samples=codec.window(70),
        codec_rate=16000,
    )
    make = codec_pairs.MakeOnlinePair(cut, settings)
    prepare = jax.jit(CodecInput(codec, settings).prepare)
    rng, begins = np.random.default_rng(0), set()
    for first in range(0, 320, 32):
        rows = [make.make(i, rng) for i in range(first, first + 32)]
        begins |= {int(row["first_token"]) for row in rows}
        batch = {name: jnp.stack([row[name] for row in rows]) for name in rows[0]}
        pairs = jax.device_get(prepare(faithful.params, batch))
        for decoded, target in zip(pairs["input"], pairs["target"], strict=True):
            delay, likeness = delay_and_likeness(decoded, soxr.resample(target, 48000, 16000))
            assert delay == 0
            assert likeness > CLEAR
    assert begins == set(range(21))
