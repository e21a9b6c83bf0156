"""The commands. Each parses, calls and prints."""

from __future__ import annotations

import argparse
import io
import math
import os
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, NoReturn

from codecbwe_jax import __version__, lock
from codecbwe_jax.config import literal
from codecbwe_jax.errors import UserError, one_line
from codecbwe_jax.fields import Count, CountOrNone, Positive, Rate, Within, argument

# numbers of the command line
COUNT, COUNT_OR_NONE, RATE = (argument(kind) for kind in (Count, CountOrNone, Rate))
POSITIVE, SECONDS = argument(Positive), argument(Annotated[float, Within(0.01, 3600)])
SUBTYPES = {"16": "PCM_16", "24": "PCM_24", "float": "FLOAT"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status: 0, 2 for a mistake in one clear line, 1 for a fault
    of ours in one line, with the traceback in a file, or 128 and the signal's number after an
    interruption."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name may hold what a terminal cannot show
            stream.reconfigure(errors="backslashreplace")
    parser = _parser()
    args, rest = parser.parse_known_args(argv)
    args.overrides = [a for a in rest if a.startswith("--config.") and hasattr(args, "config")]
    chosen = [a for a in rest if a.startswith("--sampling.") and hasattr(args, "sampling")]
    if unknown := [a for a in rest if a not in (*args.overrides, *chosen)]:
        parser.error(f"unknown arguments: {' '.join(unknown)}")
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminate)
    try:
        args.sampling = _sampling(chosen)
        return args.run(args) or 0
    except UserError as error:
        print(f"codecbwe: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("codecbwe: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 141
    except Exception as error:
        print(f"codecbwe: {_unforeseen(error)}", file=sys.stderr)
        return 1


def _sampling(arguments: Sequence[str]) -> dict[str, Any]:
    """Of "--sampling.FIELD=VALUE", values by field."""
    pairs = (a.removeprefix("--sampling.").partition("=") for a in arguments)
    return {field: literal(value) for field, _, value in pairs}


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    """What is half written is removed on the way out."""
    raise SystemExit(128 + number)


def _unforeseen(error: Exception) -> str:
    """One line, and the traceback in a file that it names."""
    told = one_line(f"{type(error).__name__}: {error}")
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="codecbwe_", suffix=".txt", delete=False, errors="backslashreplace"
        ) as file:
            file.write(f"{sys.argv}\n{traceback.format_exc()}")
    except OSError:
        return f"{told} (a fault of codecbwe's)\n{traceback.format_exc()}"
    return f"{told} (a fault of codecbwe's; what led to it is in {file.name})"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="codecbwe", description="Extend the bandwidth of speech codecs."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="train, evaluate, export and report, in minutes")
    demo.add_argument("--data", type=_path, help="folder of real recordings (default: synthetic)")
    demo.add_argument("--output", type=_path, help="folder for everything (default: demo)")
    demo.add_argument("--steps", type=COUNT, help="training steps (default: the config's)")
    demo.set_defaults(run=_demo)

    train = commands.add_parser("train", help="train a system, or continue training")
    train.add_argument("--config", required=True, help="FILE.py or FILE.py:variant")
    train.add_argument("--workdir", type=_path, required=True)
    train.add_argument("--coordinator", metavar="HOST:PORT", help="of process 0, of several")
    train.add_argument("--processes", type=COUNT, help="how many, where no cluster says it")
    train.add_argument("--process", type=COUNT_OR_NONE, help="which of them this is, from 0")
    train.set_defaults(run=_train)

    plan = commands.add_parser("plan", help="memory and speed of a run on N chips, beforehand")
    plan.add_argument("--config", required=True, help="FILE.py or FILE.py:variant")
    plan.add_argument("--devices", type=COUNT, default=8, help="chips of the run (default 8)")
    plan.set_defaults(run=_plan)

    config = commands.add_parser("config", help="every field of a config, and what it may be")
    config.add_argument("config", metavar="FILE.py:VARIANT")
    config.set_defaults(run=_config)

    cache = commands.add_parser("cache", help="run a codec over the training data beforehand")
    cache.add_argument("--config", required=True, help="FILE.py or FILE.py:variant")
    cache.add_argument("--codec", help="folder of a codec (default: config.data.codec)")
    cache.add_argument("--output", type=_path, required=True, help="folder; a killed job goes on")
    cache.add_argument("--host", type=COUNT_OR_NONE, help="which of --hosts processes this is")
    cache.add_argument("--hosts", type=COUNT)
    cache.set_defaults(run=_cache)

    corpus = commands.add_parser("corpus", help="make a TFDS dataset of recordings, by Beam")
    corpus.add_argument("builder", metavar="NAME/CONFIG", help="as hifi_tts2/32k")
    corpus.add_argument("--source", required=True, help="folder of the corpus, or its address")
    corpus.add_argument("--output", required=True, help="TFDS's data_dir; a killed job goes on")
    corpus.add_argument("--workers", type=COUNT, help="processes here (default: one for each core)")
    corpus.add_argument("--hours-per-shard", type=POSITIVE, default=4.0)
    corpus.add_argument("--name", help="of a config with other settings or a codec")
    corpus.add_argument("--codec", help="folder of a codec whose tokens are stored too")
    corpus.add_argument("--setting", action="append", default=[], metavar="FIELD=VALUE")
    corpus.add_argument("beam", nargs="*", metavar="-- BEAM OPTIONS", help="--runner=... and so on")
    corpus.set_defaults(run=_corpus)

    extend = commands.add_parser("extend", help="extend audio files")
    extend.add_argument("inputs", nargs="*", type=_path, metavar="IN", help="files or folders")
    extend.add_argument("--model", required=True, help="folder, or sinc, band_replication")
    extend.add_argument(
        "--stream",
        action="store_true",
        help="raw mono PCM from standard input to standard output, at the model's rates",
    )
    extend.add_argument("--codec", help="makes a native decoder's tokens (default: its own)")
    extend.add_argument("--output", type=_path, help="folder, or file for one input")
    extend.add_argument("--bits", choices=tuple(SUBTYPES), default="16")
    extend.add_argument("--chunk-seconds", type=SECONDS, default=4.0)
    extend.add_argument("--rate", type=RATE, help="of the output, in Hz, where a model has several")
    _add_batch_options(extend)
    extend.set_defaults(run=_extend, sampling={})

    encode = commands.add_parser("encode", help="audio files -> tokens of a codec")
    decode = commands.add_parser("decode", help="tokens -> audio files")
    for command, run in ((encode, _encode), (decode, _decode)):
        command.add_argument("inputs", nargs="+", type=_path, metavar="IN", help="files or folders")
        command.add_argument(
            "--output", type=_path, required=True, help="folder, or file for one input"
        )
        command.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
        command.add_argument("--window-seconds", type=SECONDS, metavar="S", help="longest at once")
        _add_batch_options(command)
        command.set_defaults(run=run)
    decode.set_defaults(sampling={})
    encode.add_argument("--codec", required=True, help="folder of a codec")
    by = decode.add_mutually_exclusive_group(required=True)
    by.add_argument("--codec", help="folder of the codec that made the tokens")
    by.add_argument("--model", help="folder of a native decoder of them")
    decode.add_argument("--bits", choices=tuple(SUBTYPES), default="16")

    evaluate = commands.add_parser("evaluate", help="score models on recordings")
    evaluate.add_argument("--model", action="append", required=True, help="may be repeated")
    evaluate.add_argument("--data", type=_path, required=True)
    evaluate.add_argument("--codec", help="folder of a codec: the models get its output")
    evaluate.add_argument("--report", type=_path, required=True, help="folder to make")
    evaluate.add_argument("--clips", type=COUNT, default=20, help="at most so many (default 20)")
    evaluate.add_argument("--visqol", action="store_true")
    evaluate.add_argument(
        "--lowpass",
        action="append",
        default=[],
        metavar="NAME",
        help="filter of the models' input, or all; may be repeated (default: soxr's HQ)",
    )
    evaluate.add_argument("--overwrite", action="store_true")
    evaluate.set_defaults(run=_evaluate, sampling={})

    compare = commands.add_parser("compare", help="train many systems alike, report them together")
    compare.add_argument(
        "--configs", nargs="+", required=True, help="FILE.py:variant each, or NAME=FILE.py:variant"
    )
    compare.add_argument("--steps", type=COUNT, required=True, help="of every training")
    compare.add_argument("--data", type=_path, required=True)
    compare.add_argument("--codec", help="folder of the codec (default: config.data.codec)")
    compare.add_argument("--report", type=_path, required=True, help="folder; a killed one goes on")
    compare.add_argument("--blind", action="store_true", help="a listening page without names")
    # with a "config", --config.FIELD=VALUE is let through, here to every run
    compare.set_defaults(run=_compare, config="", sampling={})

    export = commands.add_parser("export", help="write a model for PyTorch, verified")
    export.add_argument("--model", required=True)
    export.add_argument(
        "--format",
        choices=("torch", "onnx", "transformers", "xcodec2"),
        default="torch",
        help="onnx: what takes waveforms; the latter two: codecs, and native_istft with --codec",
    )
    export.add_argument("--codec", help="folder of the codec before a native decoder")
    export.add_argument("--allow-clip-difference", action="store_true")
    export.add_argument(
        "--check", type=_path, metavar="DIR", help="audio to compare both on, beside voices"
    )
    export.add_argument("--output", type=_path, required=True, help="folder to make")
    export.add_argument("--overwrite", action="store_true")
    export.set_defaults(run=_export)

    convert = commands.add_parser("convert", help="read a PyTorch original's weights")
    convert.add_argument("--config", required=True, help="FILE.py or FILE.py:variant")
    convert.add_argument("--weights", type=_path, required=True)
    convert.add_argument("--semantic", type=_path, help="w2v-bert-2.0, for a codec without it")
    convert.add_argument("--output", type=_path, required=True, help="folder to make")
    convert.add_argument("--overwrite", action="store_true")
    convert.set_defaults(run=_convert)

    systems = commands.add_parser("systems", help="what there is")
    systems.add_argument(
        "--measure",
        nargs="*",
        metavar="NAME",
        help="count figures anew (default: all), store them",
    )
    systems.add_argument("--markdown", action="store_true", help="print README's table")
    systems.set_defaults(run=_systems)

    doctor = commands.add_parser("doctor", help="the real bandwidth of every file")
    doctor.add_argument("data", type=_path, metavar="DIR")
    doctor.add_argument("--rate", type=RATE, default=48000, help="target rate in Hz")
    doctor.add_argument("--min-bandwidth", type=POSITIVE, metavar="HZ", help="default: rate / 4")
    doctor.set_defaults(run=_doctor)
    return parser


