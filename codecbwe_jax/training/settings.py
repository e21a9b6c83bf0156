"""What a run's config may hold, and the one check that every command makes of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from codecbwe_jax import objectives, systems
from codecbwe_jax.config import load_config
from codecbwe_jax.data.lowpass import LOWPASSES
from codecbwe_jax.errors import MistakesError, UserError
from codecbwe_jax.evaluation import evaluators
from codecbwe_jax.fields import (
    MISSING,
    Count,
    CountOrNone,
    Field,
    Fraction,
    Group,
    Matching,
    NotNegative,
    OneOf,
    Pattern,
    Positive,
    Precision,
    Rate,
    Seed,
    Share,
    Size,
    SomeOf,
    Within,
    expected,
    faults,
    fields_of,
    members,
)
from codecbwe_jax.inference.model_folders import settings_in
from codecbwe_jax.objectives.turn import Context
from codecbwe_jax.systems.base import System


@dataclasses.dataclass(frozen=True)
class OptimizerSettings:
    """AdamW of a parameter group; see `training.optimizers`.

    Attributes:
      learning_rate: after the warm-up.
      betas: of Adam's moments.
      weight_decay: as a share of the learning rate.
      clip_norm: largest norm of a group's gradient; 0: any.
      warmup_steps: over which the rate rises from nothing.
      decay: factor on the rate.
      decay_every: steps after which the factor is applied again.
      rates: pairs of a regular expression over parameter paths and a factor on the rate; 0 freezes.
    """

    learning_rate: Annotated[float, Within(0, 10)] = 2e-4
    betas: tuple[Fraction, Fraction] = (0.8, 0.99)
    weight_decay: Share = 0.01
    clip_norm: NotNegative = 10.0
    warmup_steps: CountOrNone = 0
    decay: SomeOf = 0.999996
    decay_every: Count = 1
    rates: tuple[tuple[Pattern, NotNegative], ...] = ()


@dataclasses.dataclass(frozen=True)
class DataSettings:
    """Recordings.

    Attributes:
      path: a folder, a .txt list or a .jsonl manifest.
      valid_path: the same for validation; if empty, speakers are held out of path.
      speaker_pattern: finds the speaker in a file's path below `path`, by its group "speaker" or
        its first; "" knows usual names, else takes the folder, or what is before a _.
      valid_share: share of the recordings that is held out, in whole speakers.
      segment_samples: length of a training pair, at the output rate.
      balance_speakers: draw a speaker first, then one of the speaker's recordings.
      bandwidth: measure that of every file, or trust the manifest's.
      min_bandwidth_hz: least real bandwidth; 0 takes half of the output's band.
      min_seconds, max_seconds: of a recording.
      max_wer, max_cer: most errors in words and characters that a manifest may state.
      speakers: the only ones that are taken; none: all.
      workers: processes that read; 0 uses threads of the main one.
    """

    path: str = ""
    valid_path: str = ""
    speaker_pattern: Pattern = ""
    valid_share: Fraction = 0.1
    segment_samples: Count = 24_000
    balance_speakers: bool = True
    bandwidth: Literal["measure", "manifest"] = "measure"
    min_bandwidth_hz: NotNegative = 0.0
    min_seconds: NotNegative = 0.0
    max_seconds: Positive = 3600.0
    max_wer: NotNegative = 1.0
    max_cer: NotNegative = 1.0
    speakers: tuple[str, ...] = ()
    workers: Annotated[int, Within(0, 512)] = 0


@dataclasses.dataclass(frozen=True)
class LowpassSettings:
    """How recordings are made narrow; in `config.data`.

    Attributes:
      lowpass: filters that recordings pass, one drawn for each.
      gain_db: lowest and highest gain, one drawn for each.
      source_rates: with hifi_gan_bwe and nuwave2: rates in Hz that the input may have, one drawn
        for each.
    """

    lowpass: tuple[Annotated[str, OneOf(LOWPASSES)], ...] = ("hann24",)
    gain_db: tuple[float, float] = (0.0, 0.0)
    source_rates: tuple[Rate, ...] = ()


@dataclasses.dataclass(frozen=True)
class CodecInputSettings:
    """What of a codec is heard; in `config.data`.

    Attributes:
      input: "lowpass": band-limited recordings; "codec_online", "codec_cached": a codec's own
        output or tokens, made in the step or by `codecbwe cache`.
      codec: folder of the codec.
      codec_dtype: what it computes in.
      chunk_seconds: the stretch that it encodes at once.
      cache: folder that `codecbwe cache` made.
    """

    input: Literal["lowpass", "codec_online", "codec_cached"] = "codec_online"
    codec: str = ""
    codec_dtype: Precision = "bfloat16"
    chunk_seconds: Annotated[float, Within(0, 3600, above=True)] = 4.0
    cache: str = ""


@dataclasses.dataclass(frozen=True)
class TrainSettings:
    """The run.

    Attributes:
      seed: of parameters, data and noise.
      steps: of the whole run.
      batch_size: pairs in a step, over all devices.
      micro_batches: parts of a device's batch whose gradients are computed one after the other.
      log_every: steps between two lines of losses.
      ema_decay: of the generator's moving average, which is then what is evaluated and exported; 0:
        none.
      init_from: a converted, exported or work folder whose generator to start from; "codec": the
        codec's own decoder.
      max_skipped_in_row: updates that may be skipped because they are not finite.
      mapping: JAX's way to data parallelism.
      share_optimizer: each device keeps its part of Adam's moments alone: less memory, one more
        exchange.
    """

    seed: Seed = 1234
    steps: Count = 400_000
    batch_size: Size = 16
    micro_batches: Size = 1
    log_every: Count = 100
    ema_decay: Fraction = 0.999
    init_from: str = ""
    max_skipped_in_row: Count = 20
    mapping: Literal["pmap", "shard_map"] = "pmap"
    share_optimizer: bool = False


@dataclasses.dataclass(frozen=True)
class CheckpointSettings:
    """What is kept.

    Attributes:
      every: steps between two checkpoints.
      keep_last: how many.
      best: a figure of an evaluator whose best checkpoint is kept too; "": none.
      best_is: which is better.
      max_failed: saves in a row that may fail (a full disk, a bucket out of reach) before the run
        gives up.
    """

    every: Count = 5000
    keep_last: Size = 2
    best: Annotated[str, Matching(r"[^/]+/[^/]+", "EVALUATOR/FIGURE, as valid/lsd")] = "valid/lsd"
    best_is: Literal["min", "max"] = "min"
    max_failed: Count = 3


@dataclasses.dataclass(frozen=True)
class ProfileSettings:
    """Traces for TensorBoard's profiler.

    Attributes:
      steps: which are traced, as 100-105.
    """

    steps: Annotated[str, Matching(r"[1-9]\d{0,9}-[1-9]\d{0,9}", "FIRST-LAST, as 100-105")] = ""


def _data_fields(value: Mapping[str, Any]) -> dict[str, Field]:
    """Recordings, and of the two other groups those that the config has any field of."""
    found = fields_of(DataSettings)
    for group in (LowpassSettings, CodecInputSettings):
        known = fields_of(group)
        found |= known if set(known) & set(value) else {}
    return found


SECTIONS: dict[str, Any] = {
    "system": systems.Settings,
    # its system says what there is to it: see `_sections`
    "sampling": dict[str, Any],
    "parts": dict[str, str],
    "objective": objectives.Settings,
    "optimizers": dict[str, OptimizerSettings],
    "data": Annotated[dict, Group(_data_fields)],
    "train": TrainSettings,
    "checkpoint": CheckpointSettings,
    "profile": ProfileSettings,
    "evaluators": dict[str, evaluators.Settings],
}


def _sections(value: Mapping[str, Any]) -> dict[str, Field]:
    """Those of a config; its system says what there is to sampling."""
    system = value.get("system", {})
    sampled = _sampled_by(system.get("name") if isinstance(system, Mapping) else None)
    kinds = {**SECTIONS, "sampling": Annotated[dict, Group(lambda _: sampled)]}
    return {name: Field(kind, MISSING, "") for name, kind in kinds.items()}


def _sampled_by(system: str | None) -> dict[str, Field]:
    """Fields of `config.sampling` for a system, by its name."""
    kind = systems.kind_of(system).sampling_kind if system in systems.REGISTRY else None
    return fields_of(kind) if kind else {}


# The kind of a run's config.
Run = Annotated[dict, Group(_sections)]


def load_run(argument: str, overrides: Sequence[str] = ()) -> ConfigDict:
    """`config.load_config` of a run; fields that it leaves at their defaults can be overridden too.

    Raises:
      UserError: as `load_config`.
    """

    def default(config: ConfigDict, field: str) -> Any:
        kind, value = Run, config.to_dict()
        *parents, leaf = field.split(".")
        if parents == ["parts"]:
            return ""
        for part in parents:
            kind, value = (members(kind, value) or {})[part].kind, value[part]
        return (members(kind, value) or {})[leaf].default

    config = load_config(argument, overrides, default)
    _describe_parts(config)
    return config


def _describe_parts(config: ConfigDict) -> None:
    """Give a config the settings of its system's parts, which their folders hold."""
    named = config.system.get("name")
    known = fields_of(systems.kind_of(named)) if named in systems.REGISTRY else {}
    for name, folder in config.get("parts", {}).items():
        if folder and name in known:
            with config.unlocked():
                config.system[name] = ConfigDict(settings_in(Path(folder)))


