"""Training pairs per second from a folder of recordings, for 0, 1 and 2 workers.

python -m benchmarks.pipeline --data=DIR
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from benchmarks.timing import hardware
from codecbwe_jax.data.pipeline import MakePair, PairSettings, batches
from codecbwe_jax.data.recordings import find


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--batches", type=int, default=100)
    args = parser.parse_args()
    recordings = [r for r in find(args.data).recordings if r.rate == 48000]
    print(f"{hardware()}; {len(recordings)} recordings, batches of 16")
    for samples in (8000, 48000):
        settings = PairSettings(16000, 48000, samples)
        for workers in (0, 1, 2):
            stream = batches(MakePair(recordings, settings), 16, workers=workers)
            next(stream)
            began = time.perf_counter()
            for _ in range(args.batches):
                next(stream)
            rate = 16 * args.batches / (time.perf_counter() - began)
            stream.close()
            print(f"{samples} samples, {workers} workers: {rate:.0f} pairs/s")


if __name__ == "__main__":
    main()
