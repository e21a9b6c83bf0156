"""XLA's persistent compilation cache, on unless the user has set it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import jax

from codecbwe_jax.errors import warn


def enable_cache() -> None:
    """Keep compiled programs in `~/.cache/codecbwe_jax`, or where `JAX_COMPILATION_CACHE_DIR`
    says. Where that cannot be written, it is said and done without."""
    if jax.config.values["jax_compilation_cache_dir"]:
        return
    try:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = base / "codecbwe_jax" / "xla"
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, RuntimeError) as error:  # the latter: a user without a home
        reason = getattr(error, "strerror", None) or error
        warn(
            f"compiled programs are not kept ({reason}); JAX_COMPILATION_CACHE_DIR names a folder "
            "for them"
        )
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
