"""A run planned, and a run profiled."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from codecbwe_jax import objectives, systems
from codecbwe_jax.config import load_config
from codecbwe_jax.objectives.turn import Context
from codecbwe_jax.systems.multiply_adds import multiply_adds
from codecbwe_jax.training.plan import CHIPS, exchanges, fullest, plan
from tests.conftest import run_cli

CONFIG = "tests/training/micro_config.py"


def planned(*overrides: str):
    return plan(load_config(CONFIG, ["--config.train.batch_size=16", *overrides]))


@pytest.fixture(scope="module")
def eight():
    return planned()


def test_what_a_program_sums_over_devices_is_what_is_trained(eight) -> None:
    """Every gradient once, and the scalars that are logged."""
    assert eight.devices == jax.device_count() == 8
    trained = 4 * eight.parameters["generator"]
    assert trained <= eight.all_reduce_bytes < trained + 100
    assert eight.seconds_of_audio == 16 * 3200 / 32000


def test_memory_and_operations_follow_the_batch(eight) -> None:
    twice = planned("--config.train.batch_size=32")
    assert 1.8 < twice.flops / eight.flops < 2.05
    assert 1.5 < twice.temporary / eight.temporary < 2.05
    assert eight.memory < twice.memory
    # parameters, two moments, an average: 16 bytes each, and a batch that is small beside them
    assert eight.arguments > 16 * eight.parameters["generator"]


def test_micro_batches_take_less_memory_and_the_same_operations(eight) -> None:
    halves = planned("--config.train.micro_batches=2")
    assert halves.temporary < eight.temporary
    assert halves.flops == eight.flops


def test_operations_are_those_that_a_gradient_takes() -> None:
    """An independent count, of what is traced for two samples of a device, in micro-batches."""
    wide = ("--config.system.size=256", "--config.system.intermediate=512")
    config = load_config(CONFIG, ["--config.train.batch_size=16", *wide])
    objective = objectives.build(systems.build(config.system), config.objective)
    params = jax.eval_shape(objective.init, jax.random.key(0))
    shapes = {"input": (2, 1600), "target": (2, 3200)}
    batch = {name: jax.ShapeDtypeStruct(shape, "float32") for name, shape in shapes.items()}

    def gradient(generator, batch):
        def loss(generator):
            context = Context(jnp.int32(0), None, lambda x: x)
            return objective.turns[0].loss({"generator": generator}, batch, context)[0]

        return jax.grad(loss)(generator)

    counted = 2 * multiply_adds(gradient, params["generator"], batch)
    flops = planned("--config.train.micro_batches=2", *wide).flops
    # what else there is, element by element: the optimiser's, for each parameter, and a tenth
    elements = flops - counted
    updates = 25 * sum(x.size for x in jax.tree.leaves(params))
    assert 0 < elements < 0.1 * counted + updates


def test_the_counted_step_is_one_in_which_all_take_their_turn() -> None:
    """The run's last step is the critic's alone."""
    config = load_config(CONFIG).unlock()
    config.train.update({"steps": 8, "batch_size": 16})
    weights = {"weight": 1.0, "adversarial": 1.0, "feature_matching": 1.0}
    config.objective.critics.mpd = {"periods": (2,), "channels": (2, 2), **weights}
    config.objective.update({"adversarial_from": 0, "generator_every": 2})
    counted = plan(config)
    assert set(counted.parameters) == {"generator", "mpd"}
    assert counted.all_reduce_bytes >= 4 * sum(counted.parameters.values())


def test_the_fullest_step_is_the_last_of_its_kind() -> None:
    config = load_config("configs/hifi_gan_bwe.py")
    objective = objectives.build(systems.build(config.system), config.objective)
    assert fullest(objective, 200_000) == 199_998  # the generator's turn is every second step
    assert fullest(objective, 50_000) == 49_999  # no critics yet


def test_the_other_mapping_needs_the_same(eight) -> None:
    other = planned("--config.train.mapping=shard_map")
    assert other.flops == pytest.approx(eight.flops, rel=0.01)
    # but for scalars that are equal everywhere, which some versions do not sum
    assert abs(other.all_reduce_bytes - eight.all_reduce_bytes) < 100


@pytest.mark.parametrize("mapping", ["pmap", "shard_map"])
def test_a_shared_optimiser_takes_an_eighth(mapping: str, eight) -> None:
    shared = planned("--config.train.share_optimizer=True", f"--config.train.mapping={mapping}")
    moments = 8 * eight.parameters["generator"]
    # each tensor's part is rounded up, and there are as many of them as tensors
    assert eight.arguments - shared.arguments == pytest.approx(7 / 8 * moments, rel=0.05)
    assert shared.all_gather_bytes == pytest.approx(4 * eight.parameters["generator"], rel=0.05)
    assert eight.all_gather_bytes == 0


def test_sums_are_counted_in_a_compiled_program() -> None:
    text = """
      %a = f32[10,2]{1,0} all-reduce(f32[10,2]{1,0} %x), channel_id=1
      %b = (f32[3]{0}, bf16[4]{0}) all-reduce-start(f32[3]{0} %y, bf16[4]{0} %z), channel_id=2
      %c = f32[] add(f32[] %d, f32[] %e)"""
    assert exchanges(text, "all-reduce") == (2, 80 + 12 + 8)


def test_a_step_takes_the_slower_of_operations_and_memory(eight) -> None:
    chip = CHIPS["v5e"]
    least = max(eight.flops / chip.flops, eight.bytes_accessed / chip.memory_bandwidth)
    assert eight.seconds_per_step(chip) == pytest.approx(
        least + 2 * 7 / 8 * eight.all_reduce_bytes / chip.link_bandwidth
    )


def test_the_command_shows_every_chip() -> None:
    config = "--config=tests/training/micro_gan.py"  # its step has a critic in it
    result = run_cli("plan", config, "--devices=2", "--config.train.batch_size=2")
    assert result.returncode == 0, result.stderr
    assert all(re.search(rf"{chip} +(yes|no) ", result.stdout) for chip in CHIPS)
    assert re.search(r"parameters: generator .*, mpd ", result.stdout)
    refused = run_cli("plan", f"--config={CONFIG}", "--devices=3", "--config.train.batch_size=4")
    assert refused.returncode == 2
    assert "no multiple of the 3 devices" in refused.stderr


def test_chosen_steps_are_traced(corpus: Path, tmp_path: Path) -> None:
    run = (
        "train",
        f"--config={CONFIG}",
        f"--workdir={tmp_path / 'run'}",
        f"--config.data.path={corpus}",
        "--config.train.steps=5",
    )
    result = run_cli(*run, "--config.profile.steps=3-4")
    assert result.returncode == 0, result.stderr
    assert "step 4: traced into" in result.stdout
    (trace,) = (tmp_path / "run" / "tensorboard").rglob("*.xplane.pb")
    names = trace.read_bytes()
    assert b"step_num" in names
    wrong = run_cli(*run, "--config.profile.steps=4")
    assert wrong.returncode == 2
    assert "config.profile.steps is '4'; FIRST-LAST, as 100-105" in wrong.stderr
