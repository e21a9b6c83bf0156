"""The notebooks, from top to bottom in a kernel of their own, with small settings."""

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import (
    CODEC_TRAINING,
    FEW_VOICES,
    MICRO,
    NATIVE_LOSSES,
    NATIVE_SIZES,
    POST_HOC_LOSSES,
    ROOT,
    SHORT,
)

pytestmark = pytest.mark.xdist_group("notebooks")

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
CODEC = [*CODEC_TRAINING, "--config.train.steps=2"]
NATIVE = [
    *NATIVE_SIZES,
    *NATIVE_LOSSES,
    "--config.data.chunk_seconds=0.5",
    "--config.data.segment_samples=4800",
]


def settings(corpus: Path) -> dict[str, dict[str, Any]]:
    return {
        "01_quickstart": {"DATA": str(corpus), "STEPS": 2, "OVERRIDES": MICRO},
        "02_finetune_codec_decoder": {
            "STEPS": 2,
            "OVERRIDES": [*NATIVE, *SHORT],
            "CODEC_OVERRIDES": [*CODEC, *SHORT],
        },
        "03_export_to_pytorch": {},
        "04_compare_systems": {
            "STEPS": 2,
            "CONFIGS": ["configs/high_band.py:tiny_48k", "small=configs/high_band.py:tiny_48k"],
            "OVERRIDES": [
                "--config.system.size=8",
                "--config.system.layers=1",
                *POST_HOC_LOSSES,
                "--config.data.segment_samples=4800",
                *SHORT,
            ],
        },
    }


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where they run: the third takes what the first has trained."""
    return tmp_path_factory.mktemp("notebooks")


@pytest.fixture(scope="module")
def quickstart(desk: Path, corpus: Path) -> nbformat.NotebookNode:
    """The first one, run."""
    return run(NOTEBOOKS[0], desk, corpus)


def run(path: Path, desk: Path, corpus: Path) -> nbformat.NotebookNode:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    place = next(
        i for i, cell in enumerate(notebook.cells) if "settings" in cell.metadata.get("tags", [])
    )
    named = notebook.cells[place].source
    chosen = settings(corpus)[path.stem]
    assert all(f"{name}" in named for name in chosen)
    lines = "\n".join([*(f"{name} = {value!r}" for name, value in chosen.items()), FEW_VOICES])
    notebook.cells.insert(place + 1, nbformat.v4.new_code_cell(lines))
    client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(desk)}})
    client.execute()
    return notebook


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_runs_from_top_to_bottom(
    path: Path, desk: Path, corpus: Path, quickstart: nbformat.NotebookNode
) -> None:
    notebook = quickstart if path == NOTEBOOKS[0] else run(path, desk, corpus)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    kinds = {kind for output in outputs for kind in output.get("data", {})}
    if path.stem != "03_export_to_pytorch":
        assert "text/html" in kinds  # players
    if path.stem != "04_compare_systems":
        assert "image/png" in kinds
    texts = "".join(output.get("text", "") for output in outputs)
    if path.stem == "01_quickstart":
        assert "band_replication" in texts


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_is_kept_clean(path: Path) -> None:
    """No outputs, no counts: a difference between two versions shows what was written."""
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None
