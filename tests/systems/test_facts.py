"""Figures of systems: counted by hand, and those in the package against a fresh count."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from codecbwe_jax.cli import main
from codecbwe_jax.systems import REGISTRY, build
from codecbwe_jax.systems.facts import facts, stored
from codecbwe_jax.systems.multiply_adds import in_later_rounds, multiply_adds

X = jax.ShapeDtypeStruct((4, 4), "float32")


def shape(*sizes: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(sizes, "float32")


def test_a_matrix_product() -> None:
    assert multiply_adds(jnp.matmul, shape(5, 2, 3), shape(5, 3, 7)) == 5 * 2 * 3 * 7


def test_a_strided_dilated_grouped_convolution() -> None:
    def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return lax.conv_general_dilated(
            x,
            kernel,
            window_strides=(2,),
            padding="VALID",
            rhs_dilation=(3,),
            feature_group_count=2,
            dimension_numbers=("NWC", "WIO", "NWC"),
        )

    frames = (20 - 3 * 4 - 1) // 2 + 1  # five taps, three apart, every second place
    count = multiply_adds(convolve, shape(2, 20, 6), shape(5, 3, 8))
    assert count == 2 * frames * 8 * 5 * 3


def test_a_transposed_convolution_counts_no_inserted_zeros() -> None:
    def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return lax.conv_transpose(x, kernel, strides=(2,), padding="SAME")

    # each of 10 samples meets every tap once
    assert multiply_adds(convolve, shape(1, 10, 3), shape(4, 3, 5)) == 10 * 4 * 3 * 5


def test_a_scan_counts_as_often_as_it_runs() -> None:
    def loop(x: jax.Array) -> jax.Array:
        return lax.scan(lambda y, _: (y @ x, None), x, length=7)[0]

    assert multiply_adds(loop, X) == 7 * 4**3


@pytest.mark.parametrize("unroll", [1, 2, 7])
def test_xla_counts_a_loop_once_and_the_later_rounds_are_what_it_leaves_out(unroll: int) -> None:
    def loop(x: jax.Array) -> jax.Array:
        def outer(y: jax.Array, _: None) -> tuple[jax.Array, None]:
            return lax.scan(lambda z, _: (z @ x, None), y @ x, length=5)[0], None

        return lax.scan(outer, x, length=7, unroll=unroll)[0]

    products = 7 * (1 + 5) * 4**3
    assert multiply_adds(loop, X) == products
    counted = jax.jit(loop).lower(X).compile().cost_analysis()["flops"]
    # XLA counts the loops' counters too, one addition for each of at most eight
    assert 0 <= counted + 2 * in_later_rounds(loop, X) - 2 * products < 20


def test_a_loop_of_unknown_length_counts_once() -> None:
    def loop(x: jax.Array) -> jax.Array:
        return lax.while_loop(lambda y: y[0, 0] < 1, lambda y: y @ x, x)

    assert multiply_adds(loop, X) == 4**3


def test_a_condition_counts_its_largest_branch() -> None:
    def choose(x: jax.Array) -> jax.Array:
        return lax.cond(x[0, 0] > 0, lambda y: y @ y @ y, lambda y: y @ y, x)

    assert multiply_adds(choose, X) == 2 * 4**3


@pytest.mark.parametrize("wrap", [jax.jit, jax.checkpoint, jax.custom_jvp, jax.custom_vjp])
def test_called_functions_count(wrap) -> None:
    wrapped = wrap(lambda x: x @ x)
    if wrap is jax.custom_vjp:
        wrapped.defvjp(lambda x: (x @ x, x), lambda x, g: (g @ x,))
    elif wrap is jax.custom_jvp:
        wrapped.defjvp(lambda x, t: (x[0] @ x[0], t[0] @ x[0]))
    assert multiply_adds(wrapped, X) == 4**3


@pytest.mark.parametrize("name", REGISTRY)
def test_stored_figures_are_those_of_today(name: str) -> None:
    message = "figures of systems have changed; store them with: codecbwe systems --measure"
    assert stored().get(name) == facts(build({"name": name})), message


def test_stored_figures_are_of_registered_systems() -> None:
    assert list(stored()) == list(REGISTRY)


def test_a_system_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["systems", "--measure", "high_band", "higher_band"]) == 2
    assert "no system higher_band; there are ap_bwe, " in capsys.readouterr().err


@pytest.mark.parametrize("printed", ["['systems']", "['systems', '--markdown']"])
def test_printing_them_needs_no_jax(printed: str) -> None:
    program = (
        f"import sys; from codecbwe_jax.cli import main; main({printed}); "
        "assert not {'jax', 'numpy', 'flax'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
