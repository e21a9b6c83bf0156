"""AP-BWE at official size: one training step (generator and critics), JAX against PyTorch.

    python -m benchmarks.training --batch=2 --threads=2

The PyTorch side does the same work as yxlu-0102/AP-BWE's step (`torch_critics.py`), once as the
original does and once with the critics frozen in the generator's turn.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--mapping", choices=("pmap", "shard_map"), default="pmap")
    args = parser.parse_args()
    os.sched_setaffinity(0, set(range(args.threads)))

    import jax
    import numpy as np
    import torch

    from benchmarks.timing import hardware, interleaved
    from benchmarks.torch_critics import TrainingStep
    from codecbwe_jax import objectives, systems
    from codecbwe_jax.config import load_config
    from codecbwe_jax.inference.model import Model
    from codecbwe_jax.interop.export import export_torch, import_file
    from codecbwe_jax.training import devices
    from codecbwe_jax.training.loop import compiled_steps, fresh_state

    torch.set_num_threads(args.threads)
    config = load_config("configs/ap_bwe.py", [f"--config.train.batch_size={args.batch}"])
    system = systems.build(config.system)
    objective = objectives.build(system, config.objective)
    mapping, key = devices.build(args.mapping, args.batch), jax.random.key(0)
    state, transforms = fresh_state(config, objective, key)
    model = Model("official", system, state["params"]["generator"], {})
    with tempfile.TemporaryDirectory() as folder:
        export_torch(model, Path(folder) / "export")
        module = import_file(Path(folder) / "export" / "ap_bwe.py")
        twins = [module.ApBwe.load(Path(folder) / "export") for _ in range(2)]

    rng = np.random.default_rng(0)
    wide = 0.1 * rng.standard_normal((args.batch, 8000)).astype(np.float32)
    batch = {
        "target": wide,
        "input": wide[:, ::3].copy(),
        "index": np.arange(args.batch, dtype=np.int32),
    }
    step = compiled_steps(config, objective, transforms, mapping)(0)
    placed, divided = [mapping.place(state)], mapping.divide(batch)

    def jax_step() -> None:
        placed[0], metrics = step(placed[0], divided, key)
        jax.block_until_ready((placed[0], metrics))

    began = time.perf_counter()
    jax_step()
    first = time.perf_counter() - began
    pair = torch.from_numpy(wide), torch.from_numpy(batch["input"])
    original, frozen = TrainingStep(twins[0], False), TrainingStep(twins[1], True)
    seconds = interleaved(
        {
            "jax": jax_step,
            "torch": lambda: original(*pair),
            "torch, critics frozen": lambda: frozen(*pair),
        },
        args.rounds,
        warm_up=1,
    )
    print(f"{hardware()}; {args.threads} threads; jax {jax.__version__}, torch {torch.__version__}")
    print(f"batch {args.batch} of 8000 samples, {args.mapping}")
    for name, value in seconds.items():
        print(f"{name}: {value:.3f} s, jax / it {seconds['jax'] / value:.2f}")
    print(f"first step in JAX, compilation included: {first:.1f} s")


if __name__ == "__main__":
    main()
