"""A trained codec as functions of waveforms and tokens, for files of any length.

The encoder's attention and its features' normalisation see everything they are given, so a
token depends on how much is given. Up to one window a waveform is encoded whole, as the reference
does it; a longer one is cut into overlapping windows of one length, the last of which ends where
the waveform ends. Windows run in batches and in few shapes (each shape is compiled once); the
network is told every item's length, so that an item gives what it gives alone.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import soxr

from codecbwe_jax.codec.settings import INPUT_RATE
from codecbwe_jax.errors import UserError
from codecbwe_jax.inference.compilation import enable_cache
from codecbwe_jax.inference.model import Model, load_model
from codecbwe_jax.systems.codec import Codec

# Context on both sides of what a window contributes: the acoustic encoder's reach is 0.58 s.
CONTEXT_SECONDS = 1.0
WINDOW_SECONDS = 30.0
# Lengths in seconds that are compiled, up to the window.
BUCKETS = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0, 15.0, 20.0, 25.0)


def content_hash(system: Codec, params: Any) -> str:
    """Name of a codec: a hash of its settings and parameters, whatever the compute type."""
    settings = {k: v for k, v in vars(system).items() if k != "compute_dtype"}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=vars).encode())
    for path, leaf in sorted(flax.traverse_util.flatten_dict(dict(params), sep="/").items()):
        digest.update(path.encode())
        digest.update(np.ascontiguousarray(leaf, np.float32).data)
    return digest.hexdigest()[:16]


def in_compute_dtype(system: Codec, params: Any) -> Any:
    """Parameters for running, not for training: in bfloat16 where the network computes in it.

    What the network computes in float32 (`CodecNetwork`) keeps float32 kernels, and so do norms
    and biases.
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


