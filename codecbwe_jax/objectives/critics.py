"""The critics that a config may name."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, NamedTuple

from flax import linen as nn

from codecbwe_jax.discriminators.banded_stft import MultiBandedStftDiscriminator
from codecbwe_jax.discriminators.complex_stft import MultiScaleStftDiscriminator
from codecbwe_jax.discriminators.dac import DacDiscriminator
from codecbwe_jax.discriminators.hifi_gan_plus import HifiGanPlusDiscriminator
from codecbwe_jax.discriminators.magnitude_stft import MultiResolutionMagnitudeDiscriminator
from codecbwe_jax.discriminators.mpd import MultiPeriodDiscriminator
from codecbwe_jax.discriminators.scale import MultiScaleDiscriminator
from codecbwe_jax.discriminators.spectral import MultiResolutionDiscriminator
from codecbwe_jax.discriminators.subband import SubbandDiscriminator, subband_critic
from codecbwe_jax.errors import UserError
from codecbwe_jax.fields import Field, Group, NotNegative, fields_of, named, tuples


@dataclasses.dataclass(frozen=True)
class CriticWeights:
    """What a critic's entry in the config holds beside its network's settings.

    Attributes:
      weight: of the critic's own loss.
      adversarial, feature_matching: of what it says in the generator's loss.
    """

    weight: NotNegative
    adversarial: NotNegative
    feature_matching: NotNegative


class Critic(NamedTuple):
    """A network that judges: how it is made, of which settings, and which are not the config's."""

    make: Callable[..., nn.Module]
    network: type[nn.Module]
    fixed: tuple[str, ...] = ()

    def fields(self, _: Mapping[str, Any]) -> dict[str, Field]:
        return fields_of(CriticWeights) | fields_of(self.network, self.fixed)


def _plain(network: type[nn.Module], *fixed: str) -> Critic:
    return Critic(network, network, fixed)


def _spectral(sees: Literal["amplitude", "phase"]) -> Critic:
    make = functools.partial(MultiResolutionDiscriminator, sees)
    return Critic(make, MultiResolutionDiscriminator, ("sees",))


# Conditions of a critic (bandwidths of a codec) and other bands than DAC's are for weights of
# others: no batch has any. A transposed block takes segments of one length alone.
CRITICS: dict[str, Critic] = {
    "mpd": _plain(MultiPeriodDiscriminator, "conditions"),
    "msd": _plain(MultiScaleDiscriminator),
    "hifi_gan_plus": _plain(HifiGanPlusDiscriminator, "trains"),
    "dac": _plain(DacDiscriminator, "bands"),
    "banded_stft": _plain(MultiBandedStftDiscriminator, "conditions"),
    "complex_stft": _plain(MultiScaleStftDiscriminator),
    "magnitude_stft": _plain(MultiResolutionMagnitudeDiscriminator),
    "subband": Critic(subband_critic, SubbandDiscriminator, ("transposed", "fine_bank")),
    "mrad": _spectral("amplitude"),
    "mrpd": _spectral("phase"),
}
Settings = named(CRITICS, lambda name: Annotated[dict, Group(CRITICS[name].fields)])


def build_critic(name: str, settings: Mapping[str, Any]) -> nn.Module:
    """A critic's network from its entry in `config.objective.critics`.

    Raises:
      UserError: on an unknown critic or setting.
    """
    if name not in CRITICS:
        raise UserError(f"config.objective.critics.{name}: known are {', '.join(CRITICS)}")
    weights = fields_of(CriticWeights)
    network = {k: tuples(v) for k, v in settings.items() if k not in weights}
    try:
        return CRITICS[name].make(**network)
    except TypeError as error:
        raise UserError(f"config.objective.critics.{name}: {error}") from None
