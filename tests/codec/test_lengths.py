"""Items of several lengths in one batch give what each gives alone."""

import functools

import jax
import numpy as np
import pytest

from tests.conftest import random_codec


@pytest.mark.parametrize("family", ["xcodec2", "neucodec"])
def test_tokens_and_audio_are_those_of_each_item_alone(family: str) -> None:
    codec, params = random_codec(family)
    network, rng = codec.network, np.random.default_rng(1)
    hops = [3, 12]
    waves = [0.1 * rng.standard_normal(320 * k, np.float32) for k in hops]
    # what lies after an item must not matter, so it is not zero
    batch = rng.standard_normal((2, 320 * 14), np.float32)
    for row, wave in zip(batch, waves, strict=True):
        row[: len(wave)] = wave
    lengths = np.array([len(w) for w in waves], np.int32)

    encode, decode = (
        functools.partial(jax.jit(functools.partial(network.apply, method=m)), {"params": params})
        for m in ("encode", "decode")
    )

    with jax.default_matmul_precision("highest"):
        together = encode(batch, lengths)
        alone = [np.asarray(encode(wave[None])[0]) for wave in waves]
        for row, tokens, k in zip(together, alone, hops, strict=True):
            assert len(tokens) == (k if family == "xcodec2" else k - 1)
            np.testing.assert_array_equal(row[: len(tokens)], tokens)
        assert not np.array_equal(alone[0], alone[1][: len(alone[0])])
        counts = np.array([len(t) for t in alone], np.int32)
        audio = decode(together, counts)
        hop = codec.output_hop_length
        for row, tokens in zip(audio, alone, strict=True):
            expected = decode(tokens[None])[0]
            # sums over frames in another order, through eight layers
            np.testing.assert_allclose(
                row[: len(tokens) * hop], expected, atol=1e-4 * np.abs(expected).max()
            )


def test_pooled_codec_has_half_the_tokens() -> None:
    codec, params = random_codec(pooling=2, output_rate=24000)
    wave = np.random.default_rng(0).standard_normal((1, 320 * 11), np.float32)
    network = codec.network

    def run(x: np.ndarray, method: str) -> jax.Array:
        return jax.jit(functools.partial(network.apply, method=method))({"params": params}, x)

    tokens = run(wave, "encode")
    assert tokens.shape == (1, 5)
    assert codec.tokens(320 * 11 - 1) == 5
    assert codec.output_hop_length == 960
    assert run(tokens, "decode").shape == (1, 4800)