def check(config: ConfigDict) -> None:
    """Raise UserError that lists all that is wrong with a run's config, if anything is: no step
    runs, and nothing is compiled or written."""
    values = config.to_dict()
    wrong = faults(Run, values, "config") or _left_out(values) or list(_together(values))
    if wrong:
        raise MistakesError(wrong)


def described(config: ConfigDict) -> Iterator[str]:
    """Every field of a config, one line each for its value and for what it may be, its default and
    its meaning; those that it leaves at their defaults too."""
    yield from _described(Run, config.to_dict(), "config")


def _described(kind: Any, value: Mapping[str, Any], where: str) -> Iterator[str]:
    others = []
    for name, field in (members(kind, value) or {}).items():
        at, now = f"{where}.{name}", value.get(name, field.default)
        if members(field.kind, {}) is None:
            default = "" if field.default is MISSING else f"; default {field.default!r}"
            yield f"{at} = {now!r}"
            yield f"    {expected(field.kind)}{default}. {field.meaning}".rstrip()
        elif isinstance(now, Mapping):
            yield from _described(field.kind, now, at)
        else:
            others.append(name)
    if others:
        yield f"{where} may have {', '.join(others)} too"


def _left_out(values: Mapping[str, Any]) -> list[str]:
    """Fields of a run that have no value: only systems, losses and critics know their defaults."""
    wanted = {
        "data": _data_fields(values["data"]),
        **{n: fields_of(SECTIONS[n]) for n in ("train", "checkpoint", "profile")},
        **{f"optimizers.{n}": fields_of(OptimizerSettings) for n in values["optimizers"]},
    }
    found = {**values, **{f"optimizers.{n}": v for n, v in values["optimizers"].items()}}
    return [
        f"config.{section}.{name} is missing (as configs/base.py has it)"
        for section, fields in wanted.items()
        for name in fields
        if name not in found[section]
    ]


