"""codecbwe_jax: train every known way to extend a speech codec's bandwidth, in JAX/Flax."""

__version__ = "0.1.0"
