"""What a run's config may hold: all its mistakes are told at once, and every field is read."""

import ast
import collections
import contextlib
import dataclasses
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from codecbwe_jax import objectives, systems
from codecbwe_jax.errors import MistakesError, UserError
from codecbwe_jax.evaluation import evaluators
from codecbwe_jax.fields import MISSING, fields_of, members
from codecbwe_jax.objectives.critics import CRITICS, build_critic
from codecbwe_jax.objectives.reconstruction import GIVEN, LOSSES
from codecbwe_jax.objectives.turn import Context
from codecbwe_jax.systems.base import System
from codecbwe_jax.systems.native_istft import NativeIstft
from codecbwe_jax.training import codec_input, settings
from codecbwe_jax.training.loop import train
from codecbwe_jax.training.run import Run
from codecbwe_jax.training.settings import check, described, load_run
from tests.conftest import ROOT, run_cli
from tests.recipes import every_word, runs

RECIPE = "configs/high_band.py:tiny_48k"
# Every word of every recipe, small; the last at full size, for their critics and losses.
RECIPES = (
    *(recipe for name in runs() for recipe in every_word(name)),
    "hifi_gan_bwe.py", "ap_bwe.py", "codec_tiny.py",
)  # fmt: skip
PACKAGE = str(ROOT / "codecbwe_jax")

# override -> what is said of it, beside the field's name
MISTAKES = {
    "train.batch_size=0": "is 0; a whole number from 1",
    "train.steps=-3": "is -3; a whole number from 1",
    "train.steps=None": "is None; a whole number from 1",
    "train.log_every=0": "is 0; a whole number from 1",
    "train.seed=-1": "is -1; a whole number from 0",
    "train.micro_batches=3": "is 3; a divisor of batch_size 4",
    "train.ema_decay=1.0": "is 1.0; a number from 0 below 1",
    "train.mapping=xmap": "is 'xmap'; one of pmap, shard_map",
    "train.init_from=sinc": "is 'sinc'; a folder of a model",
    "data.segment_samples=0": "is 0; a whole number from 1",
    "data.bandwidth=foo": "is 'foo'; one of measure, manifest",
    "data.valid_share=1.0": "is 1.0; a number from 0 below 1",
    "data.max_seconds=-1.0": "is -1.0; a number above 0",
    "data.min_seconds=4000.0": "4000.0 is above max_seconds",
    "data.lowpass=('foo',)": r"\[0\] is 'foo'; one of torchaudio, ",
    "data.lowpass=()": "is empty; some of torchaudio, ",
    "data.gain_db=(3.0,-3.0)": "the lower comes first",
    "data.speaker_pattern=(": r"is '\('; a regular expression",
    "data.input=foo": "is 'foo'; one of lowpass, codec_online, codec_cached",
    "data.workers=-1": "is -1; a whole number from 0",
    "optimizers.default.betas=(2,0.9)": r"\[0\] is 2; a number from 0 below 1",
    "optimizers.default.learning_rate=-1.0": "is -1.0; a number from 0",
    "optimizers.default.decay_every=0": "is 0; a whole number from 1",
    "optimizers.default.rates=(('(',1.0),)": r"\[0\]\[0\] is '\('; a regular expression",
    "objective.reduction=foo": "is 'foo'; one of mean, sum",
    "objective.adversarial=foo": "is 'foo'; one of hinge, least_squares",
    "objective.losses.upper_band_mel.weight=-1.0": "is -1.0; a number from 0",
    "objective.name=foo": "is 'foo'; one of diffusion, flow_matching, gan",
    "checkpoint.best=nonsense": "is 'nonsense'; EVALUATOR/FIGURE",
    "checkpoint.best=valid/nonsense": "is 'valid/nonsense'; one of valid/lsd, ",
    "checkpoint.best_is=low": "is 'low'; one of min, max",
    "checkpoint.keep_last=0": "is 0; a whole number from 1",
    "profile.steps=5": "is '5'; FIRST-LAST",
    "evaluators.valid.every=0": "is 0; a whole number from 1",
    "evaluators.valid.type=foo": "is 'foo'; one of extension",
    "system.name=foo": "is 'foo'; one of ap_bwe, ",
    "system.layers=-1": "is -1; a whole number from 1",
    "system.layers=True": "is True; a whole number from 1",
    "system.compute_dtype=foo": "is 'foo'; one of float32, bfloat16",
    "system.seen=0.0": "is 0.0; a number above 0 and up to 1",
    "system.gain=nan": "expected a value of type float",
    "system.layers=foo": "expected a value of type int",
    "train.stps=3": "no such field; config.train has batch_size, ",
}


