"""AP-BWE at official size: one training step (generator and critics), JAX against PyTorch.

    python -m benchmarks.training --batch=2 --threads=2
    python -m benchmarks.training --batch=16 --device=cuda --dtype=bfloat16

The PyTorch side does the work of yxlu-0102/AP-BWE's step (`torch_critics.py`), once as the
original does and once with the critics frozen in the generator's turn.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import os

import numpy as np

from benchmarks.timing import Run, hardware, interleaved

CRITICS = ("mpd", "mrad", "mrpd")


def pairs(batch: int) -> tuple[np.ndarray, np.ndarray]:
    wide = 0.1 * np.random.default_rng(0).standard_normal((batch, 8000)).astype(np.float32)
    return wide, wide[:, ::3].copy()


def jax_step(batch: int, mapping_name: str, dtype: str) -> Run:
    import jax

    from codecbwe_jax.config import load_config
    from codecbwe_jax.training.run import Run as Training

    typed = ("system.compute_dtype", *(f"objective.critics.{c}.dtype" for c in CRITICS))
    overrides = [f"--config.{field}={dtype}" for field in typed]
    overrides += [f"--config.train.batch_size={batch}", f"--config.train.mapping={mapping_name}"]
    training = Training.of(load_config("configs/ap_bwe.py", overrides))
    mapping, key, state = training.mapping, jax.random.key(0), training.fresh()
    step = training.steps(state["params"])(0)
    wide, narrow = pairs(batch)
    index = np.arange(batch, dtype=np.int32)
    divided = mapping.divide({"target": wide, "input": narrow, "index": index})
    held, frozen = [mapping.place(state)], mapping.place({})

    def run() -> None:
        held[0], metrics = step(held[0], divided, key, frozen)
        jax.block_until_ready((held[0], metrics))

    return run


def torch_step(batch: int, threads: int, device: str, dtype: str, freeze_critics: bool) -> Run:
    import torch

    from benchmarks.torch_critics import TrainingStep
    from codecbwe_jax.interop.torch.ap_bwe import ApBwe
    from codecbwe_jax.systems import ap_bwe

    torch.set_num_threads(threads)
    network = ApBwe(dataclasses.asdict(ap_bwe.ApBwe())).to(device)
    step = TrainingStep(network, freeze_critics)
    wide, narrow = (torch.from_numpy(x).to(device) for x in pairs(batch))

    def run() -> None:
        with torch.autocast(device, torch.bfloat16, dtype == "bfloat16"):
            step(wide, narrow)
        if device == "cuda":
            torch.cuda.synchronize()

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="of PyTorch")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--mapping", choices=("pmap", "shard_map"), default="pmap")
    args = parser.parse_args()
    if args.device == "cpu":
        os.sched_setaffinity(0, set(range(args.threads)))
    theirs = functools.partial(torch_step, args.batch, args.threads, args.device, args.dtype)
    results = interleaved(
        {
            "jax": functools.partial(jax_step, args.batch, args.mapping, args.dtype),
            "torch": functools.partial(theirs, False),
            "torch, critics frozen": functools.partial(theirs, True),
        },
        args.rounds,
    )
    where = "GPU" if args.device == "cuda" else f"{args.threads} threads"
    print(f"{hardware()}; {where}; {args.dtype}; batch {args.batch} of 8000 samples")
    for name, timing in results.items():
        print(
            f"{name}: {timing.median:.3f} s, first run {timing.first:.1f} s, "
            f"jax / it {results['jax'].median / timing.median:.2f}"
        )


if __name__ == "__main__":
    main()
