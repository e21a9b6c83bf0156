"""Plain resampling: the baseline that adds nothing."""

from __future__ import annotations

import dataclasses
import math

import jax

from codecbwe_jax.audio.resample import resample
from codecbwe_jax.audio.sinc import SINC_FILTERS, sinc_kernel
from codecbwe_jax.fields import Rate
from codecbwe_jax.systems.base import Params, System
from codecbwe_jax.systems.sampling import Sampling


@dataclasses.dataclass(frozen=True)
class Sinc(System):
    """Windowed-sinc resampling ("hann24"): nothing above the input's band.

    Attributes:
      input_rate, output_rate: in Hz.
    """

    input_rate: Rate = 16000
    output_rate: Rate = 48000

    @property
    def receptive_field(self) -> int:
        return sinc_kernel(self.input_rate, self.output_rate, SINC_FILTERS["hann24"])[1] + 1

    @property
    def alignment(self) -> int:
        return self.input_rate // math.gcd(self.input_rate, self.output_rate)

    def init(self, key: jax.Array) -> Params:
        """No parameters."""
        return {}

    def extend(
        self, params: Params, inputs: jax.Array, sampling: Sampling | None = None
    ) -> jax.Array:
        """Waveform `[B, n]` -> `[B, ceil(n * output_rate / input_rate)]`."""
        return resample(inputs, self.input_rate, self.output_rate, "hann24")
