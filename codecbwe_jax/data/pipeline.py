"""Batches of training pairs, by grain.

Everything up to the batch is a pure function of the sample's index, so the position in the stream
is the number of batches consumed: it survives another number of workers or hosts. The order of
samples is that of the whole run; of several hosts, each reads its own rows of every batch.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

import grain
import numpy as np
import soxr
from absl import flags

from codecbwe_jax.audio.sinc import SINC_FILTERS
from codecbwe_jax.data.lowpass import LOWPASSES, sinc_resample
from codecbwe_jax.data.recordings import Recording
from codecbwe_jax.errors import UserError

Batch = dict[str, np.ndarray]
# what grain says then
WORKER_KILLED = "Worker process was terminated unexpectedly"
MOST_KILLED = 10


@dataclasses.dataclass(frozen=True)
class PairSettings:
    """How a training pair is made.

    Attributes:
      input_rate, output_rate: of the two waveforms, in Hz.
      segment_samples: length of the target; shorter recordings are padded with zeros.
      lowpass: names in `data.lowpass.LOWPASSES`, drawn with equal chance.
      gain_db: (low, high) of a random gain; the peak stays at or below 1.
      balance_speakers: draw the speaker first, then one of the speaker's recordings.
      seed: of everything that is drawn.
      source_rates: if any, one is drawn for each sample in place of input_rate, and the pair has
        an "upsampled" input, at output_rate, and its "source_rate".
      upsampler: filter that brings it there, a name in `audio.sinc.SINC_FILTERS`.
    """

    input_rate: int
    output_rate: int
    segment_samples: int
    lowpass: Sequence[str] = ("torchaudio",)
    gain_db: tuple[float, float] = (0.0, 0.0)
    balance_speakers: bool = False
    seed: int = 0
    source_rates: Sequence[int] = ()
    upsampler: str = ""

    def __post_init__(self) -> None:
        unknown = [name for name in self.lowpass if name not in LOWPASSES]
        if unknown or not self.lowpass:
            raise UserError(
                f"config.data.lowpass has {unknown or 'nothing'}; known: {', '.join(LOWPASSES)}"
            )


def read_segment(recording: Recording, rate: int, samples: int, position: float) -> np.ndarray:
    """Read a stretch of a recording at another rate, without decoding the rest of the file.

    Args:
      recording: what to read; channels are averaged.
      rate: wanted rate in Hz.
      samples: wanted length at that rate; zeros follow a shorter recording.
      position: in [0, 1], where in the recording the stretch begins.

    Returns:
      float32 `[samples]`.
    """
    wanted = -(-samples * recording.rate // rate)
    # a margin around a stretch that is resampled keeps the filter's edges out of it
    margin = 0 if rate == recording.rate else 512
    first = int(position * max(recording.samples - wanted + 1, 1))
    first = min(first, max(recording.samples - wanted, 0))
    left = min(margin, first)
    length = min(left + wanted + margin, recording.samples - first + left)
    x, _ = recording.read(first - left, length)
    x = x.mean(axis=1)
    if rate != recording.rate:
        x = soxr.resample(x, recording.rate, rate)[left * rate // recording.rate :]
    return np.pad(x[:samples], (0, max(0, samples - len(x)))).astype(np.float32)


class MakePair(grain.transforms.RandomMap):
    """Index of a recording -> {"input", "target", "index", "broken"}.

    A recording that cannot be read is replaced by another, the same one whenever the sample is
    made again; "broken" is then its index, else -1.
    """

    def __init__(self, recordings: Sequence[Recording], settings: Any) -> None:
        self.recordings = list(recordings)
        self.settings = settings
        self.by_speaker: dict[str, list[int]] = {}
        for i, recording in enumerate(self.recordings):
            self.by_speaker.setdefault(recording.speaker, []).append(i)

    def random_map(self, element: tuple[int, int], rng: np.random.Generator) -> Batch:
        index, position = element
        pair, broken = self._made(self.choose(position, rng), rng)
        return pair | {"index": np.int32(index % 2**31), "broken": np.int32(broken)}

    def choose(self, position: int, rng: np.random.Generator) -> int:
        """Which recording a sample takes: the epoch's, or one of a speaker drawn first."""
        if not self.settings.balance_speakers:
            return position
        clips = list(self.by_speaker.values())[int(rng.integers(len(self.by_speaker)))]
        return clips[int(rng.integers(len(clips)))]

    def _made(self, chosen: int, rng: np.random.Generator) -> tuple[Batch, int]:
        broken = -1
        for attempt in range(8):
            try:
                return self.make(chosen, rng), broken
            except UserError:
                broken = chosen if attempt == 0 else broken
                chosen = int(rng.integers(len(self.recordings)))
        raise UserError("data: eight recordings in a row could not be read")

    def make(self, chosen: int, rng: np.random.Generator) -> Batch:
        """The pair of one recording: "input" and "target".

        Raises:
          UserError: if the recording cannot be read.
        """
        s = self.settings
        target = read_segment(
            self.recordings[chosen], s.output_rate, s.segment_samples, rng.random()
        )
        gain = 10 ** (rng.uniform(*s.gain_db) / 20)
        target *= np.float32(min(gain, 1.0 / max(np.abs(target).max(), 1e-9)))
        if s.input_rate == s.output_rate:
            return {"input": target, "target": target}
        lowpass = LOWPASSES[s.lowpass[int(rng.integers(len(s.lowpass)))]]
        if s.source_rates:
            rate = int(rng.choice(s.source_rates))
            narrow = lowpass(target, s.output_rate, rate, rng)
            wide = sinc_resample(narrow, rate, s.output_rate, SINC_FILTERS[s.upsampler])
            known = {"upsampled": wide[: len(target)], "source_rate": np.int32(rate)}
            return known | {"target": target}
        narrow = lowpass(target, s.output_rate, s.input_rate, rng).astype(np.float32)
        return {"input": narrow, "target": target}


