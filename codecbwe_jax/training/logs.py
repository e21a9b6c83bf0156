"""What a run tells: `metrics.jsonl`, TensorBoard, and progress on the terminal."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from codecbwe_jax import json_lines
from codecbwe_jax.config import write_text
from codecbwe_jax.errors import UserError
from codecbwe_jax.evaluation.evaluators import Audio, Image
from codecbwe_jax.training.cluster import is_leader


class MetricsFile:
    """`metrics.jsonl`: one JSON object a line, `{"step": n, name: value, ...}`.

    Args:
      path: of the file.
      step: the run continues here: lines of later steps are cut off first.
    """

    def __init__(self, path: Path, step: int) -> None:
        kept = []
        if path.exists():
            with contextlib.suppress(UserError):  # at the line that a killed process was writing
                for row in json_lines.rows(path):
                    if row.needed("step") <= step:
                        kept.append(json.dumps(row.fields))
        write_text(path, "".join(f"{line}\n" for line in kept))
        self._file = path.open("a", encoding="utf-8")

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Append one line and flush it; what is not finite becomes null."""
        row = {"step": step, **{k: float(v) if np.isfinite(v) else None for k, v in values.items()}}
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class TensorBoard:
    """Scalars, audio and images for TensorBoard, later steps of a former run hidden. What a full
    disk does not take is lost, and a new file is begun when there is room again."""

    def __init__(self, folder: Path, step: int) -> None:
        self._folder = str(folder)
        self._open(step)

    def _open(self, step: int) -> None:
        from tensorboardX import SummaryWriter  # it imports torch where that is installed

        self._writer = SummaryWriter(self._folder, purge_step=step or None)
        events = self._writer.file_writer.event_writer
        self._outlet = events._ev_writer = events._worker._record_writer = _Lossy(events._ev_writer)

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        if self._outlet.broken:
            self._open(step)
        for name, value in values.items():
            if isinstance(value, Audio):
                clip = np.clip(value.samples, -1.0, 1.0)[:, None]
                self._writer.add_audio(name, clip, step, sample_rate=value.rate)
            elif isinstance(value, Image):
                self._writer.add_image(name, value.pixels, step, dataformats="HWC")
            elif np.isfinite(value):
                self._writer.add_scalar(name, float(value), step)

    def close(self) -> None:
        self._writer.close()


class _Lossy:
    """Stands before what tensorboardX writes with in a thread of its own, which would end with the
    first write that fails, and then its queue would fill up and block for ever."""

    def __init__(self, writer: Any) -> None:
        self._writer, self.broken = writer, False

    def _try(self, work: Callable[..., Any], *arguments: Any) -> None:
        try:
            if not self.broken:
                work(*arguments)
        except OSError:
            self.broken = True

    def write_event(self, event: Any) -> None:
        self._try(self._writer.write_event, event)

    def flush(self) -> None:
        self._try(self._writer.flush)

    def close(self) -> None:
        self._try(self._writer.close)


class ProgressReport:
    """A bar on a terminal, plain lines elsewhere: steps/s, seconds of audio per second, losses.

    Args:
      total: last step.
      step: first step.
      seconds_per_step: seconds of audio in a step.
      unit: what a step is called.
    """

    def __init__(self, total: int, step: int, seconds_per_step: float, unit: str = "step") -> None:
        self.total, self.seconds_per_step, self.unit = total, seconds_per_step, unit
        self._since, self._at = time.monotonic(), step
        self._begin, self._first = self._since, step
        self._rates: list[float] = []
        self._bar: Progress | None = None
        if sys.stdout.isatty():
            self._bar = Progress(
                TextColumn(f"{unit} {{task.completed}}/{{task.total}}"),
                BarColumn(),
                TextColumn("{task.fields[figures]}"),
                TimeRemainingColumn(),
                console=Console(),
            )
            self._task = self._bar.add_task("train", total=total, completed=step, figures="")
            self._bar.start()

    def line(self, text: str) -> None:
        """Print a line of its own."""
        if self._bar:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            print(text, flush=True)

    def skip(self, seconds: float) -> None:
        """Leave time spent on something else out of the rates."""
        self._since += seconds
        self._begin += seconds

    def update(self, step: int, losses: Mapping[str, float]) -> None:
        """Report the mean rate since the last report, and these losses."""
        now = time.monotonic()
        rate = (step - self._at) / max(now - self._since, 1e-9)
        self._since, self._at = now, step
        self._rates.append(rate)
        shown = "  ".join(f"{name.removesuffix('/loss')} {v:.4g}" for name, v in losses.items())
        figures = (
            f"{rate:.2f} {self.unit}s/s  {rate * self.seconds_per_step:.1f} s audio/s  {shown}"
        )
        if self._bar:
            self._bar.update(self._task, completed=step, figures=figures)
            return
        average = (step - self._first) / max(now - self._begin, 1e-9)
        left = (self.total - step) / max(average, 1e-9)
        self.line(f"{self.unit} {step}/{self.total}  {figures}  {_clock(left)} left")

    def rate(self) -> float:
        """Steps a second, the median over reports without the first, in which steps are compiled;
        NaN if there was none."""
        return float(np.median(self._rates[1:])) if len(self._rates) > 1 else float("nan")

    def close(self) -> None:
        if self._bar:
            self._bar.stop()


class Outlets:
    """All of these for one run. Processes beside the leader keep still but for `line`.

    Args:
      workdir: gets `metrics.jsonl` and `tensorboard/`.
      step, total, seconds_per_step: see `ProgressReport`.
    """

    def __init__(self, workdir: Path, step: int, total: int, seconds_per_step: float) -> None:
        self.progress = ProgressReport(total, step, seconds_per_step)
        self._speaks, self._lost = is_leader(), False
        if self._speaks:
            self._file = MetricsFile(workdir / "metrics.jsonl", step)
            self._board = TensorBoard(workdir / "tensorboard", step)

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Scalars into the file, scalars, audio and images into TensorBoard."""
        if not self._speaks:
            return
        numbers = {k: v for k, v in values.items() if not isinstance(v, Audio | Image)}
        try:
            self._file.write(step, numbers)
            self._board.write(step, values)
            self._lost = False
        except OSError as error:
            if not self._lost:
                self.line(f"logs cannot be written ({error.strerror}); training goes on")
            self._lost = True

    def line(self, text: str) -> None:
        """One line for whoever watches; of the other processes, on standard error."""
        if self._speaks:
            self.progress.line(text)
        else:
            print(f"process {jax.process_index()}: {text}", file=sys.stderr, flush=True)

    def close(self) -> None:
        self.progress.close()
        if self._speaks:
            self._board.close()
            with contextlib.suppress(OSError):  # a full disk was told of when it filled up
                self._file.close()


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
