"""What a setting may be: kinds of values, and what is wrong with one.

A setting is a field of a dataclass, or an argument of a function, with an annotation that says what
it may be (`layers: Layers = 8`) and a line under "Attributes:" or "Args:" that says what it means.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import math
import re
import types
import typing
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

# of a list; no network is deeper or wider in scales
MOST_ITEMS = 64
MISSING = inspect.Parameter.empty


@dataclasses.dataclass(frozen=True)
class Within:
    """A number from `low` to `high`; `above` and `below` leave the end itself out."""

    low: float
    high: float = math.inf
    above: bool = False
    below: bool = False

    def holds(self, value: float) -> bool:
        enough = value > self.low if self.above else value >= self.low
        return enough and (value < self.high if self.below else value <= self.high)

    def __str__(self) -> str:
        begin = f"above {self.low:g}" if self.above else f"from {self.low:g}"
        if math.isinf(self.high):
            return begin if self.above else f"{begin} up"
        end = f"below {self.high:,}" if self.below else f"up to {self.high:,}"
        return f"{begin} {end}" if not self.above or self.below else f"{begin} and {end}"


@dataclasses.dataclass(frozen=True)
class OneOf:
    """A name of a table that stands elsewhere."""

    names: Collection[str]

    def holds(self, value: str) -> bool:
        return value in self.names

    def __str__(self) -> str:
        return f"one of {', '.join(self.names)}"


@dataclasses.dataclass(frozen=True)
class Matching:
    """A text of some form, which `form` says in words; or none."""

    pattern: str
    form: str

    def holds(self, value: str) -> bool:
        return not value or re.fullmatch(self.pattern, value) is not None

    def __str__(self) -> str:
        return f'{self.form}, or "" for none'


class RegularExpression:
    """A regular expression of Python's."""

    def holds(self, value: str) -> bool:
        try:
            re.compile(value)
        except (re.error, OverflowError, RecursionError):
            return False
        return True

    def __str__(self) -> str:
        return "a regular expression"


# Beyond these no network is built: the next ones took hours or all memory to find that out.
Size = Annotated[int, Within(1, 2**20)]  # channels, samples, hertz
SizeOrNone = Annotated[int, Within(0, 2**20)]  # 0 is none, or what follows from others
Layers = Annotated[int, Within(1, 512)]
LayersOrNone = Annotated[int, Within(0, 512)]
Rate = Annotated[int, Within(1000, 2**20)]  # in Hz
Count = Annotated[int, Within(1, 2**31 - 1)]  # of steps, samples
CountOrNone = Annotated[int, Within(0, 2**31 - 1)]
Seed = Annotated[int, Within(0, 2**32 - 1)]
Positive = Annotated[float, Within(0, above=True)]
NotNegative = Annotated[float, Within(0)]
Share = Annotated[float, Within(0, 1)]
SomeOf = Annotated[float, Within(0, 1, above=True)]  # a share that is not nothing
Fraction = Annotated[float, Within(0, 1, below=True)]
Levels = Annotated[int, Within(2, 1024)]  # of one dimension of a quantiser
Precision = Literal["float32", "bfloat16"]
Pattern = Annotated[str, RegularExpression()]


class Field(NamedTuple):
    """A setting: what it may be, its default (`MISSING`: it must be given), and what it means."""

    kind: Any
    default: Any
    meaning: str


@dataclasses.dataclass(frozen=True)
class Group:
    """Settings in a mapping whose names depend on what it holds.

    Attributes:
      fields: the mapping -> the fields that it may have.
    """

    fields: Callable[[Mapping[str, Any]], Mapping[str, Field]]

    def __str__(self) -> str:
        return "a group of fields"


# an empty mapping
Nothing = Annotated[dict[str, Any], Group(lambda _: {})]


def tagged(
    tag: str,
    known: Collection[str],
    fields: Callable[[str], Mapping[str, Field]],
    default: Any = MISSING,
) -> Any:
    """The kind of a mapping whose field `tag` says which other fields it has.

    Args:
      tag: the field's name.
      known: what it may be.
      fields: what it is -> the other fields.
      default: what it is where it is left out.
    """

    def of(value: Mapping[str, Any]) -> dict[str, Field]:
        name = value.get(tag, default)
        is_known = isinstance(name, str) and name in known
        others = fields(name) if is_known else {n: Field(Any, None, "") for n in value}
        kind = Annotated[str, OneOf(known)]
        return {tag: Field(kind, default, ""), **{n: f for n, f in others.items() if n != tag}}

    return Annotated[dict, Group(of)]


