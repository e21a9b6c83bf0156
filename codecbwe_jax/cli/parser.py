"""What may be typed: the commands' arguments, what each may be, their help."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from codecbwe_jax import __version__
from codecbwe_jax.cli import data, models, running, training
from codecbwe_jax.config import literal
from codecbwe_jax.fields import Count, CountOrNone, Positive, Rate, Within, argument

# numbers of the command line
COUNT, COUNT_OR_NONE, RATE = (argument(kind) for kind in (Count, CountOrNone, Rate))
POSITIVE, SECONDS = argument(Positive), argument(Annotated[float, Within(0.01, 3600)])


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """What a command is called with.

    Args:
      argv: words after the program's name; None: of this process.

    Returns:
      the command's arguments; `run`, which takes them; `overrides`, "--config.FIELD=VALUE" as they
      were given; `sampling`, values by field of "--sampling.FIELD=VALUE".

    Raises:
      SystemExit: with status 2 after a usage in lines, or 0 after help.
    """
    parser = _parser()
    args, rest = parser.parse_known_args(argv)
    args.overrides = [a for a in rest if a.startswith("--config.") and hasattr(args, "config")]
    chosen = [a for a in rest if a.startswith("--sampling.") and hasattr(args, "sampling")]
    if unknown := [a for a in rest if a not in (*args.overrides, *chosen)]:
        parser.error(f"unknown arguments: {' '.join(unknown)}")
    args.sampling = _sampling(chosen)
    return args


def _sampling(arguments: Sequence[str]) -> dict[str, Any]:
    """Of "--sampling.FIELD=VALUE", values by field."""
    pairs = (a.removeprefix("--sampling.").partition("=") for a in arguments)
    return {field: literal(value) for field, _, value in pairs}


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
    demo.set_defaults(run=training.demo)

    train = commands.add_parser("train", help="train a system, or continue training")
    train.add_argument("--config", required=True, help="FILE.py or FILE.py:variant")
    train.add_argument("--workdir", type=_path, required=True)
    train.add_argument("--coordinator", metavar="HOST:PORT", help="of process 0, of several")
    train.add_argument("--processes", type=COUNT, help="how many, where no cluster says it")
    train.add_argument("--process", type=COUNT_OR_NONE, help="which of them this is, from 0")
    train.set_defaults(run=training.train)

    plan = commands.add_parser("plan", help="memory and speed of a run on N chips, beforehand")
    plan.add_argument("--config", required=True, help="FILE.py or FILE.py:variant")
    plan.add_argument("--devices", type=COUNT, default=8, help="chips of the run (default 8)")
    plan.set_defaults(run=training.plan)

    config = commands.add_parser("config", help="every field of a config, and what it may be")
    config.add_argument("config", metavar="FILE.py:VARIANT")
    config.set_defaults(run=training.config)

    cache = commands.add_parser("cache", help="run a codec over the training data beforehand")
    cache.add_argument("--config", required=True, help="FILE.py or FILE.py:variant")
    cache.add_argument("--codec", help="folder of a codec (default: config.data.codec)")
    cache.add_argument("--output", type=_path, required=True, help="folder; a killed job goes on")
    cache.add_argument("--host", type=COUNT_OR_NONE, help="which of --hosts processes this is")
    cache.add_argument("--hosts", type=COUNT)
    cache.set_defaults(run=data.cache)

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
    corpus.set_defaults(run=data.corpus)

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
    extend.add_argument("--bits", choices=tuple(running.SUBTYPES), default="16")
    extend.add_argument("--chunk-seconds", type=SECONDS, default=4.0)
    extend.add_argument("--rate", type=RATE, help="of the output, in Hz, where a model has several")
    _add_batch_options(extend)
    extend.set_defaults(run=running.extend, sampling={})

    encode = commands.add_parser("encode", help="audio files -> tokens of a codec")
    decode = commands.add_parser("decode", help="tokens -> audio files")
    for command, run in ((encode, running.encode), (decode, running.decode)):
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
    decode.add_argument("--bits", choices=tuple(running.SUBTYPES), default="16")

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
    evaluate.set_defaults(run=models.evaluate, sampling={})

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
    compare.set_defaults(run=training.compare, config="", sampling={})

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
    export.set_defaults(run=models.export)

    convert = commands.add_parser("convert", help="read a PyTorch original's weights")
    convert.add_argument("--config", required=True, help="FILE.py or FILE.py:variant")
    convert.add_argument("--weights", type=_path, required=True)
    convert.add_argument("--semantic", type=_path, help="w2v-bert-2.0, for a codec without it")
    convert.add_argument("--output", type=_path, required=True, help="folder to make")
    convert.add_argument("--overwrite", action="store_true")
    convert.set_defaults(run=models.convert)

    systems = commands.add_parser("systems", help="what there is")
    systems.add_argument(
        "--measure",
        nargs="*",
        metavar="NAME",
        help="count figures anew (default: all), store them",
    )
    systems.add_argument("--markdown", action="store_true", help="print README's table")
    systems.set_defaults(run=models.systems)

    doctor = commands.add_parser("doctor", help="the real bandwidth of every file")
    doctor.add_argument("data", type=_path, metavar="DIR")
    doctor.add_argument("--rate", type=RATE, default=48000, help="target rate in Hz")
    doctor.add_argument("--min-bandwidth", type=POSITIVE, metavar="HZ", help="default: rate / 4")
    doctor.set_defaults(run=data.doctor)
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
