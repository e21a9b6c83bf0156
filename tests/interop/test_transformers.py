"""Folders of a codec: ours load in transformers, transformers' load in ours, both give the same."""

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import save_file

from codecbwe_jax.codec.fbank import stacked_fbank
from codecbwe_jax.errors import UserError
from codecbwe_jax.inference.frozen_codec import FrozenCodec
from codecbwe_jax.inference.model import Model
from codecbwe_jax.inference.model_folders import load_model, write_folder
from codecbwe_jax.interop.convert import convert
from codecbwe_jax.interop.export_transformers import export_transformers
from codecbwe_jax.systems import build
from codecbwe_jax.weights.rules import to_torch
from tests.conftest import TWO_LAYERS, random_codec, run_cli

CLASSES = {"xcodec2": transformers.Xcodec2Model, "neucodec": transformers.NeuCodecModel}


@pytest.fixture(params=["xcodec2", "neucodec"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    codec, params = random_codec(request.param, **TWO_LAYERS)
    settings = {"name": "codec", **dataclasses.asdict(codec)}
    write_folder(Model("micro", codec, params, {}), settings, tmp_path / request.param)
    return tmp_path / request.param


def theirs(folder: Path, wave: np.ndarray, edge: int) -> tuple[np.ndarray, np.ndarray]:
    """Tokens and audio by transformers."""
    model, info = CLASSES[folder.name].from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    features = torch.from_numpy(np.array(stacked_fbank(wave[None], edge)))
    with torch.inference_mode():
        tokens = model.eval().encode(torch.from_numpy(wave)[None, None], features).audio_codes
        audio = model.decode(tokens).audio_values
    return tokens[0, 0].numpy(), audio[0, 0].numpy()


def test_our_folder_in_transformers(folder: Path) -> None:
    wave = np.pad(
        0.1 * np.random.default_rng(0).standard_normal(319 + 320 * 30, np.float32), (0, 1)
    )
    with jax.default_matmul_precision("highest"):
        codec = FrozenCodec.load(folder)
        tokens, audio = theirs(folder, wave, codec.system.fbank_edge)
        np.testing.assert_array_equal(codec.encode(wave[:-1]), tokens)
        assert len(np.unique(tokens)) > 5
        ours = codec.decode(tokens)
    # the tolerance of the golden cases
    np.testing.assert_allclose(ours, audio, atol=3e-5 * np.abs(audio).max())


def test_transformers_folder_in_ours(folder: Path, tmp_path: Path) -> None:
    """A folder that transformers writes, whole and in shards."""
    model = CLASSES[folder.name].from_pretrained(folder)
    model.save_pretrained(tmp_path / "whole")
    model.save_pretrained(tmp_path / "shards", max_shard_size="300KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    wanted = load_model(folder)
    for name in ("whole", "shards"):
        found = load_model(tmp_path / name)
        assert found.system == wanted.system
        jax.tree.map(np.testing.assert_array_equal, dict(found.params), dict(wanted.params))
    next((tmp_path / "shards").glob("model-00002*")).unlink()
    with pytest.raises(UserError, match="files that are not there: model-00002"):
        load_model(tmp_path / "shards")


def test_another_transformers_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "dac"}')
    with pytest.raises(UserError, match="Xcodec2Model and NeuCodecModel"):
        load_model(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "xcodec2", "attention_bias": true}')
    with pytest.raises(UserError, match="attention_bias is True; only False is known"):
        load_model(tmp_path)


def test_training_checkpoint_converts(tmp_path: Path) -> None:
    """A Lightning checkpoint under "state_dict", with heads of 64 as the official one."""
    from codecbwe_jax.codec import names

    codec, params = random_codec(
        backbone={"size": 128, "intermediate": 80, "layers": 1, "heads": 2, "head_size": 64}
    )
    state = names.to_original(to_torch(codec.torch_rules, params))
    state["fc_post_s.weight"] = np.zeros((2, 2), np.float32)
    tensors = {k: torch.from_numpy(np.array(v)) for k, v in state.items()}
    torch.save({"state_dict": tensors, "epoch": 4}, tmp_path / "last.ckpt")
    settings = {"name": "codec", **dataclasses.asdict(codec)}
    convert(settings, tmp_path / "last.ckpt", tmp_path / "out")
    found = load_model(tmp_path / "out")
    jax.tree.map(np.testing.assert_array_equal, dict(found.params), dict(params))

    semantic = {k: v for k, v in tensors.items() if k.startswith("semantic_model.")}
    rest = {k: v for k, v in tensors.items() if k not in semantic}
    torch.save(rest, tmp_path / "without.bin")
    bare = {k.removeprefix("semantic_model."): v for k, v in semantic.items()}
    save_file(bare, tmp_path / "w2v.safetensors")
    convert(settings, tmp_path / "without.bin", tmp_path / "out2", tmp_path / "w2v.safetensors")
    assert json.loads((tmp_path / "out2/config.json").read_text())["model_type"] == "xcodec2"
    found = load_model(tmp_path / "out2")
    jax.tree.map(np.testing.assert_array_equal, dict(found.params), dict(params))


def test_export_of_a_codec_is_verified(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "export"
    result = run_cli("export", f"--model={folder}", "--format=transformers", f"--output={out}")
    assert result.returncode == 0, result.stderr
    assert "  tokens: 0.0e+00" in result.stdout
    modes = {path.stat().st_mode for path in out.iterdir()}
    assert len(modes) == 1  # all as the umask says
    found = load_model(out)
    jax.tree.map(np.testing.assert_array_equal, dict(found.params), dict(load_model(folder).params))


def test_export_of_what_transformers_lacks_is_refused(tmp_path: Path) -> None:
    codec, params = random_codec(pooling=2, output_rate=24000)
    with pytest.raises(UserError, match="no transformers model has 25 tokens a second and 24000"):
        export_transformers(Model("25hz", codec, params, {}), tmp_path / "out")
    with pytest.raises(UserError, match="sinc is neither a codec nor a native_istft"):
        export_transformers(load_model("sinc"), tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def neucodec_48k() -> tuple[Model, Model]:
    """(a native decoder at 48 kHz that starts from a micro NeuCodec, that codec)."""
    codec, params = random_codec("neucodec")
    sizes = dataclasses.asdict(codec.backbone)
    system = build({"name": "native_istft", "features": 96, "backbone": sizes})
    fresh = jax.device_get(system.init(jax.random.key(0)))
    started = system.start_from(fresh, codec, params)
    return Model("native", system, started, {}), Model("micro", codec, params, {})


def test_a_native_decoder_becomes_a_neucodec(
    neucodec_48k: tuple[Model, Model], tmp_path: Path
) -> None:
    """transformers' NeuCodecModel decodes at 48 kHz, from the same tokens."""
    decoder, codec = neucodec_48k
    differences = export_transformers(decoder, tmp_path / "out", codec, True)
    assert differences.parts["tokens"] == 0.0
    found = load_model(tmp_path / "out")
    assert found.system.output_rate == 48000
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (config["model_type"], config["output_sampling_rate"]) == ("neucodec", 48000)
    jax.tree.map(
        np.testing.assert_array_equal,
        dict(found.params["acoustic_decoder"]),
        dict(decoder.params["acoustic_decoder"]),
    )


def test_a_clip_that_is_heard_is_refused(neucodec_48k: tuple[Model, Model], tmp_path: Path) -> None:
    decoder, codec = neucodec_48k
    head = decoder.params["acoustic_decoder"]["head"]["linear"]
    loud = {"kernel": head["kernel"], "bias": head["bias"].copy()}
    loud["bias"][:100] += 5.0
    louder = jax.tree.map(lambda x: x, decoder.params)
    louder["acoustic_decoder"]["head"] = {"linear": loud}
    model = dataclasses.replace(decoder, params=louder)
    with pytest.raises(UserError, match="this decoder at 300; that changes its output by -"):
        export_transformers(model, tmp_path / "out", codec)
    with pytest.raises(UserError, match="a native decoder has no encoder: give --codec"):
        export_transformers(decoder, tmp_path / "out")
    assert not list(tmp_path.iterdir())
    clipped = dataclasses.replace(model.system, magnitude_clip=100.0)
    at_100 = dataclasses.replace(model, system=clipped)
    assert export_transformers(at_100, tmp_path / "out", codec).parts["clip"] == 0.0


def test_a_native_decoder_under_the_original_names(tmp_path: Path) -> None:
    """X-Codec 2.0's own naming, read again by `convert`."""
    from codecbwe_jax.interop.export_original import export_original

    codec, params = random_codec(
        backbone={"size": 128, "intermediate": 80, "layers": 1, "heads": 2, "head_size": 64}
    )
    sizes = dataclasses.asdict(codec.backbone)
    system = build({"name": "native_istft", "features": 160, "backbone": sizes})
    fresh = jax.device_get(system.init(jax.random.key(0)))
    decoder = Model("native", system, system.start_from(fresh, codec, params), {})
    micro = Model("micro", codec, params, {})
    differences = export_original(decoder, tmp_path / "out", micro, True)
    assert differences.parts["weights"] < 1e-6  # weight norm is taken apart and put together
    settings = json.loads((tmp_path / "out" / "config.json").read_text())["convert"]
    convert(settings, tmp_path / "out" / "model.safetensors", tmp_path / "again")
    found = load_model(tmp_path / "again")
    assert found.system.output_rate == 48000
    jax.tree.map(
        np.testing.assert_array_equal,
        dict(found.params["acoustic_decoder"]["head"]),
        dict(decoder.params["acoustic_decoder"]["head"]),
    )
