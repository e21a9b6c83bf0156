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

from ml_collections import ConfigDict

from codecbwe_jax.data.lowpass import LOWPASSES
from codecbwe_jax.recipes import Recipe, Variant

from . import base


def original(config: ConfigDict) -> None:
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
    config.objective.critics = critics(periods=(32, 128, 512, 1024, 1024), spectral=64)
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


def critics(periods: tuple[int, ...], spectral: int) -> ConfigDict:
    """Critics of periods, of amplitude and of phase spectra, by their channels."""
    # dtype: of the convolutions ("bfloat16" on TPU and GPU)
    mpd = {"channels": periods, "skip_first_map": True, "dtype": "float32", **weights(1.0)}
    mrad, mrpd = ({"channels": spectral, "dtype": "float32", **weights(0.1)} for _ in range(2))
    return ConfigDict({"mpd": mpd, "mrad": mrad, "mrpd": mrpd})


def weights(weight: float) -> dict[str, float]:
    return {"weight": weight, "adversarial": weight, "feature_matching": weight}


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
    # the critics keep the original's
    of_critics = config.optimizers.default.to_dict()
    house(config)
    base.tiny(config, steps=1250)
    config.system.channels = 128
    config.system.layers = 4
    # 320 samples of signal need no more bins: the phases of 54 low bins pass through 128 channels,
    # those of 171 (n_fft 1024) do not
    config.system.n_fft = 320
    # magnitudes first: in minutes, the phase of noise-like bins cannot be learnt
    config.objective.losses.phase.weight = 20.0
    config.objective.losses.multi_resolution_stft.weight = 100.0
    config.objective.critics = critics(periods=(4, 8, 16, 32, 32), spectral=8)
    config.objective.adversarial_from = 1200
    config.objective.ramp_steps = 100
    config.optimizers.default.learning_rate = 2e-3
    config.optimizers.default.clip_norm = 10.0
    for critic in config.objective.critics:
        config.optimizers[critic] = ConfigDict(of_critics)
    config.data.segment_samples = 9600
    config.train.batch_size = 16
    config.train.log_every = 25
    config.checkpoint.every = 250


def tiny_codec(config: ConfigDict) -> None:
    base.tiny_codec(config)
    config.data.input = "codec_cached"
    # a small codec's phases are not those of the recording: what compares them learns nothing
    del config.objective.losses.phase
    del config.objective.losses.complex
    # critics would be compiled for the last few steps only
    for critic in config.objective.critics:
        del config.optimizers[critic]
    config.objective.critics = ConfigDict()
    config.train.steps = 1200
    config.evaluators.valid.every = 600


get_config = Recipe(
    [
        base.run,
        base.lowpass,
        base.codec,
        original,
        Variant("house", house),
        Variant("tiny", tiny, against=["house"]),
        Variant("codec", tiny_codec, needs=["tiny"]),
    ]
)
