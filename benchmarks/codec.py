"""The codec at full size: encoding and decoding, JAX against transformers.

    python -m benchmarks.codec --threads=2 --seconds=10

Both load one folder, which transformers writes with random weights if it is not there (2.5 GB).
"""

from __future__ import annotations

import argparse
import functools
import os
from pathlib import Path

import numpy as np

from benchmarks.timing import Run, hardware, interleaved


def waveform(seconds: float) -> np.ndarray:
    return 0.1 * np.random.default_rng(0).standard_normal(int(16000 * seconds) - 1, np.float32)


def write_model(folder: Path) -> None:
    if (folder / "config.json").is_file():
        return
    import torch
    from transformers import Xcodec2Config, Xcodec2Model

    torch.manual_seed(0)
    Xcodec2Model(Xcodec2Config()).save_pretrained(folder)


def jax_codec(folder: Path, seconds: float, dtype: str, what: str) -> Run:
    from codecbwe_jax.inference.frozen_codec import FrozenCodec

    codec = FrozenCodec.load(folder, dtype)
    wave = waveform(seconds)
    if what == "encode":
        return lambda: codec.encode(wave)
    tokens = np.arange(codec.system.tokens(len(wave)), dtype=np.int32)
    return lambda: codec.decode(tokens)


def torch_codec(folder: Path, seconds: float, dtype: str, what: str, threads: int) -> Run:
    import torch
    from transformers import Xcodec2Model

    from codecbwe_jax.codec.fbank import stacked_fbank

    torch.set_num_threads(threads)
    model = Xcodec2Model.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
    wave = np.pad(waveform(seconds), (0, 1))[None]
    features = torch.from_numpy(np.array(stacked_fbank(wave, 160))).to(model.dtype)
    values = torch.from_numpy(wave[None]).to(model.dtype)
    tokens = torch.arange(wave.shape[1] // 320)[None, None]

    @torch.inference_mode()
    def run() -> None:
        if what == "encode":
            model.encode(values, features)
        else:
            model.decode(tokens)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dtypes", nargs="+", default=["float32"])
    parser.add_argument("--folder", type=Path, default=Path("full_size_codec"))
    args = parser.parse_args()
    os.sched_setaffinity(0, set(range(args.threads)))
    write_model(args.folder)
    print(f"{hardware()}; {args.threads} threads; {args.seconds} s")
    for dtype in args.dtypes:
        for what in ("encode", "decode"):
            common = (args.folder, args.seconds, dtype, what)
            results = interleaved(
                {
                    "jax": functools.partial(jax_codec, *common),
                    "transformers": functools.partial(torch_codec, *common, args.threads),
                },
                args.rounds,
            )
            for name, timing in results.items():
                print(
                    f"{what} {dtype} {name}: {timing.median:.3f} s, first {timing.first:.1f} s, "
                    f"peak {timing.peak_gib:.1f} GiB"
                )
            print(
                f"  jax / transformers {results['jax'].median / results['transformers'].median:.2f}"
            )


if __name__ == "__main__":
    main()
