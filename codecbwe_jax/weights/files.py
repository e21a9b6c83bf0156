"""Reading files of weights."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax.numpy as jnp
import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from codecbwe_jax import atomic, checksums
from codecbwe_jax.config import read_json
from codecbwe_jax.errors import UserError, some

# What safetensors calls the types of numbers, and NumPy; the narrowest are JAX's addition to it.
TYPES: dict[str, Any] = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": jnp.bfloat16,
    "F8_E4M3": jnp.float8_e4m3fn,
    "F8_E5M2": jnp.float8_e5m2,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U64": np.uint64,
    "U32": np.uint32,
    "U16": np.uint16,
    "U8": np.uint8,
    "BOOL": np.bool_,
    "C64": np.complex64,
}
# What transformers calls a folder's weights.
FOLDER_FILES = ("model.safetensors", "pytorch_model.bin")
HEAD = 512  # bytes by which a file's kind is told
SHOWN = 200  # characters of what a library says


def read_torch(path: Path) -> dict[str, Any]:
    """Tensors of a checkpoint, NumPy's or torch's, under names of dots: those of a dictionary in
    it have the dictionary's before them. The file's content says of which kind it is.

    Args:
      path: of safetensors, or a file of torch.save, of which tensors and plain values alone are
        read: other pickled objects are refused, because loading them could run code.

    Raises:
      UserError: if the file is missing or broken, or torch is needed and not installed.
    """
    head = _head(path)
    if head[8:9] == b"{" or (path.suffix == ".safetensors" and head[:2] != b"PK"):
        return read_safetensors(path)[0]
    try:
        import torch
    except ImportError:
        raise UserError(
            f"{path}: reading this format needs torch (pip install torch); .safetensors does not"
        ) from None
    try:
        with path.open("rb") as file:  # of a name it would go by the ending
            state: Any = torch.load(file, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # torch raises whatever unpickling does
        raise UserError(f"{path}: {_reason(str(error))}") from None
    if not isinstance(state, dict):
        raise UserError(f"{path}: holds a {type(state).__name__}, not a state dict")
    return {name: value for name, value in _flat(state, "") if hasattr(value, "detach")}


def _head(path: Path) -> bytes:
    """The first bytes of a file of weights.

    Raises:
      UserError: if it is no file, or one that is often found in a checkpoint's place.
    """
    if path.is_dir():
        raise UserError(
            f"{path} is a folder; a file is expected, as {path / FOLDER_FILES[0]}. A codec's "
            f"folder of transformers needs no conversion: --codec={path}, or --model={path}"
        )
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    if not head:
        raise UserError(f"{path}: is empty (0 bytes): copy or download it again")
    if head.startswith(b"version https://git-lfs"):
        raise UserError(f"{path}: a pointer of Git LFS, not the file: git lfs pull brings it")
    if re.match(rb"\s*<(!doctype|html|\?xml)", head, re.IGNORECASE):
        raise UserError(f"{path}: a web page, not weights: download the file that it links to")
    if re.fullmatch(rb"[\t\n\r\x20-\x7e\x80-\xff]*", head):
        raise UserError(f"{path}: a text file, not weights: it begins with {head[:40]!r}")
    return head


def _reason(text: str) -> str:
    """What torch says of a file that it does not read, in a line."""
    if kind := re.search(r"GLOBAL (\S+)", text):
        return (
            f"not a checkpoint that can be read safely: it holds a pickled {kind[1]}; save the "
            "state dict alone: torch.save(model.state_dict(), ...)"
        )
    told = text.rpartition("WeightsUnpickler error:")[2].strip() or "it ends too early"
    return (
        "not a checkpoint that can be read safely: cut off, damaged, or not of torch.save "
        f"({told.splitlines()[0].partition('. ')[0][:SHOWN]})"
    )


def _flat(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Leaves of nested dictionaries with their names."""
    if not isinstance(value, dict):
        yield name, value
        return
    for key, part in value.items():
        yield from _flat(part, f"{name}.{key}" if name else str(key))