@pytest.mark.parametrize("override", MISTAKES)
def test_a_mistake_is_one_line_that_names_the_field(override: str) -> None:
    field = override.partition("=")[0]
    with pytest.raises(UserError, match=rf"config\.{field}.*{MISTAKES[override]}"):
        check(load_run(RECIPE, [f"--config.{override}"]))


def test_sizes_that_do_not_fit_each_other_are_told_before_anything_runs() -> None:
    with pytest.raises(UserError, match="segments of 100 samples"):
        check(load_run(RECIPE, ["--config.data.segment_samples=100"]))
    with pytest.raises(UserError, match="output_rate 44100 is not twice, three times"):
        check(load_run(RECIPE, ["--config.system.output_rate=44100"]))
    config = load_run(RECIPE)
    with config.unlocked():
        config.objective.losses.phase = ConfigDict({"weight": 1.0})
    with pytest.raises(UserError, match=r"no training step can be made .*KeyError: 'phase'"):
        check(config)
    with config.unlocked():
        del config.objective.losses["phase"]
        config.optimizers.mdp = config.optimizers.default
    with pytest.raises(UserError, match=r"config\.optimizers has mdp; known: default, generator"):
        check(config)


def test_all_mistakes_are_told_at_once_and_nothing_is_made(tmp_path: Path) -> None:
    wrong = ("--config.train.steps=-3", "--config.system.layers=0", "--config.data.bandwidth=foo")
    result = run_cli("train", f"--config={RECIPE}", f"--workdir={tmp_path / 'run'}", *wrong)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.splitlines() == [
        "codecbwe: 3 mistakes:",
        "  config.system.layers is 0; a whole number from 1 up to 512 is expected",
        "  config.data.bandwidth is 'foo'; one of measure, manifest is expected",
        "  config.train.steps is -3; a whole number from 1 up to 2,147,483,647 is expected",
    ]
    assert not (tmp_path / "run").exists()


def test_fields_that_a_recipe_leaves_out_have_defaults_that_can_be_changed() -> None:
    field = "objective.losses.multi_resolution_stft.weight_linear"
    assert f"config.{field} = 0.0" in list(described(load_run(RECIPE)))
    config = load_run(RECIPE, [f"--config.{field}=2.0"])
    assert config.objective.losses.multi_resolution_stft.weight_linear == 2.0
    with pytest.raises(UserError, match="weight_sine: no such field"):
        load_run(RECIPE, ["--config.objective.losses.multi_resolution_stft.weight_sine=2.0"])


def test_a_run_without_one_of_its_fields_says_which() -> None:
    config = load_run(RECIPE)
    with config.unlocked():
        del config.train["seed"], config.optimizers.default["betas"]
    with pytest.raises(MistakesError) as error:
        check(config)
    assert error.value.mistakes == (
        "config.train.seed is missing (as configs/base.py has it)",
        "config.optimizers.default.betas is missing (as configs/base.py has it)",
    )


def test_a_config_is_printed_with_what_every_field_may_be() -> None:
    result = run_cli("config", "configs/native_istft.py:tiny", "--config.train.seed=7")
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    at = lines.index("config.train.seed = 7")
    assert lines[at + 1].startswith(
        "    a whole number from 0 up to 4,294,967,295; default 1234. of"
    )
    assert "config.system.backbone.heads = 4" in lines
    assert len(lines) > 150


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_is_right_and_says_what_its_fields_mean(recipe: str) -> None:
    config = load_run(f"configs/{recipe}")
    check(config)
    for path, field in _leaves(settings.Run, config.to_dict(), "config"):
        assert field.meaning or path.endswith((".name", ".type", ".kind")), path


