"""Commands about models: from PyTorch and to it, their scores, the systems there are."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

from codecbwe_jax import lock
from codecbwe_jax.errors import UserError


def convert(args: argparse.Namespace) -> None:
    """Make a model folder of a PyTorch original's weights."""
    from codecbwe_jax.config import load_config
    from codecbwe_jax.interop.convert import convert

    _refuse_existing(args.output, args.overwrite)
    config = load_config(args.config, args.overrides)
    convert(config.system.to_dict(), args.weights, args.output, args.semantic)
    print(f"converted to {args.output}")


def export(args: argparse.Namespace) -> None:
    """Write a model for PyTorch; prints its differences from JAX."""
    from codecbwe_jax.inference.model_folders import load_model
    from codecbwe_jax.interop.export import export_onnx, export_torch
    from codecbwe_jax.interop.export_original import export_original
    from codecbwe_jax.interop.export_transformers import export_transformers

    _refuse_existing(args.output, args.overwrite)
    model = load_model(args.model)
    if args.format in ("torch", "onnx"):
        export_plain = {"torch": export_torch, "onnx": export_onnx}[args.format]
        differences = export_plain(model, args.output, args.check)
    elif args.check:
        raise UserError("--check=DIR is for --format=torch and onnx of models of waveforms")
    else:
        export = {"transformers": export_transformers, "xcodec2": export_original}[args.format]
        codec = load_model(args.codec) if args.codec else None
        differences = export(model, args.output, codec, args.allow_clip_difference)
    print("verified against JAX; differences, as shares of the peak or of speech's level:")
    for name, value in differences.all.items():
        print(f"  {name}: {value:.1e} ({20 * math.log10(max(value, 1e-20)):.0f} dB)")
    if model.system.decided_by_rounding:
        print(
            "  its phase_floor is 0: on speech the phases of empty bins, which are rounding, "
            "decide what it gives, in any implementation; its parts agree"
        )
    print(f"exported to {args.output}")


def evaluate(args: argparse.Namespace) -> None:
    """Score models, write a report and print its table."""
    from codecbwe_jax.data.lowpass import LOWPASSES
    from codecbwe_jax.evaluation.evaluate import evaluate
    from codecbwe_jax.evaluation.references import references
    from codecbwe_jax.evaluation.report import text_table, write_report
    from codecbwe_jax.inference.compilation import enable_cache
    from codecbwe_jax.inference.frozen_codec import FrozenCodec
    from codecbwe_jax.inference.model import sampled
    from codecbwe_jax.inference.model_folders import load_model

    _refuse_existing(args.report, args.overwrite)
    enable_cache()
    models = sampled([load_model(where) for where in args.model], args.sampling)
    codec = FrozenCodec.load(args.codec) if args.codec else None
    found = references(args.data, max(model.system.output_rate for model in models), args.clips)
    lowpasses = tuple(LOWPASSES) if "all" in args.lowpass else tuple(dict.fromkeys(args.lowpass))
    heard = f", as the codec {args.codec} gives them" if codec else ""
    notes = [f"Recordings: {args.data}{heard}"]
    with lock.held(args.report):
        result = evaluate(
            models,
            found,
            args.report,
            visqol=args.visqol,
            codec=codec,
            lowpasses=lowpasses,
        )
        write_report(result, args.report / "report.html", "Evaluation", notes)
    print(text_table(result))
    for figure in result.figures:
        print(f"  {figure.key}: {figure.formula}")
    print(f"report: {args.report / 'report.html'}")


def systems(args: argparse.Namespace) -> None:
    """Print a table of all systems, after counting their figures anew if told to."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from codecbwe_jax.systems import REGISTRY
    from codecbwe_jax.systems.facts import measured, store, stored
    from codecbwe_jax.systems.table import markdown

    if args.measure is not None:
        if unknown := set(args.measure) - set(REGISTRY):
            raise UserError(f"no system {min(unknown)}; there are {', '.join(REGISTRY)}")
        store(measured(args.measure or REGISTRY))
    if args.markdown:
        print(markdown())
        return
    headings = ("system", "takes", "rates (Hz)", "parameters", "context", "delay", "GMAC/s")
    table = Table(*headings, box=box.SIMPLE)
    for name, f in stored().items():
        table.add_row(
            name,
            f.takes,
            f"{f.input_rate} -> {f.output_rate}",
            f"{f.parameters:,}",
            f"+-{f.receptive_field_ms:.0f} ms",
            f"{f.delay_ms:.0f} ms",
            f"{f.macs_per_second / 1e9:.3f}",
        )
    Console(width=None if sys.stdout.isatty() else 110).print(table)


def _refuse_existing(path: Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise UserError(f"{path} exists; give --overwrite to replace it")
