"""Adversarial training: one turn for each critic, then one for the generator, on one batch.

Three phases (`config.objective`): reconstruction alone until `adversarial_from`, in which the
critics are not even compiled; then critics train and their part of the generator's loss rises
linearly over `ramp_steps`; then all at full weight. With `critics_alone_steps`, fresh critics
catch up with a trained generator first, while it stands still. With `generator_every`, the
generator takes its turn in every so many of the steps in which critics do.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from flax import linen as nn

from codecbwe_jax.errors import UserError
from codecbwe_jax.fields import (
    Count,
    CountOrNone,
    Fraction,
    Nothing,
    NotNegative,
    OneOf,
    Positive,
)
from codecbwe_jax.losses.adversarial import ADVERSARIAL, feature_matching
from codecbwe_jax.losses.balancer import balance, initial_state
from codecbwe_jax.nn.init import fresh_variables
from codecbwe_jax.objectives import critics, reconstruction
from codecbwe_jax.objectives.turn import Average, Batch, Context, Params, Report, Turn
from codecbwe_jax.systems.base import Features, System

# what a critic says in the generator's loss
CRITICISM = ("adversarial", "feature_matching")


def state_of(group: str) -> str:
    """Name of the group that holds what a critic, or the generator, keeps beside its parameters."""
    return f"{group}_state"


@runtime_checkable
class Predicts(Protocol):
    """What this objective asks of a system; `systems.base.Regression` has it."""

    def predict(self, params: Params, batch: Batch) -> Features:
        """What losses compare: "waveform" and perhaps features of the system's own."""

    def target(self, batch: Batch) -> Features:
        """The same features of the true waveform."""


@runtime_checkable
class Observes(Protocol):
    """What a system may have beside: a state that training keeps and no gradient moves."""

    def training_state(self) -> dict[str, jax.Array]:
        """At the beginning; nothing if there is none to keep."""

    def observe(
        self, state: Mapping[str, jax.Array], predicted: Features, mean: Callable[[Any], Any]
    ) -> dict[str, jax.Array]:
        """That state after a batch.

        Args:
          state: before it.
          predicted: what `predict` gave.
          mean: averages over data-parallel devices.
        """

    def upkeep(
        self, params: Params, state: Mapping[str, jax.Array], step: jax.Array
    ) -> tuple[Params, Mapping[str, jax.Array]]:
        """Parameters and state after the update of a step, with what no gradient does."""


@dataclasses.dataclass(frozen=True)
class BalancerSettings:
    """EnCodec's balancer.

    Attributes:
      shares: of the gradient at the waveform, by name of the loss.
      total_norm: of the mix.
      ema_decay: of the running means of norms.
    """

    shares: dict[str, NotNegative]
    total_norm: Positive = 1.0
    ema_decay: Fraction = 0.999


@dataclasses.dataclass(frozen=True)
class GanSettings:
    """`config.objective` of this objective.

    Attributes:
      adversarial: form of the critics' losses.
      reduction: over sub-discriminators and their feature maps.
      losses: what is reconstructed: weights and the losses' own settings.
      critics: who judges: weights and the networks' settings.
      adversarial_from: step from which critics train.
      ramp_steps: over how many more steps their weight in the generator's loss rises to full.
      critics_alone_steps: with train.init_from: so long the generator stands still while fresh
        critics catch up.
      generator_every: with critics, the generator takes its turn in every so many steps.
      balancer: empty, or each loss its share of the gradient.
    """

    adversarial: Annotated[str, OneOf(ADVERSARIAL)] = "hinge"
    reduction: Literal["mean", "sum"] = "mean"
    losses: reconstruction.Settings = dataclasses.field(default_factory=dict)
    critics: critics.Settings = dataclasses.field(default_factory=dict)
    adversarial_from: CountOrNone = 0
    ramp_steps: CountOrNone = 0
    critics_alone_steps: CountOrNone = 0
    generator_every: Count = 1
    balancer: BalancerSettings | Nothing = dataclasses.field(default_factory=dict)