def _leaves(kind: Any, value: Any, where: str) -> Iterator[tuple[str, Any]]:
    """The fields that a config holds, without those that are groups."""
    for name, field in members(kind, value).items():
        if name in value and isinstance(value[name], dict):
            yield from _leaves(field.kind, value[name], f"{where}.{name}")
        elif name in value:
            yield f"{where}.{name}", field


# What reads a setting is a line of the package that is none of these: they copy, refuse or print.
NO_READERS = ("__post_init__", "settings_of", "to_dict", "to_json_best_effort")
Reads = dict[int, set[str]]


@contextlib.contextmanager
def _reads(monkeypatch: pytest.MonkeyPatch, cls: type, *ways: str) -> Iterator[Reads]:
    """Which attributes of the objects of a class the package reads while this lasts.

    Args:
      monkeypatch: of the test.
      cls: the class.
      ways: its methods by which something is read.

    Yields:
      by the object's id, the names.
    """
    seen: Reads = collections.defaultdict(set)

    def watched(original: Callable) -> Callable:
        def read(self: Any, name: str, *rest: Any) -> Any:
            code = sys._getframe(1).f_code
            if code.co_filename.startswith(PACKAGE) and code.co_name not in NO_READERS:
                seen[id(self)].add(name)
            return original(self, name, *rest)

        return read

    with monkeypatch.context() as patch:
        for way in ways:
            patch.setattr(cls, way, watched(getattr(cls, way)))
        yield seen


