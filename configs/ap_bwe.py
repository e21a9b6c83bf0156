"""AP-BWE, 16 -> 48 kHz (arXiv 2401.06387; yxlu-0102/AP-BWE).

    codecbwe train --config=configs/ap_bwe.py --workdir=runs/ap_bwe --config.data.path=VCTK

Variants (`configs/ap_bwe.py:VARIANT`):
  (none)  the original's recipe: adversarial from step 0, segments of 8000 samples, its decay.
          Its author asks for about 500 k steps; LSD 0.72 and ViSQOL 3.70 on VCTK's eight test
          speakers are the published figures at 16 -> 48 kHz.
  house   three phases: 20 k steps of reconstruction, a ramp to 100 k, full to 400 k, with mel
          losses on the missing band, moving averages and a flat input filter.
  tiny    what trains in minutes on two CPU cores.
  tiny_codec  the same on a codec's output, as the demo trains it.
"""

from pathlib import Path

from ml_collections import ConfigDict

from codecbwe_jax.config import load_config
from codecbwe_jax.data.lowpass import LOWPASSES

VARIANTS = ("", "house", "tiny", "tiny_codec")


def get_config(variant: str = "") -> ConfigDict:
    if variant not in VARIANTS:
        raise ValueError(f"unknown variant {variant!r}; there are {', '.join(map(repr, VARIANTS))}")
    config = original()
    if variant == "house":
        house(config)
    if variant in ("tiny", "tiny_codec"):
        house(config)
        tiny(config)
    if variant == "tiny_codec":
        tiny_codec(config)
    return config


def original() -> ConfigDict:
    config = load_config(f"{Path(__file__).with_name('base.py')}:codec_lowpass").unlock()

    config.system.name = "ap_bwe"
    config.system.input_rate = 16000
    config.system.output_rate = 48000
    config.system.channels = 512
    config.system.layers = 8
    config.system.n_fft = 1024
    config.system.hop_length = 80
    config.system.win_length = 320
    # filter of the input's upsampling; the published weights need this one
    config.system.resampler = "torchaudio"
    # share of a frame's largest magnitude up to which a bin is empty and has phase 0; the published
    # weights need 0, the phases of rounding
    config.system.phase_floor = 0.0
    # "bfloat16" on TPU and GPU; spectra, norms and losses stay float32
    config.system.compute_dtype = "float32"

    # sub-discriminators are added, not averaged
    config.objective.reduction = "sum"
    config.objective.losses = ConfigDict(
        {
            "amplitude": {"weight": 45.0},
            "phase": {"weight": 100.0},
            "complex": {"weight": 90.0},
            "consistency": {"weight": 90.0},
        }
    )
    # dtype: of the convolutions ("bfloat16" on TPU and GPU)
    config.objective.critics = ConfigDict(
        {
            "mpd": {
                "channels": (32, 128, 512, 1024, 1024),
                "skip_first_map": True,
                "dtype": "float32",
                "weight": 1.0,
                "adversarial": 1.0,
                "feature_matching": 1.0,
            },
            "mrad": spectral_critic(),
            "mrpd": spectral_critic(),
        }
    )
    # 0.999 an epoch: 40 936 utterances in batches of 16
    config.optimizers.default.decay = 0.999
    config.optimizers.default.decay_every = 2558

    config.data.input = "lowpass"
    config.data.segment_samples = 8000
    config.data.lowpass = ("torchaudio",)
    config.data.balance_speakers = False
    config.train.steps = 500_000
    config.train.ema_decay = 0.0
    config.checkpoint.best = "valid/lsd_high"
    return config


def spectral_critic() -> dict:
    return {
        "channels": 64,
        "dtype": "float32",
        "weight": 0.1,
        "adversarial": 0.1,
        "feature_matching": 0.1,
    }


def house(config: ConfigDict) -> None:
    config.system.resampler = "hann24"
    config.system.phase_floor = 1e-3
    config.objective.losses.multi_resolution_stft = ConfigDict({"weight": 5.0})
    config.objective.losses.upper_band_mel = ConfigDict({"weight": 10.0})
    config.objective.adversarial_from = 20_000
    config.objective.ramp_steps = 80_000
    config.optimizers.default.decay = 0.999996
    config.optimizers.default.decay_every = 1
    config.data.segment_samples = 24_000
    config.data.lowpass = tuple(LOWPASSES)
    config.data.gain_db = (-12.0, 6.0)
    config.data.balance_speakers = True
    config.train.steps = 400_000
    config.train.ema_decay = 0.999


def tiny(config: ConfigDict) -> None:
    config.system.channels = 128
    config.system.layers = 4
    # 320 samples of signal need no more bins: the phases of 54 low bins pass through 128 channels,
    # those of 171 (n_fft 1024) do not
    config.system.n_fft = 320
    # magnitudes first: in minutes, the phase of noise-like bins cannot be learnt
    config.objective.losses.phase.weight = 20.0
    config.objective.losses.multi_resolution_stft.weight = 100.0
    config.objective.adversarial_from = 1200
    config.objective.ramp_steps = 100
    config.objective.critics.mpd.channels = (4, 8, 16, 32, 32)
    config.objective.critics.mrad.channels = 8
    config.objective.critics.mrpd.channels = 8
    critics = original().optimizers.default.to_dict()
    config.optimizers.default.learning_rate = 2e-3
    config.optimizers.default.warmup_steps = 50
    config.optimizers.default.decay = 0.998
    config.optimizers.mpd = ConfigDict(critics)
    config.optimizers.mrad = ConfigDict(critics)
    config.optimizers.mrpd = ConfigDict(critics)
    config.data.segment_samples = 9600
    config.train.steps = 1250
    config.train.log_every = 25
    config.train.ema_decay = 0.98
    config.checkpoint.every = 250
    config.evaluators.valid.every = 625
    config.evaluators.valid.clips = 4
    config.evaluators.valid.seconds = 2.0
    config.evaluators.valid.media = 1


def tiny_codec(config: ConfigDict) -> None:
    config.data.input = "codec_cached"
    config.data.codec_dtype = "float32"
    config.data.chunk_seconds = 1.0
    # a small codec's phases are not those of the recording: what compares them learns nothing
    del config.objective.losses.phase
    del config.objective.losses.complex
    # critics would be compiled for the last few steps only
    for critic in config.objective.critics:
        del config.optimizers[critic]
    config.objective.critics = ConfigDict()
    config.train.steps = 1200
    config.evaluators.valid.every = 600
