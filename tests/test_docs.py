"""Every command that the documents show, run in order as a reader would, at micro size."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import jax
import pytest
import torch

from codecbwe_jax import systems
from codecbwe_jax.config import load_config
from codecbwe_jax.interop.weights import to_torch
from tests.conftest import MICRO, ROOT, run_cli

DOCUMENTS = ["README.md", *(f"docs/{p.name}" for p in sorted((ROOT / "docs").glob("*.md")))]


def blocks(document: str, language: str) -> list[str]:
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def commands(document: str) -> list[list[str]]:
    lines = "\n".join(blocks(document, "bash")).splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.strip()]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Path:
    """A folder with what the documents' names stand for."""
    folder = tmp_path_factory.mktemp("desk")
    (folder / "DIR").symlink_to(corpus)
    (folder / "IN.wav").symlink_to(next(corpus.rglob("*.flac")))
    system = systems.build(load_config("configs/ap_bwe.py").system)
    state = to_torch(system.torch_rules, jax.device_get(system.init(jax.random.key(0))))
    tensors = {k: torch.from_numpy(v.copy()) for k, v in state.items()}
    torch.save({"generator": tensors}, folder / "g_16kto48k.pt")
    return folder


@pytest.mark.xdist_group("docs")
@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_runs(document: str, desk: Path) -> None:
    for command in commands(document):
        program, *arguments = command
        if program.startswith("./launch/"):
            script = ROOT / program
            assert script.stat().st_mode & 0o111
            subprocess.run(["bash", "-n", script], check=True)
            continue
        assert program == "codecbwe", command
        if arguments[0] == "train":
            arguments += ["--config.train.steps=2", *MICRO]
        elif {"--output", "--report"} & {a.split("=")[0] for a in arguments}:
            arguments.append("--overwrite")
        result = run_cli(*arguments, cwd=desk)
        assert result.returncode == 0, f"{shlex.join(command)}\n{result.stderr}"


@pytest.mark.xdist_group("docs")
def test_the_python_of_the_readme_runs(desk: Path) -> None:
    setting = "import numpy as np\nwaveform, rate = np.zeros(1600, np.float32), 16000\n"
    (code,) = blocks("README.md", "python")
    program = setting + code + "\nassert wide.shape == (4800,)"
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=desk, capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if "://" not in target:
            assert ((ROOT / document).parent / target).exists(), target


def test_the_readme_names_every_system() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in systems.REGISTRY:
        assert f"| `{name}` |" in text
