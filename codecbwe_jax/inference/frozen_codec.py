"""A trained codec as functions of waveforms and tokens, for files of any length.

The encoder's attention and its features' normalisation see everything they are given, so a
token depends on how much is given. Up to one window a waveform is encoded whole, as the reference
does it; longer ones are cut (`inference.windows`).
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np
import soxr

from codecbwe_jax.audio.waveform import checked_mono
from codecbwe_jax.codec.settings import INPUT_RATE
from codecbwe_jax.errors import UserError
from codecbwe_jax.inference.model import Model
from codecbwe_jax.inference.token_decoder import WINDOW_SECONDS, TokenDecoder
from codecbwe_jax.inference.windows import zeros_after
from codecbwe_jax.systems.codec import Codec


class FrozenCodec(TokenDecoder):
    """A codec that is only run: a decoder of tokens that also makes them.

    Args, raises: as `TokenDecoder`; the model's system is a `Codec`.
    """

    kinds = (Codec,)
    what = "codec"

    def __init__(
        self, model: Model, window_seconds: float = WINDOW_SECONDS, batch_size: int = 1
    ) -> None:
        super().__init__(model, window_seconds, batch_size)
        network = self.system.network
        self._encode = jax.jit(lambda p, x, n: network.apply({"params": p}, x, n, method="encode"))
        self._latents = jax.jit(lambda p, x: network.apply({"params": p}, x, method="latents"))

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
        if not all(map(len, waveforms)):
            raise UserError("waveform has shape [0]; [samples] is expected, one or more")
        padded = [zeros_after(w, s.padded(len(w))) for w in waveforms]
        counts = [s.tokens(len(w)) for w in waveforms]

        def cut(item: int, first: int, tokens: int) -> np.ndarray:
            begin = first * s.token_hop_length
            length = len(padded[item]) if tokens == counts[item] else s.window(tokens)
            return padded[item][begin : begin + length]

        def run(rows: np.ndarray, lengths: np.ndarray) -> jax.Array:
            return self._encode(self.params, rows, lengths)

        # a whole item may end with frames that fill no token
        sizes = [s.window(b) + (s.pooling - 1) * s.hop_length for b in self._buckets]
        tokens = self._windows.run(counts, cut, sizes, run, 1)
        return [t.astype(np.int32) for t in tokens]  # none at all are int32 too

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
        decoder = decoder or self
        waveform = checked_mono(waveform)
        samples = round(len(waveform) * decoder.system.output_rate / rate)
        decoded = decoder.decode(self.tokens(waveform, rate))[:samples]
        return zeros_after(decoded, samples)

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
