"""The trainer. It runs turns; what they are is the objective's business."""

from __future__ import annotations

import contextlib
import functools
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax

from codecbwe_jax.config import save_config
from codecbwe_jax.data import pipeline, recordings
from codecbwe_jax.errors import UserError
from codecbwe_jax.evaluation import evaluators
from codecbwe_jax.training import (
    cluster,
    codec_input,
    continuation,
    devices,
    logs,
    parts,
)
from codecbwe_jax.training.data import find_recordings
from codecbwe_jax.training.interruption import Interrupted, Interruption
from codecbwe_jax.training.profiling import Profile
from codecbwe_jax.training.run import Run
from codecbwe_jax.weights import checkpoints


def train(run: Run, workdir: Path) -> dict[str, float]:
    """Train a system in a work folder, from its newest checkpoint if it has one.

    Args:
      run: what, by `Run.of` a config.
      workdir: gets `config.json`, `checkpoints/`, `tensorboard/` and `metrics.jsonl`.

    Returns:
      Figures of the last evaluation, and "steps_per_second".

    Raises:
      UserError: on bad data, a work folder of another model, or one in which another run is at
        work.
      Interrupted: after SIGINT or SIGTERM, when everything is saved.
    """
    with cluster.leader_holds(workdir):
        return _train(run, workdir)


def _train(run: Run, workdir: Path) -> dict[str, float]:
    # 1. What the network hears
    config, system, mapping = run.config, run.system, run.mapping
    source = codec_input.load(config, system)
    profile = Profile(config.profile.steps, workdir / "tensorboard")

    # 2. Recordings, and what is measured on those held out
    train_set, valid_set = cluster.leader_first(
        lambda: find_recordings(config, system.output_rate, workdir)
    )
    if source:
        make = codec_input.make_pairs(config, train_set, source.inputs)
    else:
        make = pipeline.MakePair(train_set, run.pair_settings())
    hear = codec_input.hear(source.codec, system) if source else None
    sampling = config.sampling.to_dict()
    judges = evaluators.build(system, valid_set, config.evaluators, hear, sampling)
    print(devices.described(), flush=True)

    # 3. State: the newest checkpoint's, else fresh parameters, some perhaps from elsewhere
    store = checkpoints.Checkpoints(
        workdir / "checkpoints",
        config.checkpoint.keep_last,
        (config.checkpoint.best, config.checkpoint.best_is) if config.checkpoint.best else None,
    )
    data_hash = pipeline.fingerprint(make.recordings, make.settings, config.train.batch_size)
    data_hash = parts.named_in(data_hash, run.parts)
    cluster.check_agreement("recordings, or not the same config", data_hash)
    stored = cluster.leader_first(store.newest)
    step, scores = stored.step if stored else 0, {}
    cluster.check_agreement("newest checkpoint", f"{step:x}")
    shapes, key = run.shapes(), run.key
    if stored:
        changed = continuation.changes(stored.facts, config, data_hash, workdir)
        scores = stored.facts["scores"]
        state = stored.fill(shapes)
        print(f"continuing at step {step} in {workdir}", flush=True)
        if changed:
            print(f"changed since then: {changed}", flush=True)
    else:
        state = run.fresh()
        run.start(state, source)
    del stored
    skipped_before = int(state["skipped"])
    online, of_codec = codec_input.in_step(config, source)
    steps = run.steps(state["params"], online)
    state = mapping.place_state(state)
    frozen = mapping.place(parts.params(run.parts) | of_codec)
    del source, of_codec, hear  # each device holds its copy; this would be one more on the first

    # 4. Outlets
    cluster.on_leader(lambda: save_config(config, workdir))
    cluster.on_leader(lambda: parts.store(run.parts, workdir))
    seconds = config.train.batch_size * config.data.segment_samples / system.output_rate
    outlets = logs.Outlets(workdir, step, config.train.steps, seconds)

    def evaluate(at: int, names: list[str]) -> dict[str, float]:
        params = run.whole(_running_params(run, state))
        figures: dict[str, float] = {}
        for name in names:
            values = {f"{name}/{k}": v for k, v in judges[name].run(params)}
            outlets.write(at, values)
            numbers = {k: v for k, v in values.items() if isinstance(v, float)}
            shown = "  ".join(f"{k} {v:.4g}" for k, v in numbers.items())
            outlets.line(f"step {at}: {shown}")
            figures |= numbers
        return figures

    def save(at: int, everything: dict[str, Any]) -> None:
        facts = {
            "config": json.loads(config.to_json_best_effort()),
            "batches_consumed": at,
            "data": data_hash,
            "scores": scores,
        }
        store.save(at, everything, facts, scores)

    # 5. The loop. Do not change the order of what happens in it: a resumed run relies on it.
    stream = pipeline.batches(
        make,
        config.train.batch_size,
        step,
        config.data.workers,
        host=jax.process_index(),
        hosts=jax.process_count(),
        say=outlets.line,
    )
    watch = _BrokenFiles(make.recordings, outlets.line)
    most = config.train.max_skipped_in_row
    skipped = _Skipped(skipped_before, step, most, outlets.line, store.latest)
    failed_saves = 0
    with Interruption() as interruption, contextlib.ExitStack() as stack:
        for thing in (profile, outlets, stream):
            stack.callback(thing.close)
        placed = devices.prefetch(map(watch.pass_on, stream), mapping.divide)
        while step < config.train.steps:
            profile.before(step + 1)
            with jax.profiler.StepTraceAnnotation("train", step_num=step + 1):
                state, metrics = steps(step)(state, next(placed), key, frozen)
            step += 1
            if profile.after(step, metrics):
                outlets.line(f"step {step}: traced into {profile.folder}")
            last, stop = step == config.train.steps, interruption.status(step)
            if step % config.train.log_every == 0 or last:
                values = {k: float(v) for k, v in mapping.fetch(metrics).items()}
                outlets.write(step, values)
                skipped.tell(step, values)
                losses = {k: v for k, v in values.items() if k.endswith("/loss")}
                outlets.progress.update(step, losses)
            due = [name for name, judge in judges.items() if step % judge.every == 0 or last]
            if due:
                began = time.monotonic()
                scores |= cluster.on_leader(functools.partial(evaluate, step, due))
                outlets.progress.skip(time.monotonic() - began)
            if step % config.checkpoint.every == 0 or last or stop:
                everything = mapping.fetch_state(state, shapes)
                try:
                    cluster.on_leader(functools.partial(save, step, everything))
                    failed_saves = 0
                except UserError as error:
                    failed_saves += 1
                    if last or stop or failed_saves == config.checkpoint.max_failed:
                        raise
                    of = f"{failed_saves} of at most {config.checkpoint.max_failed} in a row"
                    outlets.line(f"{error}; training goes on ({of})")
            if stop:
                outlets.line(f"stopped and saved at step {step}; the same command continues")
                raise Interrupted(stop)
    store.close()
    return scores | {"steps_per_second": outlets.progress.rate()}


