"""A trained decoder as a function of tokens, for files of any length: a codec's or a native one.

The backbone's attention sees everything that it is given, so a sample depends on how much is
given; long items are decoded in windows (`inference.windows`).
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from codecbwe_jax.codec.settings import INPUT_RATE
from codecbwe_jax.errors import UserError
from codecbwe_jax.inference.blocks import Buffer
from codecbwe_jax.inference.compilation import enable_cache
from codecbwe_jax.inference.model import Model, content_hash, hash_of
from codecbwe_jax.inference.model_folders import load_model
from codecbwe_jax.inference.windows import Windows, zeros_after
from codecbwe_jax.systems.tokens import TokenSystem

# Context on both sides of what a window contributes: the acoustic encoder's reach is 0.58 s.
CONTEXT_SECONDS = 1.0
WINDOW_SECONDS = 30.0
# Lengths in seconds that are compiled, up to the window.
BUCKETS = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0, 15.0, 20.0, 25.0)


def codebook_hash(system: TokenSystem, params: Any) -> str:
    """Name of a codebook: a hash of the way from a token to latents. Decoders of one codebook read
    each other's tokens."""
    return hash_of({"levels": system.levels}, params["quantizer"]["project_out"])


def in_compute_dtype(system: TokenSystem, params: Any) -> Any:
    """Parameters for running, not for training: in bfloat16 where the network computes in it.

    What the network computes in float32 (`CodecNetwork`, heads) keeps float32 kernels, and so do
    norms and biases.
    """
    if system.compute_dtype == "float32":
        return params
    kept = re.compile(
        "semantic_adapter|fc_encoder|quantizer|acoustic_decoder/head"
        r"|acoustic_encoder/(conv\d|block_\d+/conv1)|.*/depthwise_conv/"
    )
    flat = flax.traverse_util.flatten_dict(dict(params), sep="/")
    cast = {
        path: leaf.astype(jnp.bfloat16)
        if path.endswith("/kernel") and not kept.match(path)
        else leaf
        for path, leaf in flat.items()
    }
    return flax.traverse_util.unflatten_dict(cast, sep="/")


class TokenDecoder:
    """A codec or a native decoder that is only run.

    Args:
      model: whose system reads tokens; `params` are its parameters as they run.
      window_seconds: longest stretch that is run at once.
      batch_size: windows of one length that are run together.

    Raises:
      UserError: if the model reads no tokens, or the window leaves no room between its contexts.
    """

    def __init__(
        self, model: Model, window_seconds: float = WINDOW_SECONDS, batch_size: int = 1
    ) -> None:
        system = model.system
        if not isinstance(system, TokenSystem):
            raise UserError(f"{model.name} is a {type(system).__name__}, not a decoder of tokens")
        if window_seconds < 3 * CONTEXT_SECONDS:
            raise UserError(f"a window of {window_seconds} s; {3 * CONTEXT_SECONDS} s or more")
        self.system = system
        running = in_compute_dtype(system, model.params)
        self.params = jax.device_put(running)
        # in float32, what was read need not stay beside what is on the device
        same = running is model.params
        self.model = dataclasses.replace(model, params=self.params) if same else model
        rate = INPUT_RATE / system.token_hop_length
        self._windows = Windows(
            round(window_seconds * rate), round(CONTEXT_SECONDS * rate), batch_size
        )
        seconds = [b for b in BUCKETS if b < window_seconds]
        self._buckets = [*(round(b * rate) for b in seconds), self._windows.length]
        self._decode = jax.jit(system.decode)

    @classmethod
    def load(
        cls,
        where: str | Path,
        compute_dtype: str = "float32",
        window_seconds: float = WINDOW_SECONDS,
        batch_size: int = 1,
        sampling: Mapping[str, Any] = MappingProxyType({}),
    ) -> Self:
        """Load a model.

        Args:
          where: a transformers folder, a converted folder or a work folder.
          compute_dtype: "float32" or "bfloat16".
          window_seconds, batch_size: see the class.
          sampling: other settings of how the model samples, by field.

        Raises:
          UserError: see `inference.model_folders.load_model` and the class.
        """
        enable_cache()
        model = load_model(where).sampled(sampling)
        if isinstance(model.system, TokenSystem):
            model = dataclasses.replace(model, system=model.system.computing_in(compute_dtype))
        return cls(model, window_seconds, batch_size)

    @functools.cached_property
    def content_hash(self) -> str:
        """See `content_hash`."""
        return content_hash(self.system, self.model.params)

    @functools.cached_property
    def codebook_hash(self) -> str:
        """See `codebook_hash`."""
        return codebook_hash(self.system, self.model.params)

    def decode(self, tokens: np.ndarray, length: int | None = None) -> np.ndarray:
        """Tokens int32 `[frames]` -> waveform at the output rate.

        Args:
          tokens: as `FrozenCodec.encode` gives them.
          length: of the encoded waveform in samples at 16 kHz; the result then has exactly
            `round(length * output_rate / 16000)` samples. None: one hop for every token.

        Raises:
          UserError: if tokens are not integers in the codebook.
        """
        waveform = self.decode_all([tokens])[0]
        if length is None:
            return waveform
        samples = round(length * self.system.output_rate / INPUT_RATE)
        return zeros_after(waveform[:samples], samples)

    def decode_all(self, tokens: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Decode many; each gives the waveform that it gives alone."""
        known = [self.known(t) for t in tokens]

        def cut(item: int, first: int, count: int) -> np.ndarray:
            return known[item][first : first + count]

        counts, hop = [len(t) for t in known], self.system.output_hop_length
        return self._windows.run(counts, cut, self._buckets, self._run, hop)

    def decode_blocks(self, blocks: Iterable[np.ndarray], count: int) -> Iterator[np.ndarray]:
        """As `decode_all`, for channels that come in blocks: of audio, two windows are held.

        Args:
          blocks: int32 `[frames, channels]`, consecutive, in the codebook.
          count: frames in all.

        Yields:
          float32 `[samples, channels]`, one hop for every token.
        """
        cut, hop = Buffer(iter(blocks)).cut, self.system.output_hop_length
        return self._windows.stream(count, cut, self._buckets, self._run, hop)

    def _run(self, rows: np.ndarray, lengths: np.ndarray) -> jax.Array:
        return self._decode(self.params, rows, lengths)

    def known(self, tokens: np.ndarray) -> np.ndarray:
        """Tokens as int32 `[frames]`.

        Raises:
          UserError: if they are not integers in the codebook.
        """
        tokens = np.asarray(tokens)
        if tokens.ndim != 1 or not np.issubdtype(tokens.dtype, np.integer):
            raise UserError(
                f"tokens are {tokens.dtype} {list(tokens.shape)}; integers [frames] are expected"
            )
        size = self.system.codebook_size
        wrong = tokens[(tokens < 0) | (tokens >= size)]
        if len(wrong):
            raise UserError(f"token {wrong[0]} is not in the codebook of {size}")
        return tokens.astype(np.int32)
