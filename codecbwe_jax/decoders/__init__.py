"""Decoders of a codec's tokens: backbones at the token rate, and heads that make a waveform."""
