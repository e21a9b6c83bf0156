"""The weight-map engine: one table of rules names a network's tensors in Flax and in PyTorch.

A table is a tuple of `Rule`s and stands beside its network. The engine reads it in both
directions, and both are strict: every tensor is used once, every shape is checked, and
mismatches are reported together.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import flax.traverse_util
import jax
import numpy as np

from codecbwe_jax.errors import UserError, some

Params = Mapping[str, "Params | jax.Array"]


@dataclasses.dataclass(frozen=True)
class Leaf:
    """One tensor of a layer.

    Attributes:
      flax, torch: its name in the layer.
      axes: "same", "reversed" (a kernel: all axes the other way round), "depthwise"
        (`[k, C]` <-> `[C, 1, k]`), "image" (`[h, w, in, out]` <-> `[out, in, h, w]`: for spectra
        whose axes have one order on both sides, as "reversed" is for those that have not), "width1"
        (`[k, in, out]` <-> `[out, in, k, 1]`), "pointwise" (`[in, out]` <-> `[out, in, 1]`) or
        "gain" / "gain2d" (`[out]` <-> `[out, 1, 1(, 1)]`), "channel" (`[C]` <-> `[1, C, 1]`) or
        "column" (`[C]` <-> `[C, 1]`).
    """

    flax: str
    torch: str
    axes: str = "same"


_BIAS = Leaf("bias", "bias")

# What a layer of each kind stores, in Flax and in PyTorch.
KINDS: dict[str, tuple[Leaf, ...]] = {
    "dense": (Leaf("kernel", "weight", "reversed"), _BIAS),
    "conv": (Leaf("kernel", "weight", "reversed"), _BIAS),
    "depthwise": (Leaf("kernel", "weight", "depthwise"), _BIAS),
    "pointwise": (Leaf("kernel", "weight", "pointwise"),),
    "pointwise_dense": (Leaf("kernel", "weight", "pointwise"), _BIAS),
    "norm": (Leaf("scale", "weight"), _BIAS),
    "batch_norm": (
        Leaf("scale", "weight"),
        _BIAS,
        Leaf("mean", "running_mean"),
        Leaf("var", "running_var"),
    ),
    "wn_conv1d": (Leaf("v", "weight_v", "reversed"), Leaf("g", "weight_g", "gain"), _BIAS),
    # [taps, out, in] <-> [in, out, taps]; one gain for each input channel
    "wn_conv_transpose1d": (
        Leaf("v", "weight_v", "reversed"),
        Leaf("g", "weight_g", "gain"),
        _BIAS,
    ),
    "snake": (Leaf("alpha", "alpha", "channel"),),
    "wn_conv2d": (Leaf("v", "weight_v", "reversed"), Leaf("g", "weight_g", "gain2d"), _BIAS),
    "image_conv": (Leaf("kernel", "weight", "image"), _BIAS),
    "wn_image": (Leaf("v", "weight_v", "image"), Leaf("g", "weight_g", "gain2d"), _BIAS),
    "wn_conv2d_width1": (Leaf("v", "weight_v", "width1"), Leaf("g", "weight_g", "gain2d"), _BIAS),
    "spectral_conv": (Leaf("kernel", "weight_orig", "reversed"), _BIAS),
    "array": (Leaf("", ""),),
    "kernel": (Leaf("", "", "reversed"),),
    "gain_alone": (Leaf("", "", "gain"),),
    "column": (Leaf("", "", "column"),),
    "image_kernel": (Leaf("", "", "image"),),
}


@dataclasses.dataclass(frozen=True)
class Rule:
    """A layer under its two names.

    Attributes:
      flax: path with "/" between names; `{x}` stands for a number or a word without separators.
      torch: key prefix with "." between names and the same placeholders.
      kind: a name in `KINDS`; "array", "kernel" (its axes the other way round)
        and the last ones are a single tensor and the names are its own.
    """

    flax: str
    torch: str
    kind: str

    def torch_key(self, path: str) -> tuple[str, str] | None:
        """(PyTorch key, axes) of a Flax leaf, or None if this rule does not cover it."""
        for leaf in KINDS[self.kind]:
            template = f"{self.flax}/{leaf.flax}" if leaf.flax else self.flax
            fields = match(template, path)
            if fields is not None:
                prefix = self.torch.format(**fields)
                return (f"{prefix}.{leaf.torch}" if leaf.torch else prefix), leaf.axes
        return None


def under(flax_prefix: str, torch_prefix: str, rules: Sequence[Rule]) -> tuple[Rule, ...]:
    """A part's table as part of a whole's: prefixes in front of both names ("" for none)."""
    return tuple(
        Rule(
            f"{flax_prefix}/{rule.flax}",
            f"{torch_prefix}.{rule.torch}" if torch_prefix else rule.torch,
            rule.kind,
        )
        for rule in rules
    )


def match(template: str, name: str) -> dict[str, str] | None:
    """Values of a template's placeholders if the name fits it, else None."""
    found = re.fullmatch(_pattern(template), name)
    return found.groupdict() if found else None


