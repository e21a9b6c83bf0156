"""The vocoder."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from codecbwe_jax.audio.mel import mel
from codecbwe_jax.errors import UserError
from codecbwe_jax.systems.bigvgan import Bigvgan
from codecbwe_jax.weights.rules import torch_layout
from tests.conftest import ROOT, stirred

SMALL = {
    "channels": 16,
    "up_factors": (5, 2, 2),
    # the first less its factor is odd, as one of FLowHigh's is
    "up_kernels": (10, 4, 2),
    "n_fft": 64,
    "hop_length": 20,
    "n_mels": 8,
    "kernels": (3, 5),
    "dilations": ((1,), (2,)),
}
NOISE = np.random.default_rng(0).uniform(-0.5, 0.5, (1, 2000)).astype(np.float32)


def test_it_gives_what_its_mels_are_decoded_to() -> None:
    system = Bigvgan(**SMALL)
    params = stirred(system.init(jax.random.key(0)))
    log_mels = system.analyse(NOISE)
    assert log_mels.shape == (1, 100, 8)
    np.testing.assert_allclose(jnp.exp(log_mels), mel(NOISE, system.mel), rtol=1e-5)
    wave = system.decode(params, log_mels)
    assert wave.shape == (1, 2000)
    np.testing.assert_allclose(wave, system.extend(params, NOISE), atol=1e-6)
    assert system.extend(params, NOISE[:, :1987]).shape == (1, 1987)


def test_a_click_is_in_the_frame_that_its_hop_is() -> None:
    system = Bigvgan(**SMALL)
    click = np.zeros((1, 2000), np.float32)
    click[0, 50 * system.hop_length + system.hop_length // 2] = 1.0
    assert int(jnp.argmax(system.analyse(click).sum(-1))) == 50


def test_its_names_are_those_of_flowhigh() -> None:
    """With the filters; the mel basis beside them is for exports."""
    case = ROOT / "tests/golden/cases/flowhigh_bigvgan/full_keys.json"
    system = Bigvgan()
    layout = torch_layout(system.weight_map, system.shapes()).values()
    ours = {name: list(shape) for name, _, shape in layout}
    ours |= {name: list(value.shape) for name, value in system.constants.items()}
    assert ours.pop("mel_basis") == [256, 1025]
    assert ours == json.loads(case.read_text())


@pytest.mark.parametrize("kernels", [(3, 5), (3, 3)])
def test_the_receptive_field_is_exact(kernels: tuple[int, int]) -> None:
    """No sample of a hop sees further, and the one that sees furthest sees so far."""
    system = Bigvgan(**{**SMALL, "kernels": kernels})
    params = stirred(system.init(jax.random.key(0)))
    first = 50 * system.hop_length

    @jax.jit
    @jax.vmap
    def seen(place: jax.Array) -> jax.Array:
        def one(x: jax.Array) -> jax.Array:
            # scaled, so that the product of all filters' last taps does not round to 0
            return 1e25 * system.extend(params, x)[0, first + place]

        return jax.grad(one)(NOISE)[0] != 0

    touched = np.asarray(seen(jnp.arange(system.hop_length)))
    reach = [
        max(first + place - row.nonzero()[0][0], row.nonzero()[0][-1] - first - place)
        for place, row in enumerate(touched)
    ]
    assert max(reach) == system.receptive_field


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hop_length": 40}, "give 20 samples a frame; hop_length is 40"),
        ({"n_fft": 63}, "n_fft 63 less hop_length 20 must be even"),
        ({"up_kernels": (11, 4, 1)}, r"\(11, 4, 1\) must not be below up_factors \(5, 2, 2\)"),
    ],
)
def test_what_does_not_fit_is_one_line(settings: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Bigvgan(**{**SMALL, **settings})