class _WithIndex(grain.transforms.MapWithIndex):
    def map_with_index(self, index: int, element: int) -> tuple[int, int]:
        return index, element


def batches(
    make: MakePair,
    batch_size: int,
    start: int = 0,
    workers: int = 0,
    threads: int = 2,
    host: int = 0,
    hosts: int = 1,
    say: Callable[[str], None] = print,
) -> Generator[Batch, None, None]:
    """An endless stream of batches; the same for any number of workers and threads, and behind a
    worker that was killed: others take its place.

    Args:
      make: makes a sample of a recording; each epoch shuffles its recordings anew.
      batch_size: samples in a batch of all hosts together, a multiple of their number.
      start: batches already consumed.
      workers: processes; 0 works in this one.
      threads: readers in this process when there are no workers.
      host, hosts: which of how many this is; it gets the host-th part of every batch.
      say: gets a line when a worker was killed.

    Yields:
      What `make` makes, stacked: "target" `[batch, segment_samples]` float32 and others; "index"
      `[batch]`, the global index of each sample; "broken" `[batch]`, see `MakePair`.

    Raises:
      UserError: if workers are killed again and again.
    """
    for times in range(1, MOST_KILLED + 1):
        stream = _stream(make, batch_size, start, workers, threads, host, hosts)
        try:
            with contextlib.closing(stream):
                for batch in stream:
                    yield batch
                    start += 1
        except RuntimeError as error:
            if WORKER_KILLED not in str(error):
                raise
            say(f"data: a worker process was killed ({times} of at most {MOST_KILLED} times)")
    raise UserError(
        f"data: worker processes were killed {MOST_KILLED} times; does memory suffice for "
        f"config.data.workers={workers}?"
    )


def _stream(
    make: MakePair, batch_size: int, start: int, workers: int, threads: int, host: int, hosts: int
) -> Iterator[Batch]:
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()  # grain's workers read absl flags
    dataset = (
        grain.MapDataset.range(len(make.recordings))
        .seed(make.settings.seed)
        .shuffle()
        .repeat()
        .map_with_index(_WithIndex())
        .random_map(make)
        .batch(batch_size // hosts, drop_remainder=True)
    )[host::hosts]
    options = grain.ReadOptions(num_threads=0 if workers else threads, prefetch_buffer_size=4)
    stream = dataset[start:].to_iter_dataset(options)
    if workers:
        stream = stream.mp_prefetch(
            grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=2)
        )
    return iter(stream)


def fingerprint(recordings: Sequence[Recording], settings: Any, batch_size: int) -> str:
    """Hash of everything that gives a position in the stream its meaning."""
    rows = [(r.name, r.speaker, r.start, r.samples, r.rate) for r in recordings]
    facts = {"recordings": rows, "settings": dataclasses.asdict(settings), "batch": batch_size}
    text = json.dumps(facts, sort_keys=True, default=list)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
