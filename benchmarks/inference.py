"""AP-BWE at official size on a clip: JAX against the PyTorch file that exports carry, interleaved.

python -m benchmarks.inference --threads=1
python -m benchmarks.inference --device=cuda --dtype=bfloat16
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import os

import numpy as np

from benchmarks.timing import Run, hardware, interleaved


def clip(seconds: float) -> np.ndarray:
    noise = np.random.default_rng(0).standard_normal((1, int(16000 * seconds)))
    return (0.1 * noise).astype(np.float32)


def jax_extender(seconds: float, dtype: str) -> Run:
    import jax

    from codecbwe_jax.systems.ap_bwe import ApBwe

    system, wave, key = ApBwe(compute_dtype=dtype), clip(seconds), jax.random.key(0)
    params, extend = jax.device_put(system.init(key)), jax.jit(system.extend)
    return lambda: extend(params, wave, key).block_until_ready()


def torch_extender(seconds: float, dtype: str, threads: int, device: str) -> Run:
    import torch

    from codecbwe_jax.interop.torch.ap_bwe import ApBwe
    from codecbwe_jax.systems import ap_bwe

    torch.set_num_threads(threads)
    network = ApBwe(dataclasses.asdict(ap_bwe.ApBwe())).eval().to(device)
    wave = torch.from_numpy(clip(seconds)).to(device)

    def run() -> None:
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16, dtype == "bfloat16"):
            network.run(wave)
        if device == "cuda":
            torch.cuda.synchronize()

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="of PyTorch")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    args = parser.parse_args()
    if args.device == "cpu":
        os.sched_setaffinity(0, set(range(args.threads)))
    results = interleaved(
        {
            "jax": functools.partial(jax_extender, args.seconds, args.dtype),
            "torch": functools.partial(
                torch_extender, args.seconds, args.dtype, args.threads, args.device
            ),
        },
        args.rounds,
    )
    where = f"{args.threads} threads" if args.device == "cpu" else args.device
    print(f"{hardware()}; {where}; {args.dtype}; {args.seconds:g} s of input")
    for name, timing in results.items():
        print(
            f"{name}: {timing.median:.4f} s (real-time factor {timing.median / args.seconds:.4f}), "
            f"first run {timing.first:.1f} s"
        )
    print(f"jax / torch: {results['jax'].median / results['torch'].median:.2f}")


if __name__ == "__main__":
    main()
