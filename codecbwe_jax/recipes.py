"""Recipes: configs that are made step by step, and the words that choose steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Sequence

from ml_collections import ConfigDict

from codecbwe_jax.errors import UserError

Change = Callable[[ConfigDict], None]


def nothing(config: ConfigDict) -> None:
    """The change of a word that only stands for what is there without it."""


@dataclasses.dataclass(frozen=True)
class Variant:
    """A step that is taken if its word is given.

    Attributes:
      word: without "_"; "" is what is given where no word is.
      change: what it does to the config.
      against: words that it does not go with; its own may be among them, so that alternatives can
        all name the same table.
      needs: words that it is not given without.
    """

    word: str
    change: Change = nothing
    against: Collection[str] = ()
    needs: Collection[str] = ()


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The `get_config` of a config file: steps from an empty config to a whole one, in their order.

    A recipe that builds on another begins with that one's steps, and so takes its words:
    `Recipe([*other.steps, more, Variant("small", small)])`. A word may choose several steps.

    Attributes:
      steps: changes that are always made, and variants.
    """

    steps: Sequence[Change | Variant]

    def __call__(self, variant: str = "") -> ConfigDict:
        """The config of a variant.

        Args:
          variant: words with "_" between them, in any order; "": none.

        Raises:
          UserError: if a word is unknown or does not go with another; it says what words there are.
        """
        self.check(variant)
        given = set(variant.split("_"))
        config = ConfigDict()
        for step in self.steps:
            if not isinstance(step, Variant):
                step(config)
            elif step.word in given:
                step.change(config)
        return config

    @property
    def words(self) -> tuple[str, ...]:
        """What variants are made of, in the order of their steps."""
        return tuple(dict.fromkeys(v.word for v in self._variants if v.word))

    def check(self, variant: str) -> None:
        """Raise what a call with this variant raises."""
        wrong = self._unknown(variant) or self._contradiction(set(variant.split("_")))
        if wrong:
            raise UserError(f"{wrong}; there are {', '.join(self.words)}")

    def without(self, *words: str) -> list[Change | Variant]:
        """The steps that none of these words chooses."""
        return [s for s in self.steps if not (isinstance(s, Variant) and s.word in words)]

    @property
    def _variants(self) -> list[Variant]:
        return [step for step in self.steps if isinstance(step, Variant)]

    def _unknown(self, variant: str) -> str:
        given = variant.split("_") if variant else []
        unknown = [repr(word) for word in given if word not in self.words]
        return f"unknown variant {', '.join(unknown)}" if unknown else ""

    def _contradiction(self, given: set[str]) -> str:
        for variant in self._variants:
            if variant.word not in given:
                continue
            for other in variant.against:
                if other in given and other != variant.word:
                    return f"{variant.word!r} does not go with {other!r}"
            for other in variant.needs:
                if other not in given:
                    return f"{variant.word!r} goes with {other!r} alone"
        return ""