@functools.cache
def _pattern(template: str) -> str:
    pieces = re.split(r"\{(\w+)\}", template)
    seen: set[str] = set()
    pattern = ""
    for i, piece in enumerate(pieces):
        if i % 2 == 0:
            pattern += re.escape(piece)
        else:
            pattern += f"(?P={piece})" if piece in seen else f"(?P<{piece}>\\w+)"
            seen.add(piece)
    return pattern


def _to_torch(x: np.ndarray, axes: str) -> np.ndarray:
    match axes:
        case "reversed":
            x = x.transpose()
        case "depthwise":
            x = x.transpose()[:, None, :]
        case "image":
            x = x.transpose(3, 2, 0, 1)
        case "width1" | "pointwise":
            x = x.transpose()[..., None]
        case "gain":
            x = x[:, None, None]
        case "channel":
            x = x[None, :, None]
        case "column":
            x = x[:, None]
        case "gain2d":
            x = x[:, None, None, None]
    # safetensors writes the memory of an array as it lies, so a transposed view must be copied.
    return np.ascontiguousarray(x)


def _from_torch(x: np.ndarray, axes: str) -> np.ndarray:
    match axes:
        case "reversed":
            x = x.transpose()
        case "depthwise":
            x = x[:, 0, :].transpose()
        case "image":
            x = x.transpose(2, 3, 1, 0)
        case "width1" | "pointwise":
            x = x[..., 0].transpose()
        case "gain":
            x = x[:, 0, 0]
        case "channel":
            x = x[0, :, 0]
        case "column":
            x = x[:, 0]
        case "gain2d":
            x = x[:, 0, 0, 0]
    return np.ascontiguousarray(x)


def _torch_shape(shape: tuple[int, ...], axes: str) -> tuple[int, ...]:
    match axes:
        case "reversed":
            return shape[::-1]
        case "depthwise":
            return (shape[1], 1, shape[0])
        case "image":
            return (shape[3], shape[2], *shape[:2])
        case "width1" | "pointwise":
            return (*shape[::-1], 1)
        case "gain":
            return (*shape, 1, 1)
        case "channel":
            return (1, *shape, 1)
        case "column":
            return (*shape, 1)
        case "gain2d":
            return (*shape, 1, 1, 1)
    return shape


def torch_layout(
    rules: Sequence[Rule], params: Params
) -> dict[str, tuple[str, str, tuple[int, ...]]]:
    """Where every Flax leaf goes: path -> (PyTorch key, axes, PyTorch shape).

    Args:
      rules: the network's table.
      params: nested dict of arrays or `jax.ShapeDtypeStruct`s.

    Raises:
      UserError: if a leaf is covered by no rule or by two, or two leaves share a key.
    """
    layout, problems, taken = {}, [], {}
    for path, leaf in flax.traverse_util.flatten_dict(dict(params), sep="/").items():
        hits = [hit for rule in rules if (hit := rule.torch_key(path))]
        if len(hits) != 1:
            problems.append(f"{path} is covered by {len(hits)} rules")
            continue
        key, axes = hits[0]
        if key in taken:
            problems.append(f"{path} and {taken[key]} both map to {key}")
        taken[key] = path
        layout[path] = (key, axes, _torch_shape(tuple(leaf.shape), axes))
    if problems:
        raise UserError(f"weight map: {len(problems)} problems: " + "; ".join(problems))
    return layout


def to_torch(rules: Sequence[Rule], params: Params) -> dict[str, np.ndarray]:
    """Flax parameters -> PyTorch state dict of contiguous NumPy arrays.

    Raises:
      UserError: as `torch_layout`.
    """
    layout = torch_layout(rules, params)
    leaves = flax.traverse_util.flatten_dict(dict(params), sep="/")
    return {
        key: _to_torch(np.asarray(leaves[path]), axes) for path, (key, axes, _) in layout.items()
    }


