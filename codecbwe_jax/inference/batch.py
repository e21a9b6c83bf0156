"""Extend files and folders."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from codecbwe_jax.audio import files
from codecbwe_jax.errors import UserError
from codecbwe_jax.inference.extender import BandwidthExtender

BLOCK_SECONDS = 4


def plan(inputs: Sequence[Path], output: Path) -> list[tuple[Path, Path]]:
    """Which file becomes which.

    Args:
      inputs: files and folders; folders keep their sub-folders.
      output: a file name if there is one input file, else a folder.

    Raises:
      UserError: if an input does not exist, a folder holds no audio, or two inputs would become
        one file.
    """
    pairs: list[tuple[Path, Path]] = []
    for item in inputs:
        if item.is_dir():
            found = files.find(item)
            if not found:
                raise UserError(f"{item}: no audio files in it ({', '.join(files.SUFFIXES)})")
            pairs += [(p, (output / p.relative_to(item)).with_suffix(".wav")) for p in found]
        elif not item.exists():
            raise UserError(f"{item}: no such file")
        elif len(inputs) == 1 and output.suffix and not output.is_dir():
            pairs.append((item, output))
        else:
            pairs.append((item, output / f"{item.stem}.wav"))
    by_target: dict[Path, Path] = {}
    for source, target in pairs:
        if target in by_target:
            raise UserError(f"{by_target[target]} and {source} would both become {target}")
        by_target[target] = source
    return pairs


def extend_files(
    model: str,
    inputs: Sequence[Path],
    output: Path,
    subtype: str = "PCM_16",
    chunk_seconds: float = 4.0,
    overwrite: bool = False,
) -> list[tuple[Path, str]]:
    """Extend files one after the other in constant memory; what cannot be read is skipped.

    Args:
      model: see `inference.model.load_model`.
      inputs, output: see `plan`.
      subtype: of the output: "PCM_16", "PCM_24" or "FLOAT".
      chunk_seconds: longest chunk.
      overwrite: replace existing files.

    Returns:
      Skipped files with the reason.

    Raises:
      UserError: if nothing could be extended, or an output exists.
    """
    pairs = plan(inputs, output)
    for _, target in pairs:
        if target.exists() and not overwrite:
            raise UserError(f"{target} exists; give --overwrite to replace it")
    extender = BandwidthExtender.load(model, chunk_seconds=chunk_seconds)
    skipped: list[tuple[Path, str]] = []
    for source, target in pairs:
        try:
            extend_file(extender, source, target, subtype)
            print(f"{source} -> {target}", flush=True)
        except UserError as error:
            skipped.append((source, str(error)))
            print(f"skipped: {error}", file=sys.stderr, flush=True)
    if len(skipped) == len(pairs):
        reason = skipped[0][1] if len(pairs) == 1 else f"none of {len(pairs)} files was extended"
        raise UserError(reason)
    if skipped:
        print(f"{len(pairs) - len(skipped)} extended, {len(skipped)} skipped", file=sys.stderr)
    return skipped


def extend_file(
    extender: BandwidthExtender, source: Path, target: Path, subtype: str = "PCM_16"
) -> None:
    """Extend one file of any length, block by block.

    Raises:
      UserError: if it cannot be read or written; no part of the output is left then.
    """
    _, rate, channels = files.info(source)
    out_rate = extender.system.output_rate
    blocks = files.blocks(source, BLOCK_SECONDS * rate)
    with files.Writer(target, out_rate, channels, subtype) as writer:
        for piece in extender.stream(blocks, rate):
            writer.write(piece)
    if writer.clipped:
        print(f"{target}: {writer.clipped} samples beyond full scale were clipped", flush=True)
