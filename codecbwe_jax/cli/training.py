"""Commands about training: a demonstration, a run, its cost and its config, many runs alike."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from codecbwe_jax import lock


def demo(args: argparse.Namespace) -> None:
    """Train, evaluate, export and report, in a folder: `demo` or `demo_data` if not named."""
    from codecbwe_jax.demo import run

    run(args.data, args.output or Path("demo" if args.data is None else "demo_data"), args.steps)


def train(args: argparse.Namespace) -> int:
    """Train, or continue; returns 0, or the status of a run that was told to leave."""
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


def plan(args: argparse.Namespace) -> None:
    """What a run will cost, counted on CPU devices in the place of chips."""
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


def config(args: argparse.Namespace) -> None:
    """Every field of a run's config, then what is wrong with it."""
    from codecbwe_jax.training.settings import check, described, load_run

    config = load_run(args.config, args.overrides)
    for line in described(config):
        print(line)
    check(config)


def compare(args: argparse.Namespace) -> int:
    """Train many and report; returns 0, or the status of one that was told to leave."""
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
