"""A system of a new kind moves in, and no room knows it."""

import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from codecbwe_jax import objectives, systems
from codecbwe_jax.audio.resample import resample
from codecbwe_jax.config import load_config
from codecbwe_jax.data import recordings
from codecbwe_jax.errors import UserError
from codecbwe_jax.evaluation.evaluate import evaluate
from codecbwe_jax.evaluation.report import write_report
from codecbwe_jax.inference.extender import BandwidthExtender
from codecbwe_jax.inference.model import Model
from codecbwe_jax.inference.model_folders import load_model, write_folder
from codecbwe_jax.interop import export, verify
from codecbwe_jax.systems import settings_of
from codecbwe_jax.weights.checkpoints import load_groups
from tests.commands import run_to_end
from tests.conftest import ROOT, stirred
from tests.house import toy

PROGRAM = """
import sys
from codecbwe_jax.cli import main
from tests.house import toy
toy.register()
sys.exit(main(sys.argv[1:]))
"""
RECIPE = "tests/house/toy_config.py"
TORCH = "toy_torch.py"


@pytest.fixture(scope="module", autouse=True)
def registered() -> None:
    toy.register()
    yield
    for name in ("toy", "toy_vocoder"):
        del systems.REGISTRY[name]
    del objectives.REGISTRY["self_taught"]


def toy_cli(*arguments: object, devices: int = 1) -> subprocess.CompletedProcess[str]:
    """`codecbwe ARGUMENTS` in a process of its own that has heard of the toy."""
    command = [sys.executable, "-c", PROGRAM, *map(str, arguments)]
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": str(devices)}
    return run_to_end(command, cwd=ROOT, env=environment, text=True)


def random_model(name: str, **settings: object) -> Model:
    system = systems.build({"name": name, **settings})
    params = stirred(system.init(jax.random.key(1)))
    parts = {n: random_model("toy_vocoder").params for n in system.parts}
    return Model(name, system, {**params, **parts}, {})


@pytest.fixture(scope="module")
def vocoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its part, as somebody else trained it."""
    folder = tmp_path_factory.mktemp("parts") / "vocoder"
    write_folder(random_model("toy_vocoder"), {"name": "toy_vocoder"}, folder)
    return folder


@pytest.fixture(scope="module")
def run(vocoder: Path, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its work folder after four steps, stopped and gone on with after two."""
    folder = tmp_path_factory.mktemp("run") / "one"
    first = train(folder, vocoder, corpus, "--config.train.steps=2")
    assert first.returncode == 0, first.stderr
    again = train(folder, vocoder, corpus, "--config.sampling.steps=5")
    assert again.returncode == 0, again.stderr
    assert "changed since then: config.sampling.steps 2 -> 5" in again.stdout
    assert "GMAC each (ToySampling(seed=0, steps=1))" in again.stdout
    return folder


def train(
    folder: Path, vocoder: Path, corpus: Path, *more: str, devices: int = 1
) -> subprocess.CompletedProcess[str]:
    return toy_cli(
        "train",
        f"--config={RECIPE}",
        f"--workdir={folder}",
        f"--config.data.path={corpus}",
        f"--config.parts.vocoder={vocoder}",
        *more,
        devices=devices,
    )


def test_eight_devices_train_what_one_does(
    run: Path, vocoder: Path, corpus: Path, tmp_path: Path
) -> None:
    eight = train(tmp_path / "eight", vocoder, corpus, devices=8)
    assert eight.returncode == 0, eight.stderr
    (one, _), (other, _) = (load_groups(f / "checkpoints") for f in (run, tmp_path / "eight"))
    assert one["ema"].keys() == {"generator", "teacher"}
    for kind in ("params", "ema"):
        # sums in another order, which Adam's steps of 0.01 make larger where a gradient is next to
        # nothing: 1.1e-4 seen; other noise would move a step
        apart = jax.tree.map(lambda a, b: np.abs(a - b).max(), one[kind], other[kind])
        assert max(jax.tree.leaves(apart)) < 1e-3
    fresh = systems.build({"name": "toy"}).init(jax.random.key(0))
    assert one["params"]["generator"].keys() == fresh.keys()  # the part is none of its own


def test_a_work_folder_needs_nothing_else(run: Path, vocoder: Path) -> None:
    model = load_model(run)
    theirs = load_model(vocoder).params
    jax.tree.map(np.testing.assert_array_equal, dict(model.params["vocoder"]), dict(theirs))
    assert model.sampling == toy.ToySampling(seed=0, steps=5)