def _trace(config: ConfigDict, system: System, turns: slice = slice(-1, None)) -> None:
    """Turns of a recipe, mostly the last, which sees what all see, on shapes; and what a decoder
    starts from."""
    objective = objectives.build(system, config.objective)
    params = jax.eval_shape(objective.init, jax.random.key(0))
    context = Context(np.int32(0), jax.random.split(jax.random.key(0), 1), lambda x: x)
    batch = settings.shapes(system, config.data.segment_samples)
    for turn in objective.turns[turns]:
        jax.eval_shape(lambda p, b, turn=turn: turn.loss(p, b, context)[0], params, batch)
        jax.eval_shape(lambda p, turn=turn: turn.upkeep(p, context), params)
    if system.takes == "tokens":
        like = {name: getattr(system, name) for name in ("levels", "features", "token_rate")}
        other = NativeIstft(**like, backbone=system.backbone)
        theirs = jax.eval_shape(other.init, jax.random.key(0))
        fresh, theirs = (
            jax.tree.map(lambda x: np.zeros(x.shape, np.float32), tree)
            for tree in (params["generator"], theirs)
        )
        system.start_from(fresh, other, theirs)


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_field_of_a_system_is_read(recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_run(f"configs/{recipe}")
    system = systems.build(config.system)
    inner = {n: v for n, v in vars(system).items() if dataclasses.is_dataclass(v)}
    with contextlib.ExitStack() as stack:
        seen = {
            type(part): stack.enter_context(_reads(monkeypatch, type(part), "__getattribute__"))
            for part in (system, *inner.values())
        }
        _trace(config, system)
    for part in (system, *inner.values()):
        read = set().union(*seen[type(part)].values())
        known = {n for n, f in fields_of(type(part)).items() if not _has_one_value(f.kind)}
        assert known <= read, f"nothing reads {known - read} of {type(part).__name__}"


def _has_one_value(kind: Any) -> bool:
    """What has one value alone is said, not chosen."""
    return get_origin(kind) is Literal and len(get_args(kind)) == 1


@pytest.mark.parametrize("name", CRITICS)
def test_every_field_of_a_critic_is_read(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network, fixed = CRITICS[name].network, CRITICS[name].fixed
    small: dict[str, Any] = {} if name == "subband" else {"channels": 16}
    if name in ("mpd", "hifi_gan_plus", "msd"):
        small["channels"] = (16,) * len(fields_of(network)["channels"].default)
    if name == "dac":
        small |= {"period_channels": (2,) * 5, "rates": (2,), "rate_channels": (2,) * 6}
        small |= {"rate_groups": (1,) * 6}
    if name in ("msd", "hifi_gan_plus"):
        small["groups"] = (1,) * len(small["channels"])
    with _reads(monkeypatch, network, "__getattribute__") as seen:
        wave = jax.ShapeDtypeStruct((1, 24000), np.float32)
        jax.eval_shape(build_critic(name, small).init, jax.random.key(0), wave)
    assert set(fields_of(network, fixed)) <= set().union(*seen.values())


@pytest.mark.parametrize("name", LOSSES)
def test_every_setting_of_a_loss_is_read(name: str) -> None:
    for function in LOSSES[name].settings:
        source = ast.parse(textwrap.dedent(inspect.getsource(function)))
        # fields of a dataclass are read as s.field where the dataclass is used
        module = ast.parse(Path(inspect.getsourcefile(function)).read_text())
        read = {n.id for n in ast.walk(source) if isinstance(n, ast.Name)}
        read |= {n.attr for n in ast.walk(module) if isinstance(n, ast.Attribute)}
        assert set(fields_of(function, GIVEN)) <= read


@pytest.mark.parametrize("name", [name for name, loss in LOSSES.items() if loss.settings])
def test_every_setting_of_a_loss_can_be_given(name: str) -> None:
    loss, system = LOSSES[name], systems.build({"name": "high_band", "size": 8, "layers": 1})
    fields = loss.fields({})
    del fields["weight"]
    given = {n: 2 if f.default is MISSING else f.default for n, f in fields.items()}
    wave = jax.ShapeDtypeStruct((1, 9600), np.float32)

    def compute(target: jax.Array, predicted: jax.Array) -> jax.Array:
        return loss.compute({"waveform": predicted}, {"waveform": target}, system, **given)

    assert jax.eval_shape(compute, wave, wave).shape == ()


def test_every_setting_of_an_evaluator_is_read() -> None:
    for evaluator in evaluators.EVALUATORS.values():
        source = ast.parse(textwrap.dedent(inspect.getsource(evaluator.__init__)))
        read = {n.id for n in ast.walk(source) if isinstance(n, ast.Name)}
        assert set(fields_of(evaluator)) <= read


def test_every_field_of_a_run_is_read(
    corpus: Path, codec_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run of two steps, with a critic and a balancer traced, and the beginning of one on a
    codec."""
    config = load_run(
        "tests/training/micro_config.py",
        [
            f"--config.data.path={corpus}",
            "--config.train.batch_size=8",
            "--config.train.steps=2",
            "--config.checkpoint.every=2",
        ],
    )
    config.evaluators.valid.every = 2
    heard = load_run("configs/high_band.py:tiny_codec", [f"--config.data.codec={codec_folder}"])
    heard.data.input = "codec_cached"
    judged = load_run(RECIPE).unlock()
    weights = {"weight": 1.0, "adversarial": 1.0, "feature_matching": 1.0}
    judged.objective.critics = ConfigDict({"complex_stft": {"channels": 2, **weights}})
    judged.objective.balancer = ConfigDict(
        {"shares": {"upper_band_mel": 1.0}, "total_norm": 1.0, "ema_decay": 0.9}
    )
    nodes = {
        "objective": judged.objective,
        "objective.critics.complex_stft": judged.objective.critics.complex_stft,
        "objective.balancer": judged.objective.balancer,
        "data, on a codec": heard.data,
        **{n: config[n] for n in ("data", "train", "checkpoint", "profile")},
        "optimizers.default": config.optimizers.default,
    }
    fields = {name: set(node) for name, node in nodes.items()}
    fields["data"] -= set(fields_of(settings.CodecInputSettings))
    fields["data, on a codec"] = set(fields_of(settings.CodecInputSettings))
    fields["objective.critics.complex_stft"] = set(weights)
    fields["checkpoint"].remove("max_failed")  # after a save that failed: test_saving.py
    with _reads(monkeypatch, ConfigDict, "__getattr__", "__getitem__", "get") as seen:
        train(Run.of(config), tmp_path)
        _trace(judged, systems.build(judged.system), slice(None))
        source, _ = codec_input.load(heard, systems.build(heard.system))
        with pytest.raises(UserError, match="codec_cached needs"):
            codec_input.make_pairs(heard, [], source)
    for name, node in nodes.items():
        unread = fields[name] - seen[id(node)]
        assert not unread, f"nothing reads {unread} of config.{name}"
