"""A trained codec as functions of waveforms and tokens, for files of any length.

The encoder's attention and its features' normalisation see everything they are given, so a
token depends on how much is given. Up to one window a waveform is encoded whole, as the reference
does it; longer ones are cut (`inference.windows`).
"""

from __future__ import annotations

import collections
from collections.abc import Iterable, Iterator, Sequence

import jax
import numpy as np
import soxr

from codecbwe_jax.audio.waveform import checked_blocks, checked_mono
from codecbwe_jax.codec.settings import INPUT_RATE
from codecbwe_jax.errors import UserError
from codecbwe_jax.inference.blocks import Buffer, exactly, resampled, resampled_length
from codecbwe_jax.inference.model import Model
from codecbwe_jax.inference.token_decoder import WINDOW_SECONDS, TokenDecoder
from codecbwe_jax.inference.windows import zeros_after
from codecbwe_jax.systems.codec import Codec


class FrozenCodec(TokenDecoder):
    """A codec that is only run: a decoder of tokens that also makes them.

    Args, raises: as `TokenDecoder`; the model's system is a `Codec`.
    """

    system: Codec

    def __init__(
        self, model: Model, window_seconds: float = WINDOW_SECONDS, batch_size: int = 1
    ) -> None:
        if not isinstance(model.system, Codec):
            raise UserError(f"{model.name} is a {type(model.system).__name__}, not a codec")
        super().__init__(model, window_seconds, batch_size)
        s, network = self.system, self.system.network
        self._encode = jax.jit(lambda p, x, n: network.bind({"params": p}).encode(x, n))
        # a whole item may end with frames that fill no token
        self._sizes = [s.window(b) + (s.pooling - 1) * s.hop_length for b in self._buckets]
        self._latents = jax.jit(lambda p, x: network.bind({"params": p}).latents(x))

    def encode(self, waveform: np.ndarray) -> np.ndarray:
        """Waveform `[samples]` at 16 kHz -> tokens int32 `[frames]`.

        Raises:
          UserError: if the waveform is empty; see also `audio.waveform.checked_mono`.
        """
        return self.encode_all([waveform])[0]

    def encode_all(self, waveforms: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Encode many waveforms; each gives the tokens that it gives alone."""
        s = self.system
        waveforms = [checked_mono(w) for w in waveforms]
        for waveform in waveforms:
            _check_some(len(waveform))
        padded = [zeros_after(w, s.padded(len(w))) for w in waveforms]
        counts = [s.tokens(len(w)) for w in waveforms]

        def cut(item: int, first: int, tokens: int) -> np.ndarray:
            begin = first * s.token_hop_length
            length = len(padded[item]) if tokens == counts[item] else s.window(tokens)
            return padded[item][begin : begin + length]

        tokens = self._windows.run(counts, cut, self._sizes, self._run_encoder, 1)
        return [t.astype(np.int32) for t in tokens]  # none at all are int32 too

    def encode_blocks(
        self, blocks: Iterable[np.ndarray], rate: int, samples: int
    ) -> Iterator[np.ndarray]:
        """Tokens of a waveform that comes in blocks, of which two windows are held: each channel
        gives what `tokens` gives of it.

        Args:
          blocks: float32 `[samples, channels]`, consecutive.
          rate: in Hz.
          samples: of each channel in all, one or more.

        Yields:
          int32 `[frames, channels]`, consecutive; none for what is too short for a token.

        Raises:
          UserError: if there is no sample, at 16 kHz; see also `audio.waveform.checked_blocks`.
        """
        s, length = self.system, resampled_length(samples, rate, INPUT_RATE)
        _check_some(length)
        count, heard = s.tokens(length), resampled(checked_blocks(blocks), rate, INPUT_RATE)
        ahead = Buffer(heard)

        def cut(first: int, tokens: int) -> np.ndarray:
            stretch = s.padded(length) if tokens == count else s.window(tokens)
            return ahead.cut(first * s.token_hop_length, stretch)

        yield from self._windows.stream(count, cut, self._sizes, self._run_encoder, 1)
        collections.deque(heard, maxlen=0)  # a file may be broken after its last whole token

    def _run_encoder(self, rows: np.ndarray, lengths: np.ndarray) -> jax.Array:
        return self._encode(self.params, rows, lengths)

    def tokens(self, waveform: np.ndarray, rate: int) -> np.ndarray:
        """Tokens int32 `[frames]` of a waveform float32 `[samples]` at any rate.

        Raises:
          UserError: as `encode`.
        """
        return self.encode(soxr.resample(checked_mono(waveform), rate, INPUT_RATE))

    def reconstruct(
        self, waveform: np.ndarray, rate: int, decoder: TokenDecoder | None = None
    ) -> np.ndarray:
        """Encode and decode: as long, at the decoder's output rate.

        Args:
          waveform: float32 `[samples]`.
          rate: in Hz.
          decoder: a native decoder of the tokens; None: the codec itself.

        Raises:
          UserError: as `encode`.
        """
        waveform = checked_mono(waveform)
        blocks = self.reconstruct_blocks([waveform[:, None]], rate, len(waveform), 1, decoder)
        return np.concatenate(list(blocks))[:, 0]

    def reconstruct_blocks(
        self,
        blocks: Iterable[np.ndarray],
        rate: int,
        samples: int,
        channels: int,
        decoder: TokenDecoder | None = None,
    ) -> Iterator[np.ndarray]:
        """As `reconstruct`, for channels that come in blocks: a few windows of them are held.

        Args:
          blocks, rate, samples: as of `encode_blocks`.
          channels: of the blocks.
          decoder: as of `reconstruct`.

        Yields:
          float32 `[samples, channels]`, consecutive.

        Raises:
          UserError: as `encode_blocks`.
        """
        decoder = decoder or self
        count = self.system.tokens(resampled_length(samples, rate, INPUT_RATE))
        decoded = decoder.decode_blocks(self.encode_blocks(blocks, rate, samples), count)
        yield from exactly(decoded, round(samples * decoder.system.output_rate / rate), channels)

    def check_reader(self, decoder: TokenDecoder) -> None:
        """Raise UserError if a decoder does not read this codec's tokens."""
        if self.codebook_hash != decoder.codebook_hash:
            raise UserError(
                f"{decoder.model.name} reads tokens of the codebook {decoder.codebook_hash}, "
                f"{self.model.name} makes those of {self.codebook_hash}"
            )

    def latents(self, tokens: np.ndarray) -> np.ndarray:
        """Tokens int32 `[frames]` -> what the decoder reads, float32 `[frames, width]`.

        Raises:
          UserError: as `decode`.
        """
        return np.asarray(self._latents(self.params, self.known(tokens)[None]))[0]


def _check_some(samples: int) -> None:
    if not samples:
        raise UserError("waveform has shape [0]; [samples] is expected, one or more")
