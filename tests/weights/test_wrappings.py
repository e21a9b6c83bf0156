"""Other people's checkpoints: every wrapping that is fine loads, and what is wrong is said."""

import argparse
import json
import re
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from codecbwe_jax.codec import names
from codecbwe_jax.errors import UserError
from codecbwe_jax.interop.convert import convert
from codecbwe_jax.systems import build, settings_of
from codecbwe_jax.weights.files import as_arrays, read_torch
from codecbwe_jax.weights.rules import to_torch
from codecbwe_jax.weights.wrappings import unwrapped
from tests.conftest import stirred
from tests.golden.test_golden import DEFAULT

SYSTEM = build({"name": "high_band", "size": 8, "intermediate": 8, "layers": 1})
SETTINGS = settings_of(SYSTEM)
Tensors = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def state() -> Tensors:
    arrays = to_torch(SYSTEM.torch_rules, stirred(SYSTEM.init(jax.random.key(0))))
    return {name: torch.from_numpy(np.array(x)) for name, x in arrays.items()}


def converted(path: Path) -> dict[str, np.ndarray]:
    """What a file gives, under the original's names."""
    model = convert(SETTINGS, path, path.with_name("out"))
    return to_torch(SYSTEM.torch_rules, model.params)


@pytest.mark.parametrize("ending", ["pt", "safetensors"])
@pytest.mark.parametrize(
    "kind", ["float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"]
)
def test_floats_of_every_width_become_float32(kind: str, ending: str, tmp_path: Path) -> None:
    """The values are those that torch says the stored ones have."""
    values = torch.tensor([[1.0, -0.37, 300.0], [0.0, 2.0**-9, 5.1]], dtype=torch.float64)
    stored = values.to(getattr(torch, kind))
    path = tmp_path / f"x.{ending}"
    (torch.save if ending == "pt" else save_file)({"a": stored}, path)
    (found,) = as_arrays(read_torch(path), path).values()
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, stored.to(torch.float32).numpy())


def test_a_bfloat16_checkpoint_converts_to_its_own_values(state: Tensors, tmp_path: Path) -> None:
    save_file({k: v.to(torch.bfloat16) for k, v in state.items()}, tmp_path / "x.safetensors")
    found = converted(tmp_path / "x.safetensors")
    for name, value in state.items():
        np.testing.assert_array_equal(found[name], np.float32(jnp.bfloat16(value.numpy())))


def wrapped(prefix: str) -> Callable[[Tensors], dict]:
    return lambda state: {prefix + name: value for name, value in state.items()}


def optimizer(state: Tensors) -> dict:
    return {"state": {0: {"exp_avg": state["head.weight"]}}, "param_groups": [{"lr": 0.1}]}


WRAPPINGS = {
    "bare": (lambda s: s, ""),
    **{p: (wrapped(p), p) for p in ("module.", "_orig_mod.", "generator.", "model.")},
    "twice": (wrapped("module._orig_mod."), "module._orig_mod."),
    "holder": (lambda s: {"generator": s, "optim": optimizer(s), "steps": 3}, "generator."),
    "lightning": (
        lambda s: {"state_dict": wrapped("generator.")(s), "optimizer_states": [optimizer(s)]},
        "state_dict.generator.",
    ),
    "gan in one": (
        lambda s: {"model": wrapped("net.")(s) | {"critic.convs.0.weight": torch.ones(3)}},
        "model.net.",
    ),
    "average": (lambda s: {"ema": wrapped("module.")(s), "decay": 0.999}, "ema.module."),
}