class Gan:
    """The objective. Holds settings only; parameters go in and out of its functions.

    Args:
      system: what is trained.
      settings: `config.objective` as a ConfigDict.

    Raises:
      UserError: if the system does not predict, on an unknown critic, or on a share of a loss that
        there is not.
    """

    identity: ClassVar[tuple[str, ...]] = ("critics",)
    settings_kind: ClassVar[type] = GanSettings
    generator = "generator"
    averages: Mapping[str, Average] = MappingProxyType({})

    def __init__(self, system: System, settings: Any) -> None:
        if not isinstance(system, Predicts):
            raise UserError(
                f"config.objective gan: {type(system).__name__} predicts nothing that losses could "
                "compare"
            )
        self.system = system
        self.observes = system if isinstance(system, Observes) else None
        self.settings = settings
        self.critics = {
            name: critics.build_critic(name, s.to_dict()) for name, s in settings.critics.items()
        }
        terms = {*settings.losses, *(f"{c}/{term}" for c in self.critics for term in CRITICISM)}
        if unknown := sorted(set(settings.balancer.get("shares", ())) - terms):
            raise UserError(
                f"config.objective.balancer.shares has {', '.join(unknown)}; "
                f"known: {', '.join(sorted(terms))}"
            )
        self.discriminator_loss, self.generator_loss = ADVERSARIAL[settings.adversarial]
        self.turns = self._turns()

    def init(self, key: jax.Array) -> dict[str, Any]:
        """Fresh parameters: "generator", one group for each critic and one for its state if it has
        any (estimates of norms, running statistics), and the running means of the balancer if
        there is one."""
        keys = jax.random.split(key, 1 + len(self.critics))
        params: dict[str, Any] = {"generator": self.system.init(keys[0])}
        wave = jax.ShapeDtypeStruct((1, 65536), jnp.float32)
        for critic_key, (name, critic) in zip(keys[1:], self.critics.items(), strict=True):
            variables = dict(
                fresh_variables(critic, critic_key, wave, mutable=nn.DenyList("intermediates"))
            )
            params[name] = variables.pop("params")
            if variables:
                params[state_of(name)] = variables
        if self.settings.balancer:
            params["balancer"] = initial_state(self.settings.balancer.shares)
        if self.observes and (state := self.observes.training_state()):
            params[state_of("generator")] = state
        return params

    def _turns(self) -> tuple[Turn, ...]:
        start, alone = self.settings.adversarial_from, self.settings.critics_alone_steps
        every = self.settings.generator_every
        warm = functools.partial(self._generate, adversarial=False)
        full = functools.partial(self._generate, adversarial=True)
        if not self.critics:
            return (Turn("generator", warm, upkeep=self._upkeep),)
        critics = [
            Turn(name, functools.partial(self._judge, name), lambda step: step >= start)
            for name in self.critics
        ]
        return (
            *critics,
            Turn("generator", warm, lambda step: step < start, self._upkeep),
            Turn(
                "generator",
                full,
                lambda step: step >= start + alone and step % every == 0,
                self._upkeep,
            ),
        )

    def _upkeep(self, params: Params, context: Context) -> dict[str, Any]:
        name = state_of("generator")
        if not self.observes or name not in params:
            return {}
        generator, state = self.observes.upkeep(params["generator"], params[name], context.step)
        return {"generator": generator, name: state}

    def _judge(
        self, name: str, params: Params, batch: Batch, context: Context
    ) -> tuple[jax.Array, Report]:
        """A critic's loss on the true waveform and on the generator's, which stands still."""
        fake = self.system.predict(params["generator"], batch)["waveform"]
        real = self.system.target(batch)["waveform"]
        both = jax.lax.stop_gradient(jnp.concatenate([real, fake]))
        variables = self._variables(params, name)
        state = [collection for collection in variables if collection != "params"]
        judged, moved = self.critics[name].apply(variables, both, mutable=state)
        of_real, of_fake = zip(*(jnp.split(score, 2) for score, _ in judged), strict=True)
        loss = self.discriminator_loss(of_real, of_fake, self.settings.reduction)
        weighted = self.settings.critics[name].weight * loss
        updates = {state_of(name): context.mean(moved)} if state else {}
        return weighted, Report({"adversarial": loss}, updates)

    def _variables(self, params: Params, name: str) -> dict[str, Any]:
        """What a critic's `apply` takes: its parameters and its state."""
        return {"params": params[name], **params.get(state_of(name), {})}

    def _generate(
        self, params: Params, batch: Batch, context: Context, adversarial: bool
    ) -> tuple[jax.Array, Report]:
        """The generator's loss: reconstruction, and what the critics say."""
        predicted = self.system.predict(params["generator"], batch)
        target = self.system.target(batch)
        ramp = self._ramp(context.step) if adversarial else 0.0

        def terms(waveform: jax.Array) -> dict[str, jax.Array]:
            features = predicted | {"waveform": waveform}
            values = reconstruction.reconstruction_losses(
                features, target, self.system, self.settings.losses
            )
            if adversarial:
                values |= self._criticise(params, waveform, target["waveform"])
            return values

        weights = {n: s.weight for n, s in self.settings.losses.items()}
        if adversarial:
            for name, s in self.settings.critics.items():
                weights[f"{name}/adversarial"] = s.adversarial * ramp
                weights[f"{name}/feature_matching"] = s.feature_matching * ramp
        values = terms(predicted["waveform"])
        updates = self._observed(params, predicted, context)
        if not self.settings.balancer:
            return sum(weights[n] * v for n, v in values.items()), Report(values, updates)
        loss, report = self._balanced(
            params, predicted["waveform"], terms, values, weights, context
        )
        return loss, report._replace(updates=report.updates | updates)

    def _observed(self, params: Params, predicted: Features, context: Context) -> dict[str, Any]:
        name = state_of("generator")
        if not self.observes or name not in params:
            return {}
        return {name: self.observes.observe(params[name], predicted, context.mean)}

    def _criticise(self, params: Params, fake: jax.Array, real: jax.Array) -> dict[str, jax.Array]:
        values = {}
        for name in self.critics:
            judged_real, judged_fake = self._judge_both(params, name, real, fake)
            scores = [score for score, _ in judged_fake]
            rule = self.settings.reduction
            values[f"{name}/adversarial"] = self.generator_loss(scores, rule)
            values[f"{name}/feature_matching"] = feature_matching(
                [maps for _, maps in judged_real], [maps for _, maps in judged_fake], rule
            )
        return values

    def _judge_both(self, params: Params, name: str, real: jax.Array, fake: jax.Array) -> Any:
        """Judgements of both, at once only where a critic wants it: real ones need no gradient."""
        critic = self.critics[name]
        judge = functools.partial(critic.apply, self._variables(params, name))
        if not getattr(critic, "together", False):
            return judge(real), judge(fake)
        both, _ = judge(jnp.concatenate([real, fake]), mutable=["batch_stats"])
        halves = jax.tree.map(lambda x: tuple(jnp.split(x, 2)), both)
        return jax.tree.transpose(jax.tree.structure(both), jax.tree.structure((0, 0)), halves)

    def _ramp(self, step: jax.Array) -> jax.Array:
        s = self.settings
        begin = s.adversarial_from + s.critics_alone_steps
        return jnp.clip((step - begin + 1) / max(s.ramp_steps, 1), 0.0, 1.0)

    def _balanced(
        self,
        params: Params,
        waveform: jax.Array,
        terms: Any,
        values: dict[str, jax.Array],
        weights: dict[str, Any],
        context: Context,
    ) -> tuple[jax.Array, Report]:
        """Losses named in `balancer.shares` get their share of the gradient at the waveform;
        the others (of phases, of spectra) keep their weights.

        Gradients are those of each item's own loss, and their mix is averaged over items, so
        that the result does not depend on how a batch is divided over devices.
        """
        settings = self.settings.balancer
        balanced = [name for name in values if name in settings.shares]
        items = waveform.shape[0]
        stacked, pullback = jax.vjp(
            lambda w: jnp.stack([terms(w)[name] for name in balanced]),
            jax.lax.stop_gradient(waveform),
        )
        gradients = {
            name: items * pullback(jnp.zeros_like(stacked).at[i].set(1.0))[0]
            for i, name in enumerate(balanced)
        }
        ramped = {
            name: settings.shares[name] * (self._ramp(context.step) if "/" in name else 1.0)
            for name in balanced
        }
        mixed, state, figures = balance(
            gradients,
            ramped,
            params["balancer"],
            total_norm=settings.total_norm,
            ema_decay=settings.ema_decay,
            mean_over_devices=context.mean,
        )
        fixed = sum(weights[n] * v for n, v in values.items() if n not in balanced)
        loss = fixed + jnp.vdot(jax.lax.stop_gradient(mixed), waveform) / items
        norms = {f"{name}/gradient_norm": f.norm for name, f in figures.items()}
        return loss, Report(values | norms, {"balancer": state})