def as_arrays(tensors: Mapping[str, Any], where: object) -> dict[str, np.ndarray]:
    """Tensors of torch or NumPy as NumPy's, floats of any width as float32.

    Args:
      tensors: as `read_torch` gives them.
      where: for messages.

    Raises:
      UserError: if one has no plain values (sparse, without data).
    """
    arrays = {}
    for name, value in tensors.items():
        try:
            if hasattr(value, "detach"):
                value = value.detach()
                value = (value.float() if value.is_floating_point() else value).numpy()
        except (TypeError, RuntimeError) as error:
            # the first: sparse, quantised, without data; the second: a lazy conjugate
            first = str(error).splitlines()[0][:SHOWN]
            raise UserError(f"{where}: {name} is no plain tensor ({first})") from None
        is_float = jnp.issubdtype(value.dtype, jnp.floating)
        arrays[name] = value.astype(np.float32, copy=False) if is_float else value
    return arrays


def read_safetensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """(tensors of a safetensors file as they are stored, its metadata).

    Raises:
      UserError: if it is missing, cut off or no such file, or its tensors are not those whose
        checksums `write_safetensors` wrote.
    """
    _head(path)
    try:
        with safe_open(path, "np") as file:  # refuses what is not whole
            metadata = file.metadata() or {}
        tensors = _stored(path)
        sums = json.loads(metadata.get("checksums", "null"))
        wrong = [] if sums is None else checksums.damaged(tensors, sums)
    except MemoryError:
        raise
    except Exception as error:  # safetensors raises its own type, and OSError
        raise UserError(f"{path}: not a whole safetensors file ({error})") from None
    if wrong:
        raise UserError(
            f"{path} is damaged: {some(wrong, 3)} not as written; copy or export it again"
        )
    return tensors, metadata


def _stored(path: Path) -> dict[str, np.ndarray]:
    """Tensors of a file that is whole; safetensors itself does not know all types in NumPy."""
    tensors = {}
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        for name, about in header.items():
            begin, end = about["data_offsets"]
            file.seek(8 + length + begin)
            data = np.fromfile(file, np.uint8, end - begin)
            tensors[name] = data.view(TYPES[about["dtype"]]).reshape(about["shape"])
    return tensors


def write_safetensors(
    path: Path, tensors: Mapping[str, np.ndarray], about: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Write tensors with their checksums.

    Args:
      path: of the file.
      tensors: names -> arrays that lie in memory as they read.
      about: more metadata.

    Raises:
      UserError: if it cannot be written.
    """
    sums = json.dumps(checksums.of_arrays(tensors))
    with atomic.told(path):
        save_file(dict(tensors), path, metadata={"format": "pt", "checksums": sums, **about})


def read_folder(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """(tensors of a folder's weights, floats as float32, metadata): `model.safetensors`, the files
    that its index names, or the same of `pytorch_model.bin`.

    Raises:
      UserError: if the file or one of the shards is missing or broken.
    """
    found = [name for name in FOLDER_FILES if (folder / f"{name}.index.json").is_file()]
    if found:
        shards = _shards(folder, f"{found[0]}.index.json")
    else:
        shards = [name for name in FOLDER_FILES if (folder / name).is_file()][:1]
    if not shards:
        raise UserError(f"{folder}: neither checkpoints/ nor {FOLDER_FILES[0]} in it")
    tensors: dict[str, np.ndarray] = {}
    metadata: dict[str, str] = {}
    for path in (folder / name for name in shards):
        is_safe = path.suffix == ".safetensors"
        part, about = read_safetensors(path) if is_safe else (read_torch(path), {})
        tensors |= as_arrays(part, path)
        metadata |= about
    return tensors, metadata


def _shards(folder: Path, index: str) -> list[str]:
    named = read_json(folder / index).get("weight_map")
    shards = sorted(set(named.values())) if isinstance(named, dict) else []
    missing = [name for name in shards if not (folder / str(name)).is_file()]
    if missing or not shards:
        listed = some(list(map(str, missing))) or "every shard"
        raise UserError(f"{folder}: {index} names files that are not there: {listed}")
    return shards


def check_finite(tensors: Mapping[str, np.ndarray], where: object) -> None:
    """Raise UserError that names the tensors of a model or file that hold NaN or infinity."""
    wrong = [name for name, value in tensors.items() if not np.isfinite(value).all()]
    if wrong:
        raise UserError(f"{where}: NaN or infinity in {some(wrong, 3)}; not written")
