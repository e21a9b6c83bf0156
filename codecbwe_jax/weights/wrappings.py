"""What other people's checkpoints wrap a network's tensors in, and the way out of it.

A dictionary in a checkpoint ("generator", "state_dict", "ema") and a prefix of names ("module.",
"_orig_mod.") are one thing here: words before a name that the network knows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from codecbwe_jax.errors import UserError, some


def unwrapped(
    tensors: Mapping[str, Any],
    knows: Callable[[str], bool],
    where: object,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """The tensors under the prefix below which the network knows most names, without it.

    Args:
      tensors: as `weights.files.read_torch` gives them.
      knows: whether the network has a tensor of some name.
      where: the file, for messages.
      say: gets a line about a prefix that is taken off, and what is left out.

    Raises:
      UserError: if no name is known, or as many under several prefixes; what there is is listed.
    """
    known: Counter[str] = Counter()
    for name in tensors:
        words = name.split(".")
        for i in range(len(words)):
            if knows(".".join(words[i:])):
                known["".join(f"{word}." for word in words[:i])] += 1
    most = max(known.values(), default=0)
    fitting = [prefix for prefix, count in known.items() if count == most]
    fitting = [p for p in fitting if not any(p != q and p.startswith(q) for q in fitting)]
    if not fitting:
        first = [name.partition(".")[0] + "." for name in tensors]
        raise UserError(
            f"{where}: nothing of this network in it; it holds {_listed(tensors, first)}"
        )
    if len(fitting) > 1:
        raise UserError(
            f"{where}: {len(fitting)} parts of it fit this network equally well; save the one that "
            f"is wanted alone: {_listed(tensors, fitting)}"
        )
    (prefix,) = fitting
    if not prefix:
        return dict(tensors)
    left = [name for name in tensors if not name.startswith(prefix)]
    parts = [name.partition(".")[0] + "." for name in left]
    beside = f"; left out: {_listed(left, parts)}" if left else ""
    say(f"{where}: names are taken without {prefix!r} before them{beside}")
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _listed(names: Iterable[str], prefixes: Iterable[str]) -> str:
    """What is under some prefixes: "generator (120 tensors: conv.weight, ...), ..."."""
    parts = []
    for prefix in dict.fromkeys(prefixes):
        under = [n for n in names if n.startswith(prefix)] or [prefix[:-1]]
        example = under[0].removeprefix(prefix)
        parts.append(f"{prefix[:-1] or 'the rest'} ({len(under)} tensors, as {example})")
    return some(parts) or "no tensors"
