"""Critics that keep something beside their parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from codecbwe_jax.config import load_config
from codecbwe_jax.objectives.gan import Gan
from codecbwe_jax.systems import build
from codecbwe_jax.training.step import init_state, make_step

WEIGHTS = {"weight": 1.0, "adversarial": 1.0, "feature_matching": 1.0}
CRITICS = {
    "msd": {"channels": (4,) * 7, "groups": (1,) * 7, **WEIGHTS},
    "hifi_gan_plus": {"channels": (4,) * 6, "groups": (1,) * 6, "mel_channels": 4, **WEIGHTS},
}


def test_states_of_critics_move_with_every_step() -> None:
    """Estimates of spectral norms approach the norms; batch norms remember what they saw; what
    the generator is told comes with both kinds of items in one batch."""
    config = load_config("tests/training/micro_config.py:48k").unlock()
    config.objective.critics = CRITICS
    config.objective.adversarial_from = 0
    system = build(config.system)
    objective = Gan(system, config.objective)
    params = jax.device_get(objective.init(jax.random.key(0)))
    assert set(params) == {"generator", *CRITICS, *(f"{name}_state" for name in CRITICS)}
    optimizers = {group: optax.scale(1.0) for group in ("generator", *CRITICS)}
    rates = dict.fromkeys(optimizers, lambda step: 0.0)  # parameters stand still
    step = jax.jit(
        lambda state, batch, key: make_step(
            [turn for turn in objective.turns if turn.active(0)], optimizers, rates, {}
        )(state, batch, key, {}, lambda tree: tree)
    )
    rng = np.random.default_rng(0)
    batch = {
        "input": 0.1 * rng.standard_normal((2, 16000)).astype(np.float32),
        "target": 0.1 * rng.standard_normal((2, 48000)).astype(np.float32),
        "index": jnp.arange(2),
    }
    state = init_state(params, optimizers, {})
    for _ in range(8):
        state, metrics = step(state, batch, jax.random.key(0))
    assert all(np.isfinite(v) for v in metrics.values())
    conv = params["msd"]["scales_0"]["convs_1"]["kernel"]
    matrix = conv.transpose(2, 1, 0).reshape(conv.shape[2], -1)
    norms = state["params"]["msd_state"]["norms"]["scales_0"]["convs_1"]
    estimate = norms["u"] @ matrix @ norms["v"]
    largest = np.linalg.norm(matrix, 2)
    assert 0.9 * largest < estimate <= 1.0001 * largest
    first = params["hifi_gan_plus_state"]["batch_stats"]["mel"]["norms_0"]["mean"]
    after = state["params"]["hifi_gan_plus_state"]["batch_stats"]["mel"]["norms_0"]["mean"]
    assert not np.allclose(first, after)
