"""Native decoders: how they start from a codec's decoder, what trains, what comes out."""

import dataclasses
import json
from pathlib import Path

import flax.traverse_util
import jax
import numpy as np
import pytest

from codecbwe_jax.errors import UserError
from codecbwe_jax.inference.model_folders import load_model
from codecbwe_jax.systems import build
from codecbwe_jax.systems.codec import Codec
from codecbwe_jax.systems.native import NativeDecoder
from codecbwe_jax.training.settings import load_run
from codecbwe_jax.weights.rules import from_torch, to_torch
from tests.conftest import (
    MICRO_CODEC,
    NATIVE_LOSSES,
    NATIVE_SIZES,
    ONE_CRITIC,
    one_window,
    random_codec,
    run_cli,
    stirred,
)

# of the micro codec
SHARED = {"features": 96, "backbone": MICRO_CODEC["backbone"]}
NATIVE = ("native_istft", "native_multiband", "native_multistream", "native_upsampled")


def native(name: str, **settings: object) -> NativeDecoder:
    return build({"name": name, **SHARED, **settings})


@pytest.fixture(scope="module")
def codec() -> tuple[Codec, dict]:
    return random_codec()


def started(system: NativeDecoder, codec: tuple[Codec, dict]) -> dict:
    fresh = jax.device_get(system.init(jax.random.key(1)))
    return system.start_from(fresh, *codec)


def some_tokens(count: int = 30) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 65536, (1, count)).astype(np.int32)


