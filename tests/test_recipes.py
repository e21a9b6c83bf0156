"""What config files are made of: steps in their order, words that choose some, and mistakes."""

from functools import partial
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from codecbwe_jax.config import load_config
from codecbwe_jax.errors import UserError
from codecbwe_jax.recipes import Recipe, Variant


def start(config: ConfigDict) -> None:
    config.taken = ()


def take(config: ConfigDict, what: str) -> None:
    config.taken = (*config.taken, what)


SHELTER = Recipe(
    [
        start,
        Variant("", partial(take, what="plain")),
        Variant("tiny", partial(take, what="tiny")),
        partial(take, what="roof"),
        Variant("wide", partial(take, what="wide"), against=["wide", "narrow"]),
        Variant("narrow", partial(take, what="narrow")),
        Variant("stripes", partial(take, what="stripes"), needs=["wide"]),
    ]
)


@pytest.mark.parametrize(
    ("variant", "taken"),
    [
        ("", ("plain", "roof")),
        ("tiny", ("tiny", "roof")),
        ("wide_tiny", ("tiny", "roof", "wide")),
        ("stripes_tiny_wide", ("tiny", "roof", "wide", "stripes")),
    ],
)
def test_steps_are_taken_in_their_order_whatever_that_of_the_words(
    variant: str, taken: tuple[str, ...]
) -> None:
    assert SHELTER(variant).taken == taken


@pytest.mark.parametrize(
    ("variant", "says"),
    [
        ("huge", "unknown variant 'huge'"),
        ("tiny_huge_96k", "unknown variant 'huge', '96k'"),
        ("tiny_", "unknown variant ''"),
        ("narrow_wide", "'wide' does not go with 'narrow'"),
        ("stripes", "'stripes' goes with 'wide' alone"),
    ],
)
def test_a_variant_that_is_not_there_is_refused_with_what_there_is(variant: str, says: str) -> None:
    with pytest.raises(UserError) as error:
        SHELTER(variant)
    assert str(error.value) == f"{says}; there are tiny, wide, narrow, stripes"


def test_a_recipe_that_builds_on_another_takes_its_words() -> None:
    house = Recipe(
        [
            *SHELTER.without("wide", "stripes"),
            partial(take, what="door"),
            Variant("tiny", partial(take, what="hatch")),
        ]
    )
    assert house.words == ("tiny", "narrow")
    assert house("narrow_tiny").taken == ("tiny", "roof", "narrow", "door", "hatch")


def test_a_config_file_imports_from_those_beside_it_as_they_are_now(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("SIZE = 3\n")
    (tmp_path / "mine.v1.py").write_text(
        "from ml_collections import ConfigDict\n"
        "from codecbwe_jax.recipes import Recipe\n"
        "from . import beside\n"
        "get_config = Recipe([lambda config: config.update({'size': beside.SIZE})])\n"
    )
    assert load_config(f"{tmp_path}/mine.v1.py").size == 3
    (tmp_path / "beside.py").write_text("SIZE = 12\n")
    assert load_config(f"{tmp_path}/mine.v1.py").size == 12


def test_a_config_file_that_breaks_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("from . import nowhere\n")
    with pytest.raises(UserError, match=r"broken\.py: ImportError: cannot import name 'nowhere'"):
        load_config(f"{tmp_path}/broken.py:tiny")
    with pytest.raises(UserError, match=r"^configs/native_istft\.py:96k: unknown variant '96k'; "):
        load_config("configs/native_istft.py:96k")
