"""CONTRIBUTING.md: its dry run, to the letter in a copy of this tree, and what it names."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile

from tests.conftest import POST_HOC_LOSSES, ROOT, SHORT

PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
# the block under a file's name in bold is that file
FILES = dict(re.findall(r"^\*\*`(.+?)`\*\*\n\n```python\n(.*?)```", PAGE, re.DOTALL | re.MULTILINE))
FIRST_DAY, DRY_RUN = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
FOLDERS = ("codecbwe_jax", "configs", "tests", "docs", "benchmarks", "launch", "notebooks")
# a training of two steps on what takes moments to compile
MICRO = [
    *POST_HOC_LOSSES,
    *SHORT,
    "--config.data.segment_samples=4800",
    "--config.train.steps=2",
]

Run = Callable[..., str]


@pytest.fixture
def tree(tmp_path: Path, corpus: Path) -> Path:
    """A copy of what the page's commands need, and what stands for a reader's recordings."""
    tree = tmp_path / "tree"
    for name in FOLDERS:
        left_out = shutil.ignore_patterns("__pycache__", "cases")
        shutil.copytree(ROOT / name, tree / name, ignore=left_out)
    for name in ("README.md", "CONTRIBUTING.md", "pyproject.toml", "setup.py"):
        shutil.copy(ROOT / name, tree)
    (tree / "tests/golden/cases").symlink_to(ROOT / "tests/golden/cases")
    (tree / "DIR").symlink_to(corpus)
    (tree / "IN.wav").symlink_to(next(corpus.rglob("*.flac")))
    return tree


@pytest.fixture
def run(tree: Path) -> Run:
    """A command in the copy, in a process that imports the package from there; what it prints."""
    # the tests in there are a run of their own
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    environment = {**kept, "PYTHONPATH": str(tree)}

    def run(*words: str) -> str:
        command = [sys.executable, "-m", *words]
        done = subprocess.run(
            command, cwd=tree, env=environment, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run


def test_the_dry_run_adds_a_system(tree: Path, run: Run) -> None:
    assert len(FILES) == 4
    for name, code in FILES.items():
        assert not (tree / name).exists()
        (tree / name).write_text(code, encoding="utf-8")
    run("ruff", "check", *FILES)
    run("ruff", "format", "--check", *FILES)
    for line in DRY_RUN.splitlines():
        follow(shlex.split(line, comments=True), tree, run)
    assert soundfile.info(tree / "wide.wav").samplerate == 48000
    assert "class Shelf" in (tree / "EXPORT/model.py").read_text()
    assert changed(tree) == {*FILES, "README.md", "codecbwe_jax/systems/facts.json"}
    figures, before = (
        json.loads((root / "codecbwe_jax/systems/facts.json").read_text()) for root in (tree, ROOT)
    )
    assert figures.pop("shelf")["parameters"] == 3 * 33
    assert figures == before


def follow(command: list[str], tree: Path, run: Run) -> None:
    """What a reader does with a line of the page, at micro size."""
    program, *arguments = command
    if program == "python":
        assert arguments[:2] == ["-m", "pytest"]
        told = run(*arguments[1:], "-vv", f"--basetemp={tree.parent / 'inner'}")
        passed = re.findall(r"^(tests/\S+)::.* PASSED", told, re.MULTILINE)
        # what the page says that it runs
        for place in re.findall(r"`(tests/[\w/.]+)`", PAGE.rpartition("```")[2]):
            assert any(test.startswith(place) for test in passed), place
        return
    assert program == "codecbwe"
    if arguments[0] in ("plan", "train"):
        arguments += MICRO
    told = run("codecbwe_jax", *arguments)
    if "--markdown" in arguments:
        replace_table(tree / "README.md", told)


def replace_table(readme: Path, table: str) -> None:
    text = readme.read_text(encoding="utf-8")
    start = text.index(table.splitlines()[0])
    end = text.index("\n\n", start)
    readme.write_text(text[:start] + table.strip() + text[end:], encoding="utf-8")


def changed(tree: Path) -> set[str]:
    """What the copy has and this tree has not, or has otherwise, by name."""
    files = [path for name in FOLDERS for path in (tree / name).rglob("*") if path.is_file()]
    names = {path.relative_to(tree) for path in [tree / "README.md", *files]}
    return {str(n) for n in names if "__pycache__" not in n.parts and other(ROOT / n, tree / n)}


def other(path: Path, copy: Path) -> bool:
    return not path.exists() or path.read_bytes() != copy.read_bytes()


def test_what_the_first_day_names_is_there() -> None:
    lines = [shlex.split(line, comments=True) for line in FIRST_DAY.splitlines()]
    assert len(lines) <= 10
    scripts = [line for line in lines if line[0].startswith("./launch/")]
    assert ["./launch/test.sh", "--quick"] in scripts
    for script, *arguments in scripts:
        text = (ROOT / script).read_text()
        assert all(argument in text for argument in arguments)
    words = [word.partition(":")[0] for line in lines for word in line]
    assert all((ROOT / w).is_file() for w in words if w.startswith(("tests/", "configs/")))


def test_the_files_that_the_page_names_are_there() -> None:
    for name in re.findall(r"`((?:tests|codecbwe_jax|configs)/[\w/.]+)`", PAGE):
        assert name in FILES or (ROOT / name).exists(), name
