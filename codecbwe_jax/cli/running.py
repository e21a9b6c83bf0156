"""Commands that run a model or a codec on what a user has: files, folders, a stream.

Each returns 0, or with --strict 2 if a file was skipped.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from codecbwe_jax.errors import UserError

# soundfile's names of what --bits may be
SUBTYPES = {"16": "PCM_16", "24": "PCM_24", "float": "FLOAT"}


def extend(args: argparse.Namespace) -> int:
    """Files to files, or a stream to a stream; returns the status."""
    from codecbwe_jax.inference.batch import extend_files
    from codecbwe_jax.inference.pipe import extend_pipe

    if args.stream:
        if args.inputs or args.output or args.codec or args.sampling or args.rate:
            raise UserError("--stream reads standard input and writes standard output alone")
        extend_pipe(args.model, sys.stdin.fileno(), sys.stdout.fileno(), SUBTYPES[args.bits])
        return 0
    if not args.inputs or not args.output:
        raise UserError("extend needs IN and --output, or --stream")
    skipped = extend_files(
        args.model,
        args.inputs,
        args.output,
        subtype=SUBTYPES[args.bits],
        chunk_seconds=args.chunk_seconds,
        existing=args.existing,
        codec=args.codec,
        sampling=args.sampling,
        output_rate=args.rate,
    )
    return 2 if skipped and args.strict else 0


def encode(args: argparse.Namespace) -> int:
    """Audio files to tokens; returns the status."""
    from codecbwe_jax.inference.frozen_codec import FrozenCodec
    from codecbwe_jax.inference.tokens import encode_files

    codec = FrozenCodec.load(args.codec, **_settings(args))
    skipped = encode_files(codec, args.inputs, args.output, args.existing)
    return 2 if skipped and args.strict else 0


def decode(args: argparse.Namespace) -> int:
    """Tokens to audio files; returns the status."""
    from codecbwe_jax.inference.token_decoder import TokenDecoder
    from codecbwe_jax.inference.tokens import decode_files

    where = args.codec or args.model
    decoder = TokenDecoder.load(where, **_settings(args), sampling=args.sampling)
    subtype = SUBTYPES[args.bits]
    skipped = decode_files(decoder, args.inputs, args.output, subtype, args.existing)
    return 2 if skipped and args.strict else 0


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    window = {} if args.window_seconds is None else {"window_seconds": args.window_seconds}
    return {"compute_dtype": args.dtype, **window}