def named(known: Collection[str], kind: Callable[[str], Any], required: bool = False) -> Any:
    """The kind of a mapping whose names are of a table, each with a kind of its own.

    Args:
      known: the names.
      kind: of each.
      required: all must be there.
    """
    default = MISSING if required else None
    return Annotated[dict, Group(lambda _: {n: Field(kind(n), default, "") for n in known})]


def fields_of(owner: Any, leave_out: Collection[str] = ()) -> dict[str, Field]:
    """The settings of a dataclass, a Linen module or a function, by name.

    Args:
      owner: the class or the function.
      leave_out: names that are no settings.
    """
    documented = reversed(owner.__mro__) if inspect.isclass(owner) else (owner,)
    meanings: dict[str, str] = {}
    for one in documented:
        meanings |= described(inspect.cleandoc(one.__doc__ or ""))
    found = _of_class(owner) if dataclasses.is_dataclass(owner) else _of_function(owner)
    return {
        name: Field(kind, default, meanings.get(name, ""))
        for name, kind, default in found
        if name not in leave_out
    }


def _of_class(owner: type) -> Iterator[tuple[str, Any, Any]]:
    for field in dataclasses.fields(owner):
        if not field.init or field.name in ("parent", "name"):  # Linen's own
            continue
        default = MISSING
        if field.default is not dataclasses.MISSING:
            default = field.default
        elif field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        yield field.name, _annotation(owner, field), default


def _annotation(owner: type, field: dataclasses.Field) -> Any:
    """An annotation as an object: it is text where its module postpones them."""
    home = next(c for c in owner.__mro__ if field.name in vars(c).get("__annotations__", {}))
    return inspect.get_annotations(home, eval_str=True)[field.name]


def _of_function(owner: Any) -> Iterator[tuple[str, Any, Any]]:
    function = owner.__init__ if inspect.isclass(owner) else owner
    hints = typing.get_type_hints(function, include_extras=True)
    for name, parameter in inspect.signature(owner).parameters.items():
        if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            yield name, hints.get(name, Any), parameter.default


def described(docstring: str) -> dict[str, str]:
    """What a docstring says of each name under "Attributes:" and "Args:"."""
    found, names, inside, indent = {}, [], False, 0
    for line in docstring.splitlines():
        text = line.strip()
        depth = len(line) - len(line.lstrip())
        if text in ("Attributes:", "Args:"):
            inside, indent, names = True, depth + 2, []
        elif inside and text and depth < indent:
            inside = False
        elif inside and depth == indent and (match := re.match(r"([\w, ]+): (.*)", text)):
            names = match[1].split(", ")
            found |= dict.fromkeys(names, match[2])
        elif inside and text:
            found |= {name: f"{found[name]} {text}" for name in names}
    return found


def defaults(owner: type) -> dict[str, Any]:
    """The fields of a dataclass at their defaults, as a config holds them."""
    return {name: field.default for name, field in fields_of(owner).items()}


def tuples(value: Any) -> Any:
    """A value with tuples for lists, all the way down: what is made of it can be hashed."""
    if isinstance(value, Mapping):
        return {name: tuples(part) for name, part in value.items()}
    return tuple(map(tuples, value)) if isinstance(value, list | tuple) else value


def faults(kind: Any, value: Any, where: str) -> list[str]:
    """What is wrong with a value, one line for each fault.

    Args:
      kind: an annotation: bool, int, float, str, `Literal`, `Annotated` with rules, `tuple` and
        `Sequence` of kinds, `dict` of kinds, a union with None, a dataclass, `Any`.
      value: as it comes from a config or from JSON: mappings stand for dataclasses, lists may stand
        for tuples.
      where: name of the setting, for messages.
    """
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return []
    if isinstance(value, Mapping) and (known := members(kind, value)) is not None:
        return _of_members(known, value, where)
    if _is_list(origin) and isinstance(value, list | tuple) and _fits(inner, value):
        kinds = [inner[0]] * len(value) if _any_length(inner) else inner
        each = enumerate(zip(kinds, value, strict=True))
        return [f for i, (k, v) in each for f in faults(k, v, f"{where}[{i}]")]
    return [] if _is(kind, value) else [f"{where} is {shown(value)}; {expected(kind)} is expected"]


