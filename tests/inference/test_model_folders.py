"""Folders of models that are damaged, of another kind, or ask for what cannot be."""

import contextlib
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from codecbwe_jax.errors import UserError
from codecbwe_jax.inference.model import Model
from codecbwe_jax.inference.model_folders import load_model, write_folder
from codecbwe_jax.interop.convert import convert
from codecbwe_jax.interop.torch.parts import safetensors as plain
from codecbwe_jax.systems import build, settings_of
from codecbwe_jax.weights.checkpoints import Checkpoints
from codecbwe_jax.weights.files import read_safetensors
from tests.conftest import stirred

SYSTEM = build({"name": "high_band", "size": 8, "intermediate": 8, "layers": 1})
SETTINGS = json.loads(json.dumps(settings_of(SYSTEM)))


@pytest.fixture(scope="module")
def params() -> dict:
    return stirred(SYSTEM.init(jax.random.key(0)))


@pytest.fixture
def folder(params: dict, tmp_path: Path) -> Path:
    write_folder(Model("micro", SYSTEM, params, {}), SETTINGS, tmp_path / "model")
    return tmp_path / "model"


def refused(folder: Path) -> str:
    with pytest.raises(UserError) as error:
        load_model(folder)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 600
    return str(error.value)


def equal(one: dict, other: dict) -> bool:
    return all(map(np.array_equal, jax.tree.leaves(dict(one)), jax.tree.leaves(dict(other))))


def test_no_damage_to_weights_gives_others(folder: Path) -> None:
    path, rng = folder / "model.safetensors", np.random.default_rng(0)
    whole, tensors = path.read_bytes(), load_file(path)
    refusals = 0
    for i in range(100):
        data, place = bytearray(whole), int(rng.integers(len(whole)))
        if i % 4 == 0:
            data = data[:place]
        elif i % 4 == 1:
            data[place : place + 64] = bytes(len(data[place : place + 64]))
        else:
            place = place if i % 4 == 2 else place % 2000  # the header
            data[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(data)
        with contextlib.suppress(UserError):
            found, _ = read_safetensors(path)
            assert all(np.array_equal(found[name], tensors[name]) for name in tensors)
            refusals -= 1
        refusals += 1
    assert refusals > 90  # a flip of a space in the header is none, for one
    data = bytearray(whole)
    data[-40] ^= 1
    path.write_bytes(data)
    assert "model.safetensors is damaged: " in refused(folder)


def test_a_config_of_other_weights_is_refused(folder: Path) -> None:
    """A setting that changes no shape, and so would give another sound."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    name = "output_rate" if "output_rate" in config["system"] else "rate"
    config["system"][name] //= 2
    path.write_text(json.dumps(config))
    assert "config.json: " in refused(folder)
    config["system"] = {**SETTINGS, "compute_dtype": "bfloat16"}  # says how, not what
    path.write_text(json.dumps(config))
    assert load_model(folder).system.compute_dtype == "bfloat16"


def test_weights_without_checksums_load_and_that_is_said_once(
    folder: Path, params: dict, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "model.safetensors"
    assert load_model(folder)
    assert capsys.readouterr().err == ""
    save_file(load_file(path), path)
    assert equal(load_model(folder).params, params)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "no checksums" in said.err


def test_the_config_of_a_work_folder_must_be_the_checkpoints(
    params: dict, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Checkpoints(tmp_path / "run" / "checkpoints", keep_last=2)
    for step in (1, 2):
        state = {"params": {"generator": params}, "ema": {}, "step": np.int32(step)}
        store.save(step, state, {"config": {"system": SETTINGS}}, {})
    path = tmp_path / "run" / "config.json"
    path.write_text(json.dumps({"system": SETTINGS}))
    assert load_model(tmp_path / "run").facts["step"] == 2
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "2" / "state")
    model = load_model(tmp_path / "run")
    assert (model.facts["step"], equal(model.params, params)) == (1, True)
    said = capsys.readouterr()
    assert said.out == ""
    assert "checkpoint 2 is damaged" in said.err
    path.write_text(json.dumps({"system": {**SETTINGS, "layers": 2}}))
    assert "config.json: not the config of the weights beside it: system.layers is 2, 1" in refused(
        tmp_path / "run"
    )


CONFIGS = {
    "[1, 2]": "config.json: a JSON object is expected, not a list",
    '{"system": {': "config.json: not JSON",
    "\xff": "config.json: not JSON",
    '{"facts": {}}': "config.json: neither a model of ours",
    '{"system": 3}': "config.json: system is 3; a group of fields is exp",
    '{"system": {"name": "other"}}': "config.json: system.name is 'other'; one of ap_bwe,",
    '{"system": {"name": ["ap_bwe"]}}': "config.json: system.name is ['ap_bwe']",
    '{"system": {"name": "ap_bwe", "layers": 2147483648}}': "system.layers is 2147483648; a whole",
    '{"system": {"name": "ap_bwe", "channels": 1e999}}': "system.channels is inf; a whole number",
    '{"system": {"name": "ap_bwe", "channels": NaN}}': "system.channels is nan; a whole number",
    '{"system": {"name": "ap_bwe", "channels": "8"}}': "system.channels is '8'; a whole number",
    '{"system": {"name": "ap_bwe", "channels": [8]}}': "system.channels is [8]; a whole number",
    '{"system": {"name": "ap_bwe", "colour": 1}}': "config.json: system.colour: no such field",
    '{"system": {"name": "codec", "backbone": {"layers": 1e9}}}': "system.backbone.layers is 1000",
    '{"system": {"name": "codec", "levels": ["4"]}}': "system.levels[0] is '4'; a whole number",
    '{"system": {"name": "high_band", "size": -3}}': "config.json: system.size is -3; a whole",
    '{"model_type": "xcodec2", "hidden_size": "a"}': "config.json: a field has another type",
    '{"model_type": "xcodec2", "semantic_model_config": 3}': "config.json: a field has another ty",
    '{"model_type": "xcodec2", "num_hidden_layers": 4294967296}': "backbone.layers is 4294967296",
}


@pytest.mark.parametrize("text", CONFIGS)
def test_a_config_that_cannot_be(text: str, folder: Path) -> None:
    (folder / "config.json").write_text(text, encoding="latin-1")
    assert CONFIGS[text] in refused(folder)


def test_a_file_for_a_folder_and_a_folder_for_a_file(folder: Path) -> None:
    weights = folder / "model.safetensors"
    assert (
        f"is a file; a folder is expected. codecbwe convert --config=CONFIG --weights={weights}"
        in (refused(weights))
    )
    with pytest.raises(UserError, match=r"is a folder; a file is expected, as .*: --codec="):
        convert(SETTINGS, folder, folder / "out")


def test_a_folder_with_checksums_loads_in_plain_torch(folder: Path, params: dict) -> None:
    """What exports carry reads the same tensors."""
    weights = folder / "model.safetensors"
    found, wanted = plain.read_safetensors(weights), load_file(weights)
    assert found.keys() == wanted.keys()
    assert all(np.array_equal(found[k], wanted[k]) for k in wanted)
