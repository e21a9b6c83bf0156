"""XLA's persistent compilation cache, on unless the user has set it."""

from __future__ import annotations

import os
from pathlib import Path

import jax


def enable_cache() -> None:
    """Keep compiled programs in `~/.cache/codecbwe_jax`, or where `JAX_COMPILATION_CACHE_DIR`
    says. A folder that cannot be written is done without."""
    if jax.config.jax_compilation_cache_dir:
        return
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "codecbwe_jax" / "xla"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
