"""Hours of audio that a Beam worker writes in an hour, for 1 and 2 workers of this machine.

python -m benchmarks.corpus --data=DIR

Chapters in the manner of HiFi-TTS2 are made of the recordings: MP3 of 44.1 kHz and ten minutes, cut
into utterances of eight seconds. Starting Beam is measured by a corpus of nothing but one chapter.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr

from benchmarks.timing import hardware
from codecbwe_jax import corpora
from codecbwe_jax.data.recordings import find

RATE, CHAPTER_S, UTTERANCE_S = 44100, 600, 8
WHOLE_HOURS = 31_700


def write_chapters(data: Path, folder: Path, count: int) -> Path:
    """A corpus of `count` chapters, the same audio in other order in each."""
    waves = [soxr.resample(r.read()[0][:, 0], r.rate, RATE) for r in find(data).recordings]
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    with (
        (folder / "manifest_44khz.json").open("w") as manifest,
        (folder / "chapters_44khz.json").open("w") as chapters,
    ):
        for c in range(count):
            order = itertools.cycle(rng.permutation(len(waves)))
            x = np.concatenate(list(_until(CHAPTER_S * RATE, (waves[i] for i in order))))
            soundfile.write(folder / f"{c}.mp3", x[: CHAPTER_S * RATE], RATE)
            cut = [
                {
                    "audio_filepath": f"{c}_{u}.flac",
                    "offset": u * UTTERANCE_S,
                    "duration": UTTERANCE_S,
                }
                for u in range(CHAPTER_S // UTTERANCE_S)
            ]
            chapters.write(json.dumps({"chapter_filepath": f"{c}.mp3", "utterances": cut}) + "\n")
            for part in cut:
                row = {k: part[k] for k in ("audio_filepath", "duration")} | {"bandwidth": 19810}
                manifest.write(json.dumps(row) + "\n")
    return folder


def _until(samples: int, waves: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    while samples > 0:
        wave = next(waves)
        samples -= len(wave)
        yield wave


def seconds_to_write(source: Path, config: str, workers: int) -> float:
    with tempfile.TemporaryDirectory() as output:
        began = time.perf_counter()
        corpora.build(f"hifi_tts2/{config}", output).write(
            str(source), hours_per_shard=1 / 6, workers=workers
        )
        return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--chapters", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    print(f"{hardware()}; {args.chapters} chapters of {CHAPTER_S} s")
    with tempfile.TemporaryDirectory() as folder:
        many = write_chapters(args.data, Path(folder) / "many", args.chapters)
        one = write_chapters(args.data, Path(folder) / "one", 1)
        hours = (args.chapters - 1) * CHAPTER_S / 3600
        cases = list(itertools.product(("32k", "44k", "48k"), (1, 2)))
        taken: dict[tuple[str, int], list[float]] = {case: [] for case in cases}
        for _ in range(args.rounds):
            for case in cases:
                alone = seconds_to_write(one, *case)
                taken[case].append(seconds_to_write(many, *case) - alone)
        for (config, workers), seconds in taken.items():
            rate = hours / (workers * statistics.median(seconds) / 3600)
            print(
                f"{config}, {workers} workers: {rate:.0f} hours of audio per worker-hour; "
                f"{WHOLE_HOURS} hours take {WHOLE_HOURS / rate:.0f} worker-hours"
            )


if __name__ == "__main__":
    main()
