"""Training on a codec's own output: the codec in the step, or a cache made beforehand."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from codecbwe_jax.codec.settings import INPUT_RATE
from codecbwe_jax.config import read_json
from codecbwe_jax.data import codec_pairs, pipeline
from codecbwe_jax.data.recordings import Recording
from codecbwe_jax.errors import UserError
from codecbwe_jax.inference.frozen_codec import FrozenCodec
from codecbwe_jax.objectives.turn import Batch
from codecbwe_jax.systems import check_hears
from codecbwe_jax.systems.base import Params, System
from codecbwe_jax.systems.codec import Codec
from codecbwe_jax.systems.native import NativeDecoder

Tree = Any


@dataclasses.dataclass(frozen=True)
class CodecInput:
    """A codec as the maker of a run's inputs.

    Attributes:
      codec: its settings; the parameters are an argument.
      settings: of the pairs.
    """

    codec: Codec
    settings: codec_pairs.CodecPairSettings

    def prepare(self, params: Tree, batch: Batch) -> Batch:
        """In the step: "heard" and "first_token" -> "tokens", and "input" for a system that takes
        waveforms. Pure."""
        s, heard = self.settings, batch["heard"]
        hop = s.codec_rate // s.token_rate

        def cut(x: jax.Array, first: jax.Array, size: int) -> jax.Array:
            return jax.lax.dynamic_slice(x, (first,), (size,))

        first = batch["first_token"]
        rest = {k: v for k, v in batch.items() if k not in ("heard", "first_token")}
        if s.takes == "tokens":
            tokens, inputs = encode(self.codec, params, heard), {}
        else:
            tokens, decoded = round_trip(self.codec, params, heard)
            of_segment = jax.vmap(lambda x, f: cut(x, f * hop, s.input_samples))
            inputs = {"input": of_segment(decoded, first)}
        of_segment = jax.vmap(lambda x, f: cut(x, f, s.segment_tokens))
        return rest | inputs | {"tokens": of_segment(tokens, first)}


class Source(NamedTuple):
    """What a run hears through a codec.

    Attributes:
      inputs: how its inputs are made.
      codec: that makes them, with its parameters.
    """

    inputs: CodecInput
    codec: FrozenCodec


def round_trip(codec: Codec, params: Tree, heard: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Encode and decode windows as they are, nothing padded; no gradient flows.

    Args:
      codec: settings.
      params: of the codec.
      heard: `[B, window]` at 16 kHz.

    Returns:
      (tokens int32 `[B, T]`, decoded float32 `[B, T * hop]` on the grid of 16-bit PCM, on which
      a cache keeps it).
    """

    def run(params: Tree, heard: jax.Array) -> tuple[jax.Array, jax.Array]:
        tokens = _encode(codec, params, heard)
        # between barriers XLA fuses the same operations whatever stands around them
        decoded = codec.decode(params, tokens)
        return tokens, jax.lax.optimization_barrier(decoded)

    tokens, decoded = _reproducibly(run, params, heard)
    levels = jnp.clip(jnp.round(decoded * 32768.0), -32768.0, 32767.0)
    return tokens, jax.lax.stop_gradient(levels / 32768.0)


def encode(codec: Codec, params: Tree, heard: jax.Array) -> jax.Array:
    """The tokens of `round_trip` alone."""
    return _reproducibly(lambda params, heard: _encode(codec, params, heard), params, heard)


def _encode(codec: Codec, params: Tree, heard: jax.Array) -> jax.Array:
    params, heard = jax.lax.optimization_barrier((params, heard))
    tokens = codec.network.bind({"params": params}).encode(heard)
    return jax.lax.optimization_barrier(tokens)


def _reproducibly(run: Callable[..., Tree], params: Tree, heard: jax.Array) -> Tree:
    """On CPU one window after the other, so that its bits do not depend on its place in a batch
    and the training step and a cache give identical pairs. On an accelerator the batch runs at
    once, and a rounding at the edge of a level may differ between the two."""

    def one_by_one(params: Tree, heard: jax.Array) -> Tree:
        rows = jax.lax.map(lambda row: run(params, row[None]), heard)
        return jax.tree.map(lambda x: x[:, 0], rows)

    return jax.lax.platform_dependent(params, heard, cpu=one_by_one, default=run)


