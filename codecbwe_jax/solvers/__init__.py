"""Samplers' solvers: pure functions under `jax.lax.scan`, on grids that are data."""
