"""The 48 kHz ISTFT head (linear, exp, clip, polar, inverse STFT): JAX against PyTorch, interleaved.

python -m benchmarks.head --threads=1
"""

from __future__ import annotations

import argparse
import functools
import os

import numpy as np

from benchmarks.timing import Run, hardware, interleaved

SIZE, HOP, CLIP = 1024, 960, 300.0


def features(batch: int, frames: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((batch, frames, SIZE)).astype(np.float32)


def jax_head(batch: int, frames: int) -> Run:
    import jax

    from codecbwe_jax.decoders.istft_head import IstftHead

    head, x = IstftHead(HOP, CLIP), jax.device_put(features(batch, frames))
    params = head.init(jax.random.key(0), x)
    run = jax.jit(head.apply)
    return lambda: run(params, x).block_until_ready()


def torch_head(batch: int, frames: int, threads: int) -> Run:
    import torch

    from codecbwe_jax.interop.torch.parts.istft_head import IstftHead

    torch.set_num_threads(threads)
    head, x = IstftHead(SIZE, HOP, 4 * HOP, CLIP), torch.from_numpy(features(batch, frames))

    def run() -> torch.Tensor:
        with torch.inference_mode():
            return head(x)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--frames", type=int, default=200, help="of 20 ms")
    parser.add_argument("--rounds", type=int, default=25)
    args = parser.parse_args()
    os.sched_setaffinity(0, set(range(args.threads)))
    print(f"{hardware()}; {args.threads} threads; {args.frames} frames")
    for batch in (1, 16):
        results = interleaved(
            {
                "jax": functools.partial(jax_head, batch, args.frames),
                "torch": functools.partial(torch_head, batch, args.frames, args.threads),
            },
            args.rounds,
        )
        ours, theirs = (1000 * results[name].median for name in ("jax", "torch"))
        print(f"batch {batch}: jax {ours:.1f} ms, torch {theirs:.1f} ms, {ours / theirs:.2f}")


if __name__ == "__main__":
    main()