@pytest.mark.parametrize(("rate", "shared"), [(24000, (3, 2)), (32000, (2, 1)), (48000, (3, 1))])
def test_a_fresh_decoder_speaks_as_the_codec_does(
    codec: tuple[Codec, dict], rate: int, shared: tuple[int, int]
) -> None:
    """With the new bins muted, every sample that both rates share is the codec's."""
    system = native("native_istft", output_rate=rate)
    params = started(system, codec)
    linear = params["acoustic_decoder"]["head"]["linear"]
    new = slice(641, len(linear["bias"]) // 2)
    linear["kernel"][:, new], linear["bias"][new] = 0.0, -np.inf
    with jax.default_matmul_precision("highest"):
        ours = np.asarray(system.decode(params, some_tokens()))[0]
        old = np.asarray(codec[0].decode(codec[1], some_tokens()))[0]
    assert len(ours) == 30 * rate // 50
    # rounding of two float32 transforms of different lengths
    np.testing.assert_allclose(ours[:: shared[0]], old[:: shared[1]], atol=3e-6 * np.abs(old).max())


def test_the_residual_branch_changes_nothing_at_first(codec: tuple[Codec, dict]) -> None:
    plain, wide = native("native_istft"), native("native_istft", widening=32)
    outputs = [np.asarray(s.decode(started(s, codec), some_tokens())) for s in (plain, wide)]
    np.testing.assert_array_equal(*outputs)


@pytest.mark.parametrize("kind", ["convnext", "wavtokenizer"])
def test_other_backbones_know_where_an_item_ends(kind: str) -> None:
    sizes = {"kind": kind, "size": 64, "intermediate": 80, "layers": 2}
    system = build({"name": "native_istft", "features": 96, "backbone": sizes})
    params = stirred(system.init(jax.random.key(0)))
    tokens = some_tokens(20)
    out = np.asarray(system.decode(params, np.concatenate([tokens, tokens]), np.array([20, 11])))
    alone = np.asarray(system.decode(params, tokens[:, :11]))
    hop = system.output_hop_length
    # sums over the padded length in another order
    np.testing.assert_allclose(out[1, : 11 * hop], alone[0], atol=2e-5 * np.abs(alone).max())


def test_a_backbone_of_another_kind_starts_from_scratch(codec: tuple[Codec, dict]) -> None:
    """The tokens keep their meaning; the rest is fresh."""
    sizes = {"kind": "convnext", "size": 64, "intermediate": 80, "layers": 2}
    system = build({"name": "native_istft", "features": 96, "backbone": sizes})
    params = started(system, codec)
    fresh = jax.device_get(system.init(jax.random.key(1)))
    jax.tree.map(
        np.testing.assert_array_equal, params["acoustic_decoder"], fresh["acoustic_decoder"]
    )
    jax.tree.map(
        np.testing.assert_array_equal,
        params["quantizer"],
        {"project_out": codec[1]["quantizer"]["project_out"]},
    )


@pytest.mark.parametrize("name", NATIVE)
def test_items_of_several_lengths_give_what_each_gives_alone(
    codec: tuple[Codec, dict], name: str
) -> None:
    system = native(name)
    params = started(system, codec)
    hop, tokens = system.output_hop_length, some_tokens(20)
    both = np.concatenate([tokens, tokens])
    out = np.asarray(system.decode(params, both, np.array([20, 11])))
    alone = np.asarray(system.decode(params, tokens[:, :11]))
    # sums over the padded length in another order
    np.testing.assert_allclose(out[1, : 11 * hop], alone[0], atol=2e-5 * np.abs(alone).max())


@pytest.mark.parametrize("name", NATIVE)
def test_the_weight_map_goes_both_ways(codec: tuple[Codec, dict], name: str) -> None:
    system = native(name)
    params = started(system, codec)
    again = from_torch(system.torch_rules, to_torch(system.torch_rules, params), params)
    jax.tree.map(np.testing.assert_array_equal, again, params)


def test_what_cannot_start_is_refused(codec: tuple[Codec, dict]) -> None:
    with pytest.raises(UserError, match="features is 100; the codec"):
        started(native("native_istft", features=100), codec)
    with pytest.raises(UserError, match="n_fft must be 3840"):
        started(native("native_istft", n_fft=4096), codec)
    assert started(native("native_istft", n_fft=4096, head_init="scratch"), codec)
    bands = native("native_multiband")
    of_bands = bands, started(bands, codec)
    with pytest.raises(UserError, match="from a linear head of one band only"):
        started(native("native_istft"), of_bands)
    assert started(native("native_multistream", head_init="scratch"), of_bands)
    lower = native("native_istft", output_rate=24000)
    assert started(native("native_upsampled"), (lower, started(lower, codec)))
    with pytest.raises(UserError, match="an even size of at least two hops of 960"):
        native("native_istft", n_fft=1920 - 2)
    with pytest.raises(UserError, match="output_rate 44090: a multiple of 50"):
        native("native_istft", output_rate=44090)
    with pytest.raises(UserError, match="kind is 'lstm'; one of transformer, "):
        native("native_istft", backbone={"kind": "lstm"})


def overrides(corpus: Path, codec_folder: Path, rate: int = 48000) -> list[str]:
    """A native decoder of the micro codec, trained in seconds."""
    return [
        *NATIVE_SIZES,
        *NATIVE_LOSSES,
        f"--config.data.path={corpus}",
        f"--config.data.codec={codec_folder}",
        "--config.data.chunk_seconds=0.5",
        f"--config.data.segment_samples={rate // 5}",
        "--config.train.batch_size=4",
        "--config.train.log_every=1",
        "--config.evaluators.valid.clips=1",
        "--config.evaluators.valid.seconds=0.5",
    ]


def test_trained_and_used_as_a_person_would(
    corpus: Path, codec_folder: Path, tmp_path: Path
) -> None:
    """Train from the codec's decoder: what is frozen does not move by one bit, each group has its
    rate; then decode tokens, extend a file, and score beside a baseline."""
    run = tmp_path / "run"
    result = run_cli(
        "train",
        "--config=configs/native_istft.py:tiny",
        f"--workdir={run}",
        *overrides(corpus, codec_folder),
        "--config.train.steps=1",
        "--config.train.ema_decay=0.9",
    )
    assert result.returncode == 0, result.stderr
    assert "generator starts from micro" in result.stdout
    trained, old = load_model(run), load_model(codec_folder)
    system = trained.system
    began = system.start_from(system.init(jax.random.key(0)), old.system, old.params)
    moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), trained.params, began)
    flat = flax.traverse_util.flatten_dict(moved, sep="/")
    rates = {path: 10 * step for path, step in flat.items()}  # the average takes a tenth
    # Adam's first step is the rate itself, 1e-3 / 50 in the warm-up's first step
    for path, step in rates.items():
        factor = 0 if "quantizer" in path else 1.0 if "/head/" in path else 0.1
        if factor == 0:
            assert step == 0, path
        else:
            assert 0 < step < 2e-5 * factor * 1.2, path
    at_rate = [p for p, step in rates.items() if step > 1.8e-5]
    assert at_rate == [p for p in at_rate if "/head/" in p] != []

    source = next(corpus.rglob("*.flac"))
    tokens, wav, direct = (tmp_path / name for name in ("a.tokens", "a.wav", "b.wav"))
    for command in (
        ("encode", f"--codec={codec_folder}", source, f"--output={tokens}"),
        ("decode", f"--model={run}", tokens, f"--output={wav}"),
        ("extend", f"--model={run}", source, f"--output={direct}"),
    ):
        result = run_cli(*command)
        assert result.returncode == 0, result.stderr
    assert wav.read_bytes() == direct.read_bytes()
    result = run_cli(
        "evaluate",
        f"--model={run}",
        "--model=sinc",
        f"--codec={codec_folder}",
        f"--data={corpus}",
        "--clips=1",
        f"--report={tmp_path / 'report'}",
    )
    assert result.returncode == 0, result.stderr
    assert "run " in result.stdout