def _running_params(run: Run, state: Any) -> Any:
    group = run.objective.generator
    source = state["ema"] if group in state["ema"] else state["params"]
    return run.mapping.fetch(source[group])


class _Skipped:
    """Tells of updates that were not finite, and ends a run that makes no others.

    Args:
      total: how many there were in the run so far.
      step: the run continues here.
      most_in_row: limit.
      say: gets a line.
      saved: step of the newest checkpoint.
    """

    def __init__(
        self,
        total: int,
        step: int,
        most_in_row: int,
        say: Callable[[str], None],
        saved: Callable[[], int | None],
    ) -> None:
        self._total, self._step, self._most = total, step, most_in_row
        self._say, self._saved = say, saved

    def tell(self, step: int, values: Mapping[str, float]) -> None:
        """Of the steps since it was last asked."""
        new, steps = int(values["skipped"]) - self._total, step - self._step
        self._total, self._step = int(values["skipped"]), step
        told = f"step {step}: {new} of {steps} updates not finite and skipped"
        if values["skipped_in_row"] >= self._most:
            saved = self._saved()
            raise UserError(
                f"{told}, {values['skipped_in_row']:.0f} in a row (config.train.max_skipped_in_row "
                f"{self._most}); lower the learning rate or look at the data"
                + (f"; the checkpoint of step {saved} is whole" if saved else "")
            )
        if new:
            self._say(told)


class _BrokenFiles:
    """Passes batches on and names each recording that could not be read, once."""

    def __init__(self, found: list[recordings.Recording], say: Callable[[str], None]) -> None:
        self._recordings, self._say, self._seen = found, say, set[int]()

    def pass_on(self, batch: pipeline.Batch) -> pipeline.Batch:
        broken = batch["broken"]
        for i in set(broken[broken >= 0].tolist()) - self._seen:
            self._seen.add(i)
            self._say(
                f"cannot read {self._recordings[i].where}; another recording takes its place "
                f"({len(self._seen)} such files so far)"
            )
        return {name: value for name, value in batch.items() if name != "broken"}
