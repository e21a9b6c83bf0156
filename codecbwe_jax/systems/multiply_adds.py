"""Multiply-adds of a traced program, the same with every version of XLA and on every device."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, cast

import jax
from jax.extend import core


def multiply_adds(function: Callable[..., Any], *inputs: Any) -> int:
    """Multiply-adds of a function's matrix products and convolutions.

    Left out are FFTs and all that is element-wise, so the depthwise convolutions and filters too
    that are written as shifted multiply-adds. A loop of unknown length counts once, a branch as
    the largest. Zeros between the samples of a transposed convolution do not count, zeros at the
    edges do.

    Args:
      function: what is traced; nothing is computed.
      inputs: its arguments, arrays or trees of `jax.ShapeDtypeStruct`.
    """
    return _in_program(jax.make_jaxpr(function)(*inputs).jaxpr)


def in_later_rounds(function: Callable[..., Any], *inputs: Any) -> int:
    """Those of `multiply_adds` that XLA's cost analysis leaves out: it counts a loop's body once.

    Args:
      function, inputs: as of `multiply_adds`.
    """
    return _later_in_program(jax.make_jaxpr(function)(*inputs).jaxpr)


def _in_program(program: core.Jaxpr) -> int:
    return sum(_in_equation(equation) for equation in program.eqns)


def _in_equation(equation: core.JaxprEqn) -> int:
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        left = _shape(equation.invars[0])
        return math.prod(_shape(equation.outvars[0])) * math.prod(left[i] for i in contracted)
    if name == "conv_general_dilated":
        kernel = _shape(equation.invars[1])
        taps = math.prod(kernel) // kernel[params["dimension_numbers"].rhs_spec[0]]
        return math.prod(_shape(equation.outvars[0])) * taps // math.prod(params["lhs_dilation"])
    inner = [_in_program(program) for program in _programs(params.values())]
    if name == "cond":
        return max(inner)
    return sum(inner) * (params["length"] if name == "scan" else 1)


def _shape(operand: core.Var | core.Literal) -> tuple[int, ...]:
    # products and convolutions are of arrays alone
    return cast(jax.core.ShapedArray, operand.aval).shape


def _later_in_program(program: core.Jaxpr) -> int:
    return sum(_later_in_equation(equation) for equation in program.eqns)


def _later_in_equation(equation: core.JaxprEqn) -> int:
    programs = list(_programs(equation.params.values()))
    inner = [_later_in_program(program) for program in programs]
    name, params = equation.primitive.name, equation.params
    if name == "cond":
        return max(inner)
    if name != "scan":
        return sum(inner)
    (body,) = programs
    # an unrolled body is several rounds, and those that do not fill one come after the loop
    counted = min(params["length"], params["unroll"] + params["length"] % params["unroll"])
    return counted * inner[0] + (params["length"] - counted) * _in_program(body)


def _programs(values: Any) -> Iterator[core.Jaxpr]:
    """Programs among an equation's parameters: bodies of loops, branches, called functions."""
    for value in values:
        if isinstance(value, core.ClosedJaxpr):
            yield value.jaxpr
        elif isinstance(value, core.Jaxpr):
            yield value
        elif isinstance(value, (tuple, list)):
            yield from _programs(value)
