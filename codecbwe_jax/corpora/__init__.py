"""Corpora as TFDS datasets, written once by Beam and read without TensorFlow."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from codecbwe_jax.corpora.chapters import Settings
from codecbwe_jax.errors import UserError

if TYPE_CHECKING:
    from codecbwe_jax.corpora.builder import CorpusBuilder

# name for TFDS, and of the module -> class
REGISTRY = {"hifi_tts2": "HifiTts2", "vctk_like": "VctkLike", "recordings": "Recordings"}


def builder_class(name: str) -> type[CorpusBuilder]:
    """The TFDS builder of a corpus; TFDS knows it once it is imported.

    Raises:
      UserError: if the name is unknown, or Apache Beam is not installed.
    """
    if name not in REGISTRY:
        raise UserError(f"unknown corpus {name!r}; known: {', '.join(REGISTRY)}")
    try:
        module = importlib.import_module(f"codecbwe_jax.corpora.{name}")
    except ModuleNotFoundError as error:
        if error.name != "apache_beam":
            raise
        raise UserError("corpora are written by Apache Beam: pip install apache-beam") from None
    return getattr(module, REGISTRY[name])


def build(
    name: str,
    data_dir: str | None = None,
    own_name: str | None = None,
    changes: Sequence[str] = (),
    codec: str = "",
) -> CorpusBuilder:
    """A builder, with one of its own configs or with a changed one.

    Args:
      name: "hifi_tts2/32k"; without a config, the corpus' default.
      data_dir: TFDS's folder of datasets; None: its default.
      own_name: of the changed config.
      changes: of its settings, "max_wer=0.05" each.
      codec: folder of a codec whose tokens are stored too.

    Raises:
      UserError: if there is no such corpus, config or setting, or a changed config has no name.
    """
    corpus, _, wanted = name.partition("/")
    cls = builder_class(corpus)
    known = cls.builder_configs
    wanted = wanted or cls.DEFAULT_CONFIG_NAME
    if wanted not in known:
        raise UserError(f"{corpus} has no config {wanted!r}; known: {', '.join(known)}")
    if not changes and not codec:
        return cls(config=wanted, data_dir=data_dir)
    if not own_name or own_name in known:
        raise UserError("other settings, or a codec, make another dataset: give it a --name")
    settings = dataclasses.replace(known[wanted].settings, **dict(map(_change, changes)))
    config = dataclasses.replace(known[wanted], name=own_name, settings=settings, codec=codec)
    return cls(config=config, data_dir=data_dir)


def _change(text: str) -> tuple[str, float]:
    """Text max_wer=0.05 -> ("max_wer", 0.05)."""
    kinds = {field.name: type(field.default) for field in dataclasses.fields(Settings)}
    name, _, value = text.partition("=")
    if name not in kinds:
        raise UserError(f"--setting {text}: no such setting; known: {', '.join(kinds)}")
    try:
        return name, kinds[name](value)
    except ValueError:
        raise UserError(f"--setting {text}: {name} is a number, {value!r} is none") from None
