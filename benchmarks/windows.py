"""How tokens and audio depend on the window that a long recording is cut into.

    python -m benchmarks.windows --codec=DIR --data=DIR

Recordings are joined to two minutes, encoded whole and in windows, and compared.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import soxr

from codecbwe_jax.audio import files
from codecbwe_jax.evaluation.metrics import lsd, snr
from codecbwe_jax.inference.frozen_codec import FrozenCodec

SECONDS = 120


def joined(folder: Path) -> np.ndarray:
    parts, have = [], 0
    for path in files.find(folder):
        x, rate = files.read(path)
        parts.append(soxr.resample(x[:, 0], rate, 16000))
        have += len(parts[-1])
        if have >= SECONDS * 16000:
            break
    return np.concatenate(parts)[: SECONDS * 16000]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--codec", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    args = parser.parse_args()
    wave = joined(args.data)
    whole = FrozenCodec.load(args.codec, window_seconds=SECONDS + 1)
    tokens = whole.encode(wave)
    audio = whole.decode(tokens)
    for seconds in (5, 10, 30):
        codec = FrozenCodec.load(args.codec, window_seconds=seconds)
        share = np.mean(codec.encode(wave) != tokens)
        again = codec.decode(tokens)
        print(
            f"window {seconds} s: {100 * share:.2f} % of tokens differ; decoded from equal "
            f"tokens: SNR {snr(again, audio):.1f} dB, LSD {lsd(again, audio):.3f}"
        )


if __name__ == "__main__":
    main()
