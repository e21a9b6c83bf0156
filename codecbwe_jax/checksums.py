"""Checksums of arrays, by which damage to what was stored is seen and named."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

LENGTH = 32  # hexadecimal digits that are kept of a SHA-256, the fastest there is on most machines


def of_arrays(arrays: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Name -> "float32[3,4] 0f3a...": type, shape and a hash of the bytes.

    Args:
      arrays: of any type and shape.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # hashing frees the interpreter's lock
        return dict(zip(arrays, pool.map(_of_array, arrays.values()), strict=True))


def layout(array: Any) -> str:
    """The part of a checksum that says type and shape: "float32[3,4]"."""
    return f"{array.dtype.name}[{','.join(map(str, array.shape))}]"


def _of_array(array: np.ndarray) -> str:
    # as bytes, because types that NumPy does not know itself give no buffer
    data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return f"{layout(array)} {hashlib.sha256(data).hexdigest()[:LENGTH]}"


def of_json(value: Any) -> str:
    """A hash of what JSON keeps of a value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:LENGTH]


def damaged(arrays: Mapping[str, np.ndarray], stored: Mapping[str, str]) -> list[str]:
    """Names of arrays that are not those whose checksums were stored, or lack on one side."""
    now = of_arrays(arrays)
    return sorted(name for name in {*now, *stored} if now.get(name) != stored.get(name))
