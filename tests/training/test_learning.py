"""What a run learns, by which rules, and which parameters it is judged by and keeps."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from codecbwe_jax import systems
from codecbwe_jax.config import load_config
from codecbwe_jax.evaluation import evaluators
from codecbwe_jax.inference.model_folders import load_model
from codecbwe_jax.training.data import find_recordings
from codecbwe_jax.training.loop import train
from codecbwe_jax.training.run import Run
from codecbwe_jax.weights.checkpoints import load_groups

STEPS = 80
CRITIC = {"periods": (2,), "channels": (2, 2)}
WEIGHTS = {"weight": 1.0, "adversarial": 1.0, "feature_matching": 1.0}


def micro(corpus: Path, **training: object) -> ConfigDict:
    config = load_config("tests/training/micro_config.py").unlock()
    config.data.path = str(corpus)
    config.train.update({"batch_size": 8, "log_every": 1, **training})
    config.optimizers.default.update({"learning_rate": 2e-2, "weight_decay": 0.0})
    return config


@pytest.fixture(scope="module")
def run(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[ConfigDict, Path]:
    """(config, work folder) of a run of reconstruction alone."""
    config = micro(corpus, steps=STEPS, ema_decay=0.9)
    config.objective.adversarial_from = STEPS
    workdir = tmp_path_factory.mktemp("learning") / "run"
    train(Run.of(config), workdir)
    return config, workdir


def logged(workdir: Path) -> list[dict]:
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def judged(config: ConfigDict, workdir: Path, params: dict) -> dict[str, float]:
    """What the run's evaluator says of parameters."""
    system = systems.build(config.system)
    _, held_out = find_recordings(config, system.output_rate, workdir)
    judge = evaluators.build(system, held_out, config.evaluators)["valid"]
    return {k: v for k, v in judge.run(params) if isinstance(v, float)}


def test_a_short_run_lowers_its_loss_and_the_held_out_figure(run) -> None:
    config, workdir = run
    losses = [row["generator/loss"] for row in logged(workdir) if "generator/loss" in row]
    assert len(losses) == STEPS
    # a fifth is far beyond what one batch differs from another
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    before = judged(config, workdir, Run.of(config).fresh()["params"]["generator"])
    after = judged(config, workdir, load_model(workdir).params)
    # it comes to three quarters
    assert after["lsd_high"] < 0.9 * before["lsd_high"]


def test_the_average_is_judged_and_kept_for_inference(run) -> None:
    config, workdir = run
    state, _ = load_groups(workdir / "checkpoints")
    average, raw = state["ema"]["generator"], state["params"]["generator"]
    last = next(row for row in reversed(logged(workdir)) if "valid/lsd_high" in row)
    of_average, of_raw = (judged(config, workdir, params) for params in (average, raw))
    # the logged figure has six digits or more
    assert last["valid/lsd_high"] == pytest.approx(of_average["lsd_high"], rel=1e-5)
    assert abs(of_raw["lsd_high"] - of_average["lsd_high"]) > 1e-3
    kept = load_model(workdir).params
    jax.tree.map(np.testing.assert_array_equal, kept, average)


def test_each_group_moves_by_its_own_rule(corpus: Path, tmp_path: Path) -> None:
    """Adam's first step is as large as the rate, whatever the gradient, and so is decay's part."""
    config = micro(corpus, steps=1, ema_decay=0.0)
    config.objective.critics.mpd = {**CRITIC, **WEIGHTS}
    config.objective.adversarial_from = 0
    config.optimizers.default.learning_rate = 1e-3
    config.optimizers.mpd = ConfigDict({**config.optimizers.default.to_dict()})
    config.optimizers.mpd.learning_rate = 4e-3
    train(Run.of(config), tmp_path / "run")
    before = Run.of(config).fresh()
    after, _ = load_groups(tmp_path / "run" / "checkpoints")
    row = next(r for r in logged(tmp_path / "run") if "generator/loss" in r)
    for group, rate in (("generator", 1e-3), ("mpd", 4e-3)):
        moves = jax.tree.map(
            lambda a, b: np.abs(a - b), before["params"][group], after["params"][group]
        )
        moves = np.concatenate([np.ravel(m) for m in jax.tree.leaves(moves)])
        # float32 rounding of weights near one
        assert np.quantile(moves, 0.9) == pytest.approx(rate, rel=0.01)
        assert row[f"{group}/learning_rate"] == pytest.approx(rate)


def test_optimisers_are_given_the_settings_of_their_group() -> None:
    """Two steps of AdamW by hand, with the norm clipped, from each group's entry of the config."""
    config = load_config("tests/training/micro_config.py", ["--config.train.batch_size=8"]).unlock()
    config.objective.critics.mpd = {**CRITIC, **WEIGHTS}
    entries = {
        "default": {"betas": (0.5, 0.9), "weight_decay": 0.1, "clip_norm": 2.0, "rates": ()},
        "mpd": {"betas": (0.8, 0.99), "weight_decay": 0.03, "clip_norm": 0.5, "rates": ()},
    }
    whole = config.optimizers.default.to_dict()
    config.optimizers = ConfigDict({group: {**whole, **entry} for group, entry in entries.items()})
    params = {group: {"w": np.float32([1.0, -2.0])} for group in ("generator", "mpd")}
    transforms = Run.of(config).optimizers(params)
    assert set(transforms) == {"generator", "mpd"}
    gradients = np.float32([[3.0, 4.0], [-0.3, 0.1]])
    for group, entry in (("generator", entries["default"]), ("mpd", entries["mpd"])):
        state = transforms[group].init(params[group])
        first, second = np.zeros(2), np.zeros(2)
        (b1, b2), w = entry["betas"], params[group]["w"]
        for n, gradient in enumerate(gradients, 1):
            g = gradient * min(1.0, entry["clip_norm"] / np.linalg.norm(gradient))
            first, second = b1 * first + (1 - b1) * g, b2 * second + (1 - b2) * g**2
            adam = first / (1 - b1**n) / (np.sqrt(second / (1 - b2**n)) + 1e-8)
            updates, state = transforms[group].update({"w": gradient}, state, params[group])
            # float32 rounding
            np.testing.assert_allclose(updates["w"], adam + entry["weight_decay"] * w, rtol=1e-5)
