"""What networks that begin in noise have in common: the noise is an input like the waveform."""

from __future__ import annotations

import abc

import torch

from codecbwe_jax.interop.torch.parts.post_hoc import PostHoc


class Sampled(PostHoc, abc.ABC):
    """A network that extends a whole waveform, beginning in noise.

    Args:
      config: the "system" part of config.json.

    Attributes:
      noise_shape: of what is drawn for each frame of `alignment` samples.
      sampling: the "sampling" part of config.json.
    """

    noise_shape: list[int]
    sampling: dict

    @abc.abstractmethod
    def run(self, waveform: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """The network: (batch, samples) and noise (batch, frames, *noise_shape) -> at output_rate,
        of its own length."""

    def noise(self, waveform: torch.Tensor, seed: int) -> torch.Tensor:
        """Standard normal numbers (batch, frames, *noise_shape) for a waveform, from a seed. They
        are not those that JAX draws from it."""
        samples = waveform.shape[1] + 2 * self.context
        frames = -(-samples // self.alignment)
        generator = torch.Generator().manual_seed(seed)
        shape = (len(waveform), frames, *self.noise_shape)
        return torch.randn(shape, generator=generator).to(waveform)

    def extend(self, waveform: torch.Tensor, noise: torch.Tensor | None = None) -> torch.Tensor:
        """(batch, samples) -> (batch, samples'), without gradients; without noise, in that of the
        stored seed."""
        if noise is None:
            noise = self.noise(waveform, self.sampling["seed"])
        return super().extend(waveform, noise)
