"""What `codecbwe plan` says of a step, beside what the step takes of the device that is there.

    python -m benchmarks.planned configs/ap_bwe.py configs/hifi_gan_bwe.py --batch=16

The last step of a recipe on random audio: milliseconds (the median of ten), peak memory, and the
arithmetic that the plan counts over that time. A plan is compiled for CPU, in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

PLAN = """
import dataclasses, json, sys, jax
from codecbwe_jax.training.plan import plan
from codecbwe_jax.training.settings import load_run
print(json.dumps(dataclasses.asdict(plan(load_run(sys.argv[1], sys.argv[2:])))))
"""


def planned(recipe: str, overrides: list[str]) -> dict:
    """The plan's figures for one device."""
    command = [sys.executable, "-c", PLAN, recipe, *overrides]
    run = subprocess.run(
        command,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(run.stdout.splitlines()[-1])


def measured(recipe: str, overrides: list[str]) -> tuple[float, int, int]:
    """(seconds of a step, bytes that it is compiled for there, peak bytes on the device, which
    include what choosing among algorithms took, or 0 where it does not say)."""
    import jax
    import numpy as np

    from codecbwe_jax.training.run import Run
    from codecbwe_jax.training.settings import load_run, shapes

    run = Run.of(load_run(recipe, overrides))
    config, system, mapping, key = run.config, run.system, run.mapping, jax.random.key(0)
    state, last = run.fresh(), config.train.steps - 1
    step = run.steps(state["params"])(last)
    rng, size = np.random.default_rng(0), config.train.batch_size
    one = shapes(system, config.data.segment_samples)
    batch = {
        n: (0.1 * rng.standard_normal((size, *x.shape[1:]))).astype(x.dtype) for n, x in one.items()
    }
    divided = mapping.divide(batch)
    held, frozen, seconds = mapping.place_state(state), mapping.place({}), []
    program = step.lower(held, divided, key, frozen).compile()
    memory = program.memory_analysis()
    for _ in range(13):
        began = time.perf_counter()
        held, metrics = program(held, divided, key, frozen)
        jax.block_until_ready((held, metrics))
        seconds.append(time.perf_counter() - began)
    stats = jax.devices()[0].memory_stats() or {}
    compiled = memory.argument_size_in_bytes + memory.temp_size_in_bytes
    return statistics.median(seconds[3:]), compiled, stats.get("peak_bytes_in_use", 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipes", nargs="+")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    args, overrides = parser.parse_known_args()
    overrides += [f"--config.train.batch_size={args.batch}"]
    if args.one:
        print(json.dumps(measured(args.recipes[0], overrides)))
        return
    for recipe in args.recipes:
        # one process a recipe: the peak is that of a process
        again = [
            sys.executable,
            "-m",
            "benchmarks.planned",
            recipe,
            "--one",
            f"--batch={args.batch}",
        ]
        run = subprocess.run([*again, *overrides], capture_output=True, text=True, check=True)
        seconds, compiled, peak = json.loads(run.stdout.splitlines()[-1])
        plan = planned(recipe, overrides)
        memory = plan["arguments"] + plan["temporary"]
        said = f"{plan['flops'] / 1e9:,.0f} GFLOP and {memory / 1e9:.2f} GB planned"
        took = f"{1000 * seconds:.1f} ms, {compiled / 1e9:.2f} GB (peak {peak / 1e9:.2f})"
        rate = plan["flops"] / seconds / 1e12
        print(f"{recipe}, batch {args.batch}: {said}; {took}, {rate:.1f} TFLOP/s", flush=True)


if __name__ == "__main__":
    main()
