"""AP-BWE at official size: JAX against the exported PyTorch file, on a 4 s clip, interleaved.

    python -m benchmarks.inference --threads=1

Threads are set before either framework starts, so each number of threads is a run of its own.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    os.sched_setaffinity(0, set(range(args.threads)))

    import jax
    import numpy as np
    import torch

    from benchmarks.timing import hardware, interleaved
    from codecbwe_jax.inference.model import Model
    from codecbwe_jax.interop.export import export_torch, import_file
    from codecbwe_jax.systems.ap_bwe import ApBwe

    torch.set_num_threads(args.threads)
    system = ApBwe()
    model = Model("official", system, jax.device_get(system.init(jax.random.key(0))), {})
    with tempfile.TemporaryDirectory() as folder:
        agreement = export_torch(model, Path(folder) / "export")
        twin = import_file(Path(folder) / "export" / "ap_bwe.py").ApBwe.load(
            Path(folder) / "export"
        )
    wave = 0.1 * np.random.default_rng(0).standard_normal((1, int(16000 * args.seconds)))
    wave = wave.astype(np.float32)
    tensor, params, key = torch.from_numpy(wave), jax.device_put(model.params), jax.random.key(0)
    began = time.perf_counter()
    extend = jax.jit(system.extend)
    extend(params, wave, key).block_until_ready()
    first = time.perf_counter() - began
    seconds = interleaved(
        {
            "jax": lambda: extend(params, wave, key).block_until_ready(),
            "torch": lambda: twin.extend(tensor),
        },
        args.rounds,
    )
    print(f"{hardware()}; {args.threads} threads; jax {jax.__version__}, torch {torch.__version__}")
    print(f"agreement: {agreement.worst:.1e} of the peak")
    for name, value in seconds.items():
        print(f"{name}: {value:.3f} s for {args.seconds:g} s (rtf {value / args.seconds:.4f})")
    print(f"ratio jax / torch: {seconds['jax'] / seconds['torch']:.2f}")
    print(f"time to the first output in JAX, compilation included: {first:.1f} s")


if __name__ == "__main__":
    main()
