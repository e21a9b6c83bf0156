"""The trainer. It runs turns; what they are is the objective's business."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from codecbwe_jax import objectives, systems
from codecbwe_jax.config import save_config
from codecbwe_jax.data import pipeline, recordings
from codecbwe_jax.errors import UserError
from codecbwe_jax.evaluation import evaluators
from codecbwe_jax.inference.frozen_codec import FrozenCodec
from codecbwe_jax.inference.model import Model, load_model
from codecbwe_jax.objectives.turn import Average, Objective
from codecbwe_jax.training import (
    cluster,
    codec_input,
    continuation,
    devices,
    logs,
    optimizers,
    parts,
    settings,
)
from codecbwe_jax.training.data import find_recordings
from codecbwe_jax.training.interruption import Interrupted, Interruption
from codecbwe_jax.training.profiling import Profile
from codecbwe_jax.training.step import init_state, make_step
from codecbwe_jax.weights import checkpoints


def train(config: ConfigDict, workdir: Path) -> dict[str, float]:
    """Train a system in a work folder, from its newest checkpoint if it has one.

    Args:
      config: see `training.settings`.
      workdir: gets `config.json`, `checkpoints/`, `tensorboard/` and `metrics.jsonl`.

    Returns:
      Figures of the last evaluation, and "steps_per_second".

    Raises:
      UserError: on a bad config, bad data, a work folder of another model, or one in which another
        run is at work.
      Interrupted: after SIGINT or SIGTERM, when everything is saved.
    """
    settings.check(config)
    system = systems.build(config.system)
    objective = objectives.build(system, config.objective)
    mapping = device_mapping(config)
    with cluster.leader_holds(workdir):
        return _train(config, workdir, system, objective, mapping)


def _train(
    config: ConfigDict,
    workdir: Path,
    system: systems.System,
    objective: Objective,
    mapping: devices.DeviceMapping,
) -> dict[str, float]:
    # 1. What the network hears, and what it is made of
    source, codec = codec_input.load(config, system)
    frozen_parts = parts.load(config, system)
    profile = Profile(config.profile.steps, workdir / "tensorboard")

    # 2. Recordings, and what is measured on those held out
    train_set, valid_set = cluster.leader_first(
        lambda: find_recordings(config, system.output_rate, workdir)
    )
    if source:
        make = codec_input.make_pairs(config, train_set, source)
    else:
        make = pipeline.MakePair(train_set, pair_settings(config, system))
    hear = codec_input.hear(codec, system) if codec else None
    sampling = config.sampling.to_dict()
    judges = evaluators.build(system, valid_set, config.evaluators, hear, sampling)
    print(devices.described(), flush=True)

    # 3. State: the newest checkpoint, else fresh parameters, some perhaps from elsewhere
    store = checkpoints.Checkpoints(
        workdir / "checkpoints",
        config.checkpoint.keep_last,
        (config.checkpoint.best, config.checkpoint.best_is) if config.checkpoint.best else None,
    )
    key = jax.random.key(config.train.seed)
    state, transforms = fresh_state(config, objective, key, mapping.share)
    data_hash = pipeline.fingerprint(make.recordings, make.settings, config.train.batch_size)
    data_hash = parts.named_in(data_hash, frozen_parts)
    cluster.check_agreement("recordings, or not the same config", data_hash)
    stored = cluster.leader_first(store.newest)
    step, scores = stored.step if stored else 0, {}
    cluster.check_agreement("newest checkpoint", f"{step:x}")
    if stored:
        changed = continuation.changes(stored.facts, config, data_hash, workdir)
        scores = stored.facts["scores"]
        state = stored.fill(state)
        print(f"continuing at step {step} in {workdir}", flush=True)
        if changed:
            print(f"changed since then: {changed}", flush=True)
    else:
        _start(state, config, objective, system, codec)
    del stored
    skipped_before = int(state["skipped"])
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(np.shape(x), x.dtype), state)
    state = mapping.place_state(state)
    online = source if source and config.data.input == "codec_online" else None
    whole = parts.params(frozen_parts)
    frozen = mapping.place(whole | ({"codec": codec.params} if online else {}))
    del codec, hear  # each device holds its copy; this would be one more on the first

    # 4. Outlets
    cluster.on_leader(lambda: save_config(config, workdir))
    cluster.on_leader(lambda: parts.store(frozen_parts, workdir))
    seconds = config.train.batch_size * config.data.segment_samples / system.output_rate
    outlets = logs.Outlets(workdir, step, config.train.steps, seconds)

    def evaluate(at: int, names: list[str]) -> dict[str, float]:
        params = _running_params(mapping, state, objective) | whole
        figures = {}
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
    steps = compiled_steps(config, objective, transforms, mapping, online)
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
    closing = contextlib.closing(_Closing(stream, outlets, profile))
    with Interruption() as interruption, closing:
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


def device_mapping(config: ConfigDict) -> devices.DeviceMapping:
    """How a run is mapped over all devices.

    Raises:
      UserError: on an unknown mapping, or a batch that the devices cannot share evenly.
    """
    train = config.train
    return devices.build(train.mapping, train.batch_size, jax.devices(), train.share_optimizer)


def starting_model(config: ConfigDict, name: str) -> Model:
    """What a run with this config starts from, untrained.

    Raises:
      UserError: as `train`.
    """
    system = systems.build(config.system)
    objective = objectives.build(system, config.objective)
    _, codec = codec_input.load(config, system)
    key = jax.random.key(config.train.seed)
    state, _ = fresh_state(config, objective, key)
    _start(state, config, objective, system, codec)
    whole = state["params"][objective.generator] | parts.params(parts.load(config, system))
    return Model(name, system, whole, {})


def pair_settings(config: ConfigDict, system: systems.System) -> pipeline.PairSettings:
    """How a run makes pairs of recordings.

    Raises:
      UserError: if the system does not take the rates that are to be drawn.
    """
    rates = tuple(config.data.source_rates)
    if rates and (not system.upsampler or max(rates) >= system.output_rate):
        raise UserError(
            f"config.data.source_rates is {rates}: {config.system.name} takes "
            + (f"rates below {system.output_rate} Hz" if system.upsampler else "one rate alone")
        )
    return pipeline.PairSettings(
        system.input_rate,
        system.output_rate,
        config.data.segment_samples,
        tuple(config.data.lowpass),
        tuple(config.data.gain_db),
        config.data.balance_speakers,
        config.train.seed,
        rates,
        system.upsampler,
    )


def fresh_state(
    config: ConfigDict,
    objective: Objective,
    key: jax.Array,
    share: optimizers.Share = optimizers.alone,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(host state of a new run, optimiser of each group)."""
    params = jax.device_get(objective.init(jax.random.fold_in(key, 0)))
    transforms = group_optimizers(config, objective, params, share)
    state = init_state(params, transforms, averages(config, objective))
    return jax.device_get(state), transforms


