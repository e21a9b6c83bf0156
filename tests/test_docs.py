"""Every command that the documents show, run in order as a reader would, at micro size."""

import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import pytest
import torch

from codecbwe_jax import systems
from codecbwe_jax.codec.names import to_original
from codecbwe_jax.config import load_config
from codecbwe_jax.systems.facts import stored
from codecbwe_jax.systems.table import markdown
from codecbwe_jax.training import codec_input
from codecbwe_jax.weights.rules import to_torch
from tests.commands import run_to_end
from tests.conftest import (
    CODEC_SIZES,
    CODEC_TRAINING,
    MICRO,
    NATIVE_LOSSES,
    NATIVE_SIZES,
    ONE_CRITIC,
    POST_HOC_LOSSES,
    ROOT,
    SHORT,
    made_once,
    random_codec,
    run_cli,
)
from tests.corpora.sample import hifi_tts2

DOCUMENTS = ["README.md", *(f"docs/{p.name}" for p in sorted((ROOT / "docs").glob("*.md")))]

# what stands before a document's Python, and what is true after it
PYTHON = {
    "README.md": ("waveform, rate = np.zeros(1600, np.float32), 16000", "wide.shape == (4800,)"),
    "docs/codec.md": ("wave16 = np.zeros(1600, np.float32)", "again.shape == (1600,)"),
    "docs/post_hoc.md": (
        "chunks, out = np.split(np.zeros(1600, np.float32), 5), []; play = out.append",
        "sum(map(len, out)) == 3200",
    ),
    # one of the nine clips is left out: what it says has little above 4 kHz
    "docs/corpora.md": ("", "first['speaker'] and len(rows) == 8"),
    "docs/native.md": ("tokens = np.zeros(20, np.int32)", "wide.shape == (12800,)"),
}


def blocks(document: str, language: str) -> list[str]:
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def commands(document: str, language: str = "bash") -> list[list[str]]:
    lines = "\n".join(blocks(document, language)).splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.strip()]


@pytest.fixture
def desk(shared_folder: Path, corpus: Path, codec_folder: Path, tmp_path: Path) -> Path:
    """A folder with what a document's names stand for, as a reader who begins there has it."""

    def make(folder: Path) -> None:
        lay_out(folder, corpus, codec_folder)

    laid_out = made_once(shared_folder / "desk", make)
    return shutil.copytree(laid_out, tmp_path / "desk", symlinks=True, copy_function=os.link)


def lay_out(folder: Path, corpus: Path, codec_folder: Path) -> None:
    folder.mkdir()
    (folder / "DIR").symlink_to(corpus)
    (folder / "IN.wav").symlink_to(next(corpus.rglob("*.flac")))
    system = systems.build(load_config("configs/ap_bwe.py").system)
    state = to_torch(system.torch_rules, jax.device_get(system.init(jax.random.key(0))))
    tensors = {k: torch.from_numpy(v.copy()) for k, v in state.items()}
    torch.save({"generator": tensors}, folder / "g_16kto48k.pt")
    shutil.copytree(codec_folder, folder / "CODEC")
    hifi_tts2(folder / "HIFI_TTS2")
    (folder / "IN.raw").write_bytes(bytes(3200))
    codec, params = random_codec()
    state = to_original(to_torch(codec.torch_rules, params), codec.backbone.head_size)
    torch.save({k: torch.from_numpy(v.copy()) for k, v in state.items()}, folder / "last.ckpt")


def micro(arguments: list[str]) -> list[str]:
    """What makes a documented command small enough for a test."""
    if any("configs/native_" in a for a in arguments):
        return [
            *NATIVE_SIZES,
            *NATIVE_LOSSES,
            "--config.data.chunk_seconds=0.5",
            "--config.data.segment_samples=6400",
            *SHORT,
            *(["--config.train.steps=2"] if arguments[0] == "train" else []),
        ]
    if any("configs/opus_bbwe" in a for a in arguments):
        return [
            "--config.system.size=16",
            *POST_HOC_LOSSES,
            *ONE_CRITIC,
            "--config.data.chunk_seconds=0.5",
            "--config.data.segment_samples=6400",
            "--config.train.steps=2",
            *SHORT,
        ]
    if any(a.startswith("--config=configs/codec") for a in arguments):
        training = [*CODEC_TRAINING, *SHORT, "--config.train.steps=2"]
        return training if arguments[0] == "train" else CODEC_SIZES
    if arguments[0] == "train":
        return ["--config.train.steps=2", *MICRO]
    if arguments[0] == "plan":  # of a step without critics
        return ["--config.train.steps=2", *MICRO]
    if arguments[0] == "evaluate":
        return ["--clips=1"]
    return MICRO if arguments[0] == "cache" else []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_runs(document: str, desk: Path) -> None:
    for command in commands(document):
        program, *arguments = command
        if program.startswith("./launch/"):
            script = ROOT / program
            assert script.stat().st_mode & 0o111
            if arguments:
                check_launch(script, arguments)
            continue
        assert program == "codecbwe", command
        arguments += micro(arguments)
        outputs = {"--output", "--report"} & {a.split("=")[0] for a in arguments}
        if outputs and arguments[0] not in ("cache", "compare", "corpus"):
            arguments.append("--overwrite")
        if "--stream" in arguments:
            run_in_a_pipe(arguments, desk)
            continue
        result = run_cli(*arguments, cwd=desk)
        assert result.returncode == 0, f"{shlex.join(command)}\n{result.stderr}"
    run_python(document, desk)