def _add_batch_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--strict", action="store_true", help="fail if any file was skipped")
    existing = command.add_mutually_exclusive_group()
    existing.add_argument(
        "--overwrite", dest="existing", action="store_const", const="replace", default="refuse"
    )
    existing.add_argument(
        "--skip-existing",
        dest="existing",
        action="store_const",
        const="skip",
        help="go on where it was interrupted",
    )


def _path(text: str) -> Path:
    if "://" in text:
        raise argparse.ArgumentTypeError(f"{text}: mount the bucket and give its folder")
    return Path(text)


def _refuse_existing(path: Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise UserError(f"{path} exists; give --overwrite to replace it")


def _demo(args: argparse.Namespace) -> None:
    from codecbwe_jax.demo import run

    run(args.data, args.output or Path("demo" if args.data is None else "demo_data"), args.steps)


def _train(args: argparse.Namespace) -> int:
    from codecbwe_jax.inference.compilation import enable_cache
    from codecbwe_jax.training import cluster
    from codecbwe_jax.training.interruption import Interrupted
    from codecbwe_jax.training.loop import train
    from codecbwe_jax.training.run import Run
    from codecbwe_jax.training.settings import load_run

    enable_cache()
    config = load_run(args.config, args.overrides)
    cluster.join(args.coordinator, args.processes, args.process)
    try:
        with cluster.only_leader_speaks():
            train(Run.of(config), args.workdir)
    except Interrupted as interrupted:
        return interrupted.code
    return 0


def _plan(args: argparse.Namespace) -> None:
    import jax
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from codecbwe_jax.inference.compilation import enable_cache
    from codecbwe_jax.training.plan import CHIPS, plan
    from codecbwe_jax.training.settings import load_run

    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", args.devices)
    enable_cache()
    p = plan(load_run(args.config, args.overrides))
    parameters = ", ".join(f"{group} {count:,}" for group, count in p.parameters.items())
    print(f"parameters: {parameters}")
    print(f"a step: {p.seconds_of_audio:.1f} s of audio on {p.devices} devices; on each of them")
    print(f"  {p.flops / 1e9:,.1f} GFLOP, {p.bytes_accessed / 1e9:,.2f} GB read and written")
    print(
        f"  memory {p.memory / 1e9:,.2f} GB: {p.arguments / 1e9:,.2f} GB of parameters, optimiser"
    )
    print(f"  and batch, {p.temporary / 1e9:,.2f} GB in between")
    print(f"  {p.all_reduces} sums over devices of {p.all_reduce_bytes / 1e6:,.1f} MB in all")
    if p.all_gather_bytes:
        print(f"  {p.all_gather_bytes / 1e6:,.1f} MB gathered from what the devices share")
    table = Table("chip", "fits", "steps/s at most", "s of audio/s", "limit", box=box.SIMPLE)
    for name, chip in CHIPS.items():
        seconds = p.seconds_per_step(chip)
        table.add_row(
            name,
            "yes" if p.fits(chip) else "no",
            f"{1 / seconds:.1f}",
            f"{p.seconds_of_audio / seconds:,.0f}",
            p.limit(chip),
        )
    Console(width=None if sys.stdout.isatty() else 110).print(table)
    print("At published bfloat16 peaks, which no run reaches: expect a third, and see where it is.")


def _config(args: argparse.Namespace) -> None:
    from codecbwe_jax.training.settings import check, described, load_run

    config = load_run(args.config, args.overrides)
    for line in described(config):
        print(line)
    check(config)


def _cache(args: argparse.Namespace) -> None:
    from codecbwe_jax.inference.compilation import enable_cache
    from codecbwe_jax.training.cache import write_cache
    from codecbwe_jax.training.settings import load_run

    enable_cache()
    overrides = [f"--config.data.codec={args.codec}"] if args.codec else []
    config = load_run(args.config, [*args.overrides, *overrides])
    figures = write_cache(config, args.output, args.host, args.hosts)
    print(
        f"{figures['seconds_per_second']:.1f} s of audio per second, "
        f"{figures['bytes_per_hour'] / 1e6:.1f} MB per hour"
    )


def _corpus(args: argparse.Namespace) -> None:
    from codecbwe_jax import corpora

    builder = corpora.build(args.builder, None, args.name, args.setting, args.codec or "")
    from apache_beam.options.pipeline_options import PipelineOptions  # build has told if it lacks

    options = PipelineOptions(args.beam) if args.beam else None
    builder.write(args.source, args.output, options, args.hours_per_shard, args.workers)
    print(f"--config.data.path={args.output}/{builder.info.full_name}")


def _extend(args: argparse.Namespace) -> int:
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


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    window = {} if args.window_seconds is None else {"window_seconds": args.window_seconds}
    return {"compute_dtype": args.dtype, **window}


def _encode(args: argparse.Namespace) -> int:
    from codecbwe_jax.inference.frozen_codec import FrozenCodec
    from codecbwe_jax.inference.tokens import encode_files

    codec = FrozenCodec.load(args.codec, **_settings(args))
    skipped = encode_files(codec, args.inputs, args.output, args.existing)
    return 2 if skipped and args.strict else 0


def _decode(args: argparse.Namespace) -> int:
    from codecbwe_jax.inference.token_decoder import TokenDecoder
    from codecbwe_jax.inference.tokens import decode_files

    where = args.codec or args.model
    decoder = TokenDecoder.load(where, **_settings(args), sampling=args.sampling)
    subtype = SUBTYPES[args.bits]
    skipped = decode_files(decoder, args.inputs, args.output, subtype, args.existing)
    return 2 if skipped and args.strict else 0


def _evaluate(args: argparse.Namespace) -> None:
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


def _compare(args: argparse.Namespace) -> int:
    from codecbwe_jax.compare import compare
    from codecbwe_jax.training.interruption import Interrupted

    codec = [f"--config.data.codec={args.codec}"] if args.codec else []
    try:
        sampling = [f"--config.sampling.{field}={v!r}" for field, v in args.sampling.items()]
        overrides = [*codec, *sampling, *args.overrides]
        with lock.held(args.report):
            compare(args.configs, args.steps, args.data, args.report, overrides, args.blind)
    except Interrupted as interrupted:
        return interrupted.code
    print(f"report: {args.report / 'report.html'}, {args.report / 'listening.html'}")
    return 0


def _export(args: argparse.Namespace) -> None:
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


def _convert(args: argparse.Namespace) -> None:
    from codecbwe_jax.config import load_config
    from codecbwe_jax.interop.convert import convert

    _refuse_existing(args.output, args.overwrite)
    config = load_config(args.config, args.overrides)
    convert(config.system.to_dict(), args.weights, args.output, args.semantic)
    print(f"converted to {args.output}")


def _systems(args: argparse.Namespace) -> None:
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


def _doctor(args: argparse.Namespace) -> None:
    from codecbwe_jax.data import recordings

    selection = recordings.measured(recordings.find(args.data))
    least = args.min_bandwidth or args.rate / 4
    chosen = recordings.wide_enough(selection, args.rate, least)
    widths = {(r.where, r.start): r.bandwidth_hz for r in selection.recordings}
    reasons = dict(chosen.left_out)
    for (path, _), hz in widths.items():
        print(f"{hz:6d} Hz  {'no ' if path in reasons else 'yes'}  {path}", end="")
        print(f"  ({reasons[path]})" if path in reasons else "")
    for path, reason in reasons.items():
        if path not in {p for p, _ in widths}:
            print(f"     -     no   {path}  ({reason})")
    print(chosen.summary())


if __name__ == "__main__":
    sys.exit(main())
