"""A run, made once of its config: what all that trains, plans or compares takes it apart into."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Self

import jax
import numpy as np
from ml_collections import ConfigDict

from codecbwe_jax import objectives, systems
from codecbwe_jax.data import pipeline
from codecbwe_jax.errors import UserError
from codecbwe_jax.inference.model import Model
from codecbwe_jax.inference.model_folders import load_model
from codecbwe_jax.objectives.turn import Average, Objective
from codecbwe_jax.systems.base import System
from codecbwe_jax.training import codec_input, devices, optimizers, parts, settings
from codecbwe_jax.training.step import init_state, make_step

State = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Run:
    """What follows from a config.

    Attributes:
      config: see `training.settings`.
      system: what is trained.
      objective: how.
      mapping: over all devices.
      parts: the system's frozen parts, by name.
    """

    config: ConfigDict
    system: System
    objective: Objective
    mapping: devices.DeviceMapping
    parts: dict[str, Model]

    @classmethod
    def of(cls, config: ConfigDict) -> Self:
        """The run of a config.

        Raises:
          UserError: that lists all that is wrong with it.
        """
        settings.check(config)
        system = systems.build(config.system)
        objective = objectives.build(system, config.objective)
        train = config.train
        mapping = devices.build(
            train.mapping, train.batch_size, jax.devices(), train.share_optimizer
        )
        return cls(config, system, objective, mapping, parts.load(config, system))

    @property
    def key(self) -> jax.Array:
        """Of parameters, and of what steps draw."""
        return jax.random.key(self.config.train.seed)

    @property
    def averages(self) -> dict[str, Average]:
        """The objective's own, and that of the generator, which is evaluated and exported."""
        decay, generator = self.config.train.ema_decay, self.objective.generator
        running = {generator: Average(generator, decay)} if decay else {}
        return {**self.objective.averages, **running}

    def optimizers(self, params: dict[str, Any]) -> dict[str, Any]:
        """The optimiser of each group that is trained; of parameters, their shapes count."""
        return {
            group: optimizers.build(self._optimizer(group), params[group], self.mapping.share)
            for group in self._groups
        }

    def fresh(self) -> State:
        """The host state of a run that begins from nothing."""
        params = jax.device_get(self.objective.init(jax.random.fold_in(self.key, 0)))
        return jax.device_get(self._begun(params))

    def shapes(self) -> State:
        """Shapes of a state."""
        return jax.eval_shape(lambda key: self._begun(self.objective.init(key)), self.key)

    def _begun(self, params: dict[str, Any]) -> State:
        return init_state(params, self.optimizers(params), self.averages)

    def start(self, state: State, source: codec_input.Source | None) -> None:
        """Give a fresh state what it takes from elsewhere: the codec's codebook, trained weights.

        Raises:
          UserError: if `config.train.init_from` has nothing for the system.
        """
        group, where = self.objective.generator, self.config.train.init_from
        params = state["params"][group]
        if source:
            params = codec_input.with_codebook(params, self.system, source.codec)
        if where:
            trained = source.codec.model if source and where == "codec" else load_model(where)
            params = self._started_from(trained, params)
            print(f"{group} starts from {trained.name}", flush=True)
        state["params"][group] = params
        for name, average in self.averages.items():
            if average.group == group:
                state["ema"][name] = jax.tree.map(np.copy, params)

    def starting_model(self, name: str) -> Model:
        """What it starts from, untrained."""
        state = self.fresh()
        self.start(state, codec_input.load(self.config, self.system))
        return Model(name, self.system, self.whole(state["params"][self.objective.generator]), {})

    def whole(self, generator: Any) -> dict[str, Any]:
        """The generator's parameters and its parts'."""
        return {**generator, **parts.params(self.parts)}

    def steps(
        self, params: dict[str, Any], inputs: codec_input.CodecInput | None = None
    ) -> Callable[[int], devices.MappedStep]:
        """step number -> mapped step; one is compiled for each set of active turns.

        Args:
          params: of all groups, or their shapes.
          inputs: whose codec runs in the step, on the frozen parameters that the step is given.
        """
        transforms = self.optimizers(params)
        rates = {g: optimizers.learning_rate(self._optimizer(g)) for g in self._groups}
        prepare = {"prepare": lambda f, batch: inputs.prepare(f["codec"], batch)} if inputs else {}
        compiled: dict[tuple[int, ...], devices.MappedStep] = {}

        def choose(step: int) -> devices.MappedStep:
            turns = self.objective.turns
            active = tuple(i for i, turn in enumerate(turns) if turn.active(step))
            if active not in compiled:
                chosen = [turns[i] for i in active]
                micro = self.config.train.micro_batches
                function = make_step(chosen, transforms, rates, self.averages, micro, **prepare)
                compiled[active] = self.mapping.map_step(function)
                names = ", ".join(dict.fromkeys(turn.group for turn in chosen))
                print(
                    f"compiling a step of {names} (a minute or less; kept for next time)",
                    flush=True,
                )
            return compiled[active]

        return choose

    def pair_settings(self) -> pipeline.PairSettings:
        """How it makes pairs of recordings.

        Raises:
          UserError: if the system does not take the rates that are to be drawn.
        """
        data, system = self.config.data, self.system
        rates = tuple(data.source_rates)
        if rates and (not system.upsampler or max(rates) >= system.output_rate):
            raise UserError(
                f"config.data.source_rates is {rates}: {self.config.system.name} takes "
                + (f"rates below {system.output_rate} Hz" if system.upsampler else "one rate alone")
            )
        return pipeline.PairSettings(
            system.input_rate,
            system.output_rate,
            data.segment_samples,
            tuple(data.lowpass),
            tuple(data.gain_db),
            data.balance_speakers,
            self.config.train.seed,
            rates,
            system.upsampler,
        )

    @property
    def _groups(self) -> list[str]:
        """Those that are trained."""
        return sorted({turn.group for turn in self.objective.turns})

    def _optimizer(self, group: str) -> Any:
        """A group's own entry in `config.optimizers`, else "default"."""
        return self.config.optimizers.get(group) or self.config.optimizers["default"]

    def _started_from(self, model: Model, fresh: Any) -> Any:
        """The parameters of a trained model, or what they give for another system."""
        if model.system == self.system.computing_in(model.system.compute_dtype):
            own = {name: p for name, p in model.params.items() if name not in model.system.parts}
            return jax.device_get(own)
        try:
            return jax.device_get(self.system.start_from(fresh, model.system, model.params))
        except UserError as error:
            raise UserError(f"config.train.init_from, {model.name}: {error}") from None
