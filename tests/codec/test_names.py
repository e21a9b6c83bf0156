"""The namings of a codec's checkpoints, and what is refused."""

import json
import re

import numpy as np
import pytest

from codecbwe_jax.codec import names
from codecbwe_jax.errors import UserError
from codecbwe_jax.weights.rules import to_torch
from tests.conftest import TWO_LAYERS, random_codec
from tests.golden.test_golden import DEFAULT

HEAD = 16


@pytest.fixture(scope="module")
def state() -> dict[str, np.ndarray]:
    codec, params = random_codec(**TWO_LAYERS)
    return to_torch(codec.torch_rules, params)


def test_the_table_is_the_published_map() -> None:
    """Every official tensor goes where the map of the golden case says."""
    published = json.loads((DEFAULT / "xcodec2_original" / "key_map.json").read_text())
    for key, entry in published.items():
        dropped = entry["to"] is None
        layer = re.match(r"semantic_model\.encoder\.layers\.(\d+)\.", key)
        if layer and int(layer[1]) >= 16:
            assert dropped  # layers that the codec does not use: by number, not by name
            continue
        assert bool(names.DROPPED.fullmatch(key)) == dropped, key
        if dropped:
            continue
        plain = key.replace(".weight_g", ".weight").replace(".weight_v", ".weight")
        ours = names.canonical_names(plain)
        wanted = [entry["to"].replace("{q,k,v}", n) for n in "qkv"]
        assert list(ours) == list(dict.fromkeys(wanted)), key


def test_there_and_back(state) -> None:
    stored = names.to_original(state, HEAD)
    modules = "CodecEnc SemanticEncoder_module fc_post_a fc_prior generator semantic_model"
    assert sorted({k.split(".")[0] for k in stored}) == modules.split()
    again = names.from_original(stored, HEAD)
    assert again.keys() == state.keys()
    assert all(np.array_equal(again[k], state[k]) for k in state)


def test_every_spelling_is_accepted(state) -> None:
    stored = names.to_original(state, HEAD)
    fork = {
        k.replace("weight_g", "parametrizations.weight.original0")
        .replace("weight_v", "parametrizations.weight.original1")
        .replace(".act.beta", ".act.bias"): v
        for k, v in stored.items()
    }
    assert set(fork) != set(stored)
    again = names.from_original(fork, HEAD)
    assert all(np.array_equal(again[k], state[k]) for k in state)


def test_a_stale_weight_beside_weight_norm_is_reported(state) -> None:
    stored = names.to_original(state, HEAD)
    name = "CodecEnc.conv_blocks.0.weight"
    said: list[str] = []
    names.from_original(stored | {name: state["acoustic_encoder.conv1.weight"]}, HEAD, said.append)
    assert not said
    result = names.from_original(stored | {name: 0 * stored[f"{name}_v"]}, HEAD, said.append)
    assert name in said[0]
    np.testing.assert_array_equal(
        result["acoustic_encoder.conv1.weight"], state["acoustic_encoder.conv1.weight"]
    )


def test_semantic_weights_from_w2v_bert_alone(state) -> None:
    codec, _ = random_codec(**TWO_LAYERS)
    w2v = names.to_w2v_bert(state)
    # the real one has more layers than the codec reads
    w2v |= {k.replace("layers.1.", "layers.7."): v for k, v in w2v.items() if "layers.1." in k}
    bare = {
        k: v
        for k, v in names.to_original(state, HEAD).items()
        if not k.startswith("semantic_model.")
    }
    found = names.canonical(bare, codec, w2v)
    assert found.keys() == state.keys()
    with pytest.raises(UserError, match="--semantic"):
        names.canonical(bare, codec)
    with pytest.raises(UserError, match=r"not a checkpoint of w2v-bert-2\.0"):
        names.canonical(bare, codec, {"encoder.something": np.zeros(1)})


def test_other_checkpoints_are_refused(state) -> None:
    codec, _ = random_codec(**TWO_LAYERS)
    with pytest.raises(UserError, match="not a codec's checkpoint: its tensors are named"):
        names.canonical({"a.weight": np.zeros(1)}, codec)
    half = names.to_original(state, HEAD)
    del half["CodecEnc.conv_blocks.0.weight_g"]
    with pytest.raises(UserError, match=r"missing CodecEnc\.conv_blocks\.0\.weight_g"):
        names.from_original(half, HEAD)
    stored = names.to_original(state, HEAD) | {"generator.unheard_of.weight": np.zeros(1)}
    with pytest.raises(UserError, match="unknown tensors: generator"):
        names.from_original(stored, HEAD)
