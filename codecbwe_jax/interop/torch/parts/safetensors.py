"""Reading safetensors files with torch alone."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import torch

TYPES = {"F32": torch.float32, "I64": torch.int64}


def read_safetensors(path: str | Path) -> dict[str, torch.Tensor]:
    """Tensors of a safetensors file: a JSON header, then the data.

    Raises:
      ValueError: if a tensor's type is not one of `TYPES`.
    """
    blob = bytearray(Path(path).read_bytes())
    (length,) = struct.unpack_from("<Q", blob)
    header = json.loads(blob[8 : 8 + length])
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        if entry["dtype"] not in TYPES:
            raise ValueError(f"{name} is {entry['dtype']}; this file knows {', '.join(TYPES)}")
        flat = torch.frombuffer(blob[begin:end], dtype=TYPES[entry["dtype"]])
        tensors[name] = flat.reshape(entry["shape"]).clone()
    return tensors