@pytest.mark.parametrize("name", WRAPPINGS)
def test_what_is_fine_inside_loads_and_the_wrapping_is_said(
    name: str, state: Tensors, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrap, prefix = WRAPPINGS[name]
    torch.save(wrap(state), tmp_path / "x.pt")
    found = converted(tmp_path / "x.pt")
    assert found.keys() == state.keys()
    assert all(np.array_equal(found[k], state[k]) for k in state)
    said = capsys.readouterr().out
    assert said.count("\n") == bool(prefix)
    assert (f"without '{prefix}' before them" in said) == bool(prefix)
    assert ("left out: optim (1 tensors" in said) == (name == "holder")


def test_the_ending_does_not_decide_what_a_file_is(state: Tensors, tmp_path: Path) -> None:
    torch.save(state, tmp_path / "x.safetensors")
    save_file(state, tmp_path / "x.pt")
    for name in ("x.safetensors", "x.pt"):
        found = converted(tmp_path / name)
        assert all(np.array_equal(found[k], state[k]) for k in state)


def test_a_codec_in_a_wrapping() -> None:
    """Its own names begin with "generator." too, and critics beside it may be more than it is."""
    published = json.loads((DEFAULT / "xcodec2_original" / "key_map.json").read_text())
    critics = [f"discriminator.{i}.weight" for i in range(2 * len(published))]
    for prefix in ("", "module.", "state_dict.model."):
        flat = {prefix + name: 0 for name in [*published, *critics]}
        found = unwrapped(flat, names.is_known, "x", lambda _: None)
        assert found.keys() == {*published, *critics}


def test_parts_that_fit_equally_are_listed(state: Tensors, tmp_path: Path) -> None:
    torch.save({"model": state, "ema": state, "steps": 3}, tmp_path / "x.pt")
    count = len(state)
    with pytest.raises(
        UserError,
        match=rf"x\.pt: 2 parts of it fit .*: model \({count} tensors, as .*\), ema \({count} ten",
    ):
        converted(tmp_path / "x.pt")
    torch.save({"mpd": {"a.b": torch.ones(3)}, "w": torch.ones(2)}, tmp_path / "x.pt")
    with pytest.raises(UserError, match=r"nothing of this .* mpd \(1 tensors, as a\.b\), w \(1 "):
        converted(tmp_path / "x.pt")


def test_what_differs_as_a_whole_is_said_first(tmp_path: Path) -> None:
    other = build({"name": "high_band", "size": 12, "intermediate": 8, "layers": 3})
    arrays = to_torch(other.torch_rules, other.init(jax.random.key(0)))
    torch.save({k: torch.from_numpy(np.array(v)) for k, v in arrays.items()}, tmp_path / "x.pt")
    with pytest.raises(UserError) as error:
        converted(tmp_path / "x.pt")
    whole, width, counts, *keys = str(error.value).partition("tensors: ")[2].split("; ")
    assert whole == "3 backbone.convnext in the checkpoint, 1 in the config"
    assert re.match(r"width 12 in the checkpoint, 8 in the config \(\d+ times\)", width)
    assert re.match(r"\d+ unused, \d+ of other shapes", counts) or "missing" in counts
    assert sum(re.match(r"(missing|unused) ", key) is not None for key in keys) <= 5
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 1000


def test_integers_are_no_weights(state: Tensors, tmp_path: Path) -> None:
    torch.save({k: v.to(torch.int8) for k, v in state.items()}, tmp_path / "x.pt")
    with pytest.raises(UserError, match=r"of no floats; \S+ is int8, expected floats"):
        converted(tmp_path / "x.pt")


FILES = {
    "empty": (b"", r"is empty \(0 bytes\)"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a pointer of Git LFS"),
    "page": (b"\n<!DOCTYPE html>\n<html><body>Sign in</body></html>", "a web page"),
    "text": ("Entry not found: é\n".encode(), "a text file, not weights: it begins with"),
}


@pytest.mark.parametrize("ending", ["pt", "ckpt", "safetensors"])
@pytest.mark.parametrize("kind", FILES)
def test_files_that_are_no_weights(kind: str, ending: str, tmp_path: Path) -> None:
    content, says = FILES[kind]
    path = tmp_path / f"x.{ending}"
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"x\.{ending}: {says}"):
        converted(path)


@pytest.mark.parametrize("write", [torch.save, save_file])
def test_files_that_were_cut_off(write: Callable, state: Tensors, tmp_path: Path) -> None:
    write(state, tmp_path / "whole")
    data = (tmp_path / "whole").read_bytes()
    for share in (0.02, 0.5, 0.999):
        path = tmp_path / f"{share}.pt"
        path.write_bytes(data[: int(share * len(data))])
        with pytest.raises(UserError, match=r"\.pt: not a (checkpoint that can|whole safetensors)"):
            converted(path)
    assert not (tmp_path / "out").exists()


def test_pickled_objects_are_named(state: Tensors, tmp_path: Path) -> None:
    torch.save({"args": argparse.Namespace(a=1), "model": state}, tmp_path / "x.pt")
    with pytest.raises(UserError, match=r"a pickled argparse\.Namespace; save the state dict"):
        converted(tmp_path / "x.pt")
    torch.save([1, 2], tmp_path / "x.pt")
    with pytest.raises(UserError, match="holds a list, not a state dict"):
        converted(tmp_path / "x.pt")
