"""Shared set-up: CPU with eight virtual devices, a compilation cache, tiny models, real speech."""

from __future__ import annotations

import dataclasses
import fcntl
import functools
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# PyTorch's threads wait for one another in a loop; where every core has a worker, 50 times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parent.parent
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
# Compiling takes most of the suite's time, and what is compiled runs for moments. Every core has a
# worker, so that a program is not split into parts that many threads compile.
XLA_FLAGS = (
    "--xla_backend_optimization_level=0",
    "--xla_cpu_use_fusion_emitters=false",
    "--xla_cpu_parallel_codegen_split_count=1",
)
os.environ.setdefault("XLA_FLAGS", " ".join(XLA_FLAGS))


# A shell that starts the tests in the background has an interrupt ignored by all they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _compiled_programs() -> Path:
    """A folder for them that outlives the clone, one for each JAX and set of XLA's flags."""
    key = hashlib.sha256(os.environ["XLA_FLAGS"].encode()).hexdigest()[:8]
    try:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = base / "codecbwe_jax" / f"tests-jax-{version('jax')}-{key}"
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except (OSError, RuntimeError):  # the latter: a user without a home
        return ROOT / ".pytest_cache" / "xla"


os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_compiled_programs()))

import jax  # noqa: E402 - after the environment is set
import numpy as np  # noqa: E402
import pytest  # noqa: E402

from codecbwe_jax.data import synthetic  # noqa: E402
from codecbwe_jax.inference.model import Model  # noqa: E402
from codecbwe_jax.inference.model_folders import write_folder  # noqa: E402
from codecbwe_jax.systems import build  # noqa: E402
from codecbwe_jax.systems.base import System  # noqa: E402
from codecbwe_jax.systems.codec import Codec  # noqa: E402
from tests.commands import run_to_end  # noqa: E402

jax.config.update("jax_num_cpu_devices", 8)

# A network that trains a step in milliseconds, and critics to match.
MICRO = [
    "--config.system.channels=8",
    "--config.system.layers=1",
    "--config.system.n_fft=128",
    "--config.system.hop_length=40",
    "--config.system.win_length=128",
    "--config.data.segment_samples=4800",
    "--config.train.batch_size=4",
    "--config.train.log_every=1",
    "--config.objective.critics.mpd.periods=(2,3)",
    "--config.objective.critics.mpd.channels=(2,2,2,2,2)",
    "--config.objective.critics.mrad.resolutions=((512,128,512),)",
    "--config.objective.critics.mrpd.resolutions=((512,128,512),)",
    "--config.objective.critics.mrad.channels=2",
    "--config.objective.critics.mrpd.channels=2",
    "--config.evaluators.valid.clips=1",
    "--config.evaluators.valid.seconds=0.5",
]


# A codec of X-Codec 2.0's architecture that runs in milliseconds.
MICRO_CODEC = {
    "name": "codec",
    "semantic": {"size": 32, "layers": 1, "heads": 4, "intermediate": 48, "kernel_size": 5},
    "backbone": {"size": 64, "intermediate": 80, "layers": 1, "heads": 4, "head_size": 16},
    "encoder_width": 4,
    "ratios": (16, 20),
}
# Where names of weights are told apart, by the layer's number too.
TWO_LAYERS = {part: {**MICRO_CODEC[part], "layers": 2} for part in ("semantic", "backbone")}


# Settings of losses that look through one window each, so that a step compiles in seconds.
ONE_WINDOW = {
    "multi_scale_mel": {"windows": (512,), "n_mels": (20,), "f_min": (0.0,), "f_max": (None,)},
    "upper_band_mel": {"windows": (512,)},
    "multi_resolution_stft": {"fft_sizes": (512,), "hop_lengths": (128,)},
    "subband_stft": {"fft_sizes": (384,), "hop_lengths": (30,), "win_lengths": (150,)},
}


def one_window(*losses: str) -> list[str]:
    """What gives a documented recipe's losses, all that it has of `ONE_WINDOW`, one window each."""
    return [
        f"--config.objective.losses.{loss}.{field}={value}".replace(" ", "")
        for loss in losses
        for field, value in ONE_WINDOW[loss].items()
    ]


def sizes(of: str, settings: dict[str, object]) -> list[str]:
    """Overrides of a system's settings."""
    return [f"--config.system.{of}{name}={value}" for name, value in settings.items()]