@pytest.mark.parametrize("seconds", [0.25, 1.0])
def test_noise_belongs_to_the_place_and_not_to_the_chunk(run: Path, seconds: float) -> None:
    wave = 0.1 * np.random.default_rng(0).standard_normal(16000 * 9 + 77).astype(np.float32)
    model = load_model(run)
    whole = BandwidthExtender(model, say=str)(wave, 16000)
    cut = BandwidthExtender(model, chunk_seconds=seconds, say=str)(wave, 16000)
    assert len(whole) == 2 * len(wave)
    # convolutions of another length are summed in another order
    np.testing.assert_allclose(cut, whole, atol=1e-6)
    # noise is there, another at every place, and another with another seed
    other = BandwidthExtender(model.sampled({"seed": 1}), say=str)(wave, 16000)
    assert np.abs(other - whole).max() > 1e-3
    silent = BandwidthExtender(model, say=str)(0 * wave, 16000)
    assert np.abs(silent[:64000] - silent[128000:192000]).max() > 1e-6


def test_what_is_known_of_the_whole_clip_is_known_to_every_piece(run: Path) -> None:
    """Its level, which the last second alone has: a piece could not know it."""
    rng = np.random.default_rng(0)
    wave = 0.01 * rng.standard_normal((16000 * 6, 2)).astype(np.float32)
    wave[-8000:, 0] *= 20
    extender = BandwidthExtender(load_model(run), chunk_seconds=1.0, say=str)
    whole = extender(wave, 16000)
    # noise goes with the level of the clip, to float32's rounding; each channel is a clip
    for gain in (0.25, 4.0):
        np.testing.assert_allclose(extender(gain * wave, 16000), gain * whole, rtol=1e-4, atol=1e-6)
    alone = np.stack([extender(channel, 16000) for channel in wave.T], axis=1)
    np.testing.assert_array_equal(whole, alone)
    pieces = [wave[:30001], wave[30001:]]
    np.testing.assert_array_equal(np.concatenate(list(extender.stream(pieces, 16000))), whole)
    with pytest.raises(UserError, match="hears a whole clip before it begins"):
        next(extender.stream(iter(pieces), 16000))


def test_a_folder_is_written_and_read_back(run: Path, tmp_path: Path) -> None:
    model = load_model(run)
    write_folder(model, settings_of(model.system), tmp_path / "folder")
    again = load_model(tmp_path / "folder")
    assert (again.system, again.sampling) == (model.system, model.sampling)
    wave = 0.1 * np.random.default_rng(0).standard_normal(8000).astype(np.float32)
    first, second = (BandwidthExtender(m, say=str)(wave, 16000) for m in (model, again))
    np.testing.assert_array_equal(first, second)


