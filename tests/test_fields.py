"""What a setting may be, and what is said of one that it may not."""

import argparse
import dataclasses
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
import pytest

from codecbwe_jax import fields
from codecbwe_jax.fields import Count, Fraction, NotNegative, OneOf, Pattern, Size, SomeOf


@dataclasses.dataclass
class Sizes:
    """Of something.

    Attributes:
      width, depth: in
        channels.
      name_of: it.
    """

    width: Size
    depth: Size = 3
    name_of: Annotated[str, OneOf(("a", "b"))] = "a"


RIGHT = [
    (int, 3), (float, 3), (float, 0.5), (bool, True), (str, ""), (Size, 1), (Count, 2**31 - 1),
    (Fraction, 0), (SomeOf, 1), (Literal["a", "b"], "b"), (Pattern, "a|b"), (Any, object()),
    (tuple[Size, ...], ()), (tuple[Size, ...], [1, 2]), (tuple[Fraction, Fraction], (0.1, 0.9)),
    (Sequence[Sequence[Size]], ((1, 2), (3,))), (Size | None, None), (Size | None, 3),
    (np.dtype, "bfloat16"), (dict[str, Size], {"x": 1}), (Sizes, {"width": 2}),
    (tuple[str, ...], ("speaker",) * 1000),
]  # fmt: skip
WRONG = [
    (int, 3.0), (int, True), (int, "3"), (float, float("nan")), (float, float("inf")),
    (float, True), (bool, 1), (str, 1), (str, None), (Size, 0), (Size, 2**21), (Count, None),
    (Fraction, 1), (Fraction, -0.1), (SomeOf, 0), (NotNegative, -1.0), (Literal["a"], "c"),
    (Literal["a"], ["a"]), (Pattern, "("), (tuple[Size, ...], 3), (tuple[Size, ...], "ab"),
    (tuple[Size, ...], (1,) * 65), (tuple[Fraction, Fraction], (0.1,)), (Size | None, 0),
    (np.dtype, "float64"), (dict[str, Size], [1]), (Sizes, 3), (Sizes, []),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "value"), RIGHT)
def test_what_a_kind_takes(kind: Any, value: Any) -> None:
    assert fields.faults(kind, value, "it") == []


@pytest.mark.parametrize(("kind", "value"), WRONG)
def test_what_a_kind_does_not_take_is_one_line(kind: Any, value: Any) -> None:
    (fault,) = fields.faults(kind, value, "it")
    assert fault == f"it is {fields.shown(value)}; {fields.expected(kind)} is expected"


def test_every_fault_is_found_and_says_where() -> None:
    wrong = fields.faults(dict[str, Sizes], {"x": {"depth": 0, "hight": 2}, "y": 1}, "it")
    assert wrong == [
        "it.x.width is missing; a whole number from 1 up to 1,048,576 is expected",
        "it.x.depth is 0; a whole number from 1 up to 1,048,576 is expected",
        "it.x.hight: no such field; there are depth, name_of, width",
        "it.y is 1; a group of fields is expected",
    ]
    assert fields.faults(tuple[Size, ...], (1, 0, "a"), "it") == [
        "it[1] is 0; a whole number from 1 up to 1,048,576 is expected",
        "it[2] is 'a'; a whole number from 1 up to 1,048,576 is expected",
    ]


def test_a_tag_says_which_fields_there_are() -> None:
    kind = fields.tagged("kind", ("sizes",), lambda _: fields.fields_of(Sizes))
    assert fields.faults(kind, {"kind": "sizes", "width": 2}, "it") == []
    assert fields.faults(kind, {"kind": "foo", "x": 1}, "it") == [
        "it.kind is 'foo'; one of sizes is expected"
    ]
    assert fields.faults(kind, {"width": 2}, "it") == [
        "it.kind is missing; one of sizes is expected"
    ]
    with_default = fields.tagged("kind", ("sizes",), lambda _: fields.fields_of(Sizes), "sizes")
    assert fields.faults(with_default, {"width": 0}, "it") == [
        "it.width is 0; a whole number from 1 up to 1,048,576 is expected"
    ]


def test_defaults_and_meanings_stand_beside_the_kind() -> None:
    found = fields.fields_of(Sizes)
    assert {name: f.default for name, f in found.items()} == {
        "width": fields.MISSING, "depth": 3, "name_of": "a"
    }  # fmt: skip
    assert [f.meaning for f in found.values()] == ["in channels.", "in channels.", "it."]


@pytest.mark.parametrize("text", ["0", "-1", "nan", "1.5", "", "x", "1e3"])
def test_a_number_of_the_command_line_is_of_its_kind(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=": a whole number from 1 up to"):
        fields.argument(Count)(text)
    assert fields.argument(Count)("12") == 12
