"""The one PyTorch file of an export."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from codecbwe_jax import systems
from codecbwe_jax.interop.bundle import FOLDER, bundle
from tests.conftest import ROOT

FILES = sorted(path for path in FOLDER.glob("*.py") if path.stem != "__init__")
PARTS = "codecbwe_jax.interop.torch.parts"


def classes_of(path: Path) -> set[str]:
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return {node.name for node in body if isinstance(node, ast.ClassDef)}


# What has none: the codec has an exporter of its own, two learn nothing, and no export cuts what it
# is given into spans yet.
NO_FILE = {"codec", "sinc", "band_replication", "nuwave2", "universr"}


def test_every_other_system_has_a_file() -> None:
    names = {"native" if n.startswith("native_") else n for n in systems.REGISTRY}
    assert {path.stem for path in FILES} == names - NO_FILE


def test_every_file_is_imported_without_this_package(tmp_path: Path) -> None:
    """And without all else but torch, which is imported once for all of them."""
    for path in FILES:
        (tmp_path / f"model_{path.stem}.py").write_text(bundle(path), encoding="utf-8")
    program = (
        "import sys\n"
        "for name in ('codecbwe_jax', 'jax', 'numpy', 'safetensors'): sys.modules[name] = None\n"
        "for name in sys.argv[1:]: assert callable(__import__(f'model_{name}').load)\n"
        "print(len(sys.argv))"
    )
    command = [sys.executable, "-c", program, *(path.stem for path in FILES)]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert run.stdout.strip() == str(len(FILES) + 1), run.stderr
    for check in (["check"], ["format", "--check"]):
        tool = [sys.executable, "-m", "ruff", *check, f"--config={ROOT / 'pyproject.toml'}"]
        run = subprocess.run([*tool, tmp_path], capture_output=True, text=True)
        assert run.returncode == 0, run.stdout


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_holds_its_own_system_alone(path: Path) -> None:
    tree = ast.parse(bundle(path))
    held = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    assert classes_of(path) <= held
    assert not held & set().union(*(classes_of(other) for other in FILES if other != path))
    assert ast.get_docstring(tree) == ast.get_docstring(ast.parse(path.read_text()))


def test_ap_bwe_has_no_other_systems_layers() -> None:
    text = bundle(FOLDER / "ap_bwe.py")
    for name in ("MsBwe", "HighBand", "Streaming", "Snake", "Vocos", "weight_norm", "pqmf"):
        assert name not in text


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (f"from {PARTS}.sinc import sinc_kernel\n\nDESIGNS = sinc_kernel", "twice: DESIGNS"),
        (f"import math\n\nfrom {PARTS}.sinc import sinc_kernel\n\n\ndef math(): ...", "twice: m"),
        (f"import math as torch\n\nfrom {PARTS}.sinc import sinc_kernel", "twice: torch"),
        (f"from {PARTS}.sinc import sinc_kernel as kernel", "other than by names of parts"),
        (f"from {PARTS} import sinc", "other than by names of parts"),
        ("import codecbwe_jax", "other than by names of parts"),
        ("from .parts.sinc import sinc_kernel", "other than by names of parts"),
        (f"import math\n\nX = 1\nfrom {PARTS}.sinc import sinc_kernel", "other than by names of"),
    ],
)
def test_what_would_not_run_alone_is_refused(code: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "system.py"
    path.write_text(f'"""A system."""\n\n{code}\n')
    with pytest.raises(ValueError, match=says):
        bundle(path)
