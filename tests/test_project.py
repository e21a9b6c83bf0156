"""The project as a whole: layers, the registry, names that a table may hold."""

import ast
import importlib
import inspect
import math
import subprocess
import sys
from pathlib import Path

import pytest

from codecbwe_jax import objectives, systems
from codecbwe_jax.config import load_config
from codecbwe_jax.errors import UserError
from codecbwe_jax.systems.base import System
from tests.conftest import ROOT
from tests.recipes import runs, variants

PACKAGE = ROOT / "codecbwe_jax"
NATIVE = [name for name in runs() if name.startswith("native_")]
# AP-BWE's original cuts 8000 samples, of which 16 kHz has no whole number; its test is its own
OTHERS = [name for name in runs() if name not in (*NATIVE, "ap_bwe.py")]
# A room imports only rooms on its own floor or below (docs/architecture.md).
FLOORS = {
    "errors": 0, "atomic": 0, "audio": 0, "config": 0, "json_lines": 0, "lock": 0,
    "checksums": 0, "fields": 0, "recipes": 0, "weights": 0,
    "data": 1, "nn": 1, "solvers": 1,
    "discriminators": 2, "losses": 2, "codec": 2, "decoders": 2, "estimators": 2,
    "systems": 3,
    "objectives": 4, "inference": 4, "evaluation": 4, "interop": 4,
    "training": 5, "corpora": 5,
    "demo": 6, "compare": 6, "cli": 6, "__main__": 6, "": 0,
}  # fmt: skip


def room(module: str) -> str:
    return module.removeprefix("codecbwe_jax").removeprefix(".").split(".")[0]


def imports(path: Path) -> set[str]:
    """Modules of ours that a file imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("codecbwe_jax"):
            for alias in node.names:
                full = f"{node.module}.{alias.name}".replace(".", "/")
                is_module = (ROOT / f"{full}.py").exists() or (ROOT / full).is_dir()
                found.add(f"{node.module}.{alias.name}" if is_module else node.module)
        elif isinstance(node, ast.Import):
            found |= {a.name for a in node.names if a.name.startswith("codecbwe_jax")}
    return found


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: p.stem)
def test_rooms_import_only_what_is_below(path: Path) -> None:
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for imported in imports(path):
        assert FLOORS[room(imported)] <= FLOORS[room(module)], f"{module} imports {imported}"


def test_a_trainer_is_imported_without_what_it_may_never_use() -> None:
    """In a Python of its own; each of these takes a second or more of every process of a run."""
    heavy = "{'torch', 'tensorflow', 'transformers', 'apache_beam', 'matplotlib', 'librosa'}"
    program = (
        "import sys; import codecbwe_jax.cli, codecbwe_jax.training.loop; "
        f"assert not {heavy} & set(sys.modules), {heavy} & set(sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_the_registry_finds_every_system() -> None:
    """By its file's name; one that has another would be there for nobody."""
    for path in (PACKAGE / "systems").glob("*.py"):
        importlib.import_module(f"codecbwe_jax.systems.{path.stem}")
    kinds = {f"{kind.__module__}:{kind.__name__}" for kind in concrete(System)}
    ours = {kind for kind in kinds if kind.startswith("codecbwe_jax.")}
    assert ours == set(systems.REGISTRY.values())


def concrete(kind: type) -> set[type]:
    """A class, unless it is abstract, and those below it."""
    below = set().union(*(concrete(other) for other in kind.__subclasses__()))
    return below if inspect.isabstract(kind) else {kind} | below


@pytest.mark.parametrize("name", systems.REGISTRY)
def test_every_registered_system_has_the_contract(name: str) -> None:
    system = systems.build({"name": name})
    assert system.takes in ("waveform", "tokens")
    assert system.output_rate >= system.input_rate
    assert hash(system) == hash(systems.build({"name": name}))
    assert (system.alignment * system.output_rate) % system.input_rate == 0


@pytest.mark.parametrize("recipe", variants("codec.py"))
def test_every_published_codec_builds(recipe: str) -> None:
    codec = systems.build(load_config(f"configs/{recipe}").system)
    assert codec.hop_length == 320
    assert codec.output_hop_length == codec.output_rate * codec.pooling // 50
    assert systems.build(load_config("configs/codec_tiny.py").system).codebook_size == 65536


@pytest.mark.parametrize("recipe", variants("ap_bwe.py"))
def test_every_config_builds(recipe: str) -> None:
    config = load_config(f"configs/{recipe}")
    system = systems.build(config.system)
    assert config.data.segment_samples % system.hop_length == 0
    again = load_config(f"configs/{recipe}", ["--config.optimizers.default.rates=()"])
    assert again.to_dict() == config.to_dict()


@pytest.mark.parametrize("name", NATIVE)
def test_every_native_config_builds(name: str) -> None:
    """A segment is whole tokens, and the recipe's names are known."""
    for recipe in variants(name):
        config = load_config(f"configs/{recipe}")
        system = systems.build(config.system)
        assert config.data.segment_samples % system.output_hop_length == 0, recipe
        objective = objectives.build(system, config.objective)
        assert len(objective.turns) == (1 if "tiny" in recipe else 3), recipe


@pytest.mark.parametrize("name", OTHERS)
def test_every_post_hoc_config_builds(name: str) -> None:
    """Chunks of a codec's output hold a segment, and the recipe's names are known."""
    for recipe in variants(name):
        config = load_config(f"configs/{recipe}")
        system = systems.build(config.system)
        assert (config.data.segment_samples * system.input_rate) % system.output_rate == 0, recipe
        seconds = config.data.get("chunk_seconds", math.inf)
        assert config.data.segment_samples <= seconds * system.output_rate, recipe
        assert objectives.build(system, config.objective).generator == "generator"
        if "neucodec" in recipe:
            assert (system.input_rate, config.data.input) == (24000, "codec_online"), recipe


def test_a_native_config_that_is_not_there_is_named() -> None:
    with pytest.raises(UserError, match="unknown variant '96k'; there are 24k, 32k"):
        load_config("configs/native_istft.py:96k")
    with pytest.raises(UserError, match="unknown variant '24k'; there are 32k, 44k"):
        load_config("configs/native_upsampled.py:24k")
    with pytest.raises(UserError, match="'2x12' does not go with '3x16'; there are tiny, 2x12"):
        load_config("configs/native_multistream.py:3x16_tiny_2x12")