def test_what_needs_a_codec_at_24_khz_builds() -> None:
    """Commands that the desk's codec, at 16 kHz, cannot run: their configs take NeuCodec's rate."""
    codec = systems.build(load_config("configs/codec.py:neucodec").system)
    shown = [a for a in commands("docs/codec.md", "text") if a[0] == "codecbwe"]
    configs = [
        (word.removeprefix("--config="), [a for a in line if a.startswith("--config.")])
        for line in shown
        for word in line
        if word.removeprefix("--config=").startswith("configs/")
    ]
    assert len(configs) == 4
    for config, overrides in configs:
        system = systems.build(load_config(config, overrides).system)
        codec_input.check_follows(system, codec)


def check_launch(script: Path, arguments: list[str]) -> None:
    """What a script would do with a cloud, or here; tests/test_launch.py does it."""
    where = arguments.index("--") if "--" in arguments else len(arguments)
    command = ["bash", script, *arguments[:where], "--dry-run", *arguments[where:]]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert result.stdout


def run_in_a_pipe(arguments: list[str], desk: Path) -> None:
    """A command that ends in `< IN > OUT`."""
    *arguments, _, source, _, target = arguments
    command = [sys.executable, "-m", "codecbwe_jax", *arguments]
    with (desk / source).open("rb") as given, (desk / target).open("wb") as taken:
        done = run_to_end(command, cwd=desk, stdin=given, stdout=taken)
    assert done.returncode == 0, done.stderr
    assert (desk / target).stat().st_size == 2 * (desk / source).stat().st_size  # 16 -> 32 kHz


def run_python(document: str, desk: Path) -> None:
    """The document's Python, on what its commands made."""
    assert len(blocks(document, "python")) == (1 if document in PYTHON else 0)
    for code in blocks(document, "python"):
        setting, fact = PYTHON[document]
        program = f"import numpy as np\n{setting}\n{code}\nassert {fact}"
        run = run_to_end([sys.executable, "-c", program], cwd=desk, text=True)
        assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("document", ["CONTRIBUTING.md", *DOCUMENTS])
def test_links_lead_somewhere(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if "://" not in target:
            assert ((ROOT / document).parent / target).exists(), target


@pytest.mark.parametrize("name", systems.REGISTRY)
def test_figures_of_systems_are_those_that_the_command_prints(name: str) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    row = re.search(rf"^\| `{name}` \|.*$", readme, flags=re.MULTILINE)[0]
    docstring = importlib.import_module(systems.REGISTRY[name].split(":")[0]).__doc__
    figures = stored()[name]
    units = {"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
    for text in (row, " ".join(docstring.split())):
        sizes = re.findall(r"(\d[\d. ]*) ([kM]?) ?parameters", text)
        costs = re.findall(r"([\d.]+) ([TGM])MAC", text)
        quoted = [(q, figures.parameters) for q in sizes]
        quoted += [(q, figures.macs_per_second) for q in costs]
        for (number, unit), true in quoted:
            number = number.replace(" ", "")
            digits = len(number.partition(".")[2])
            assert number == f"{true / units[unit]:.{digits}f}", f"{name}, {unit}: {text}"
    for number in re.findall(r"([\d.]+) ms", row):
        assert number == f"{figures.delay_ms:.{len(number.partition('.')[2])}f}"


def test_the_readme_quotes_figures() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.search(r"29\.8 M parameters, 17\.8 GMAC/s", readme)


def test_the_readme_names_every_system() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in systems.REGISTRY:
        assert f"| `{name}` |" in text


def test_the_readme_has_the_table_that_the_command_prints() -> None:
    message = "replace README's table of systems by what this prints: codecbwe systems --markdown"
    assert f"\n{markdown()}\n\n" in (ROOT / "README.md").read_text(encoding="utf-8"), message