def _together(values: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with fields that are right one by one."""
    yield from _of_the_run(values["train"], values["checkpoint"]["best"], values["evaluators"])
    yield from _of_the_data(values["data"])
    yield from _of_a_step(values)


def _of_the_run(
    train: Mapping[str, Any], best: str, judges: Mapping[str, Mapping[str, Any]]
) -> Iterator[str]:
    if train["batch_size"] % train["micro_batches"]:
        yield (
            f"config.train.micro_batches is {train['micro_batches']}; a divisor of batch_size "
            f"{train['batch_size']} is expected"
        )
    if train["init_from"] in systems.REGISTRY and train["init_from"] != "codec":
        yield f"config.train.init_from is {train['init_from']!r}; a folder of a model is expected"
    known = [f"{judge}/{figure}" for judge in judges for figure in evaluators.FIGURES]
    if best and best not in known:
        yield f"config.checkpoint.best is {best!r}; one of {', '.join(known)} is expected"


def _of_the_data(data: Mapping[str, Any]) -> Iterator[str]:
    if data["min_seconds"] > data["max_seconds"]:
        yield f"config.data.min_seconds {data['min_seconds']} is above max_seconds"
    low, high = data.get("gain_db", (0, 0))
    if low > high:
        yield f"config.data.gain_db is {low}, {high}; the lower comes first"
    if not data.get("lowpass", True) and data.get("input", "lowpass") == "lowpass":
        yield f"config.data.lowpass is empty; some of {', '.join(LOWPASSES)} are expected"


def _of_a_step(values: Mapping[str, Any]) -> Iterator[str]:
    """What a network, a loss or a critic says when a step is traced on shapes: nothing runs."""
    samples = values["data"]["segment_samples"]
    try:
        system = systems.build(values["system"])
        for where, sampling in _samplings(values):
            systems.build_sampling(system, sampling, where)
        named = {name for name, folder in values["parts"].items() if folder}
        yield from _of_parts(named, system)
        objective = objectives.build(system, ConfigDict(values["objective"]))
        yield from _of_optimizers(values["optimizers"], {turn.group for turn in objective.turns})
        params = jax.eval_shape(objective.init, jax.random.key(0))
        key = jax.random.split(jax.random.key(0), 1)
        frozen = {name: part.shapes() for name, part in system.parts.items()}
        averages = {name: params[a.group] for name, a in objective.averages.items()}
        # the last turn sees what all see
        loss = objective.turns[-1].loss

        def of(params: Any, batch: Any, frozen: Any, averages: Any) -> jax.Array:
            context = Context(jnp.int32(0), key, lambda x: x, frozen, averages)
            return loss(params, batch, context)[0]

        jax.eval_shape(of, params, shapes(system, samples), frozen, averages)
    except UserError as error:
        yield str(error)
    except Exception as error:  # whatever sizes that do not fit make of it
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        yield (
            f"no training step can be made of config.system, config.objective and segments of "
            f"{samples} samples ({type(error).__name__}: {first[:200]})"
        )


def _samplings(values: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """How a run samples, and its evaluators, by the names of the groups that say it."""
    yield "config.sampling", values["sampling"]
    for name, judge in values["evaluators"].items():
        own = judge.get("sampling", {})
        yield f"config.evaluators.{name}.sampling", {**values["sampling"], **own}


def _of_parts(named: Collection[str], system: System) -> Iterator[str]:
    for name in sorted(set(system.parts) - set(named)):
        yield f"config.parts.{name} is missing: the folder of a trained {name} is expected"
    for name in sorted(set(named) - set(system.parts)):
        known = ", ".join(system.parts) or "none"
        yield f"config.parts.{name}: the system has no such part; its parts: {known}"


def _of_optimizers(entries: Mapping[str, Any], groups: Collection[str]) -> Iterator[str]:
    known = ["default", *sorted(groups)]
    if unknown := sorted(set(entries) - set(known)):
        yield f"config.optimizers has {', '.join(unknown)}; known: {', '.join(known)}"
    if "default" not in entries and not set(groups) <= set(entries):
        yield "config.optimizers.default is missing"


def shapes(system: System, samples: int) -> dict[str, jax.ShapeDtypeStruct]:
    """A batch of one pair.

    Args:
      system: that hears it.
      samples: of the target.
    """
    given = {"tokens" if system.takes == "tokens" else "input": system.input_shape(samples)}
    target = jax.ShapeDtypeStruct((1, samples), np.float32)
    return given | {"target": target, "index": jax.ShapeDtypeStruct((1,), np.int32)}
