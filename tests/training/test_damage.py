"""Checkpoints with damage: found, named, and passed over for the newest whole one."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import optax
import pytest

from codecbwe_jax.errors import UserError
from codecbwe_jax.weights.checkpoints import Checkpoints, load_groups
from tests.training.test_hosts import PROCESSES, STEPS, command, finish, start

STEPS_SAVED = (1, 2, 3)


def state_of(step: int) -> dict:
    """A state with all that a run's has: parameters, an optimiser's named tuples, a count."""
    rng = np.random.default_rng(step)
    params = {"w": rng.standard_normal((50, 40)).astype(np.float32), "b": np.zeros(3, np.float32)}
    moments = jax.device_get(optax.adamw(1e-3).init(params))
    groups = {"params": {"generator": params}, "optimizers": {"generator": moments}, "ema": {}}
    return {**groups, "step": np.int32(step)}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "checkpoints"
    store = Checkpoints(folder, keep_last=3)
    for step in STEPS_SAVED:
        store.save(step, state_of(step), {"batches_consumed": step, "scores": {"x": 0.5}}, {})
    store.close()
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "checkpoints"))


def flip(path: Path, rng: np.random.Generator) -> None:
    data = bytearray(path.read_bytes())
    data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
    path.write_bytes(data)


def cut(path: Path, rng: np.random.Generator) -> None:
    path.write_bytes(path.read_bytes()[: rng.integers(path.stat().st_size)])


def zero(path: Path, rng: np.random.Generator) -> None:
    data = bytearray(path.read_bytes())
    begin = int(rng.integers(len(data)))
    data[begin : begin + 64] = bytes(len(data[begin : begin + 64]))
    path.write_bytes(data)


def remove(path: Path, rng: np.random.Generator) -> None:
    path.unlink()


def equal(one: dict, other: dict) -> bool:
    return all(map(np.array_equal, jax.tree.leaves(one), jax.tree.leaves(other)))


@pytest.mark.parametrize("damage", [flip, cut, zero, remove])
def test_no_damage_gives_other_parameters(damage: Callable, folder: Path, tmp_path: Path) -> None:
    """What is read is the state of the newest step, or of the one before and said so."""
    rng = np.random.default_rng(0)
    files = sorted(p for p in (folder / "3").rglob("*") if p.is_file())
    older = 0
    for i, path in enumerate(files):
        place = Path(shutil.copytree(folder, tmp_path / str(i)))
        damage(place / path.relative_to(folder), rng)
        said: list[str] = []
        state, facts = load_groups(place, say=said.append)
        step = int(state["step"])
        assert equal(state, state_of(step))
        assert facts["batches_consumed"] == step
        assert step == 3 or (step == 2 and "checkpoint 3 is damaged: " in said[0])
        assert all(len(line) < 500 and "\n" not in line for line in said)
        older += step == 2
    assert older >= 3  # the arrays' file, their manifest, the facts


def largest(folder: Path) -> Path:
    return max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


def damage_arrays(folder: Path) -> None:
    path = largest(folder / "state")
    data = bytearray(path.read_bytes())
    data[len(data) // 3 : len(data) // 3 + 64] = bytes(64)
    path.write_bytes(data)


def test_a_changed_array_is_named(folder: Path) -> None:
    """As a disk would change it that gives a whole file of other numbers."""
    other = state_of(3)
    other["params"]["generator"]["w"][7, 7] += 1e-6
    shutil.rmtree(folder / "3" / "state")
    store = Checkpoints(folder.with_name("other"))
    store.save(3, other, {}, {})
    shutil.copytree(folder.with_name("other") / "3" / "state", folder / "3" / "state")
    with pytest.raises(
        UserError, match=r"checkpoint 3 is damaged: params/generator/w: there is no"
    ):
        load_groups(folder, 3)


def test_a_run_goes_back_and_keeps_what_is_damaged(folder: Path) -> None:
    damage_arrays(folder / "3")
    facts = folder / "2" / "facts" / "metadata"
    facts.write_text(facts.read_text().replace('"batches_consumed": 2', '"batches_consumed": 7'))
    store, said = Checkpoints(folder, keep_last=3), []
    stored = store.newest(said.append)
    assert (stored.step, stored.facts["batches_consumed"]) == (1, 1)
    assert jax.tree.structure(stored.fill(state_of(9))) == jax.tree.structure(state_of(1))
    assert equal(stored.fill(state_of(9)), state_of(1))
    assert re.search(r"checkpoint 3 is damaged: .*; step 1 is taken instead", said[0])
    assert said[1].endswith(
        "checkpoint 2 is damaged: its facts are not those saved; step 1 is taken instead"
    )
    assert {p.name for p in folder.iterdir()} == {"1", "2.damaged", "3.damaged"}
    # the step comes again, and is saved
    store.save(3, state_of(3), {}, {})
    assert store.latest() == 3
    assert equal(store.newest().fill(state_of(9)), state_of(3))


def test_nothing_whole_is_one_line_and_nothing_is_moved(folder: Path) -> None:
    for step in STEPS_SAVED:
        damage_arrays(folder / str(step))
    for read in (Checkpoints(folder).newest, lambda: load_groups(folder)):
        with pytest.raises(
            UserError, match=r"checkpoint 3 is damaged.*any of the 2 before it: ther"
        ):
            read()
    assert {p.name for p in folder.iterdir()} == {"1", "2", "3"}


def test_a_checkpoint_without_checksums_loads_and_says_so_once(folder: Path) -> None:
    for step in STEPS_SAVED:
        shutil.rmtree(folder / str(step) / "checksums")
    said: list[str] = []
    state, _ = load_groups(folder, say=said.append)
    assert equal(state, state_of(3))
    assert said == [
        f"{folder}: checkpoint 3 has no checksums, so that damage to it would not be seen"
    ]


def test_another_model_is_no_damage(folder: Path) -> None:
    stored = Checkpoints(folder).newest()
    wider = state_of(3)
    wider["params"]["generator"]["w"] = np.zeros((50, 41), np.float32)
    says = r"checkpoint 3 is of another model: params/generator/w is float32\[50,40\], expected"
    with pytest.raises(UserError, match=says):
        stored.fill(wider)
    with pytest.raises(UserError, match=r"params/generator/b is float32\[3\], expected nothing"):
        stored.fill({**wider, "params": {"generator": {"w": wider["params"]["generator"]["w"]}}})


@pytest.mark.xdist_group("hosts")
def test_all_processes_go_back_to_the_same_step(corpus: Path, tmp_path: Path) -> None:
    workdir = tmp_path / "run"
    more = ("--config.checkpoint.keep_last=2", "--config.checkpoint.best=")
    finish(start(command(workdir, corpus, *more, "--config.train.steps=8"), 1))
    damage_arrays(workdir / "checkpoints" / "8")
    leader, other = finish(start(command(workdir, corpus, *more), 1, PROCESSES))
    assert "checkpoint 8 is damaged" in leader
    assert "continuing at step 4 in" in leader
    assert "continuing" not in other
    kept = {p.name for p in (workdir / "checkpoints").iterdir()}
    assert kept == {"8", "8.damaged", str(STEPS)}
    assert load_groups(workdir / "checkpoints")[0]["step"] == STEPS
