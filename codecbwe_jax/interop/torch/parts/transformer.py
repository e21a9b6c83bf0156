"""The codec's backbone."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from codecbwe_jax.interop.torch.parts.residual_block import EPS, ResidualBlock


class TransformerLayer(nn.Module):
    """Attention without positions and a feed-forward, each after RMSNorm."""

    def __init__(self, size: int, intermediate: int, heads: int, head_size: int) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(size, EPS)
        self.post_attention_layernorm = nn.RMSNorm(size, EPS)
        width = heads * head_size
        inward = {f"{n}_proj": nn.Linear(size, width, bias=False) for n in "qkv"}
        self.self_attn = nn.ModuleDict(inward | {"o_proj": nn.Linear(width, size, bias=False)})
        shapes = {"fc1": (size, intermediate), "fc2": (intermediate, size)}
        self.mlp = nn.ModuleDict({k: nn.Linear(*v, bias=False) for k, v in shapes.items()})
        self.heads = heads

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.input_layernorm(x)
        q, k, v = (
            self.self_attn[f"{n}_proj"](y).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for n in "qkv"
        )
        mixed = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + self.self_attn["o_proj"](mixed)
        y = self.mlp["fc1"](self.post_attention_layernorm(x))
        return x + self.mlp["fc2"](functional.silu(y))


class Transformer(nn.Module):
    """(batch, size, frames) -> (batch, frames, size)."""

    def __init__(
        self, size: int, intermediate: int, layers: int, heads: int, head_size: int
    ) -> None:
        super().__init__()
        self.embed = nn.Conv1d(size, size, 7, padding=3)
        self.prior_net = nn.Sequential(ResidualBlock(size), ResidualBlock(size))
        sizes = size, intermediate, heads, head_size
        self.layers = nn.Sequential(*(TransformerLayer(*sizes) for _ in range(layers)))
        self.post_net = nn.Sequential(ResidualBlock(size), ResidualBlock(size))
        self.norm = nn.LayerNorm(size, EPS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.prior_net(self.embed(x).mT)
        return self.norm(self.post_net(self.layers(x)))