class FrozenCodec:
    """A codec that is only run.

    Args:
      model: whose system is a `Codec`; `params` are its parameters as they run.
      window_seconds: longest stretch that is encoded or decoded at once.
      batch_size: windows of one length that are run together.

    Raises:
      UserError: if the model is no codec, or the window leaves no room between its contexts.
    """

    def __init__(
        self, model: Model, window_seconds: float = WINDOW_SECONDS, batch_size: int = 1
    ) -> None:
        if not isinstance(model.system, Codec):
            raise UserError(f"{model.name} is a {type(model.system).__name__}, not a codec")
        if window_seconds < 3 * CONTEXT_SECONDS:
            raise UserError(f"a window of {window_seconds} s; {3 * CONTEXT_SECONDS} s or more")
        self.system = model.system
        self.batch_size = batch_size
        running = in_compute_dtype(model.system, model.params)
        self.params = jax.device_put(running)
        # in float32, what was read need not stay beside what is on the device
        same = running is model.params
        self.model = dataclasses.replace(model, params=self.params) if same else model
        rate = INPUT_RATE / self.system.token_hop_length
        self._window, self._context = round(window_seconds * rate), round(CONTEXT_SECONDS * rate)
        seconds = [b for b in BUCKETS if b < window_seconds]
        self._buckets = [*(round(b * rate) for b in seconds), self._window]
        network = self.system.network
        self._encode = jax.jit(lambda p, x, n: network.apply({"params": p}, x, n, method="encode"))
        self._decode = jax.jit(lambda p, x, n: network.apply({"params": p}, x, n, method="decode"))
        self._latents = jax.jit(lambda p, x: network.apply({"params": p}, x, method="latents"))

    @classmethod
    def load(
        cls,
        where: str | Path,
        compute_dtype: str = "float32",
        window_seconds: float = WINDOW_SECONDS,
        batch_size: int = 1,
    ) -> FrozenCodec:
        """Load a codec.

        Args:
          where: a transformers folder, a converted folder or a work folder.
          compute_dtype: "float32" or "bfloat16".
          window_seconds, batch_size: see the class.

        Raises:
          UserError: see `inference.model.load_model` and the class.
        """
        enable_cache()
        model = load_model(where)
        if isinstance(model.system, Codec):
            settings = vars(model.system) | {"compute_dtype": compute_dtype}
            model = Model(model.name, Codec(**settings), model.params, model.facts)
        return cls(model, window_seconds, batch_size)

    @functools.cached_property
    def content_hash(self) -> str:
        """See `content_hash`."""
        return content_hash(self.system, self.model.params)

    def encode(self, waveform: np.ndarray) -> np.ndarray:
        """Waveform float32 `[samples]` at 16 kHz -> tokens int32 `[frames]`.

        Raises:
          UserError: if the waveform is not one-dimensional, is empty or not finite.
        """
        return self.encode_all([waveform])[0]

    def encode_all(self, waveforms: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Encode many waveforms; each gives the tokens that it gives alone."""
        s = self.system
        padded = [_zeros_after(_checked(w), s.padded(len(w))) for w in waveforms]
        counts = [s.tokens(len(w)) for w in waveforms]

        def cut(item: int, first: int, tokens: int) -> np.ndarray:
            begin = first * s.token_hop_length
            length = len(padded[item]) if tokens == counts[item] else s.window(tokens)
            return padded[item][begin : begin + length]

        # a whole item may end with frames that fill no token
        sizes = [s.window(b) + (s.pooling - 1) * s.hop_length for b in self._buckets]
        tokens = self._in_windows(counts, cut, sizes, self._encode, 1)
        return [t.astype(np.int32) for t in tokens]  # none at all are int32 too

    def decode(self, tokens: np.ndarray, length: int | None = None) -> np.ndarray:
        """Tokens int32 `[frames]` -> waveform at the output rate.

        Args:
          tokens: as `encode` gives them.
          length: of the encoded waveform in samples at 16 kHz; the result then has exactly
            `round(length * output_rate / 16000)` samples. None: one hop for every token.

        Raises:
          UserError: if tokens are not integers in the codebook.
        """
        waveform = self.decode_all([tokens])[0]
        if length is None:
            return waveform
        samples = round(length * self.system.output_rate / INPUT_RATE)
        return _zeros_after(waveform[:samples], samples)

    def decode_all(self, tokens: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Decode many; each gives the waveform that it gives alone."""
        known = [self._known(t) for t in tokens]

        def cut(item: int, first: int, count: int) -> np.ndarray:
            return known[item][first : first + count]

        counts, hop = [len(t) for t in known], self.system.output_hop_length
        return self._in_windows(counts, cut, self._buckets, self._decode, hop)

    def reconstruct(self, waveform: np.ndarray, rate: int) -> np.ndarray:
        """Encode and decode: float32 `[samples]` at any rate -> as long, at the output rate.

        Raises:
          UserError: as `encode`.
        """
        wave16 = soxr.resample(waveform, rate, INPUT_RATE).astype(np.float32)
        decoded = self.decode(self.encode(wave16), len(wave16))
        samples = round(len(waveform) * self.system.output_rate / rate)
        return _zeros_after(decoded[:samples], samples)

    def latents(self, tokens: np.ndarray) -> np.ndarray:
        """Tokens int32 `[frames]` -> what the decoder reads, float32 `[frames, width]`.

        Raises:
          UserError: as `decode`.
        """
        return np.asarray(self._latents(self.params, self._known(tokens)[None]))[0]

    def _known(self, tokens: np.ndarray) -> np.ndarray:
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

    def _in_windows(
        self,
        counts: Sequence[int],
        cut: Callable[[int, int, int], np.ndarray],
        sizes: Sequence[int],
        run: Callable[[Any, jax.Array, jax.Array], jax.Array],
        per_token: int,
    ) -> list[np.ndarray]:
        """Run something over windows of tokens and join the middles.

        Args:
          counts: tokens of each item.
          cut: (item, first token, tokens) -> what `run` reads for this window.
          sizes: lengths that `run` is compiled for, rising.
          run: (parameters, batch of windows, their lengths) -> results.
          per_token: length of the result for one token.
        """
        by_size: dict[int, list[tuple[np.ndarray, tuple[int, ...]]]] = {}
        for item, count in enumerate(counts):
            for first, tokens, begin, end in self._plan(count):
                piece = cut(item, first, tokens)
                size = next(n for n in sizes if n >= len(piece))
                by_size.setdefault(size, []).append((piece, (item, first, begin, end)))
        results: dict[tuple[int, int], np.ndarray] = {}
        for size, group in by_size.items():
            for at in range(0, len(group), self.batch_size):
                batch = group[at : at + self.batch_size]
                # one shape is compiled, not one for each remainder
                rows = [p for p, _ in batch] + [batch[0][0]] * (self.batch_size - len(batch))
                lengths = np.array([len(row) for row in rows], np.int32)
                stacked = np.stack([_zeros_after(row, size) for row in rows])
                out = np.asarray(run(self.params, stacked, lengths))
                for (_, (item, first, begin, end)), row in zip(batch, out, strict=False):
                    inside = slice((begin - first) * per_token, (end - first) * per_token)
                    results[item, begin] = row[inside]
        joined: list[list[np.ndarray]] = [[] for _ in counts]
        for item, begin in sorted(results):
            joined[item].append(results[item, begin])
        return [np.concatenate(p) if p else np.zeros(0, np.float32) for p in joined]

    def _plan(self, tokens: int) -> list[tuple[int, int, int, int]]:
        """Windows of an item: (first token, tokens, first and last token that it contributes)."""
        if tokens <= self._window:
            return [(0, tokens, 0, tokens)] if tokens else []
        stride = self._window - 2 * self._context
        starts = [*range(0, tokens - self._window, stride), tokens - self._window]
        ends = [start + self._window - self._context for start in starts[:-1]] + [tokens]
        begins = [0, *ends[:-1]]
        return [
            (start, self._window, begin, end)
            for start, begin, end in zip(starts, begins, ends, strict=True)
        ]


def _checked(waveform: np.ndarray) -> np.ndarray:
    waveform = np.asarray(waveform, np.float32)
    if waveform.ndim != 1 or not len(waveform):
        raise UserError(f"waveform has shape {list(waveform.shape)}; [samples] is expected")
    if not np.isfinite(waveform).all():
        raise UserError("waveform holds NaN or infinite samples")
    return waveform


def _zeros_after(x: np.ndarray, length: int) -> np.ndarray:
    return np.pad(x, (0, length - len(x)))