def test_the_whole_recipe_trains(corpus: Path, codec_folder: Path, tmp_path: Path) -> None:
    """Reconstruction, then DAC's and EnCodec's critics, from a cache of the codec's tokens, in
    several bands with losses on them."""
    config = "configs/native_multiband.py:3x16"
    rest = [a for a in overrides(corpus, codec_folder) if "log_every" not in a]
    result = run_cli("cache", f"--config={config}", f"--output={tmp_path / 'cache'}", *rest)
    assert result.returncode == 0, result.stderr
    result = run_cli(
        "train",
        f"--config={config}",
        f"--workdir={tmp_path / 'run'}",
        *rest,
        "--config.data.input=codec_cached",
        f"--config.data.cache={tmp_path / 'cache'}",
        "--config.train.log_every=1",
        "--config.train.steps=3",
        "--config.objective.adversarial_from=1",
        "--config.objective.ramp_steps=1",
        *one_window("subband_stft"),
        *ONE_CRITIC,
    )
    assert result.returncode == 0, result.stderr
    lines = [json.loads(x) for x in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    last = [line for line in lines if "generator/loss" in line][-1]
    assert all(np.isfinite(value) for value in last.values())
    assert last["generator/dac/adversarial"] > 0
    assert last["generator/subband_stft"] > 0


def test_one_clear_line(corpus: Path, codec_folder: Path, tmp_path: Path) -> None:
    config = load_run("configs/native_istft.py:tiny", overrides(corpus, codec_folder))
    for override, message in (
        ("--config.data.input=lowpass", "this system takes a codec's tokens"),
        ("--config.system.features=64", "features is 64; the codec's is 96"),
    ):
        result = run_cli(
            "train",
            "--config=configs/native_istft.py:tiny",
            f"--workdir={tmp_path / 'run'}",
            *overrides(corpus, codec_folder),
            override,
        )
        assert (result.returncode, result.stderr.count("\n")) == (2, 1)
        assert message in result.stderr
    assert dataclasses.replace(build(config.system), output_rate=32000).output_hop_length == 640
