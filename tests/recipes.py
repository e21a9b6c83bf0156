"""The recipes in configs/ and their variants: a new file is tested without being named."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from itertools import combinations

from codecbwe_jax.config import load_config, recipe
from codecbwe_jax.errors import UserError
from codecbwe_jax.recipes import Recipe
from tests.conftest import ROOT

# Words that a recipe takes and its system refuses: streams take 16 kHz alone.
REFUSED = {"bbwexnet.py": {"neucodec"}, "opus_bbwe.py": {"neucodec"}}


@functools.cache
def runs() -> list[str]:
    """The config files that a system is trained with, without those that only others build on."""
    names = sorted(path.name for path in (ROOT / "configs").glob("*.py"))
    configs = {name: load_config(f"configs/{name}") for name in names}
    return [name for name, c in configs.items() if "train" in c and "name" in c.system]


def variants(name: str) -> list[str]:
    """All of "FILE.py:VARIANT" of a config file."""
    made, words = _read(name)
    chosen = (c for size in range(len(words) + 1) for c in combinations(words, size))
    return [f"{name}:{'_'.join(c)}" for c in chosen if _go_together(made, c)]


def every_word(name: str) -> Iterator[str]:
    """As few of "FILE.py:VARIANT" as have every word; with "tiny", if there is that."""
    made, words = _read(name)
    small = tuple(word for word in words if word == "tiny")
    left = [word for word in words if _go_together(made, (*small, word))]
    while left:
        chosen = small
        for word in left:
            more = (*chosen, word) if word not in chosen else chosen
            chosen = more if _go_together(made, more) else chosen
        yield f"{name}:{'_'.join(chosen)}"
        left = [word for word in left if word not in chosen]


def _read(name: str) -> tuple[Recipe, list[str]]:
    made = recipe(f"configs/{name}")
    return made, [word for word in made.words if word not in REFUSED.get(name, ())]


def _go_together(made: Recipe, words: tuple[str, ...]) -> bool:
    try:
        made.check("_".join(words))
    except UserError:
        return False
    return True
