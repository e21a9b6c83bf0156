import jax
import numpy as np
import pytest

from codecbwe_jax.discriminators.mpd import MultiPeriodDiscriminator
from codecbwe_jax.errors import UserError
from codecbwe_jax.systems.ap_bwe import ApBwe
from codecbwe_jax.weights.rules import Rule, from_torch, to_torch, torch_layout

SYSTEM = ApBwe(channels=8, layers=2, n_fft=32)
CRITIC = MultiPeriodDiscriminator((2, 3), (2, 2, 2, 2, 2))


def random_like(tree, seed: int = 0):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: rng.standard_normal(x.shape).astype(np.float32), tree)


@pytest.fixture
def params():
    return random_like(SYSTEM.init(jax.random.key(0)))


def test_export_then_import_is_bit_identical(params) -> None:
    again = from_torch(SYSTEM.torch_rules, to_torch(SYSTEM.torch_rules, params), params)
    assert jax.tree.structure(again) == jax.tree.structure(params)
    assert all(map(np.array_equal, jax.tree.leaves(again), jax.tree.leaves(params)))


def test_exported_arrays_lie_in_memory_as_they_read(params) -> None:
    assert all(x.flags.c_contiguous for x in to_torch(SYSTEM.torch_rules, params).values())


def test_every_mismatch_is_listed_at_once(params) -> None:
    state = to_torch(SYSTEM.torch_rules, params)
    del state["norm_pre_mag.bias"]
    state["convnext_mag.0.gamma"] = np.zeros(9, np.float32)
    state["extra.weight"] = np.zeros(3, np.float32)
    with pytest.raises(UserError) as error:
        from_torch(SYSTEM.torch_rules, state, params)
    text = str(error.value)
    assert "\n" not in text
    assert "missing norm_pre_mag.bias [8]" in text
    assert "unused extra.weight [3]" in text
    assert "convnext_mag.0.gamma is [9], expected [8]" in text


def test_both_spellings_of_weight_norm_load() -> None:
    init = CRITIC.init(jax.random.key(0), np.zeros((1, 200), np.float32))["params"]
    old = to_torch(CRITIC.torch_rules, random_like(init))
    new = {
        k.replace("weight_g", "parametrizations.weight.original0").replace(
            "weight_v", "parametrizations.weight.original1"
        ): v
        for k, v in old.items()
    }
    assert set(new) != set(old)
    first, second = (from_torch(CRITIC.torch_rules, s, init) for s in (old, new))
    assert all(map(np.array_equal, jax.tree.leaves(first), jax.tree.leaves(second)))


def test_a_leaf_needs_exactly_one_rule() -> None:
    tree = {"a": {"kernel": np.zeros((2, 3)), "bias": np.zeros(3)}}
    with pytest.raises(UserError, match="a/kernel is covered by 0 rules"):
        torch_layout((), tree)
    twice = (Rule("a", "x", "dense"), Rule("{name}", "y", "dense"))
    with pytest.raises(UserError, match="a/kernel is covered by 2 rules"):
        torch_layout(twice, tree)