def from_torch(
    rules: Sequence[Rule],
    state: Mapping[str, np.ndarray],
    like: Params,
    constants: Collection[str] = (),
    where: object = "the checkpoint",
) -> dict[str, dict | np.ndarray]:
    """PyTorch state dict -> Flax parameters, bit for bit.

    Args:
      rules: the network's table.
      state: PyTorch names -> arrays. Weight norm may be spelled the old way (`weight_g`,
        `weight_v`), as a parametrization (`parametrizations.weight.original0`, `original1`), or
        be folded into plain weights.
      like: the network's parameters or their shapes (`jax.eval_shape` of `init`).
      constants: names that may stand in the state beside parameters.
      where: what they were read from, for messages.

    Raises:
      UserError: one line: what differs as a whole (widths, numbers of layers), how many keys are
        missing, unused or of another shape, and the first of them.
    """
    kept = (key for key in state if key not in constants)
    state = {_old_weight_norm_name(key): state[key] for key in kept}
    layout = torch_layout(rules, like)
    expected = {key: shape for key, _, shape in layout.values()}
    _unfold_weight_norm(state, expected)
    _check_fits(state, expected, where)
    # each is let go when it is copied, so that a large model is not in memory twice
    flat = {path: _from_torch(state.pop(key), axes) for path, (key, axes, _) in layout.items()}
    return flax.traverse_util.unflatten_dict(flat, sep="/")


def knows(
    rules: Sequence[Rule], like: Params, constants: Collection[str] = ()
) -> Callable[[str], bool]:
    """Whether a network has a tensor of some PyTorch name, in any spelling that `from_torch` takes.

    Args:
      rules, like, constants: as there.
    """
    names = {key for key, _, _ in torch_layout(rules, like).values()} | set(constants)

    def known(name: str) -> bool:
        name = _old_weight_norm_name(name)
        return name in names or f"{name}_v" in names

    return known


def _check_fits(
    state: Mapping[str, np.ndarray], expected: Mapping[str, tuple[int, ...]], where: object
) -> None:
    """Raise UserError if names, shapes or types differ from those expected."""
    missing = [f"missing {key} {list(expected[key])}" for key in expected if key not in state]
    unused = [f"unused {key} {list(state[key].shape)}" for key in state if key not in expected]
    shared = [key for key in expected if key in state]
    others = [
        f"{key} is {list(state[key].shape)}, expected {list(expected[key])}"
        for key in shared
        if tuple(state[key].shape) != expected[key]
    ]
    types = [
        f"{key} is {state[key].dtype}, expected floats"
        for key in shared
        if not np.issubdtype(state[key].dtype, np.floating)
    ]
    kinds = {"missing": missing, "unused": unused, "of other shapes": others, "of no floats": types}
    if not any(kinds.values()):
        return
    counts = [f"{len(found)} {kind}" for kind, found in kinds.items() if found]
    # some of each kind first
    mixed = [p for row in itertools.zip_longest(*kinds.values()) for p in row if p]
    raise UserError(
        f"{where}: these weights do not fit the network of {len(expected)} tensors: "
        + "; ".join(
            [*_whole_differences(state, expected), ", ".join(counts), some(mixed, between="; ")]
        )
    )


def _whole_differences(
    state: Mapping[str, np.ndarray], expected: Mapping[str, tuple[int, ...]]
) -> list[str]:
    """Numbers of layers and widths that explain many differences at once, at most two of each."""
    ours, theirs = _numbered(expected), _numbered(state)
    told = [
        f"{len(theirs[stem])} {stem} in the checkpoint, {len(ours[stem])} in the config"
        for stem in ours
        if stem in theirs and len(ours[stem]) != len(theirs[stem])
    ][:2]
    sizes: Counter[tuple[str, int, int]] = Counter()
    for key in expected:
        shape = state[key].shape if key in state else ()
        if len(shape) == len(expected[key]):
            for axis, (there, here) in enumerate(zip(shape, expected[key], strict=True)):
                sizes["width" if axis < 2 else "kernel size", there, here] += there != here
    told += [
        f"{what} {there} in the checkpoint, {here} in the config ({count} times)"
        for (what, there, here), count in sizes.most_common(2)
        if count
    ]
    return told


def _numbered(names: Iterable[str]) -> dict[str, set[str]]:
    """ "layers" -> the numbers after it in names, whatever the numbers before it are."""
    found: dict[str, set[str]] = {}
    for name in names:
        words = name.split(".")
        for i, word in enumerate(words):
            if word.isdigit():
                stem = ".".join("*" if w.isdigit() else w for w in words[:i])
                found.setdefault(stem, set()).add(word)
    return found


def _old_weight_norm_name(key: str) -> str:
    key = key.replace("parametrizations.weight.original0", "weight_g")
    return key.replace("parametrizations.weight.original1", "weight_v")


def _unfold_weight_norm(
    state: dict[str, np.ndarray], expected: Mapping[str, Sequence[int]]
) -> None:
    """Make gain and direction of each plain weight where a network has a weight norm."""
    for key in expected:
        stem, dot, leaf = key.rpartition(".")
        plain = f"{stem}{dot}weight"
        if leaf != "weight_v" or key in state or plain not in state:
            continue
        weight = state.pop(plain)
        norm = np.sqrt(np.sum(np.square(weight), axis=tuple(range(1, weight.ndim)), keepdims=True))
        state |= {key: weight, f"{stem}{dot}weight_g": norm}
