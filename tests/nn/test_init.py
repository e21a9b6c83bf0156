"""Fresh variables are those that Flax draws."""

import jax
import numpy as np
import pytest
from flax import linen as nn

from codecbwe_jax.nn.init import fresh_variables
from codecbwe_jax.objectives.critics import build_critic

WAVE = jax.ShapeDtypeStruct((1, 9000), np.float32)


@pytest.mark.parametrize(
    "settings",
    [
        {"name": "mpd", "periods": (2,), "channels": (4, 4)},  # weight norm
        {"name": "msd", "channels": (4,) * 7, "groups": (1,) * 7},  # spectral norm and its state
    ],
    ids=lambda s: s["name"],
)
def test_the_same_as_lazy_init(settings: dict) -> None:
    critic = build_critic(settings["name"], {k: v for k, v in settings.items() if k != "name"})
    key, everything = jax.random.key(3), nn.DenyList("intermediates")
    ours = fresh_variables(critic, key, WAVE, mutable=everything)
    theirs = critic.lazy_init(key, WAVE)
    assert ours.keys() == theirs.keys()
    jax.tree.map(np.testing.assert_array_equal, ours, dict(theirs))


class Centred(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return x - self.param("mean", lambda key: x.mean())


def test_what_depends_on_the_input_is_refused() -> None:
    with pytest.raises(TypeError, match="variables of Centred depend on what it is called with"):
        fresh_variables(Centred(), jax.random.key(0), WAVE)


def test_the_same_network_is_walked_through_once() -> None:
    """And settings from a file, with lists in them, make the same network."""
    nets = [
        build_critic("mpd", {"periods": p, "channels": c})
        for p, c in (((2,), (4, 4)), ([2], [4, 4]))
    ]
    assert nets[0] == nets[1]
    calls = []

    class Watched(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            calls.append(x.shape)
            return nn.Dense(3)(x)

    one, other = (
        fresh_variables(Watched(), jax.random.key(seed), WAVE)["params"] for seed in (0, 1)
    )
    assert calls == [WAVE.shape]
    assert not np.array_equal(one["Dense_0"]["kernel"], other["Dense_0"]["kernel"])