def test_an_export_takes_the_noise_as_an_input(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file lies with the tests, and its folder is read back by itself."""
    monkeypatch.setattr(export, "_torch_file", lambda model: Path(toy.__file__).parent / TORCH)
    model = load_model(run)
    differences = export.export_onnx(model, tmp_path / "export").speech
    assert len(differences) == 4  # PyTorch and onnxruntime, one at a time and two
    # sums of 240 float32 products in another order
    assert 0 < max(differences.values()) < 1e-5
    twin, again = verify.load(tmp_path / "export"), load_model(tmp_path / "export")
    assert again.sampling == model.sampling
    wave = 0.1 * np.random.default_rng(0).standard_normal((1, 4001)).astype(np.float32)
    given = torch.from_numpy(wave)
    other = torch.from_numpy(verify.given_beside(model.sampled({"seed": 1}), wave)["noise"])
    ours = BandwidthExtender(model.sampled({"seed": 1}), say=str)(wave[0], 16000)
    np.testing.assert_allclose(twin.extend(given, other)[0], ours, atol=1e-6)
    # without any it draws its own, the same every time, as strong as ours
    alone = twin.extend(given)
    assert torch.equal(alone, twin.extend(given))
    assert twin.noise(given, 0).shape == other.shape
    assert not torch.equal(alone, twin.extend(given, other))


def test_the_report_shows_what_a_part_makes_of_the_truth(
    run: Path, corpus: Path, tmp_path: Path
) -> None:
    """The ceiling of what is made of it: better than any model here, and no competitor."""
    models = [load_model(run), dataclasses.replace(load_model(run), name="again")]
    clips = recordings.find(corpus).recordings[:1]
    result = evaluate(models, clips, tmp_path, max_seconds=1.0, say=str)
    ceiling = result.rows[-1]
    assert [row.name for row in result.rows] == ["one", "again", "one, vocoder on the truth"]
    assert [row.ceiling for row in result.rows] == [False, False, True]
    vocoder = Model("vocoder", models[0].system.vocoder, models[0].params["vocoder"], {})
    target = result.waveform(0, "target")
    repeated = BandwidthExtender(vocoder, say=str)(target, 32000)
    # 24 bits in the file
    np.testing.assert_allclose(result.waveform(0, ceiling.name), repeated, atol=1e-6)
    assert ceiling.means["lsd"] < min(row.means["lsd"] for row in result.rows[:2])
    write_report(result, tmp_path / "report.html", "Parts", [])
    (line,) = re.findall(f"<tr><td>{ceiling.name}.*?</tr>", (tmp_path / "report.html").read_text())
    assert "best" not in line


def test_sampling_is_chosen_when_it_runs(run: Path, corpus: Path, tmp_path: Path) -> None:
    source = next(corpus.rglob("*.flac"))
    made = []
    for steps in (1, 1, 6):
        out = tmp_path / f"{len(made)}.wav"
        done = toy_cli(
            "extend", f"--model={run}", source, f"--output={out}", f"--sampling.steps={steps}"
        )
        assert done.returncode == 0, done.stderr
        made.append(out.read_bytes())
    assert made[0] == made[1] != made[2]
    wrong = toy_cli("extend", f"--model={run}", source, "--output=x.wav", "--sampling.guidance=2")
    assert wrong.returncode == 2
    assert wrong.stderr.count("\n") == 1
    assert "--sampling.guidance" in wrong.stderr


def test_what_does_not_fit_is_one_line(vocoder: Path, corpus: Path, tmp_path: Path) -> None:
    for more, says in (
        ("--config.parts.vocoder=", "config.parts.vocoder is missing"),
        ("--config.parts.vocoder=nowhere", "nowhere/config.json: no such file"),
        ("--config.parts.judge=x", "config.parts.judge: the system has no such part"),
        ("--config.sampling.steps=0", "config.sampling.steps is 0"),
        ("--config.sampling.guidance=2", "config.sampling.guidance: no such field"),
        ("--config.evaluators.valid.sampling.steps=0", "evaluators.valid.sampling.steps is 0"),
    ):
        refused = train(tmp_path / "no", vocoder, corpus, more)
        assert refused.returncode == 2, refused.stdout
        assert says in refused.stderr
        assert not (tmp_path / "no").exists()


def test_an_objective_says_what_it_asks() -> None:
    with pytest.raises(UserError, match="objective gan: Toy predicts nothing"):
        objectives.build(systems.build({"name": "toy"}), load_config("configs/base.py").objective)


def test_what_draws_nothing_has_no_sampling() -> None:
    model = Model("sinc", systems.build({"name": "sinc"}), {}, {})
    with pytest.raises(UserError, match=r"--sampling\.steps: sinc draws nothing"):
        model.sampled({"steps": 4})


@dataclasses.dataclass(frozen=True)
class Levelled(toy.ToyVocoder):
    """Sees the level of all that it is given, and gives all at that: no reach is exact."""

    input_rate: ClassVar[int] = 16000
    output_rate: ClassVar[int] = 32000

    @property
    def receptive_field(self) -> int:
        return 1600

    @property
    def span(self) -> int:
        return 16000

    def extend(self, params, inputs, sampling=None) -> jax.Array:
        level = jnp.sqrt(jnp.mean(jnp.square(inputs), axis=1, keepdims=True))
        return resample(inputs / level, self.input_rate, self.output_rate)


def test_what_sees_all_it_is_given_is_joined_without_a_seam() -> None:
    """A tone whose level rises twentyfold, so that neighbours differ in level everywhere."""
    samples = 16000 * 6
    tone = np.sin(2 * np.pi * 440 * np.arange(samples) / 16000)
    rising = np.exp(np.linspace(0, 3, samples)) * tone
    extender = BandwidthExtender(Model("levelled", Levelled(), {}, {}), say=str)
    assert extender.system.context == 1600
    y = extender(0.04 * rising.astype(np.float32), 16000)
    assert len(y) == 2 * samples
    joints = [2 * (16000 - 3200) * k for k in range(1, 7)]
    # an edge would be a click above 1 kHz, where the tone has nothing: 980 times what is elsewhere
    # if nothing fades; 1.23 times as it is, since the tone goes on rising
    above = np.abs(np.diff(y, 4))
    at_joints = max(above[j - 1600 : j + 1600].max() for j in joints)
    elsewhere = np.median([above[j + 6400 : j + 9600].max() for j in joints])
    assert at_joints < 1.5 * elsewhere
    # the level goes from one chunk's to the next one's, never beyond either by more than windows of
    # 10 ms can tell: 1.7 % and 0.4 % seen
    rms = np.sqrt(np.convolve(y**2, np.ones(640) / 640, "same"))
    for j in joints:
        before, after = rms[j - 2400], rms[j + 2400]
        inside = rms[j - 1600 : j + 1600]
        assert inside.min() > 0.97 * min(before, after)
        assert inside.max() < 1.01 * max(before, after)


def test_an_output_rate_is_chosen_when_it_runs() -> None:
    settings = {"name": "ms_bwe", "input_rate": 8000, "channels": 8, "layers": 1, "n_fft": 320}
    system = systems.build(settings)
    model = Model("ladder", system, stirred(system.init(jax.random.key(0))), {})
    wave = 0.1 * np.random.default_rng(0).standard_normal(8000).astype(np.float32)
    lower = dataclasses.replace(model, system=dataclasses.replace(system, output_rate=16000))
    chosen = BandwidthExtender(model.to(16000), say=str)(wave, 8000)
    np.testing.assert_array_equal(chosen, BandwidthExtender(lower, say=str)(wave, 8000))
    with pytest.raises(UserError, match="MsBwe gives 48000 Hz alone, not 44100"):
        model.to(44100)
