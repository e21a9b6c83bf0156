"""The frozen speech codec: X-Codec 2.0, NeuCodec and their relatives, as pure functions."""