def members(kind: Any, value: Mapping[str, Any]) -> Mapping[str, Field] | None:
    """The fields of a kind that is a mapping; None if it is none."""
    inner = typing.get_args(kind)
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        fit = [k for k in inner if not faults(k, value, "")] or inner
        return members(fit[0], value)
    if dataclasses.is_dataclass(kind):
        return fields_of(kind)
    if typing.get_origin(kind) is dict:
        return {name: Field(inner[1], MISSING, "") for name in value}
    group = next((rule for rule in inner[1:] if isinstance(rule, Group)), None)
    return group.fields(value) if group else None


def _of_members(known: Mapping[str, Field], values: Mapping[str, Any], where: str) -> list[str]:
    found = [
        f"{where}.{name} is missing; {expected(field.kind)} is expected"
        for name, field in known.items()
        if field.default is MISSING and name not in values
    ]
    for name in (name for name in known if name in values):
        found += faults(known[name].kind, values[name], f"{where}.{name}")
    for name in (name for name in values if name not in known):
        found.append(f"{where}.{name}: no such field; there are {', '.join(sorted(known))}")
    return found


def _is(kind: Any, value: Any) -> bool:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        return _is(inner[0], value) and all(rule.holds(value) for rule in inner[1:])
    if origin in (typing.Union, types.UnionType):
        return any(not faults(k, value, "") for k in inner)
    if origin is Literal:
        return any(type(value) is type(one) and value == one for one in inner)
    if kind is float:
        return _is(int, value) or (isinstance(value, float) and math.isfinite(value))
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if _is_dtype(kind):
        return str(value) in typing.get_args(Precision)
    return kind in (bool, str, type(None)) and isinstance(value, kind)


def _is_dtype(kind: Any) -> bool:
    """Of NumPy, without importing it: it would make every command slower to begin."""
    return getattr(kind, "__name__", "") == "dtype"


def _is_list(origin: Any) -> bool:
    return inspect.isclass(origin) and issubclass(origin, Sequence)


def _any_length(kinds: tuple[Any, ...]) -> bool:
    return len(kinds) == 1 or kinds[-1] is ...


def _fits(kinds: tuple[Any, ...], value: Collection[Any]) -> bool:
    if not _any_length(kinds):
        return len(value) == len(kinds)
    return len(value) <= MOST_ITEMS or kinds[0] is str


def shown(value: Any) -> str:
    """A value for a message, cut where it is long."""
    return (str(value) if isinstance(value, int) else repr(value))[:60]


def expected(kind: Any) -> str:
    """What a kind is, in words."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        rules = " ".join(str(rule) for rule in inner[1:])
        return f"{expected(inner[0])} {rules}" if inner[0] in (int, float) else rules
    if origin is Literal:
        names = ", ".join(map(str, inner))
        return f"one of {names}" if len(inner) > 1 else names
    if origin in (typing.Union, types.UnionType):
        return " or ".join(expected(k) for k in inner)
    if _is_list(origin) and _any_length(inner):
        return f"a list, each {expected(inner[0])}"
    if _is_list(origin):
        each = " and ".join(dict.fromkeys(expected(k) for k in inner))
        return f"a list of {len(inner)}: {each}"
    if _is_dtype(kind):
        return expected(Precision)
    return _WORDS.get(kind, "a group of fields")


_WORDS = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "text",
    type(None): "None",
}


def argument(kind: Any) -> Callable[[str], Any]:
    """A `type` for argparse that takes numbers of a kind alone.

    Args:
      kind: int or float, `Annotated` with rules.
    """
    number = typing.get_args(kind)[0]

    def parse(text: str) -> Any:
        try:
            value = number(text)
        except ValueError:
            value = None
        if faults(kind, value, ""):
            raise argparse.ArgumentTypeError(f"{text}: {expected(kind)} is expected")
        return value

    return parse
