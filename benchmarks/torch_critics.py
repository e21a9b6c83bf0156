"""AP-BWE's critics and losses in PyTorch, written for the training benchmark alone: the same
layers and the same work for a step as yxlu-0102/AP-BWE."""

from __future__ import annotations

import itertools

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from codecbwe_jax.interop.torch.ap_bwe import ApBwe
from codecbwe_jax.interop.torch.parts.streams import seen

SPECTRAL_LAYERS = (
    ((7, 5), (2, 2), (3, 2)),
    ((5, 3), (2, 1), (2, 1)),
    ((5, 3), (2, 2), (2, 1)),
    ((3, 3), (2, 1), (1, 1)),
    ((3, 3), (2, 2), (1, 1)),
)
Judgement = tuple[torch.Tensor, list[torch.Tensor]]


class Stack(nn.Module):
    """2-D convolutions with LeakyReLU, then one to the score."""

    def __init__(self, convs: list[nn.Module], post: nn.Module, skip_first: bool) -> None:
        super().__init__()
        self.convs = nn.ModuleList([weight_norm(c) for c in convs])
        self.post, self.skip_first = weight_norm(post), skip_first

    def forward(self, x: torch.Tensor) -> Judgement:
        maps = []
        for conv in self.convs:
            x = F.leaky_relu(conv(x), 0.1)
            maps.append(x)
        x = self.post(x)
        return x, [*maps[1 if self.skip_first else 0 :], x]


class PeriodCritic(nn.Module):
    def __init__(self, period: int, width: int) -> None:
        super().__init__()
        self.period = period
        widths = (1, width // 2, 2 * width, 8 * width, 16 * width, 16 * width)
        convs = [
            nn.Conv2d(a, b, (5, 1), (3 if i < 4 else 1, 1), (2, 0))
            for i, (a, b) in enumerate(itertools.pairwise(widths))
        ]
        self.stack = Stack(convs, nn.Conv2d(16 * width, 1, (3, 1), 1, (1, 0)), True)

    def forward(self, wave: torch.Tensor) -> Judgement:
        x = F.pad(wave[:, None], (0, -wave.shape[1] % self.period), "reflect")
        return self.stack(x.view(len(wave), 1, -1, self.period))


class SpectralCritic(nn.Module):
    def __init__(self, n_fft: int, phase: bool, width: int) -> None:
        super().__init__()
        self.n_fft, self.phase = n_fft, phase
        convs = [
            nn.Conv2d(1 if i == 0 else width, width, k, s, p)
            for i, (k, s, p) in enumerate(SPECTRAL_LAYERS)
        ]
        self.stack = Stack(convs, nn.Conv2d(width, 1, 3, 1, 1), False)

    def forward(self, wave: torch.Tensor) -> Judgement:
        window = torch.ones(self.n_fft, device=wave.device)
        z = torch.stft(wave, self.n_fft, self.n_fft // 4, window=window, return_complex=True)
        return self.stack((z.angle() if self.phase else z.abs())[:, None])


def critics(width: int) -> nn.ModuleDict:
    """ "mpd", "mrad" and "mrpd", each a list; 64 is the original's width."""
    resolutions = (512, 1024, 2048)
    return nn.ModuleDict(
        {
            "mpd": nn.ModuleList([PeriodCritic(p, width) for p in (2, 3, 5, 7, 11)]),
            "mrad": nn.ModuleList([SpectralCritic(n, False, width) for n in resolutions]),
            "mrpd": nn.ModuleList([SpectralCritic(n, True, width) for n in resolutions]),
        }
    )


def anti_wrap(x: torch.Tensor) -> torch.Tensor:
    return torch.abs(x - 2 * torch.pi * torch.round(x / (2 * torch.pi)))


class TrainingStep:
    """One step as the original takes it: critics on the detached output, then the generator.

    Args:
      generator: the exported network (`interop/torch/ap_bwe.py`).
      freeze_critics: switch the critics' gradients off in the generator's turn.
      width: of the critics, 64 as in the original or less.
    """

    def __init__(self, generator: ApBwe, freeze_critics: bool, width: int = 64) -> None:
        self.generator, self.freeze = generator.train(), freeze_critics
        device = next(generator.parameters()).device
        self.stft = {k: generator.config[k] for k in ("n_fft", "hop_length", "win_length")}
        self.stft["window"] = torch.hann_window(self.stft["win_length"], device=device)
        self.critics = critics(width).to(device)
        settings = {"lr": 2e-4, "betas": (0.8, 0.99)}
        self.generator_optimizer = torch.optim.AdamW(generator.parameters(), **settings)
        self.critic_optimizer = torch.optim.AdamW(self.critics.parameters(), **settings)
        self.weights = {"mpd": 1.0, "mrad": 0.1, "mrpd": 0.1}

    def features(self, wave: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        z = torch.stft(wave, **self.stft, return_complex=True)
        log_amplitude, phase = torch.log(z.abs() + 1e-4), z.angle()
        return log_amplitude, phase, torch.polar(torch.exp(log_amplitude), phase)

    def extended(self, narrow: torch.Tensor, samples: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The generator's log-amplitude and phase for (batch, samples at its input rate)."""
        up = self.generator.upsample(narrow)[:, :samples]
        z = torch.stft(up, **self.stft, return_complex=True)
        given = seen(z.real, z.imag, self.generator.config["phase_floor"])
        log_amplitude, phase = self.generator.network(*given)
        return log_amplitude.float(), phase.float()

    def __call__(self, wide: torch.Tensor, narrow: torch.Tensor) -> float:
        mag, pha, com = self.features(wide)
        mag_g, pha_g = self.extended(narrow, wide.shape[1])
        com_g = torch.polar(torch.exp(mag_g), pha_g)
        wave = torch.istft(com_g, **self.stft)
        _, _, com_again = self.features(wave)

        self.critic_optimizer.zero_grad()
        loss = 0.0
        for name, group in self.critics.items():
            for critic in group:
                real, fake = critic(wide)[0], critic(wave.detach())[0]
                term = F.relu(1 - real).mean() + F.relu(1 + fake).mean()
                loss = loss + self.weights[name] * term
        loss.backward()
        for group in self.critics.values():
            nn.utils.clip_grad_norm_(group.parameters(), 10.0)
        self.critic_optimizer.step()

        self.generator_optimizer.zero_grad()
        self.critics.requires_grad_(not self.freeze)
        d = pha - pha_g
        loss = 45 * F.mse_loss(mag_g, mag)
        loss = loss + 100 * sum(
            anti_wrap(x).mean() for x in (d, torch.diff(d, dim=1), torch.diff(d, dim=2))
        )
        real_view = torch.view_as_real
        loss = loss + 90 * F.mse_loss(real_view(com_g), real_view(com))
        loss = loss + 90 * F.mse_loss(real_view(com_again), real_view(com_g))
        for name, group in self.critics.items():
            for critic in group:
                _, real_maps = critic(wide)
                score, fake_maps = critic(wave)
                matching = sum((r - f).abs().mean() for r, f in zip(real_maps, fake_maps, strict=1))
                loss = loss + self.weights[name] * (F.relu(1 - score).mean() + matching)
        loss.backward()
        self.critics.requires_grad_(True)
        nn.utils.clip_grad_norm_(self.generator.parameters(), 10.0)
        self.generator_optimizer.step()
        return float(loss.detach())
