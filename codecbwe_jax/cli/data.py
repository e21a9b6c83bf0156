"""Commands about recordings: corpora, a codec's cache, their bandwidth."""

from __future__ import annotations

import argparse


def corpus(args: argparse.Namespace) -> None:
    """Write a corpus; prints the override that trains on it."""
    from codecbwe_jax import corpora

    builder = corpora.build(args.builder, None, args.name, args.setting, args.codec or "")
    from apache_beam.options.pipeline_options import PipelineOptions  # build has told if it lacks

    options = PipelineOptions(args.beam) if args.beam else None
    builder.write(args.source, args.output, options, args.hours_per_shard, args.workers)
    print(f"--config.data.path={args.output}/{builder.info.full_name}")


def cache(args: argparse.Namespace) -> None:
    """Run a codec over training data; prints its speed and what it took of the disk."""
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


def doctor(args: argparse.Namespace) -> None:
    """Every file's bandwidth, whether it is wide enough, and why not."""
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