def averages(config: ConfigDict, objective: Objective) -> dict[str, Average]:
    """The objective's own, and that of the generator, which is evaluated and exported."""
    decay, generator = config.train.ema_decay, objective.generator
    running = {generator: Average(generator, decay)} if decay else {}
    return {**objective.averages, **running}


def group_optimizers(
    config: ConfigDict,
    objective: Objective,
    params: dict[str, Any],
    share: optimizers.Share = optimizers.alone,
) -> dict[str, Any]:
    """The optimiser of each group that is trained; of parameters, their shapes count."""
    groups = sorted({turn.group for turn in objective.turns})
    return {g: optimizers.build(_optimizer_settings(config, g), params[g], share) for g in groups}


def _start(
    state: dict[str, Any],
    config: ConfigDict,
    objective: Objective,
    system: systems.System,
    codec: FrozenCodec | None,
) -> None:
    """Give a fresh state what it takes from elsewhere: the codec's codebook, trained weights."""
    group, where = objective.generator, config.train.init_from
    params = state["params"][group]
    if codec:
        params = codec_input.with_codebook(params, system, codec)
    if where:
        trained = codec.model if codec and where == "codec" else load_model(where)
        params = _started_from(trained, params, system)
        print(f"{group} starts from {trained.name}", flush=True)
    state["params"][group] = params
    for name, average in averages(config, objective).items():
        if average.group == group:
            state["ema"][name] = jax.tree.map(np.copy, params)


def _started_from(model: Model, fresh: Any, system: systems.System) -> Any:
    """The parameters of a trained model, or what they give for another system."""
    params = {name: p for name, p in model.params.items() if name not in model.system.parts}
    if model.system != dataclasses.replace(system, compute_dtype=model.system.compute_dtype):
        try:
            params = system.start_from(fresh, model.system, model.params)
        except UserError as error:
            raise UserError(f"config.train.init_from, {model.name}: {error}") from None
    return jax.device_get(params)


def _optimizer_settings(config: ConfigDict, group: str) -> Any:
    """A group's own entry in `config.optimizers`, else "default"."""
    return config.optimizers.get(group) or config.optimizers["default"]


def compiled_steps(
    config: ConfigDict,
    objective: Objective,
    transforms: dict[str, Any],
    mapping: devices.DeviceMapping,
    source: codec_input.CodecInput | None = None,
) -> Callable[[int], Callable]:
    """step number -> mapped step; one is compiled for each set of active turns.

    With a source, its codec runs in the step, on the frozen parameters that the step is given.
    """
    prepare = {"prepare": lambda f, batch: source.prepare(f["codec"], batch)} if source else {}
    moving = averages(config, objective)
    rates = {g: optimizers.learning_rate(_optimizer_settings(config, g)) for g in transforms}
    compiled: dict[tuple[int, ...], Callable] = {}

    def choose(step: int) -> Callable:
        active = tuple(i for i, turn in enumerate(objective.turns) if turn.active(step))
        if active not in compiled:
            turns = [objective.turns[i] for i in active]
            micro = config.train.micro_batches
            function = make_step(turns, transforms, rates, moving, micro, **prepare)
            compiled[active] = mapping.map_step(function)
            names = ", ".join(dict.fromkeys(t.group for t in turns))
            print(f"compiling a step of {names} (a minute or less; kept for next time)", flush=True)
        return compiled[active]

    return choose


def _running_params(mapping: devices.DeviceMapping, state: Any, objective: Objective) -> Any:
    group = objective.generator
    source = state["ema"] if group in state["ema"] else state["params"]
    return mapping.fetch(source[group])


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


class _Closing:
    def __init__(self, *things: Any) -> None:
        self._things = things

    def close(self) -> None:
        for thing in self._things:
            if hasattr(thing, "close"):
                thing.close()
