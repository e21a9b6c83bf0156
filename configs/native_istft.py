"""Native decoder with a rescaled ISTFT head: the codec's tokens to 24, 32, 44.1 or 48 kHz.

    codecbwe train --config=configs/native_istft.py:32k --workdir=runs/native \
        --config.data.path=DIR --config.data.codec=CODEC

Variants (`configs/native_istft.py:VARIANT`): words with "_" between them, as in `tiny_32k`.
  24k, 32k, 44k, 48k  output rate (none: 48k).
  tiny                what trains in minutes on two CPU cores, with configs/codec_tiny.py's codec.
  convnext            Vocos' backbone in place of the codec's; it starts from scratch.
  wavtokenizer        WavTokenizer's backbone, likewise.

The recipe of all native decoders stands here; the other `configs/native_*.py` change the system.
"""

from functools import partial

from ml_collections import ConfigDict

from codecbwe_jax.recipes import Recipe, Variant

from . import base

RATES = {"24k": 24000, "32k": 32000, "44k": 44100, "48k": 48000}
BACKBONES = {
    "convnext": {"size": 1024, "intermediate": 3072, "layers": 12},
    "wavtokenizer": {"size": 1024, "intermediate": 3072, "layers": 12},
}
TINY_BACKBONES = {
    "transformer": {"size": 128, "intermediate": 256, "layers": 2, "heads": 4, "head_size": 32},
    "convnext": {"size": 128, "intermediate": 256, "layers": 4},
    "wavtokenizer": {"size": 128, "intermediate": 256, "layers": 4},
}


def native(config: ConfigDict) -> None:
    config.system = ConfigDict({"name": "native_istft", "output_rate": 48000})
    # of the codec: its quantiser's levels, the width of its latents, its tokens a second
    config.system.levels = (4, 4, 4, 4, 4, 4, 4, 4)
    config.system.features = 2048
    config.system.token_rate = 50
    # "transformer" is the codec's own; only that can start from the codec's weights
    config.system.backbone = ConfigDict(
        {
            "kind": "transformer",
            "size": 1024,
            "intermediate": 4096,
            "layers": 12,
            "heads": 16,
            "head_size": 64,
            # compute what is inside layers again for gradients: less is kept, a third more work
            "remat": False,
        }
    )
    # 0: four hops
    config.system.n_fft = 0
    # 0: in proportion to the rate, 100 at 16 kHz
    config.system.magnitude_clip = 0.0
    # hidden width of a residual branch beside the linear head; 0: none
    config.system.widening = 0
    # "equal_hz", "interpolate", "interpolate_halves" or "scratch"
    config.system.head_init = "equal_hz"
    # "bfloat16" on TPU and GPU; the head, spectra and losses stay float32
    config.system.compute_dtype = "float32"

    config.objective.losses = ConfigDict(
        {
            "multi_scale_mel": {"weight": 15.0},
            # mel bins from 7 kHz up: a full-band mel scale gives the new band a quarter of its bins
            "upper_band_mel": {"weight": 15.0},
            # no spectral convergence: relative to near silence it would outweigh all else
            "multi_resolution_stft": {"weight": 5.0, "weight_sc": 0.0},
        }
    )
    config.objective.critics = ConfigDict(
        {
            # periods and bands of complex spectra; also "mpd", "banded_stft", "complex_stft",
            # "magnitude_stft", "subband", "mrad", "mrpd"
            "dac": {
                "period_channels": (32, 128, 512, 1024, 1024),
                "channels": 32,
                **critic(),
            },
        }
    )
    # 0-20 k reconstruction, a ramp to 100 k, full to 400 k
    config.objective.adversarial_from = 20_000
    config.objective.ramp_steps = 80_000
    # a new head beside a trained backbone; the way out of the quantiser belongs to the tokens
    config.optimizers.generator = ConfigDict(config.optimizers.default.to_dict())
    config.optimizers.generator.learning_rate = 1e-4
    rates = (("^quantizer/", 0.0), ("^acoustic_decoder/head/", 1.0), ("", 0.1))
    config.optimizers.generator.rates = rates

    config.data.segment_samples = 48000
    # "codec": the decoder of data.codec; a folder of a codec or a native decoder; "": from scratch
    config.train.init_from = "codec"


def critic() -> dict:
    """weight: of the critic's own loss; adversarial, feature_matching: in the decoder's."""
    return {"dtype": "float32", "weight": 1.0, "adversarial": 1.0, "feature_matching": 2.0}


def from_scratch(config: ConfigDict, kind: str) -> None:
    config.system.backbone = ConfigDict({"kind": kind, "remat": False, **BACKBONES[kind]})


def tiny(config: ConfigDict) -> None:
    base.tiny(config, steps=600)
    base.tiny_codec(config)
    config.system.features = 256
    config.system.backbone.update(TINY_BACKBONES[config.system.backbone.kind])
    config.objective.losses.multi_scale_mel.weight = 1.0
    # small windows cost most and say least
    config.objective.losses.multi_scale_mel.update(
        {
            "windows": (512, 1024, 2048),
            "n_mels": (20, 40, 80),
            "f_min": (0.0, 0.0, 0.0),
            "f_max": (None, None, None),
        }
    )
    config.objective.losses.upper_band_mel.weight = 1.0
    config.objective.losses.multi_resolution_stft.weight = 1.0
    config.data.segment_samples //= 2


get_config = Recipe(
    [
        base.run,
        base.codec,
        native,
        *(
            Variant(word, partial(base.at_rate, rate=rate), against=RATES)
            for word, rate in RATES.items()
        ),
        *(Variant(kind, partial(from_scratch, kind=kind), against=BACKBONES) for kind in BACKBONES),
        Variant("tiny", tiny),
    ]
)
