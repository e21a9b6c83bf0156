"""A native decoder behind its codec's encoder, as one codec at the decoder's rate."""

from __future__ import annotations

import dataclasses

import numpy as np

from codecbwe_jax.data import synthetic
from codecbwe_jax.errors import UserError
from codecbwe_jax.inference.frozen_codec import FrozenCodec
from codecbwe_jax.inference.model import Model
from codecbwe_jax.inference.token_decoder import TokenDecoder, codebook_hash
from codecbwe_jax.systems.codec import Codec

# The codecs' code elsewhere clips magnitudes here, whatever the rate.
CLIP = 100.0
# -40 dB: what lies below is masked by the signal that it belongs to.
AUDIBLE_CLIP = 0.01
CHECK_VOICES = 3
KIND = "transformer"


def as_codec(
    decoder: Model, codec: Model | None, allow_clip_difference: bool
) -> tuple[Model, float]:
    """Join a native decoder with a rescaled head and its codec's encoder.

    Args:
      decoder: a `NativeIstft`.
      codec: that makes its tokens.
      allow_clip_difference: join them even if a clip of 100 is heard.

    Returns:
      (the codec, relative error that a clip of 100 makes, see `clip_difference`).

    Raises:
      UserError: see `with_encoder`; or the clip is heard and not allowed.
    """
    joined = with_encoder(decoder, codec)
    difference = clip_difference(decoder, codec)
    if difference > AUDIBLE_CLIP and not allow_clip_difference:
        raise UserError(
            f"{decoder.name}: codecs clip magnitudes at {CLIP:g}, this decoder at "
            f"{decoder.system.clip:g}; that changes its output by "
            f"{20 * np.log10(difference):.0f} dB. Train with config.system.magnitude_clip=100, or "
            "give --allow-clip-difference"
        )
    return joined, difference


def with_encoder(decoder: Model, codec: Model | None) -> Model:
    """A codec at the decoder's rate: the codec's encoder and quantiser, the decoder's weights.

    Raises:
      UserError: if there is no codec, it makes other tokens, or the head is not a codec's.
    """
    s = decoder.system
    if codec is None or not isinstance(codec.system, Codec):
        raise UserError("a native decoder has no encoder: give --codec=FOLDER, of its codec")
    s.check_tokens(codec.system)
    if codebook_hash(s, decoder.params) != codebook_hash(codec.system, codec.params):
        raise UserError(f"{decoder.name} does not read the tokens that {codec.name} makes")
    if s.widening or s.n_fft not in (0, 4 * s.output_hop_length) or s.backbone.kind != KIND:
        raise UserError(
            f"{decoder.name}: codecs have a Transformer, a linear head and an n_fft "
            "of four hops; --format=torch exports others"
        )
    system = dataclasses.replace(codec.system, output_rate=s.output_rate, backbone=s.backbone)
    params = {**codec.params, "acoustic_decoder": decoder.params["acoustic_decoder"]}
    return Model(decoder.name, system, params, decoder.facts)


def clip_difference(decoder: Model, codec: Model) -> float:
    """Relative error (RMS) that a clip of 100 makes in what a native decoder gives of the check
    set: a few synthetic voices at full level through the codec's tokens."""
    if decoder.system.clip == CLIP:
        return 0.0
    encoder = FrozenCodec(codec)
    encoder.check_reader(TokenDecoder(decoder))
    clipped = dataclasses.replace(decoder.system, magnitude_clip=CLIP)
    decoders = [
        TokenDecoder(dataclasses.replace(decoder, system=s)) for s in (decoder.system, clipped)
    ]
    error = power = 0.0
    for i in range(CHECK_VOICES):
        voice = synthetic.utterance(synthetic.make_voice(i), 2.0, i)
        tokens = encoder.tokens(voice / np.abs(voice).max(), synthetic.RATE)
        ours, theirs = (d.decode(tokens) for d in decoders)
        error += float(np.sum((ours - theirs) ** 2))
        power += float(np.sum(ours**2))
    return float(np.sqrt(error / max(power, 1e-12)))
