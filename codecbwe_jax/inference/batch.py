"""Extend files and folders."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from codecbwe_jax.audio import files
from codecbwe_jax.errors import UserError, one_line, some, warn
from codecbwe_jax.inference.compilation import enable_cache
from codecbwe_jax.inference.extender import BandwidthExtender
from codecbwe_jax.inference.frozen_codec import FrozenCodec
from codecbwe_jax.inference.model_folders import codec_of, load_model
from codecbwe_jax.inference.token_decoder import TokenDecoder

BLOCK_SECONDS = 4
# What to do where an output is there already: it is whole, since files get their names last.
Existing = Literal["refuse", "replace", "skip"]
# skipped files that the last line names
SHOWN = 10


def plan(
    inputs: Sequence[Path],
    output: Path,
    suffix: str = ".wav",
    wanted: Sequence[str] = (*files.SUFFIXES, *files.UNREADABLE),
    existing: Existing = "refuse",
) -> list[tuple[Path, Path]]:
    """Which file becomes which.

    Args:
      inputs: files and folders; folders keep their sub-folders.
      output: a file name if there is one input file, else a folder.
      suffix: of the outputs.
      wanted: endings of the files that count in a folder.
      existing: what becomes of outputs that exist.

    Raises:
      UserError: if an input does not exist, a folder holds nothing, two inputs would become one
        file, or an output exists.
    """
    pairs: list[tuple[Path, Path]] = []
    for item in inputs:
        if item.is_dir():
            found = files.find(item, wanted)
            if not found:
                raise UserError(f"{item}: no such files in it ({', '.join(wanted)})")
            pairs += [(p, (output / p.relative_to(item)).with_suffix(suffix)) for p in found]
        elif not item.exists():
            raise UserError(f"{item}: no such file")
        elif len(inputs) == 1 and output.suffix and not output.is_dir():
            pairs.append((item, output))
        else:
            pairs.append((item, output / f"{item.stem}{suffix}"))
    by_target: dict[Path, Path] = {}
    for source, target in pairs:
        if source.suffix.lower() in files.UNREADABLE:
            continue  # it is skipped, and may lie beside what was made of it
        if target in by_target:
            raise UserError(f"{by_target[target]} and {source} would both become {target}")
        by_target[target] = source
        if target.exists() and existing == "refuse":
            raise UserError(
                f"{target} exists; give --overwrite to replace it, --skip-existing to go on"
            )
    if existing != "skip":
        return pairs
    left = [(source, target) for source, target in pairs if not target.exists()]
    if len(left) < len(pairs):
        print(f"{len(pairs) - len(left)} of {len(pairs)} are there already", flush=True)
    return left


def each_file(
    pairs: Sequence[tuple[Path, Path]], work: Callable[[Path, Path], None], done: str
) -> list[tuple[Path, str]]:
    """Work on files one after the other; what raises UserError is named, skipped and counted.

    Args:
      pairs: sources and targets.
      work: makes a target from a source.
      done: what it does to them, as a past participle, for the messages.

    Returns:
      Skipped files with the reason.

    Raises:
      UserError: if all were skipped.
    """
    skipped: list[tuple[Path, str]] = []
    for source, target in pairs:
        try:
            work(source, target)
            print(one_line(f"{source} -> {target}"), flush=True)
        except UserError as error:
            skipped.append((source, str(error)))
            print(f"skipped: {error}", file=sys.stderr, flush=True)
    if pairs and len(skipped) == len(pairs):
        reason = skipped[0][1] if len(pairs) == 1 else f"none of {len(pairs)} files was {done}"
        raise UserError(reason)
    if skipped:
        names = some([str(source) for source, _ in skipped], SHOWN)
        warn(f"{len(pairs) - len(skipped)} {done}, {len(skipped)} skipped: {names}")
    return skipped


def extend_files(
    model: str,
    inputs: Sequence[Path],
    output: Path,
    subtype: str = "PCM_16",
    chunk_seconds: float = 4.0,
    existing: Existing = "refuse",
    codec: str | None = None,
    sampling: Mapping[str, Any] = MappingProxyType({}),
    output_rate: int | None = None,
) -> list[tuple[Path, str]]:
    """Extend files one after the other, in constant memory; what cannot be read is skipped.

    Args:
      model: see `inference.model_folders.load_model`.
      inputs, output: see `plan`.
      subtype: of the output: "PCM_16", "PCM_24" or "FLOAT".
      chunk_seconds: longest chunk.
      existing: what becomes of outputs that exist.
      codec: folder of the codec that makes a native decoder's tokens; None: the one that the
        decoder was trained on.
      sampling: other settings of how the model samples, by field.
      output_rate: in Hz; None: the model's own.

    Returns:
      Skipped files with the reason.

    Raises:
      UserError: if nothing could be extended, an output exists, or the model has no such setting or
        rate.
    """
    pairs = plan(inputs, output, existing=existing)
    enable_cache()
    found = load_model(model).sampled(sampling)
    found = found.to(output_rate) if output_rate else found
    if found.system.takes == "tokens":
        decoder = TokenDecoder(found)
        encoder = FrozenCodec.load(codec or codec_of(model))
        encoder.check_reader(decoder)
        work = functools.partial(redecode_file, encoder, decoder, subtype=subtype)
    else:
        extender = BandwidthExtender(found, chunk_seconds)
        work = functools.partial(extend_file, extender, subtype=subtype)
    return each_file(pairs, work, "extended")


def extend_file(
    extender: BandwidthExtender, source: Path, target: Path, subtype: str = "PCM_16"
) -> None:
    """Extend one file of any length, block by block.

    Raises:
      UserError: if it cannot be read or written; no part of the output is left then.
    """
    _, rate, channels = files.info(source)
    out_rate = extender.system.output_rate
    blocks = files.Blocks(source, BLOCK_SECONDS * rate)
    with files.Writer(target, out_rate, channels, subtype) as writer:
        for piece in extender.stream(blocks, rate):
            writer.write(piece)
    _say_clipped(writer, target)


def redecode_file(
    codec: FrozenCodec, decoder: TokenDecoder, source: Path, target: Path, subtype: str = "PCM_16"
) -> None:
    """Encode a file of any length and decode its tokens by a native decoder, block by block.

    Raises:
      UserError: if it cannot be read or written; no part of the output is left then.
    """
    samples, rate, channels = files.info(source)
    blocks = files.Blocks(source, BLOCK_SECONDS * rate)
    with files.Writer(target, decoder.system.output_rate, channels, subtype) as writer:
        for piece in codec.reconstruct_blocks(blocks, rate, samples, channels, decoder):
            writer.write(piece)
    _say_clipped(writer, target)


def _say_clipped(writer: files.Writer, target: Path) -> None:
    if writer.clipped:
        told = f"{target}: {writer.clipped} samples beyond full scale were clipped"
        print(one_line(told), flush=True)