BACKBONE = sizes("backbone.", MICRO_CODEC["backbone"])
# A codec's sizes, and those of a native decoder of its tokens.
CODEC_SIZES = [
    *BACKBONE,
    *sizes("semantic.", MICRO_CODEC["semantic"]),
    *sizes("", {name: MICRO_CODEC[name] for name in ("encoder_width", "ratios")}),
]
NATIVE_SIZES = [*BACKBONE, *sizes("", {"features": 96})]
# A codec that is trained: one stage in place of two, for a sixth of all parameters.
CODEC_TRAINING = [
    *CODEC_SIZES,
    "--config.system.ratios=(320,)",
    *one_window("multi_scale_mel", "multi_resolution_stft"),
    "--config.data.segment_samples=3200",
]
NATIVE_LOSSES = one_window("multi_scale_mel", "upper_band_mel", "multi_resolution_stft")
POST_HOC_LOSSES = one_window("upper_band_mel", "multi_resolution_stft")
# The recipes' critics, where they only stand by.
ONE_CRITIC = [
    "--config.objective.critics.dac.periods=(2,)",
    "--config.objective.critics.dac.windows=(512,)",
    "--config.objective.critics.dac.channels=2",
    "--config.objective.critics.dac.period_channels=(2,2,2,2,2)",
]
# Python that makes what is synthesised without data of one's own little.
FEW_VOICES = """
from codecbwe_jax.data import synthetic
synthetic.write_corpus.__defaults__ = 3, 3, 1.2  # voices, clips of each, seconds
"""
# A training of moments.
SHORT = [
    "--config.train.batch_size=2",
    "--config.train.log_every=1",
    "--config.evaluators.valid.clips=1",
    "--config.evaluators.valid.seconds=0.5",
]


# Files whose single tests take minutes.
LONG = (
    "test_docs.py",
    "test_compare.py",
    "test_demo.py",
    "test_cli.py",
    "test_contributing.py",
    "test_native.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long begins first, so that the workers end together."""
    items.sort(key=lambda item: item.path.name not in LONG)


@pytest.fixture(scope="session")
def speech48k() -> Path:
    """Real full-band speech, where it lies beside the project."""
    folder = ROOT.parent / "shared" / "speech48k"
    if not folder.is_dir():
        pytest.skip("real recordings (../shared/speech48k) are not here")
    return folder


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all workers of this run of the tests."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


def made_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """A folder that the worker that comes first makes, while the others wait for it."""
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            make(folder.with_suffix(".new"))
            folder.with_suffix(".new").rename(folder)
    return folder


@pytest.fixture(scope="session")
def corpus(shared_folder: Path) -> Path:
    """Synthetic recordings: 3 voices x 3 clips of 1.2 s at 48 kHz."""

    def make(folder: Path) -> None:
        synthetic.write_corpus(folder, speakers=3, clips=3, seconds=1.2)

    return made_once(shared_folder / "corpus", make)


@pytest.fixture(scope="session")
def voice() -> np.ndarray:
    """Three seconds of a synthetic voice at 48 kHz, float32 `[144000]`."""
    return synthetic.utterance(synthetic.make_voice(0), 3.0, 0)


def run_cli(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """`codecbwe ARGUMENTS` in a process of its own, as a person would type it."""
    command = [sys.executable, "-m", "codecbwe_jax", *map(str, arguments)]
    return run_to_end(command, cwd=cwd, text=True)


@pytest.fixture(scope="session")
def trained(shared_folder: Path, corpus: Path) -> Path:
    """A work folder of a micro network after 6 steps, 3 of them with a critic."""

    def train(folder: Path) -> None:
        result = run_cli(
            "train",
            "--config=tests/training/micro_gan.py",
            f"--workdir={folder}",
            f"--config.data.path={corpus}",
            "--config.train.steps=6",
            "--config.checkpoint.every=3",
            "--config.evaluators.valid.every=3",
        )
        assert result.returncode == 0, result.stderr

    return made_once(shared_folder / "trained", train)


def random_codec(family: str = "xcodec2", **settings: object) -> tuple[Codec, dict]:
    """A micro codec and random parameters with a life of their own: no zeros, no equal gains."""
    rate = {"xcodec2": 16000, "neucodec": 24000}[family]
    codec = build({**MICRO_CODEC, "family": family, "output_rate": rate, **settings})
    return codec, jax.tree.map(np.copy, _stirred_of(codec))


@functools.cache
def _stirred_of(system: System) -> dict:
    return stirred(system.init(jax.random.key(0)))


def stirred(params: dict) -> dict:
    """Fresh parameters with noise: no zeros, no equal gains."""
    rng = np.random.default_rng(0)

    def stir(x: np.ndarray) -> np.ndarray:
        return (x + 0.05 * rng.standard_normal(x.shape)).astype(np.float32)

    return jax.tree.map(stir, jax.device_get(params))


@pytest.fixture(scope="session")
def codec_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A converted folder of a micro codec with random weights."""
    return written_codec("xcodec2", tmp_path_factory.mktemp("codec") / "micro")


@pytest.fixture(scope="session")
def codec_24k_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of one that decodes to 24 kHz."""
    return written_codec("neucodec", tmp_path_factory.mktemp("codec_24k") / "micro")


def written_codec(family: str, folder: Path) -> Path:
    codec, params = random_codec(family)
    settings = dataclasses.asdict(codec)
    write_folder(Model("micro", codec, params, {}), {"name": "codec", **settings}, folder)
    return folder