def load(config: ConfigDict, system: System) -> Source | None:
    """The codec that `config.data.input` asks for, as `open_codec`; None for "lowpass".

    Raises:
      UserError: as `wants_codec` and `open_codec`.
    """
    return open_codec(config, system) if wants_codec(config, system) else None


def wants_codec(config: ConfigDict, system: System) -> bool:
    """Whether `config.data.input` asks for a codec.

    Raises:
      UserError: on one that the system does not take.
    """
    kind = config.data.get("input", "lowpass")
    if kind == "lowpass" and system.takes == "tokens":
        raise UserError("config.data.input is 'lowpass'; this system takes a codec's tokens")
    return kind != "lowpass"


def check_follows(system: System, codec: Codec) -> None:
    """Raise UserError if a system cannot follow a codec: not its tokens, or not its rate."""
    if isinstance(system, NativeDecoder):
        system.check_tokens(codec)
    else:
        check_hears(system, codec)


def open_codec(config: ConfigDict, system: System) -> Source:
    """How the codec that `config.data.codec` names makes a system's pairs, and the codec itself.

    Raises:
      UserError: if none is named, or the system cannot follow it.
    """
    data = config.data
    if not data.codec:
        raise UserError("config.data.codec is empty: give --config.data.codec=FOLDER, a codec's")
    codec = FrozenCodec.load(data.codec, data.codec_dtype)
    check_follows(system, codec.system)
    tokens = round(data.chunk_seconds * codec.system.token_rate)
    settings = codec_pairs.CodecPairSettings(
        codec.content_hash,
        codec.system.compute_dtype,
        INPUT_RATE,
        system.output_rate,
        data.segment_samples,
        tokens,
        codec.system.token_rate,
        codec.system.window(tokens),
        codec.system.output_rate,
        system.takes,
        data.balance_speakers,
        config.train.seed,
    )
    return Source(CodecInput(codec.system, settings), codec)


def in_step(
    config: ConfigDict, source: Source | None
) -> tuple[CodecInput | None, dict[str, Params]]:
    """What makes inputs in the step, and the frozen parameters that it does so with: nothing but
    for `config.data.input` "codec_online"."""
    if source is None or config.data.input != "codec_online":
        return None, {}
    return source.inputs, {"codec": source.codec.params}


def hear(codec: FrozenCodec, system: System) -> Callable[[np.ndarray, int], np.ndarray]:
    """(waveform, its rate in Hz) -> what a system is given of it: tokens, or decoded audio."""
    return codec.tokens if system.takes == "tokens" else codec.reconstruct


def with_codebook(params: Tree, system: System, codec: FrozenCodec) -> Tree:
    """Fresh parameters, with the codec's way out of its quantiser if the system takes tokens."""
    if system.takes != "tokens":
        return params
    shared = jax.device_get({"project_out": codec.params["quantizer"]["project_out"]})
    return dict(params) | {"quantizer": shared}


def cache_key(chunks: Sequence[Recording], settings: codec_pairs.CodecPairSettings) -> str:
    """Hash of what a cache's records depend on: chunks, codec and compute type."""
    kept = dataclasses.replace(
        settings,
        output_rate=settings.encoder_rate,  # tokens do not depend on the target's
        segment_samples=0,
        takes="waveform",
        balance_speakers=False,
        seed=0,
    )
    return pipeline.fingerprint(chunks, kept, 0)


def make_pairs(
    config: ConfigDict, found: Sequence[Recording], source: CodecInput
) -> pipeline.MakePair:
    """What makes the samples of a run on a codec's output.

    Raises:
      UserError: if the cache is missing or was made from other chunks or by another codec.
    """
    chunks = codec_pairs.chunks(found, config.data.chunk_seconds)
    if config.data.input == "codec_online":
        return codec_pairs.MakeOnlinePair(chunks, source.settings)
    if not config.data.cache:
        raise UserError("config.data.input codec_cached needs config.data.cache, a folder")
    folder = Path(config.data.cache)
    facts, wanted = read_json(folder / "cache.json"), cache_key(chunks, source.settings)
    if facts.get("key") != wanted:
        raise UserError(
            f"{folder} was made from other recordings, chunks or another codec (key "
            f"{facts.get('key')}, wanted {wanted}): make it again with codecbwe cache"
        )
    codec_pairs.open_cache(folder / wanted)
    return codec_pairs.MakeCachedPair(chunks, source.settings, folder / wanted)
