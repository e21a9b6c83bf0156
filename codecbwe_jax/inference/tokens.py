"""Files of tokens: encode audio files into them, decode them into audio files.

Audio is read and written in blocks; its tokens, a few hundred bytes for a second, are held.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save

from codecbwe_jax import atomic
from codecbwe_jax.audio import files
from codecbwe_jax.codec.settings import INPUT_RATE
from codecbwe_jax.errors import UserError
from codecbwe_jax.inference.batch import BLOCK_SECONDS, Existing, each_file, plan
from codecbwe_jax.inference.blocks import exactly
from codecbwe_jax.inference.frozen_codec import FrozenCodec
from codecbwe_jax.inference.token_decoder import TokenDecoder

SUFFIX = ".tokens"


@dataclasses.dataclass(frozen=True)
class TokenFile:
    """What a token file holds; on disk it is a safetensors file.

    Attributes:
      tokens: int32 `[channels, frames]`.
      rate: of the source in Hz.
      samples: length of the source at that rate.
      codec: content hash of the codec that made the tokens.
      codebook: hash of its codebook (`inference.token_decoder.codebook_hash`): what decides who
        can read them.
    """

    tokens: np.ndarray
    rate: int
    samples: int
    codec: str
    codebook: str

    def write(self, path: Path) -> None:
        """Write, whole or not at all.

        Raises:
          UserError: if the file cannot be written.
        """
        kind = np.uint16 if self.tokens.max(initial=0) < 2**16 else np.int32
        small = np.ascontiguousarray(self.tokens, kind)  # safetensors takes memory as it lies
        facts = {
            "rate": str(self.rate),
            "samples": str(self.samples),
            "codec": self.codec,
            "codebook": self.codebook,
        }
        with atomic.whole(path) as partial:
            partial.write_bytes(save({"tokens": small}, metadata=facts))

    @classmethod
    def read(cls, path: Path) -> TokenFile:
        """Read.

        Raises:
          UserError: if the file is missing or no token file.
        """
        if not path.is_file():
            raise UserError(f"{path}: no such file")
        try:
            with safe_open(path, "np") as file:
                facts, tokens = file.metadata() or {}, file.get_tensor("tokens")
            return cls(
                tokens.astype(np.int32),
                int(facts["rate"]),
                int(facts["samples"]),
                facts["codec"],
                facts["codebook"],
            )
        except Exception as error:  # safetensors raises its own type
            raise UserError(f"{path}: not a token file ({error})") from None


def encode_files(
    codec: FrozenCodec, inputs: Sequence[Path], output: Path, existing: Existing = "refuse"
) -> list[tuple[Path, str]]:
    """Encode audio files; each becomes one token file. What cannot be read is skipped.

    Args:
      codec: to encode with.
      inputs, output: see `inference.batch.plan`.
      existing: what becomes of outputs that exist.

    Returns:
      Skipped files with the reason.

    Raises:
      UserError: if nothing could be encoded, or an output exists.
    """
    pairs = plan(inputs, output, SUFFIX, existing=existing)

    def encode(source: Path, target: Path) -> None:
        samples, rate, channels = files.info(source)
        if rate < INPUT_RATE:
            raise UserError(f"{source}: its rate is {rate} Hz; the codec hears {INPUT_RATE} Hz")
        blocks = files.Blocks(source, BLOCK_SECONDS * rate)
        none = np.zeros((0, channels), np.int32)
        tokens = np.concatenate([none, *codec.encode_blocks(blocks, rate, samples)])
        made_by = codec.content_hash, codec.codebook_hash
        TokenFile(tokens.T, rate, samples, *made_by).write(target)

    return each_file(pairs, encode, "encoded")


def decode_files(
    decoder: TokenDecoder,
    inputs: Sequence[Path],
    output: Path,
    subtype: str = "PCM_16",
    existing: Existing = "refuse",
) -> list[tuple[Path, str]]:
    """Decode token files; each becomes one audio file as long as its source.

    Args:
      decoder: the codec that made the tokens, or a native decoder of them.
      inputs, output: see `inference.batch.plan`.
      subtype: of the output: "PCM_16", "PCM_24" or "FLOAT".
      existing: what becomes of outputs that exist.

    Returns:
      Skipped files with the reason.

    Raises:
      UserError: if nothing could be decoded, or an output exists.
    """
    pairs = plan(inputs, output, ".wav", (SUFFIX,), existing)

    def decode(source: Path, target: Path) -> None:
        found = TokenFile.read(source)
        if found.codebook != decoder.codebook_hash:
            raise UserError(
                f"{source}: its tokens were made by the codec {found.codec} with the codebook "
                f"{found.codebook}; {decoder.model.name} reads {decoder.codebook_hash}"
            )
        rate = decoder.system.output_rate
        samples = round(found.samples * rate / found.rate)
        try:
            tokens = np.stack([decoder.known(t) for t in found.tokens], axis=1)
        except UserError as error:
            raise UserError(f"{source}: {error}") from None
        count, channels = tokens.shape
        with files.Writer(target, rate, channels, subtype) as writer:
            for piece in exactly(decoder.decode_blocks([tokens], count), samples, channels):
                writer.write(piece)

    return each_file(pairs, decode, "decoded")
